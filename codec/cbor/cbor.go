// Package cbor is a codec for regions that writes values as CBOR, RFC 8949: as
// JSON, but smaller, faster, and with bytes, NaN and whole numbers of any size
// as they are.
//
//	dogpile.Options{Codec: cbor.Codec}
package cbor

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// Limits of what Codec decodes. Values beyond them are encoded all the same,
// and are then missing from the cache.
const (
	MaxElements = 1 << 22 // of one array, and pairs of one map
	MaxNesting  = 128     // levels of arrays, maps and tags
)

// Codec writes the deterministic encoding of RFC 8949, section 4.2.1, with
// times as text in nanoseconds. It uses the names, tags and methods of struct
// types that github.com/fxamacker/cbor/v2 does, those of encoding/json among
// them, and MarshalBinary and MarshalText methods.
//
// Decode takes memory in proportion to the length of the data, never to a
// length that is written in it. Duplicate keys, bytes after the value and
// anything over the limits are errors. null is an error for a type that would
// not be written as null. Into an interface go int64 (big.Int where that is too
// small), float64, bool, string, []byte, time.Time, []any and map[string]any; a
// map with other keys is an error there.
//
// It may be used by several goroutines at once. It is a dogpile.Codec.
var Codec interface {
	Append(dst []byte, v any) ([]byte, error)
	Decode(data []byte, v any) error
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

// Append implements dogpile.Codec.
func (c codec) Append(dst []byte, v any) ([]byte, error) {
	// Methods with pointer receivers are found only on what has an address.
	if rv := reflect.ValueOf(v); rv.IsValid() && rv.Kind() != reflect.Pointer {
		p := reflect.New(rv.Type())
		p.Elem().Set(rv)
		v = p.Interface()
	}
	buf := bytes.NewBuffer(dst)
	if err := c.enc.MarshalToBuffer(v, buf); err != nil {
		return dst, err
	}
	return buf.Bytes(), nil
}

// Decode implements dogpile.Codec. What is over the limits of Codec is an error.
func (c codec) Decode(data []byte, v any) error {
	if err := c.dec.Unmarshal(data, v); err != nil {
		return err
	}
	// null leaves an int as it is, without an error. What would not be written
	// as null has not been read from it either.
	if isNull(data) {
		again, err := c.Append(nil, v)
		if err != nil || !isNull(again) {
			return fmt.Errorf("cbor: cannot decode null into %T", v)
		}
	}
	return nil
}

// isNull reports whether well-formed data is null or undefined, under any tags.
func isNull(data []byte) bool {
	for data[0]>>5 == 6 {
		switch size := data[0] & 31; {
		case size < 24:
			data = data[1:]
		default:
			data = data[1+1<<(size-24):]
		}
	}
	return data[0] == 0xf6 || data[0] == 0xf7
}
