// Package roundtriptest makes types and values by chance, and compares what went
// into a codec with what came out of it, for the tests of codecs.
package roundtriptest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
)

// Gen makes types and values of them.
type Gen struct {
	*rand.Rand
	Leaves []reflect.Type // types that are not made of others
	Keys   []reflect.Type // of maps
	Tags   []string       // of fields
	// Make returns a value of a type that has a say in how it is written.
	Make map[reflect.Type]func(r *rand.Rand) any
	// Held are what an empty interface may hold, other than lists and maps.
	Held []func(r *rand.Rand) any
}

// Type returns a type of at most depth levels.
func (g *Gen) Type(depth int) reflect.Type {
	if depth == 0 || g.IntN(4) == 0 {
		return g.Leaves[g.IntN(len(g.Leaves))]
	}
	switch g.IntN(6) {
	case 0:
		return reflect.PointerTo(g.Type(depth - 1))
	case 1:
		return reflect.SliceOf(g.Type(depth - 1))
	case 2:
		return reflect.ArrayOf(g.IntN(3), g.Type(depth-1))
	case 3:
		return reflect.MapOf(g.Keys[g.IntN(len(g.Keys))], g.Type(depth-1))
	}
	var fields []reflect.StructField
	for i := range g.IntN(4) {
		tag := reflect.StructTag(g.Tags[g.IntN(len(g.Tags))])
		fields = append(fields, reflect.StructField{Name: fmt.Sprint("F", i), Type: g.Type(depth - 1), Tag: tag})
	}
	return reflect.StructOf(fields)
}

// Value returns a value of type t.
func (g *Gen) Value(t reflect.Type, depth int) reflect.Value {
	v := reflect.New(t).Elem()
	if f := g.Make[t]; f != nil {
		v.Set(reflect.ValueOf(f(g.Rand)))
		return v
	}
	switch k := t.Kind(); k {
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.String:
		v.SetString(g.text())
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(float32(g.NormFloat64())))
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct {
				g.set(v.Field(i), depth)
			}
		}
	case reflect.Array:
		for i := range t.Len() {
			v.Index(i).Set(g.Value(t.Elem(), depth))
		}
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		if depth > 0 && g.IntN(5) > 0 {
			g.fill(v, depth-1)
		}
	default:
		if v.CanInt() {
			v.SetInt(int64(g.Uint64()) >> (64 - t.Bits() + g.IntN(t.Bits())))
		} else {
			v.SetUint(g.Uint64() >> (64 - t.Bits() + g.IntN(t.Bits())))
		}
	}
	return v
}

// set sets a field, which may be an embedded struct that cannot be set whole.
func (g *Gen) set(v reflect.Value, depth int) {
	if v.CanSet() {
		v.Set(g.Value(v.Type(), depth))
		return
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() {
			f.Set(g.Value(f.Type(), depth))
		}
	}
}

// fill makes what can be nil something else.
func (g *Gen) fill(v reflect.Value, depth int) {
	t := v.Type()
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(g.Value(t.Elem(), depth))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 0, 2))
		for range g.IntN(3) {
			v.Set(reflect.Append(v, g.Value(t.Elem(), depth)))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		for range g.IntN(3) {
			if key := g.Value(t.Key(), depth); key.Comparable() {
				v.SetMapIndex(key, g.Value(t.Elem(), depth))
			}
		}
	case reflect.Interface:
		if t.NumMethod() == 0 {
			if x := g.held(depth); x != nil {
				v.Set(reflect.ValueOf(x))
			}
		}
	}
}

func (g *Gen) held(depth int) any {
	switch g.IntN(4) {
	case 0:
		list := []any(nil)
		for range g.IntN(3) {
			list = append(list, g.Value(reflect.TypeFor[any](), depth).Interface())
		}
		return list
	case 1:
		m := map[string]any{}
		for range g.IntN(3) {
			m[g.text()] = g.Value(reflect.TypeFor[any](), depth).Interface()
		}
		return m
	}
	return g.Held[g.IntN(len(g.Held))](g.Rand)
}

func (g *Gen) text() string {
	parts := []string{"", "a", "é", "\x00", `"`, `\`, "<&>", "\u2028", "\U0001f600", "null", "1", "\ufffd", "\xff", "\xed\xa0\x80", `\ufffd`, "|"}
	s := parts[g.IntN(len(parts))]
	if g.IntN(2) == 0 {
		s += parts[g.IntN(len(parts)-5)]
	}
	return s
}

// Differ compares a value with what came back of it.
type Differ struct {
	// Tags are the keys of the tags that tell how fields are written. The first
	// that a field has counts.
	Tags []string
	// Same compares values of types that have a say in it, and what interfaces
	// hold; known says whether it has compared them.
	Same func(a, b any) (same, known bool)
}

// Diff returns where a and b differ, and "" if they do not. What a tag leaves out
// may differ as far as it says.
func (d Differ) Diff(a, b reflect.Value) string {
	t := a.Type()
	if t.Kind() != reflect.Interface {
		if same, known := d.Same(a.Interface(), b.Interface()); known {
			return d.unless(same, a, b)
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		return d.fields(a, b)
	case reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return d.unless(a.IsNil() && b.IsNil(), a, b)
		}
		if same, known := d.Same(a.Elem().Interface(), b.Elem().Interface()); known {
			return d.unless(same, a, b)
		}
		if a.Elem().Type() != b.Elem().Type() {
			return fmt.Sprintf(": %T became %T", a.Elem().Interface(), b.Elem().Interface())
		}
		return d.Diff(a.Elem(), b.Elem())
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return d.unless(a.IsNil() && b.IsNil(), a, b)
		}
		return d.Diff(a.Elem(), b.Elem())
	case reflect.Map:
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return d.unless(false, a, b)
		}
		for it := a.MapRange(); it.Next(); {
			e := b.MapIndex(it.Key())
			if !e.IsValid() {
				return fmt.Sprintf(": key %q is gone", it.Key())
			}
			if diff := d.Diff(it.Value(), e); diff != "" {
				return "[]" + diff
			}
		}
		return ""
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return d.unless(false, a, b)
		}
		for i := range a.Len() {
			if diff := d.Diff(a.Index(i), b.Index(i)); diff != "" {
				return fmt.Sprintf("[%d]%s", i, diff)
			}
		}
		return ""
	}
	return d.unless(reflect.DeepEqual(a.Interface(), b.Interface()), a, b)
}

func (d Differ) fields(a, b reflect.Value) string {
	t := a.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		tag := ""
		for _, key := range slices.Backward(d.Tags) {
			if other := f.Tag.Get(key); other != "" {
				tag = other
			}
		}
		fa, fb := a.Field(i), b.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if diff := d.fields(fa, fb); diff != "" {
				return "." + f.Name + diff
			}
			continue
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		options := strings.Split(tag, ",")[1:]
		if slices.Contains(options, "omitempty") && empty(fa) && fb.IsZero() || slices.Contains(options, "omitzero") && fa.IsZero() && fb.IsZero() {
			continue
		}
		if diff := d.Diff(fa, fb); diff != "" {
			return "." + f.Name + diff
		}
	}
	return ""
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String, reflect.Array:
		return v.Len() == 0
	}
	return v.IsZero()
}

func (d Differ) unless(same bool, a, b reflect.Value) string {
	if same {
		return ""
	}
	return fmt.Sprintf(": %#v became %#v", a, b)
}
