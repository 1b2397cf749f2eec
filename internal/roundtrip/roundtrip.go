// Package roundtrip finds out whether a codec gives back what it was given: of
// types when they are first seen, of values when they are stored.
//
// What a codec does with Go types is told by its Rules. A Checker walks over a
// type once, along the paths that the codec takes, and keeps what it has found
// as a graph. A value is looked at only where the graph says that values of its
// type can come back changed, so that most are not looked at at all.
package roundtrip

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Rules is what a codec does with Go types. All functions but Own and Field may
// be nil.
type Rules struct {
	// Codec is the codec's name, which begins every error.
	Codec string

	// Own tells whether the codec calls methods of t, or else goes by its kind.
	// t is neither a pointer nor an interface. An error says why values of t
	// cannot be stored.
	Own func(t reflect.Type, at Place) (Own, error)

	// Field tells how the codec writes a field that is exported or embedded.
	Field func(reflect.StructField) (Field, error)

	// Key tells whether keys of type t have to be read again to know that they
	// come back, and why they cannot.
	Key func(t reflect.Type) (reread bool, err error)

	// Reread writes a key and reads it.
	Reread func(key reflect.Value) (reflect.Value, error)

	// Bytes reports whether a slice of t, whose kind is uint8, is written as one
	// string of bytes.
	Bytes func(t reflect.Type) bool

	// Look returns what is to be looked at in the values of t, which is neither
	// a pointer nor an interface; nil: nothing.
	Look func(t reflect.Type) func(reflect.Value) error

	// Null reports whether v is written as null although it is not nil.
	Null func(v reflect.Value) bool

	// Scalar tells why v does not come back as it is when an interface holds it.
	// It is never nil, a []any or a map[string]any. all: see Text.
	Scalar func(v any, all bool) error

	// Text tells what is wrong with the text that is written of v, a string or a
	// value with methods of its own. It is asked by LookAll alone.
	Text func(v reflect.Value) error

	// MaxDepth is how many arrays, maps and structs may be inside each other; 0:
	// there is no limit.
	MaxDepth int
}

// Place tells whether a codec that calls methods can find those with a pointer
// receiver.
type Place uint8

const (
	Copied    Place = iota // the value is in a map and has no address
	Root                   // it has one if the value that is encoded has one
	Addressed              // it is behind a pointer or in a slice
)

// Own is what Rules.Own tells of a type.
type Own struct {
	Methods []string // that write and read it; none: it goes by its kind
	Pointer bool     // the one that writes has a pointer receiver
	Nests   bool     // what it writes may have any depth
}

// Field is what Rules.Field tells of a field.
type Field struct {
	Skip  bool   // it is left out because its tag says so
	Name  string // that it is written under
	Named bool   // the name is from a tag, so that an embedded struct is one field
	Omit  func(reflect.Value) bool
}

// Type is what is known of a type.
type Type struct {
	// Err says why values of the type cannot be stored; nil: they can.
	Err error
	// Pointer says that a method with a pointer receiver is called only if the
	// value that is encoded has an address.
	Pointer bool
	// Deep says that values may be nested to any depth.
	Deep bool

	rules *Rules
	root  *node
}

// Checker keeps what it has found out of types. Its Rules must not change once
// it is used; all methods may be called from many goroutines.
type Checker struct {
	Rules
	types sync.Map // of *Type under reflect.Type
}

// Of returns what is known of t.
func (c *Checker) Of(t reflect.Type) *Type {
	if known, ok := c.types.Load(t); ok {
		return known.(*Type)
	}
	b := builder{rules: &c.Rules, nodes: make(map[place]*node)}
	found := &Type{rules: &c.Rules}
	found.root, found.Err = b.node(t, Root)
	found.Pointer, found.Deep = b.pointer, b.deep
	if found.Err != nil {
		found.Err = c.fault(t, found.Err)
	}
	b.spread()
	known, _ := c.types.LoadOrStore(t, found)
	return known.(*Type)
}

// Look tells why v, a value of the type, would not come back as it is, as far as
// its strings need not be read for that.
func (t *Type) Look(v reflect.Value) error { return t.look(v, false) }

// LookAll is Look with all strings.
func (t *Type) LookAll(v reflect.Value) error { return t.look(v, true) }

func (t *Type) look(v reflect.Value, all bool) error {
	w := walk{rules: t.rules, all: all}
	if err := w.value(t.root, v, 0); err != nil {
		return t.rules.fault(t.root.typ, err)
	}
	return nil
}

// fault is err, which may be within a part of t, as an error of the codec.
func (r *Rules) fault(t reflect.Type, err error) error {
	var in *within
	if !errors.As(err, &in) {
		return fmt.Errorf("%s: type %v: %w", r.Codec, t, err)
	}
	what, path := "field", strings.TrimPrefix(in.path, ".")
	if path[0] == '[' {
		what = "element"
	}
	return fmt.Errorf("%s: type %v: %s %s: %w", r.Codec, t, what, path, in.err)
}

// within is an error that has to do with a part of a value.
type within struct {
	path string // ".Profile.Names[3]"
	err  error
}

// Error returns the path and the cause.
func (w *within) Error() string { return w.path + ": " + w.err.Error() }

// under says that err is in the part of a value that step leads to.
func under(step string, err error) error {
	if in, ok := err.(*within); ok {
		return &within{step + in.path, in.err}
	}
	return &within{step, err}
}
