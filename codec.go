package dogpile

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// A Codec makes bytes of values and values of bytes, for backends that keep
// bytes. It is used by many goroutines at once.
type Codec interface {
	// Append appends v to dst and returns the extended slice. It does not keep
	// v. Beside an error the result is of no use.
	Append(dst []byte, v any) ([]byte, error)

	// Decode sets what v points to, which is a zero value before, to what data
	// says. It may not trust data: whatever that is, it takes memory in
	// proportion to its length and does not panic. With any error the entry is
	// missing, and what v points to is thrown away, whether it was set in part
	// or not. A value of another type is an error, never a zero value. Decode
	// does not write to data, which others read at the same time, nor keep it.
	Decode(data []byte, v any) error
}

var (
	// JSON is the default Codec: encoding/json without its escapes for HTML. It
	// reads what Python's json.dumps writes, except NaN and Infinity, which are
	// errors as in JSON itself. A number that goes into an interface becomes a
	// json.Number, whole however large. null is an error for a type that would
	// not be written as null, and so is anything after the value.
	JSON Codec = jsonCodec{}

	// Bytes is a Codec for []byte and types made of it, which are stored as they
	// are. A nil slice is read back as an empty one.
	Bytes Codec = bytesCodec{}

	// Text is a Codec for strings, which are stored as they are, and for types
	// that are both encoding.TextMarshaler and encoding.TextUnmarshaler, as
	// themselves or by pointer.
	Text Codec = textCodec{}
)

var codecs = registry[Codec]{kind: "codec", m: map[string]Codec{"json": JSON, "bytes": Bytes, "text": Text}}

// RegisterCodec makes a codec known to settings under a name, as JSON is under
// "json", Bytes under "bytes" and Text under "text". It panics if c is nil or
// name is empty or taken.
func RegisterCodec(name string, c Codec) { codecs.add(name, c, c == nil) }

func codecNamed(name string) (Codec, error) { return codecs.named(name) }

type jsonCodec struct{}

// Append implements Codec. It does not escape HTML.
func (jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	w := appendWriter{dst}
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	// encoding/json passes over a MarshalJSON method with a pointer receiver
	// unless it can take the address of the value or field.
	if rv := reflect.ValueOf(v); rv.IsValid() && rv.Kind() != reflect.Pointer {
		p := reflect.New(rv.Type())
		p.Elem().Set(rv)
		v = p.Interface()
	}
	if err := e.Encode(v); err != nil {
		return dst, err
	}
	return bytes.TrimSuffix(w.data, []byte("\n")), nil
}

type appendWriter struct{ data []byte }

// Write implements io.Writer and never fails.
func (w *appendWriter) Write(p []byte) (int, error) {
	w.data = append(w.data, p...)
	return len(p), nil
}

// Decode implements Codec. Numbers decoded into interfaces are json.Number;
// anything after the value is an error, and so is null for what cannot be nil.
func (jsonCodec) Decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	const space = " \t\r\n"
	if len(bytes.TrimLeft(data[d.InputOffset():], space)) > 0 {
		return errors.New("json: something follows the value")
	}
	// encoding/json leaves an int or a time.Time as it is for null, without an
	// error. What would not be written as null has not been read from it either.
	if string(bytes.Trim(data, space)) == "null" {
		if again, err := json.Marshal(v); err != nil || string(again) != "null" {
			return fmt.Errorf("json: cannot decode null into %T", v)
		}
	}
	return nil
}

type bytesCodec struct{}

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

// Append implements Codec for strings and for what marshals and unmarshals text.
func (textCodec) Append(dst []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return append(dst, s...), nil
	}
	p := reflect.ValueOf(v)
	if p.IsValid() && p.Kind() != reflect.Pointer {
		p = reflect.New(p.Type())
		p.Elem().Set(reflect.ValueOf(v))
	}
	switch {
	case !p.IsValid():
	case p.IsNil():
		return dst, fmt.Errorf("text: cannot encode a nil %T", v)
	case p.Type().Implements(reflect.TypeFor[texter]()):
		text, err := p.Interface().(texter).MarshalText()
		return append(dst, text...), err
	case reflect.TypeOf(v).Kind() == reflect.String:
		return append(dst, p.Elem().String()...), nil
	}
	return dst, fmt.Errorf("text: cannot encode %T", v)
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
