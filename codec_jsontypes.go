package dogpile

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dogpile-go/dogpile/internal/roundtrip"
)

// jsonTypes knows what encoding/json does with types.
var jsonTypes = roundtrip.Checker{Rules: roundtrip.Rules{
	Codec:  "json",
	Own:    jsonOwn,
	Field:  jsonField,
	Key:    jsonKey,
	Reread: jsonReread,
	Bytes:  jsonBytes,
	Look:   jsonLook,
	Null:   jsonNull,
	Scalar: jsonScalar,
	Text:   jsonText,
}}

// jsonDepth is how deeply encoding/json reads, though it writes deeper.
const jsonDepth = 10000

// lossless tells why out, which was written of v, would not be read as v.
func lossless(t *roundtrip.Type, v reflect.Value, out []byte) error {
	if t.Deep && len(out) > jsonDepth && !json.Valid(out) {
		return fmt.Errorf("json: type %v: a value is nested deeper than %d levels", v.Type(), jsonDepth)
	}
	// A byte that is not UTF-8 is written as U+FFFD, escaped or not. Without one
	// there is no need to look at strings.
	if bytes.Contains(out, []byte("ufffd")) || bytes.Contains(out, []byte("\ufffd")) {
		return t.LookAll(v)
	}
	return t.Look(v)
}

// jsonMethods are the pairs of methods that encoding/json looks for, in order.
var jsonMethods = []struct {
	write, read        string
	marshal, unmarshal reflect.Type
}{
	{"MarshalJSON", "UnmarshalJSON", reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()},
	{"MarshalText", "UnmarshalText", reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
}

func jsonOwn(t reflect.Type, at roundtrip.Place) (o roundtrip.Own, err error) {
	p := reflect.PointerTo(t)
	var write, read, missed string
	for _, m := range jsonMethods {
		switch {
		case write != "":
		case t.Implements(m.marshal):
			write = m.write
		case p.Implements(m.marshal) && at == roundtrip.Copied:
			missed = m.write
		case p.Implements(m.marshal):
			write, o.Pointer = m.write, true
		}
		if read == "" && p.Implements(m.unmarshal) {
			read = m.read
		}
	}
	switch {
	case write == "" && read == "":
		return o, nil
	case write == "" && missed != "":
		return o, fmt.Errorf("%s of %v has a pointer receiver and is not called for the values of a map; let them be pointers", missed, t)
	case write == "":
		return o, fmt.Errorf("%v has %s, but no method that writes what it reads", t, read)
	case read == "":
		return o, fmt.Errorf("%v has %s, but no method that reads what it writes", t, write)
	case t.Name() == "":
		return o, fmt.Errorf("%s of %v is not called, because the type has no name", read, t)
	}
	o.Methods = []string{write, read}
	o.Nests = write == "MarshalJSON" && t != reflect.TypeFor[time.Time]()
	return o, nil
}

func jsonField(sf reflect.StructField) (f roundtrip.Field, err error) {
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return roundtrip.Field{Skip: true}, nil
	}
	name, options, _ := strings.Cut(tag, ",")
	if f.Name, f.Named = name, isJSONName(name); !f.Named {
		f.Name = sf.Name
	}
	var empty, zero bool
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			empty = true
		case "omitzero":
			zero = true
		case "string":
			err = jsonQuoted(sf.Type)
		}
	}
	if empty || zero {
		f.Omit = func(v reflect.Value) bool { return empty && isJSONEmpty(v) || zero && isZero(v) }
	}
	return f, err
}

// isJSONName reports whether encoding/json takes the name from a tag.
func isJSONName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
	}) < 0
}

// jsonQuoted returns an error if the option "string" lets a field of type t be
// written by its methods, and read without them.
func jsonQuoted(t reflect.Type) error {
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		t = t.Elem()
	}
	switch k := t.Kind(); {
	case k == reflect.String, k >= reflect.Bool && k <= reflect.Float64:
		if own, err := jsonOwn(t, roundtrip.Addressed); err != nil || len(own.Methods) > 0 {
			return fmt.Errorf(`%v has methods of its own, which do not go with the option "string"`, t)
		}
	}
	return nil
}

func isJSONEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func isZero(v reflect.Value) bool {
	if v.IsZero() {
		return true
	}
	z, ok := v.Interface().(interface{ IsZero() bool })
	if !ok {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		z, ok = p.Interface().(interface{ IsZero() bool })
	}
	return ok && z.IsZero()
}

func jsonKey(t reflect.Type) (reread bool, err error) {
	// For a string encoding/json asks for the method that reads, and not for the
	// one that writes.
	writes := t.Kind() != reflect.String && t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
	reads := reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	switch k := t.Kind(); {
	case writes && reads:
		return true, nil
	case writes != reads:
		return false, fmt.Errorf("keys of type %v are not read the way they are written", t)
	case k == reflect.String, k >= reflect.Int && k <= reflect.Uintptr:
		return false, nil
	}
	return false, fmt.Errorf("a key of type %v cannot be encoded", t)
}

func jsonReread(key reflect.Value) (again reflect.Value, err error) {
	text, err := key.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return again, err
	}
	quoted, err := json.Marshal(string(text))
	if err != nil {
		return again, err
	}
	p := reflect.New(key.Type())
	return p.Elem(), json.Unmarshal(quoted, p.Interface())
}

func jsonBytes(elem reflect.Type) bool {
	p := reflect.PointerTo(elem)
	return !p.Implements(jsonMethods[0].marshal) && !p.Implements(jsonMethods[1].marshal)
}

func jsonLook(t reflect.Type) func(reflect.Value) error {
	switch t {
	case reflect.TypeFor[time.Time]():
		return roundtrip.Time
	case reflect.TypeFor[json.RawMessage]():
		return func(v reflect.Value) error {
			if v.IsNil() {
				return errors.New("a nil json.RawMessage would come back as null; omitempty leaves it out")
			}
			return nil
		}
	case reflect.TypeFor[json.Number]():
		return func(v reflect.Value) error {
			if v.Len() == 0 {
				return errors.New("an empty json.Number would come back as 0; omitempty leaves it out")
			}
			return nil
		}
	}
	return nil
}

func jsonNull(v reflect.Value) bool {
	raw, ok := reflect.TypeAssert[json.RawMessage](v)
	return ok && string(bytes.Trim(raw, jsonSpace)) == "null"
}

func jsonScalar(v any, all bool) error {
	switch v := v.(type) {
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, uintptr, float32, float64:
		return nil
	case json.Number:
		return jsonLook(reflect.TypeOf(v))(reflect.ValueOf(v))
	case string:
		if all {
			return jsonText(reflect.ValueOf(v))
		}
		return nil
	}
	return fmt.Errorf("a %T in an interface would come back as another type", v)
}

var errNotUTF8 = errors.New("a string that is not UTF-8 would come back changed")

// jsonText looks at what is written as a JSON string of v.
func jsonText(v reflect.Value) error {
	if v.Kind() == reflect.String && !v.Type().Implements(jsonMethods[1].marshal) {
		if !utf8.ValidString(v.String()) {
			return errNotUTF8
		}
		return nil
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	if _, ok := p.Interface().(json.Marshaler); ok {
		return nil // it has written the U+FFFD itself, or what it calls has
	}
	if m, ok := p.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err != nil || !utf8.Valid(text) {
			return errNotUTF8
		}
	}
	return nil
}
