package roundtrip

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// walk goes over a value where its graph says that there is something to see.
type walk struct {
	rules *Rules
	all   bool // strings too
}

var errNull = errors.New("a pointer to nil, or to what is written as null, would come back as nil")

func (w walk) value(n *node, v reflect.Value, depth int) error {
	if !n.check && !(w.all && n.text) {
		return nil
	}
	if n.look != nil {
		if err := n.look(v); err != nil {
			return err
		}
	}
	if w.all && w.rules.Text != nil && (n.own || v.Kind() == reflect.String) {
		if err := w.rules.Text(v); err != nil {
			return err
		}
	}
	if n.own {
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		return w.pointer(n, v, depth)
	case reflect.Interface:
		return w.any(v.Interface(), depth)
	}
	if depth++; w.tooDeep(depth) {
		return w.errDepth()
	}
	switch v.Kind() {
	case reflect.Struct:
		return w.fields(n, v, depth)
	case reflect.Map:
		return w.pairs(n, v, depth)
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			if n.elem == nil {
				break
			}
			if err := w.value(n.elem, v.Index(i), depth); err != nil {
				return under("["+strconv.Itoa(i)+"]", err)
			}
		}
	}
	return nil
}

func (w walk) tooDeep(depth int) bool { return w.rules.MaxDepth > 0 && depth > w.rules.MaxDepth }

func (w walk) errDepth() error {
	return fmt.Errorf("it is nested deeper than %d levels", w.rules.MaxDepth)
}

// pointer follows v. What is written as null is read as a nil pointer.
func (w walk) pointer(n *node, v reflect.Value, depth int) error {
	if v.IsNil() {
		return nil
	}
	e := v.Elem()
	if !n.elem.own {
		switch e.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
			if e.IsNil() {
				return errNull
			}
		}
	}
	if w.rules.Null != nil && w.rules.Null(e) {
		return errNull
	}
	return w.value(n.elem, e, depth)
}

func (w walk) fields(n *node, v reflect.Value, depth int) error {
	for i := range n.fields {
		f := &n.fields[i]
		fv, ok := fieldOf(v, f.index)
		if !ok || f.Omit != nil && f.Omit(fv) {
			continue
		}
		if err := w.value(f.node, fv, depth); err != nil {
			return under(f.path, err)
		}
	}
	return nil
}

// fieldOf is reflect.Value.FieldByIndex without the panic for a nil pointer.
func fieldOf(v reflect.Value, index []int) (reflect.Value, bool) {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

func (w walk) pairs(n *node, v reflect.Value, depth int) error {
	for it := v.MapRange(); it.Next(); {
		k := it.Key()
		if n.reread {
			again, err := w.rules.Reread(k)
			if err != nil {
				return under("[]", fmt.Errorf("the key cannot be read again: %w", err))
			}
			if !again.Equal(k) {
				return under("[]", errors.New("the key would come back as another one"))
			}
		}
		if w.all && w.rules.Text != nil && k.Kind() == reflect.String {
			if err := w.rules.Text(k); err != nil {
				return under("[]", fmt.Errorf("key: %w", err))
			}
		}
		if err := w.value(n.elem, it.Value(), depth); err != nil {
			return under("[]", err)
		}
	}
	return nil
}

// any looks at what an interface holds: only what the codec itself makes of data
// comes back with the type that it had.
func (w walk) any(x any, depth int) error {
	switch x := x.(type) {
	case nil:
		return nil
	case []any:
		if x == nil {
			return fmt.Errorf("a nil %T in an interface would come back as nil", x)
		}
		if depth++; w.tooDeep(depth) {
			return w.errDepth()
		}
		for i, e := range x {
			if err := w.any(e, depth); err != nil {
				return under("["+strconv.Itoa(i)+"]", err)
			}
		}
		return nil
	case map[string]any:
		if x == nil {
			return fmt.Errorf("a nil %T in an interface would come back as nil", x)
		}
		if depth++; w.tooDeep(depth) {
			return w.errDepth()
		}
		for k, e := range x {
			if w.all && w.rules.Text != nil {
				if err := w.rules.Text(reflect.ValueOf(k)); err != nil {
					return under("[]", fmt.Errorf("key: %w", err))
				}
			}
			if err := w.any(e, depth); err != nil {
				return under("[]", err)
			}
		}
		return nil
	}
	return w.rules.Scalar(x, w.all)
}
