package cbor

import (
	"encoding"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/dogpile-go/dogpile/internal/roundtrip"
)

// types knows what github.com/fxamacker/cbor/v2 does with types.
var types roundtrip.Checker

// The rules refer to types themselves.
func init() {
	types.Rules = roundtrip.Rules{
		Codec:    "cbor",
		Own:      own,
		Field:    field,
		Key:      key,
		Reread:   reread,
		Bytes:    func(reflect.Type) bool { return true },
		Look:     look,
		Null:     isNullValue,
		Scalar:   scalar,
		MaxDepth: MaxNesting,
	}
}

// methods are the pairs of methods that are looked for, in order.
var methods = []struct {
	write, read        string
	marshal, unmarshal reflect.Type
}{
	{"MarshalCBOR", "UnmarshalCBOR", reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler]()},
	{"MarshalBinary", "UnmarshalBinary", reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
	{"MarshalText", "UnmarshalText", reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
}

// own tells which methods write and read t. Those with pointer receivers are
// called wherever the value is.
func own(t reflect.Type, _ roundtrip.Place) (o roundtrip.Own, err error) {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[big.Int]():
		return roundtrip.Own{Methods: []string{"MarshalText", "UnmarshalText"}}, nil
	case reflect.TypeFor[cbor.Tag]():
		return o, errors.New("what a cbor.Tag holds would come back as another type; cbor.RawTag keeps it")
	}
	p := reflect.PointerTo(t)
	for _, m := range methods {
		switch w, r := p.Implements(m.marshal), p.Implements(m.unmarshal); {
		case w && r:
			return roundtrip.Own{Methods: []string{m.write, m.read}, Nests: m.write == "MarshalCBOR"}, nil
		case w:
			return o, fmt.Errorf("%v has %s, but no %s", t, m.write, m.read)
		case r:
			return o, fmt.Errorf("%v has %s, but no %s", t, m.read, m.write)
		}
	}
	switch t.Kind() {
	case reflect.Uintptr:
		return o, errors.New("a uintptr cannot be encoded")
	case reflect.Struct:
		return o, array(t)
	}
	return o, nil
}

// array returns an error if t is written as an array and has an embedded
// pointer: the fields behind a nil one are written, and read into a new struct.
func array(t reflect.Type) error {
	blank, _ := t.FieldByName("_")
	if !strings.Contains(blank.Tag.Get("cbor")+",", ",toarray,") {
		return nil
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Type.Kind() == reflect.Pointer {
			return fmt.Errorf("the embedded %v would not come back as nil from an array", f.Type)
		}
	}
	return nil
}

func field(sf reflect.StructField) (f roundtrip.Field, err error) {
	tag := sf.Tag.Get("cbor")
	if tag == "" {
		tag = sf.Tag.Get("json")
	}
	if tag == "-" {
		return roundtrip.Field{Skip: true}, nil
	}
	name, options, _ := strings.Cut(tag, ",")
	if f.Name, f.Named = name, name != ""; !f.Named {
		f.Name = sf.Name
	}
	var empty, zero bool
	for option := range strings.SplitSeq(options, ",") {
		empty = empty || option == "omitempty"
		zero = zero || option == "omitzero"
	}
	if empty || zero {
		f.Omit = func(v reflect.Value) bool { return empty && isEmpty(v) || zero && v.IsZero() }
	}
	if strings.Contains(","+options+",", ",keyasint,") {
		n, err := strconv.Atoi(f.Name)
		if err != nil {
			return f, fmt.Errorf("the key %q is no integer", f.Name)
		}
		f.Name = fmt.Sprint("key ", n) // no name has a space before a number
	}
	return f, nil
}

// isEmpty reports whether omitempty leaves v out, as far as that matters to look.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	}
	return false
}

// key tells whether keys have to be read again: unless they are written as they
// are, two of them may be written alike.
func key(t reflect.Type) (again bool, err error) {
	switch t.Kind() {
	case reflect.Interface:
		return false, fmt.Errorf("a key of type %v would come back as another type", t)
	case reflect.Pointer:
		return false, fmt.Errorf("a key of type %v would come back as another pointer", t)
	}
	o, err := own(t, roundtrip.Copied)
	if err != nil {
		return false, err
	}
	if k := t.Kind(); len(o.Methods) == 0 && (k == reflect.String || k >= reflect.Bool && k <= reflect.Float64) {
		return false, nil
	}
	return true, types.Of(t).Err
}

func reread(k reflect.Value) (reflect.Value, error) {
	p := reflect.New(k.Type())
	data, err := Codec.Append(nil, k.Interface())
	if err == nil {
		err = Codec.Decode(data, p.Interface())
	}
	return p.Elem(), err
}

func look(t reflect.Type) func(reflect.Value) error {
	switch t {
	case reflect.TypeFor[time.Time]():
		return roundtrip.Time
	case reflect.TypeFor[cbor.RawMessage]():
		return func(v reflect.Value) error {
			if v.Len() == 0 {
				return errors.New("an empty cbor.RawMessage would come back as null; omitempty leaves it out")
			}
			return nil
		}
	case reflect.TypeFor[cbor.RawTag]():
		return func(v reflect.Value) error {
			if v.FieldByName("Content").Len() == 0 {
				return errors.New("the empty content of a cbor.RawTag would come back as null")
			}
			return nil
		}
	}
	return nil
}

// isNullValue reports whether v is a value of this library or a time that is
// written as null.
func isNullValue(v reflect.Value) bool {
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		return t.IsZero()
	}
	if raw, ok := reflect.TypeAssert[cbor.RawMessage](v); ok {
		return len(raw) > 0 && isNull(raw)
	}
	simple, ok := reflect.TypeAssert[cbor.SimpleValue](v)
	return ok && (simple == 22 || simple == 23) // null and undefined
}

func scalar(v any, _ bool) error {
	switch v := v.(type) {
	case bool, string, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, big.Int:
		return nil
	case []byte:
		if v != nil {
			return nil
		}
	case time.Time:
		if v.IsZero() {
			return errors.New("a zero time.Time in an interface would come back as nil")
		}
		return roundtrip.Time(reflect.ValueOf(v))
	}
	return fmt.Errorf("a %T in an interface would come back as another type", v)
}
