package funckey

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
)

// An appender appends one addressable value.
type appender func(dst []byte, v reflect.Value) ([]byte, error)

// form is how values of a type are written.
type form struct {
	append  appender
	nilable bool // it may write "!"
}

type keyer interface{ CacheKey() string }

var (
	keyerType  = reflect.TypeFor[keyer]()
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
	lockerType = reflect.TypeFor[sync.Locker]()
)

// compiler makes the forms of the types in one argument.
type compiler struct {
	path   string         // the field at hand, "User.Tags[]"; "" for the argument itself
	around []reflect.Type // the types it is part of
}

func (c *compiler) fail(t reflect.Type, why string) (form, error) {
	return form{}, fmt.Errorf("%s of type %v cannot be part of a key: %s", place(c.path), t, why)
}

func place(path string) string {
	if path == "" {
		return "argument"
	}
	return "argument field " + path
}

// top is the form of an argument: a struct stands there without parentheses.
func (c *compiler) top(t reflect.Type) (form, error) {
	if t.Kind() == reflect.Struct && !hasMethod(t, keyerType) && !writesText(t) {
		c.around = append(c.around, t) // as form does; top is called once, so that nothing takes it off
		return c.structure(t, "", "")
	}
	return c.form(t)
}

// form is the form of a type anywhere.
func (c *compiler) form(t reflect.Type) (form, error) {
	if slices.Contains(c.around, t) { // its form would be made of itself, without end
		return c.fail(t, "it contains itself")
	}
	c.around = append(c.around, t)
	defer func() { c.around = c.around[:len(c.around)-1] }()
	switch {
	case t.Kind() == reflect.Interface && t.Implements(keyerType):
		return form{appendKeyerInterface(c.path), true}, nil
	case t.Kind() == reflect.Pointer:
		return c.pointer(t)
	case hasMethod(t, keyerType) && embeds(t, keyerType):
		return c.fail(t, "an embedded field has a CacheKey method, which may leave out the others; give that field a name")
	case hasMethod(t, keyerType):
		return form{append: appendKeyer}, nil
	case writesText(t):
		return form{append: appendText(c.path)}, nil
	}
	return c.kind(t)
}

// hasMethod reports whether a variable of type t has the method of iface. For
// a pointer that is for its element to say.
func hasMethod(t, iface reflect.Type) bool {
	return reflect.PointerTo(t).Implements(iface)
}

// embeds reports whether an embedded field of t has the method of iface, so
// that t's own may be nothing but that one, which knows no other field.
func embeds(t, iface reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && (hasMethod(f.Type, iface) || f.Type.Implements(iface)) {
			return true
		}
	}
	return false
}

func writesText(t reflect.Type) bool { return hasMethod(t, textType) && !embeds(t, textType) }

func (c *compiler) kind(t reflect.Type) (form, error) {
	if f := scalar(t.Kind()); f != nil {
		return form{append: f}, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.structure(t, "(", ")")
	case reflect.Slice, reflect.Array:
		return c.list(t)
	case reflect.Interface:
		return c.fail(t, "of interfaces only those with a CacheKey method can")
	}
	return c.fail(t, "wrap it in a type with a CacheKey method")
}

// scalar returns the appender of a kind that has no parts, or nil.
func scalar(k reflect.Kind) appender {
	switch k {
	case reflect.Bool:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(dst, v.Bool()), nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendInt(dst, v.Int(), 10), nil }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return strconv.AppendUint(dst, v.Uint(), 10), nil }
	case reflect.Float32, reflect.Float64:
		return func(dst []byte, v reflect.Value) ([]byte, error) {
			return strconv.AppendFloat(dst, v.Float(), 'g', -1, v.Type().Bits()), nil
		}
	case reflect.Complex64, reflect.Complex128:
		return appendComplex
	case reflect.String:
		return func(dst []byte, v reflect.Value) ([]byte, error) { return appendString(dst, v.String()), nil }
	}
	return nil
}

