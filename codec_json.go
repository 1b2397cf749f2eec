package dogpile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
)

// JSON is the default [Codec]: encoding/json without its escapes for HTML. It
// reads what Python's json.dumps writes, except NaN and Infinity, which are
// errors as in JSON itself. null is an error for a type that would not be
// written as null, and so is anything after the value.
//
// Values come back as they were, but for this:
//
//   - A number that goes into an interface becomes a json.Number, whole however
//     large.
//   - A time.Time keeps its instant and its offset from UTC, not the name of its
//     location nor its monotonic reading. A json.RawMessage keeps its meaning, not
//     its spaces.
//   - Two pointers to one value come back as pointers to two values.
//   - Fields that are not exported are not stored, nor are those with the tag
//     `json:"-"`. What omitempty and omitzero leave out comes back as zero.
//   - What a MarshalJSON method writes is what its UnmarshalJSON reads.
//
// CheckType refuses a type of which some part would be lost or could not be read:
//
//   - a struct with fields of which none is exported, unless it is embedded;
//   - a struct of which two fields, or one of them and one of an embedded struct,
//     have the same name in JSON;
//   - a struct that gets MarshalJSON or MarshalText from an embedded field and has
//     other fields, which these methods do not know;
//   - a type that has a method for one direction only, or whose methods have
//     pointer receivers and that is the value of a map;
//   - interfaces with methods, such as error; channels, functions and complex
//     numbers; maps whose keys JSON has no names for.
//
// Append refuses strings that are not UTF-8, which encoding/json would alter;
// what an interface holds, unless it is a bool, a string, a number of a built-in
// type, a []any or a map[string]any; pointers to pointers, slices, maps or
// interfaces that are nil, and nil slices and maps in interfaces, all of which
// would be read as nil themselves; a nil json.RawMessage and an empty
// json.Number, which would be read as null and 0; keys of maps that are written
// by MarshalText and would not be read as equal ones; times whose offset is not
// in whole minutes; and values that are nested too deeply to be read.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

// CheckType implements TypeChecker.
func (jsonCodec) CheckType(t reflect.Type) error {
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Interface {
		return fmt.Errorf("json: type %v: a pointer to an interface stands for the interface itself", t)
	}
	return jsonTypes.Of(t).Err
}

// Append implements Codec.
func (jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() && rv.Type().Elem().Kind() == reflect.Interface {
		rv = rv.Elem() // v is of that interface type, see Codec
	}
	if !rv.IsValid() {
		return append(dst, "null"...), nil
	}
	t := jsonTypes.Of(rv.Type())
	if t.Err != nil {
		return dst, t.Err
	}
	if t.Pointer {
		// encoding/json passes over a MarshalJSON method with a pointer receiver
		// unless it can take the address of the value or field.
		p := reflect.New(rv.Type())
		p.Elem().Set(rv)
		v = p.Interface()
	}
	w := jsonWriters.Get().(*jsonWriter)
	w.dst = dst
	err := w.Encode(v)
	out := w.dst
	w.dst = nil
	jsonWriters.Put(w)
	if err == nil {
		out = out[:len(out)-len("\n")]
		err = lossless(t, rv, out[len(dst):])
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// jsonWriter is a json.Encoder that appends to dst. Both can be used again, so
// that a value costs no memory but its own.
type jsonWriter struct {
	*json.Encoder
	dst []byte
}

var jsonWriters = sync.Pool{New: func() any {
	w := new(jsonWriter)
	w.Encoder = json.NewEncoder(w)
	w.SetEscapeHTML(false)
	return w
}}

// Write implements io.Writer and never fails.
func (w *jsonWriter) Write(p []byte) (int, error) {
	w.dst = append(w.dst, p...)
	return len(p), nil
}

// Decode implements Codec.
func (jsonCodec) Decode(data []byte, v any) error {
	r := jsonReaders.Get().(*jsonReader)
	r.feed(data)
	if err := r.Decode(v); err != nil {
		return err
	}
	if rest := r.rest(data); len(bytes.TrimLeft(rest, jsonSpace)) > 0 {
		return errors.New("json: something follows the value")
	}
	if len(data) <= maxKept {
		jsonReaders.Put(r)
	}
	// encoding/json leaves an int or a time.Time as it is for null, without an
	// error. What would not be written as null has not been read from it either.
	if string(bytes.Trim(data, jsonSpace)) == "null" && !writesNull(v) {
		return fmt.Errorf("json: cannot decode null into %T", v)
	}
	return nil
}

const (
	jsonSpace = " \t\r\n"
	maxKept   = 64 << 10 // bytes of a value whose buffer is used again
)

// jsonReader is a json.Decoder to which every value is one more of a stream: it
// can be used again as long as no value was at fault.
type jsonReader struct {
	*json.Decoder
	data    []byte // what has not been read yet
	newline bool   // nor has the newline after it
	end     int64  // how long the stream is so far
}

var jsonReaders = sync.Pool{New: func() any {
	r := new(jsonReader)
	r.Decoder = json.NewDecoder(r)
	r.UseNumber()
	return r
}}

// feed lets data be the next line of the stream. Its newline tells the Decoder
// where a number ends, so that it need not ask for more and be told of an end.
func (r *jsonReader) feed(data []byte) {
	r.data, r.newline = data, true
	r.end += int64(len(data)) + 1
}

// Read implements io.Reader.
func (r *jsonReader) Read(p []byte) (int, error) {
	n := copy(p, r.data)
	r.data = r.data[n:]
	if n < len(p) && r.newline {
		p[n] = '\n'
		n++
		r.newline = false
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// rest ends the line and returns what follows the value in data.
func (r *jsonReader) rest(data []byte) []byte {
	n := int(r.end-r.InputOffset()) - 1
	r.end -= int64(len(r.data))
	if r.newline {
		r.end--
	}
	r.data, r.newline = nil, false
	return data[len(data)-n:]
}

// writesNull reports whether what v points to is written as null.
func writesNull(v any) bool {
	switch e := reflect.ValueOf(v).Elem(); e.Kind() {
	case reflect.Pointer, reflect.Interface:
		return e.IsNil()
	}
	again, err := json.Marshal(v)
	return err == nil && string(again) == "null"
}
