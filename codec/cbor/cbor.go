// Package cbor is a codec for regions that writes values as CBOR, RFC 8949: as
// JSON, but smaller, faster, and with bytes, NaN and whole numbers of any size
// as they are.
//
//	dogpile.Options{Codec: cbor.Codec}
//
// Settings name it, as in "users.codec = cbor", once this package is imported, also by
// an import for its effect alone.
package cbor

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/dogpile-go/dogpile"
)

func init() { dogpile.RegisterCodec("cbor", Codec) }

// Limits of what Codec decodes, and of what it encodes.
const (
	MaxElements = 1 << 22 // of one array, and pairs of one map
	MaxNesting  = 128     // levels of arrays, maps and tags
)

// Codec writes the deterministic encoding of RFC 8949, section 4.2.1, with
// times as text in nanoseconds. It uses the names, tags and methods of struct
// types that github.com/fxamacker/cbor/v2 does, those of encoding/json among
// them, and MarshalBinary and MarshalText methods; MarshalJSON is not called.
//
// Decode takes memory in proportion to the length of the data, never to a
// length that is written in it. Duplicate keys, bytes after the value and
// anything over the limits are errors. null is an error for a type that would
// not be written as null.
//
// Values come back as they were, but for this:
//
//   - A number that goes into an interface becomes an int64, a big.Int where that
//     is too small, or a float64.
//   - A time.Time keeps its instant and its offset from UTC, not the name of its
//     location nor its monotonic reading. Every NaN becomes the usual one.
//   - Two pointers to one value come back as pointers to two values.
//   - Fields that are not exported are not stored, nor are those with the tag "-".
//     What omitempty and omitzero leave out comes back as zero.
//   - What a MarshalCBOR, MarshalBinary or MarshalText method writes is what its
//     counterpart reads.
//
// CheckType refuses types of which some part would be lost or could not be read,
// by the rules of dogpile.JSON, applied to what is said above; keys of maps may be
// of any type but interfaces and pointers. cbor.Tag is refused, cbor.RawTag is not.
//
// Append refuses what an interface holds, unless it is a bool, a string, a number
// of a built-in type, a big.Int, a time.Time, a []byte, a []any or a
// map[string]any; pointers to pointers, slices, maps or interfaces that are nil,
// or to a zero time.Time, and nil slices and maps in interfaces, all of which would
// be read as nil themselves; keys of maps that would not be read as equal ones;
// times whose offset is not in whole minutes or whose year has not four digits;
// and what is over the limits, values in a circle among it.
//
// It may be used by several goroutines at once. It is a dogpile.Codec and a
// dogpile.TypeChecker.
var Codec interface {
	Append(dst []byte, v any) ([]byte, error)
	Decode(data []byte, v any) error
	CheckType(t reflect.Type) error
} = codec{must(encOptions().UserBufferEncMode()), must(decOptions().DecMode())}

func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339Nano
	o.TimeTag = cbor.EncTagRequired
	o.TextMarshaler = cbor.TextMarshalerTextString
	return o
}

func decOptions() cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   MaxNesting,
		MaxArrayElements:  MaxElements,
		MaxMapPairs:       MaxElements,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
		// A string of Go need not be UTF-8, and what was stored has to be read.
		UTF8: cbor.UTF8DecodeInvalid,
	}
}

func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

type codec struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// CheckType implements dogpile.TypeChecker.
func (codec) CheckType(t reflect.Type) error {
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Interface {
		return fmt.Errorf("cbor: type %v: a pointer to an interface stands for the interface itself", t)
	}
	return types.Of(t).Err
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Append implements dogpile.Codec.
func (c codec) Append(dst []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Pointer && !rv.IsNil() && rv.Type().Elem().Kind() == reflect.Interface {
		rv = rv.Elem() // v is of that interface type, see dogpile.Codec
	}
	if !rv.IsValid() {
		return append(dst, null), nil
	}
	t := types.Of(rv.Type())
	if t.Err != nil {
		return dst, t.Err
	}
	// Before it is encoded: nothing there would stop at a value in a circle.
	if err := t.Look(rv); err != nil {
		return dst, err
	}
	buf := buffers.Get().(*bytes.Buffer)
	*buf = *bytes.NewBuffer(dst)
	err := c.enc.MarshalToBuffer(v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	buffers.Put(buf)
	if n := len(dst); err == nil && (t.Deep || len(out)-n > MaxElements) {
		err = c.dec.Wellformed(out[n:])
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Decode implements dogpile.Codec. What is over the limits of Codec is an error.
func (c codec) Decode(data []byte, v any) error {
	if err := c.dec.Unmarshal(data, v); err != nil {
		return err
	}
	// null leaves an int as it is, without an error. What would not be written
	// as null has not been read from it either.
	if isNull(data) && !c.writesNull(v) {
		return fmt.Errorf("cbor: cannot decode null into %T", v)
	}
	return nil
}

// writesNull reports whether what v points to is written as null.
func (c codec) writesNull(v any) bool {
	e := reflect.ValueOf(v).Elem()
	switch e.Kind() {
	case reflect.Pointer, reflect.Interface:
		return e.IsNil()
	}
	again, err := c.Append(nil, e.Interface())
	return err == nil && isNull(again)
}

const (
	null      = 0xf6
	undefined = 0xf7
)

// isNull reports whether data is null or undefined, under any tags.
func isNull(data []byte) bool {
	for len(data) > 0 && data[0]>>5 == 6 {
		head := 1
		if size := data[0] & 31; size >= 24 {
			head += 1 << (size - 24)
		}
		data = data[min(head, len(data)):]
	}
	return len(data) > 0 && (data[0] == null || data[0] == undefined)
}
