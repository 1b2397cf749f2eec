package dogpile

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime/debug"
)

// codecPanic is a panic in a codec or in a method that it calls.
type codecPanic struct{ cause *PanicError }

// Error shows what the codec panicked with.
func (p *codecPanic) Error() string { return fmt.Sprintf("codec panicked: %v", p.cause.Value) }

// Unwrap returns the panic, a *PanicError with its stack.
func (p *codecPanic) Unwrap() error { return p.cause }

// guard turns a panic of a codec, or of a method that it calls, into an error. That
// method is the user's, and its fault concerns one entry: the value goes to those
// who asked for it and is not stored, or the entry is missing.
//
// runtime.Goexit goes on. Nothing can stop it in the goroutine that called it,
// and a goroutine for each value would cost more than most codecs.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = &codecPanic{&PanicError{Value: p, Stack: debug.Stack()}}
	}
}

// encode is c.Append without panics. It returns dst as it was with an error.
func encode(c Codec, dst []byte, v any) (out []byte, err error) {
	defer func() {
		if err != nil {
			out = dst
		}
	}()
	defer guard(&err)
	// What stands in dst is the metadata of the entry. A codec that writes over
	// it makes an entry that nobody can read, or worse, an older one.
	var kept [256]byte
	before := append(kept[:0], dst...)
	if out, err = c.Append(dst, v); err != nil {
		return dst, err
	}
	if !bytes.HasPrefix(out, before) {
		copy(dst, before)
		return dst, fmt.Errorf("codec %T does not append: it changed what was there before the value", c)
	}
	return out, nil
}

// decode is c.Decode without panics.
func decode(c Codec, data []byte, v any) (err error) {
	defer guard(&err)
	return c.Decode(data, v)
}

// checkType asks c about t, if it is a TypeChecker.
func checkType(c Codec, t reflect.Type) (err error) {
	tc, ok := c.(TypeChecker)
	if !ok {
		return nil
	}
	defer guard(&err)
	return tc.CheckType(t)
}
