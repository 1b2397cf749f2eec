package dogpile

import (
	"encoding"
	"fmt"
	"reflect"
	"time"

	"github.com/dogpile-go/dogpile/internal/roundtrip"
)

// Bytes is a [Codec] for []byte and types made of it, which are stored as they
// are. A nil slice is read back as an empty one. CheckType refuses all other
// types.
var Bytes Codec = bytesCodec{}

// Text is a [Codec] for strings, which are stored as they are, and for types
// that are both encoding.TextMarshaler and encoding.TextUnmarshaler, as
// themselves or by pointer. CheckType refuses all other types, and a struct
// that has these methods from an embedded field and other fields as well, which
// they do not know. A time.Time comes back as from [JSON].
var Text Codec = textCodec{}

type bytesCodec struct{}

// CheckType implements TypeChecker.
func (bytesCodec) CheckType(t reflect.Type) error {
	if !isBytes(t) {
		return fmt.Errorf("bytes: type %v: it is not made of []byte", t)
	}
	return nil
}

// Append implements Codec for types whose elements are bytes.
func (bytesCodec) Append(dst []byte, v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return append(dst, b...), nil
	}
	if rv := reflect.ValueOf(v); rv.IsValid() && isBytes(rv.Type()) {
		return append(dst, rv.Bytes()...), nil
	}
	return dst, fmt.Errorf("bytes: cannot encode %T", v)
}

// Decode implements Codec. The value is a copy, and never nil.
func (bytesCodec) Decode(data []byte, v any) error {
	if p, ok := v.(*[]byte); ok && p != nil {
		*p = append([]byte{}, data...)
		return nil
	}
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && !rv.IsNil() && isBytes(rv.Type().Elem()) {
		rv.Elem().SetBytes(append([]byte{}, data...))
		return nil
	}
	return fmt.Errorf("bytes: cannot decode into %T", v)
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

type textCodec struct{}

// texter is what a type must be in both directions: the text that one of its
// own methods wrote is not for anybody else to read.
type texter interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}

// textTypes knows of types with methods for text; others are never asked about.
var textTypes = roundtrip.Checker{Rules: roundtrip.Rules{
	Codec: "text",
	Own: func(t reflect.Type, _ roundtrip.Place) (o roundtrip.Own, err error) {
		if reflect.PointerTo(t).Implements(reflect.TypeFor[texter]()) {
			o.Methods = []string{"MarshalText", "UnmarshalText"}
		}
		return o, nil
	},
	Field: func(sf reflect.StructField) (roundtrip.Field, error) { return roundtrip.Field{Name: sf.Name}, nil },
}}

// CheckType implements TypeChecker.
func (textCodec) CheckType(t reflect.Type) error {
	base := t
	if t.Kind() == reflect.Pointer {
		base = t.Elem()
	}
	switch {
	case reflect.PointerTo(base).Implements(reflect.TypeFor[texter]()):
		return textTypes.Of(base).Err
	case t.Kind() == reflect.String:
		return nil
	}
	return fmt.Errorf("text: type %v: it is neither a string nor a type with both MarshalText and UnmarshalText", t)
}

// Append implements Codec for strings and for what marshals and unmarshals text.
func (c textCodec) Append(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return append(dst, s...), nil
	}
	p := reflect.ValueOf(v)
	if !p.IsValid() {
		return dst, fmt.Errorf("text: cannot encode %T", v)
	}
	if err := c.CheckType(p.Type()); err != nil {
		return dst, err
	}
	if p.Kind() != reflect.Pointer {
		p = reflect.New(p.Type())
		p.Elem().Set(reflect.ValueOf(v))
	}
	if p.IsNil() {
		return dst, fmt.Errorf("text: cannot encode a nil %T", v)
	}
	m, ok := p.Interface().(texter)
	if !ok {
		return append(dst, p.Elem().String()...), nil
	}
	if p.Type() == reflect.TypeFor[*time.Time]() {
		if err := roundtrip.Time(p.Elem()); err != nil {
			return dst, fmt.Errorf("text: %w", err)
		}
	}
	text, err := m.MarshalText()
	return append(dst, text...), err
}

// Decode implements Codec.
func (textCodec) Decode(data []byte, v any) error {
	if p, ok := v.(*string); ok && p != nil {
		*p = string(data)
		return nil
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("text: cannot decode into %T", v)
	}
	t := rv.Type().Elem()
	pointer := t.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	p := reflect.New(t)
	switch {
	case p.Type().Implements(reflect.TypeFor[texter]()):
		if err := p.Interface().(texter).UnmarshalText(data); err != nil {
			return err
		}
	case t.Kind() == reflect.String && !pointer:
		p.Elem().SetString(string(data))
	default:
		return fmt.Errorf("text: cannot decode into %T", v)
	}
	if !pointer {
		p = p.Elem()
	}
	rv.Elem().Set(p)
	return nil
}
