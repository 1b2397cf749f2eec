package dogpile

import "reflect"

// A Codec makes bytes of values and values of bytes, for backends that keep
// bytes. It is used by many goroutines at once.
//
// What Decode makes of the bytes has to equal what Append was given. Where that
// cannot be, Append fails: the value goes to those who asked for it, and is not
// stored. A codec that knows of whole types that it cannot give back is a
// [TypeChecker] as well.
type Codec interface {
	// Append appends v to dst and returns the extended slice. It neither changes
	// the bytes that dst has nor keeps dst or v. With an error the result is of
	// no use. A value of an interface type is handed over as a pointer to it, as
	// Decode gets one.
	Append(dst []byte, v any) ([]byte, error)

	// Decode sets what v points to, which is a zero value before, to what data
	// says. It may not trust data: whatever that is, it takes memory in
	// proportion to its length and does not panic. With any error the entry is
	// missing, and what v points to is thrown away, whether it was set in part
	// or not. A value of another type is an error, never a zero value. Decode
	// does not write to data, which others read at the same time, nor keep it.
	Decode(data []byte, v any) error
}

// A TypeChecker is a Codec that can tell of a type whether it gives back its
// values. [JSON], [Bytes] and [Text] are TypeCheckers.
type TypeChecker interface {
	// CheckType returns an error that names the type, and the field in it, if
	// values of t cannot be stored or would come back changed. nil does not
	// promise that Append takes every value of t. CheckType may be called from
	// many goroutines, and is quick when it is asked about a type again.
	CheckType(t reflect.Type) error
}

var codecs = registry[Codec]{kind: "codec", m: map[string]Codec{"json": JSON, "bytes": Bytes, "text": Text}}

// RegisterCodec makes a codec known to settings under a name, as [JSON] is under
// "json", [Bytes] under "bytes" and [Text] under "text". It panics if c is nil or
// name is empty or taken.
func RegisterCodec(name string, c Codec) { codecs.add(name, c, c == nil) }

func codecNamed(name string) (Codec, error) { return codecs.named(name) }
