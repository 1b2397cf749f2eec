package roundtrip

import (
	"fmt"
	"reflect"
)

// node is a type at a place, and what has to be looked at in its values.
type node struct {
	typ    reflect.Type
	own    bool // methods of its own write and read it
	fields []leaf
	elem   *node // of a pointer, map, slice or array
	reread bool  // keys have to be read again

	look  func(reflect.Value) error
	check bool // there is something to look at, here or further down
	text  bool // there are strings, here or further down
}

type place struct {
	t  reflect.Type
	at Place
}

// builder makes the graph of one type.
type builder struct {
	rules   *Rules
	nodes   map[place]*node
	open    []*node // those on the way from the root
	pointer bool
	deep    bool
}

// node returns the node of t, which may be open: a type can contain itself.
func (b *builder) node(t reflect.Type, at Place) (*node, error) {
	if n, ok := b.nodes[place{t, at}]; ok {
		for _, o := range b.open {
			if o == n {
				b.deep = true
				// Nothing but this bounds the depth of a value of the type.
				n.check = n.check || b.rules.MaxDepth > 0
			}
		}
		return n, nil
	}
	n := &node{typ: t}
	b.nodes[place{t, at}] = n
	b.open = append(b.open, n)
	err := b.fill(n, at)
	b.open = b.open[:len(b.open)-1]
	return n, err
}

func (b *builder) fill(n *node, at Place) error {
	t := n.typ
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%v is an interface that cannot be decoded", t)
		}
		n.check, n.text, b.deep = true, true, true
		return nil
	case reflect.Pointer:
		return b.behind(n)
	}
	own, err := b.rules.Own(t, at)
	if err != nil {
		return err
	}
	if b.rules.Look != nil {
		n.look = b.rules.Look(t)
		n.check = n.look != nil
	}
	if len(own.Methods) > 0 {
		n.own, n.text = true, true
		b.pointer = b.pointer || own.Pointer && at == Root
		b.deep = b.deep || own.Nests
		return b.swallows(t, own.Methods)
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("a %v cannot be encoded", t)
	case reflect.String:
		n.text = true
	case reflect.Struct:
		return b.structure(n, at)
	case reflect.Map:
		return b.mapping(n)
	case reflect.Array, reflect.Slice:
		return b.list(n, at)
	}
	return nil
}

// behind fills in the node of a pointer.
func (b *builder) behind(n *node) (err error) {
	for t, seen := n.typ, map[reflect.Type]bool{}; t.Kind() == reflect.Pointer; t = t.Elem() {
		if seen[t] {
			return fmt.Errorf("%v points to itself", t)
		}
		seen[t] = true
	}
	n.elem, err = b.node(n.typ.Elem(), Addressed)
	switch n.typ.Elem().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		n.check = true // see walk.pointer
	default:
		n.check = n.elem != nil && n.elem.own && b.rules.Null != nil
	}
	return err
}

func (b *builder) list(n *node, at Place) (err error) {
	elem := n.typ.Elem()
	if n.typ.Kind() == reflect.Slice {
		if elem.Kind() == reflect.Uint8 && b.rules.Bytes != nil && b.rules.Bytes(elem) {
			return nil
		}
		at = Addressed
	}
	if n.elem, err = b.node(elem, at); err != nil {
		return under("[]", err)
	}
	return nil
}

func (b *builder) mapping(n *node) (err error) {
	key := n.typ.Key()
	if n.reread, err = b.rules.Key(key); err != nil {
		return err
	}
	n.check = n.reread
	n.text = true
	if n.elem, err = b.node(n.typ.Elem(), Copied); err != nil {
		return under("[]", err)
	}
	return nil
}

func (b *builder) structure(n *node, at Place) error {
	var s fields
	if err := s.add(b.rules, n.typ, leaf{}, nil); err != nil {
		return err
	}
	if len(s.leaves) == 0 && s.hidden && !s.skipped {
		return fmt.Errorf("%v has no exported field and no methods that write and read it, so that all of it would be lost", n.typ)
	}
	for i := range s.leaves {
		f := &s.leaves[i]
		where := at
		if f.pointer {
			where = Addressed
		}
		var err error
		if f.node, err = b.node(f.typ, where); err != nil {
			return under(f.path, err)
		}
	}
	n.fields = s.leaves
	return nil
}

// spread tells every node what is to be looked at further down.
func (b *builder) spread() {
	for again := true; again; {
		again = false
		for _, n := range b.nodes {
			check, text := n.check, n.text
			for i := range n.fields {
				if f := n.fields[i].node; f != nil {
					check, text = check || f.check, text || f.text
				}
			}
			if n.elem != nil {
				check, text = check || n.elem.check, text || n.elem.text
			}
			again = again || check != n.check || text != n.text
			n.check, n.text = check, text
		}
	}
}
