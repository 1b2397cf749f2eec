// Package funckey writes the arguments of functions as parts of keys.
//
// A key is name|argument, or name alone for a function without one. Two
// values of one type share a key only if they are the same argument: deeply
// equal, where pointers count as what they point to, every NaN is one NaN, and
// a type with methods of its own decides for itself.
//
//	true -42 2.5 NaN       booleans and numbers, as strconv writes them
//	(1,-2)                 complex numbers
//	a%20b                  strings and bytes, escaped
//	[a,b]  [%]             slices and arrays; an element that is written as nothing is %
//	(a,b)                  structs; at the top without the parentheses
//	!                      nil
//	*[a,b]                 what a pointer points to; after * if that could itself be nil
//
// A key consists of printable ASCII characters without the space. In names,
// strings, bytes and texts all but letters, digits and -._~:/@+= is escaped as
// %XX.
package funckey

import (
	"reflect"
	"strconv"
	"sync"
)

// An Encoder appends values of type A as they stand in keys. It may be used by
// several goroutines at once.
type Encoder[A any] struct {
	append appender
	boxes  sync.Pool // of *A: reflection would make the caller's own variable escape
}

// For returns the encoder for type A. The error, if A cannot be part of a key,
// names the field and its type; it has no prefix.
func For[A any]() (*Encoder[A], error) {
	t := reflect.TypeFor[A]()
	var c compiler
	f, err := c.top(t)
	if err != nil {
		return nil, err
	}
	return &Encoder[A]{append: f.append, boxes: sync.Pool{New: func() any { return new(A) }}}, nil
}

// Append appends *a, which it does not keep, and returns the extended slice.
// For most types it does not allocate. It fails only when a MarshalText method
// does or when an interface holds a nil pointer, with an error that names the
// field and has no prefix; the slice that it returns with an error is of no use.
func (e *Encoder[A]) Append(dst []byte, a *A) ([]byte, error) {
	// The arguments of most functions: without reflection, and without a box.
	switch p := any(a).(type) {
	case *string:
		return appendString(dst, *p), nil
	case *int:
		return strconv.AppendInt(dst, int64(*p), 10), nil
	case *int64:
		return strconv.AppendInt(dst, *p, 10), nil
	case *int32:
		return strconv.AppendInt(dst, int64(*p), 10), nil
	case *uint64:
		return strconv.AppendUint(dst, *p, 10), nil
	case *uint32:
		return strconv.AppendUint(dst, uint64(*p), 10), nil
	}
	box := e.boxes.Get().(*A)
	*box = *a
	dst, err := e.append(dst, reflect.ValueOf(box).Elem())
	var zero A
	*box = zero // the pool must not keep alive what the caller has let go
	e.boxes.Put(box)
	return dst, err
}

// AppendName appends the name of a function as it stands in front of its keys.
func AppendName(dst []byte, name string) []byte { return appendString(dst, name) }

func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; readable[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// readable says which bytes stand for themselves.
var readable = func() (set [256]bool) {
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/@+="
	for _, c := range []byte(chars) {
		set[c] = true
	}
	return set
}()