func appendComplex(dst []byte, v reflect.Value) ([]byte, error) {
	bits, z := v.Type().Bits()/2, v.Complex()
	dst = strconv.AppendFloat(append(dst, '('), real(z), 'g', -1, bits)
	dst = strconv.AppendFloat(append(dst, ','), imag(z), 'g', -1, bits)
	return append(dst, ')'), nil
}

func (c *compiler) pointer(t reflect.Type) (form, error) {
	elem, err := c.form(t.Elem())
	if err != nil {
		return form{}, err
	}
	return form{nilable: true, append: func(dst []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(dst, '!'), nil
		}
		// A pointer to a nil pointer is "*!", where a nil one is "!".
		if elem.nilable {
			dst = append(dst, '*')
		}
		return elem.append(dst, v.Elem())
	}}, nil
}

func (c *compiler) structure(t reflect.Type, left, right string) (form, error) {
	if hasMethod(t, lockerType) {
		return c.fail(t, "it is a lock")
	}
	type field struct {
		index  int
		append appender
	}
	var fields []field
	outer := c.path
	defer func() { c.path = outer }()
	for i := range t.NumField() {
		f := t.Field(i)
		c.path = f.Name
		if outer != "" {
			c.path = outer + "." + f.Name
		}
		// Nothing can be told apart by a blank field, but one may be there to say that the
		// struct must not be copied.
		if f.Name == "_" && !hasMethod(f.Type, lockerType) {
			continue
		}
		form, err := c.form(f.Type)
		if err != nil {
			return form, err
		}
		fields = append(fields, field{i, form.append})
	}
	return form{append: func(dst []byte, v reflect.Value) ([]byte, error) {
		var err error
		dst = append(dst, left...)
		for i, f := range fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = f.append(dst, v.Field(f.index)); err != nil {
				return dst, err
			}
		}
		return append(dst, right...), nil
	}}, nil
}

// list is the form of slices and arrays.
func (c *compiler) list(t reflect.Type) (form, error) {
	outer := c.path
	defer func() { c.path = outer }()
	c.path += "[]"
	elem, err := c.form(t.Elem())
	if err != nil {
		return form{}, err
	}
	each := appendList(elem.append)
	// Bytes are written like a string. A type that has its own way to be written keeps it.
	if e := t.Elem(); e.Kind() == reflect.Uint8 && !hasMethod(e, keyerType) && !writesText(e) {
		each = func(dst []byte, v reflect.Value) ([]byte, error) { return appendString(dst, v.Bytes()), nil }
	}
	if t.Kind() == reflect.Array {
		return form{append: each}, nil
	}
	return form{nilable: true, append: func(dst []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(dst, '!'), nil
		}
		return each(dst, v)
	}}, nil
}

func appendList(elem appender) appender {
	return func(dst []byte, v reflect.Value) ([]byte, error) {
		var err error
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			before := len(dst)
			if dst, err = elem(dst, v.Index(i)); err != nil {
				return dst, err
			}
			// An empty element leaves a trace, or [""] were the same as [].
			if len(dst) == before {
				dst = append(dst, '%')
			}
		}
		return append(dst, ']'), nil
	}
}

// open returns the value in the addressable v so that its methods can be
// called though it may stand in an unexported field.
func open(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer())
}

func appendKeyer(dst []byte, v reflect.Value) ([]byte, error) {
	return appendString(dst, open(v).Interface().(keyer).CacheKey()), nil
}

func appendKeyerInterface(path string) appender {
	return func(dst []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(dst, '!'), nil
		}
		// Its method may have a receiver that is not a pointer, and would panic.
		if e := v.Elem(); e.Kind() == reflect.Pointer && e.IsNil() {
			return dst, fmt.Errorf("%s is a nil %v in an interface", place(path), e.Type())
		}
		return appendString(dst, open(v).Elem().Interface().(keyer).CacheKey()), nil
	}
}

func appendText(path string) appender {
	return func(dst []byte, v reflect.Value) ([]byte, error) {
		text, err := open(v).Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return dst, fmt.Errorf("%s of type %v: %w", place(path), v.Type(), err)
		}
		return appendString(dst, text), nil
	}
}
