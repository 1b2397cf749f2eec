package roundtrip

import (
	"fmt"
	"reflect"
	"slices"
)

// leaf is a field that is written, of a struct or of one embedded in it.
type leaf struct {
	Field
	path    string // ".Base.ID"
	index   []int
	typ     reflect.Type
	pointer bool // one of those around it is embedded by pointer
	node    *node
}

// fields collects the leaves of a struct.
type fields struct {
	leaves  []leaf
	hidden  bool // there is a field that is not written
	skipped bool // there is one that its tag leaves out
}

// add adds the fields of t, which is the struct itself or embedded in it at
// outer. Go's rules for embedded fields leave out those that others hide;
// that loses what they hold, so it is an error here.
func (s *fields) add(r *Rules, t reflect.Type, outer leaf, around []reflect.Type) error {
	if slices.Contains(around, t) {
		return fmt.Errorf("%v embeds itself, so that fields of one name hide each other", t)
	}
	around = append(around, t)
	for i := range t.NumField() {
		sf := t.Field(i)
		base := sf.Type
		if base.Kind() == reflect.Pointer {
			base = base.Elem()
		}
		if !sf.IsExported() && !(sf.Anonymous && base.Kind() == reflect.Struct) {
			s.hidden = s.hidden || sf.Name != "_"
			continue
		}
		f, err := r.Field(sf)
		path := outer.path + "." + sf.Name
		if err != nil {
			return under(path, err)
		}
		if f.Skip {
			s.skipped = true
			continue
		}
		l := leaf{f, path, append(slices.Clone(outer.index), i), sf.Type, outer.pointer, nil}
		if sf.Anonymous && !f.Named && base.Kind() == reflect.Struct {
			err = s.embed(r, sf, base, l, around)
		} else {
			err = s.put(r, sf, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// embed adds the fields of base, which is embedded at l.
func (s *fields) embed(r *Rules, sf reflect.StructField, base reflect.Type, l leaf, around []reflect.Type) error {
	// Had the struct around it got these methods from it, nobody would ask for
	// its fields. Two embedded types with methods of one name get in each other's
	// way: then neither type's methods are called.
	if own, err := r.Own(base, Addressed); err != nil {
		return under(l.path, err)
	} else if len(own.Methods) > 0 {
		return under(l.path, fmt.Errorf("%s of the embedded %v is not called; give the field a name", own.Methods[0], base))
	}
	before := len(s.leaves)
	l.pointer = l.pointer || sf.Type.Kind() == reflect.Pointer
	if err := s.add(r, base, l, around); err != nil {
		return err
	}
	if sf.Type.Kind() == reflect.Pointer && !sf.IsExported() && len(s.leaves) > before {
		return under(l.path, fmt.Errorf("a pointer to %v, which is not exported, cannot be set when it is embedded", base))
	}
	return nil
}

func (s *fields) put(r *Rules, sf reflect.StructField, l leaf) error {
	if !sf.IsExported() {
		own, err := r.Own(sf.Type, Addressed)
		if err != nil || len(own.Methods) > 0 || sf.Type.Kind() == reflect.Pointer {
			return under(l.path, fmt.Errorf("%v, which is not exported, cannot be decoded when it is embedded", sf.Type))
		}
	}
	for _, other := range s.leaves {
		if other.Name == l.Name {
			return fmt.Errorf("fields %s and %s are both written as %q, so that one is lost", other.path[1:], l.path[1:], l.Name)
		}
	}
	s.leaves = append(s.leaves, l)
	return nil
}
