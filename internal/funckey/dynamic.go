package funckey

import (
	"fmt"
	"reflect"
	"strconv"
	"sync"
)

// forms are those of the types that AppendAny has met: by reflect.Type, a form or an error.
var forms sync.Map

// AppendAny appends v, whose type is known at run time only. Integers and strings of Go's
// own types are written as they are; 42 is the same whatever the size of its type. All
// other values, and a string that reads like an integer, have their type and ' before
// them: no two values are written alike unless their types are the same and they are the
// same argument. A pointer stands for what it points to, except that it has * before it
// where it has more methods. nil is "!". The error, if the type of v has no form or a
// MarshalText method fails, has no prefix; the slice that AppendAny returns with an error
// is of no use.
func AppendAny(dst []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return append(dst, '!'), nil
	}
	pointer := false // templates call its methods, String among them, on a pointer alone
	for rv.Kind() == reflect.Pointer && !rv.IsNil() {
		rv, pointer = rv.Elem(), true
	}
	t := rv.Type()
	pointer = pointer && reflect.PointerTo(t).NumMethod() > t.NumMethod()
	known, ok := forms.Load(t)
	if !ok { // two goroutines may make it at once: both make the same
		var c compiler
		f, err := c.form(t)
		if known = any(f); err != nil {
			known = err
		}
		forms.Store(t, known)
	}
	if err, bad := known.(error); bad {
		return dst, err
	}
	if pointer {
		dst = append(dst, '*')
	}
	if !plain(t, rv) {
		dst = append(appendString(dst, typeName(t)), '\'')
	}
	if !rv.CanAddr() { // appenders may have to call methods of a pointer to it; see open
		box := reflect.New(t).Elem()
		box.Set(rv)
		rv = box
	}
	return known.(form).append(dst, rv)
}

// plain reports whether v can be told from all other values without its type.
func plain(t reflect.Type, v reflect.Value) bool {
	if t.PkgPath() != "" {
		return false
	}
	switch {
	case v.CanInt() || v.CanUint():
		return true
	case v.Kind() == reflect.String:
		_, number := strconv.ParseInt(v.String(), 10, 64)
		_, large := strconv.ParseUint(v.String(), 10, 64)
		return number != nil && large != nil
	}
	return false
}

// typeName returns the name of t with the whole path of its package.
func typeName(t reflect.Type) string {
	switch {
	case t.PkgPath() != "":
		return t.PkgPath() + "." + t.Name()
	case t.Kind() == reflect.Pointer:
		return "*" + typeName(t.Elem())
	case t.Kind() == reflect.Slice:
		return "[]" + typeName(t.Elem())
	case t.Kind() == reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), typeName(t.Elem()))
	}
	return t.String()
}
