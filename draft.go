package dogpile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
)

// sharedPrefix is what the names of shared backends begin with, after Setup.Prefix.
const sharedPrefix = "backends."

// draft is what a Setup says, before anything is opened.
type draft struct {
	setup   Setup
	parts   []*part
	shared  map[string]*source // by name in lower case
	sources []*source          // that were opened, or could not be
	faults  []error            // but for those of parts
	offline bool               // servers are not asked
}

// part is the settings of one region.
type part struct {
	region *Region
	prefix string
	parser
}

// source is a backend that settings tell of.
type source struct {
	key       string // of the backend, for messages; "": given in Setup.Backends alone
	name      string // for one that is shared: as it is written
	url       string
	arguments map[string]argument // by name in lower case
	given     driver.Backend      // in Setup.Backends
	opened    *opened
	tried     bool
}

// argument is one of a backend.
type argument struct{ key, name, value string }

func (d *draft) fault(err error) { d.faults = append(d.faults, err) }

// newDraft gives each setting to the part that it belongs to.
func newDraft(s Setup, parts []*part) *draft {
	d := &draft{setup: s, parts: parts, shared: map[string]*source{}}
	for _, p := range parts {
		p.parser = parser{prefix: p.prefix, values: map[string]setting{}, arguments: map[string]argument{}, keys: map[string]string{}}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Backends)) {
		d.give(name, s.Backends[name])
	}
	for _, key := range slices.Sorted(maps.Keys(s.Settings)) {
		if !hasPrefix(key, s.Prefix) {
			continue
		}
		p, shared, err := d.owner(key)
		switch {
		case err != nil:
			d.fault(fmt.Errorf("%s: %w", key, err))
		case shared:
			d.share(key, key[len(s.Prefix)+len(sharedPrefix):], s.Settings[key])
		default:
			p.put(key, key[len(p.prefix):], s.Settings[key])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.shared)) {
		if src := d.shared[name]; src.given == nil && src.url == "" {
			d.fault(fmt.Errorf("%s%s%s: is missing", s.Prefix, sharedPrefix, src.name))
		}
	}
	return d
}

// hasPrefix reports whether key begins with prefix, in whatever case.
func hasPrefix(key, prefix string) bool {
	return len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix)
}

// owner returns the part whose prefix is the longest one that key begins with, or
// reports that the key is one of a shared backend. The case counts where two prefixes
// differ in nothing else.
func (d *draft) owner(key string) (of *part, shared bool, err error) {
	var found []*part
	longest := -1
	if all := d.setup.Prefix + sharedPrefix; hasPrefix(key, all) {
		shared, longest = true, len(all)
	}
	for _, p := range d.parts {
		switch {
		case !hasPrefix(key, p.prefix) || len(p.prefix) < longest:
		case len(p.prefix) > longest:
			found, shared, longest = []*part{p}, false, len(p.prefix)
		case !shared:
			found = append(found, p)
		}
	}
	if shared {
		return nil, true, nil
	}
	for _, p := range found {
		if strings.HasPrefix(key, p.prefix) {
			return p, false, nil
		}
	}
	switch len(found) {
	case 0:
		return nil, false, errors.New("belongs to no region")
	case 1:
		return found[0], false, nil
	}
	return nil, false, fmt.Errorf("belongs to region %q or %q, whose names differ in case alone", found[0].region.name, found[1].region.name)
}

// give notes a shared backend that the program has opened.
func (d *draft) give(name string, b driver.Backend) {
	switch {
	case driver.IsNil(b):
		d.fault(fmt.Errorf("Setup.Backends %q: the backend is nil", name))
	case d.shared[strings.ToLower(name)] != nil:
		d.fault(fmt.Errorf("Setup.Backends %q: is given twice, in another case too", name))
	default:
		d.shared[strings.ToLower(name)] = &source{name: name, given: b}
	}
}

// share notes a setting of a shared backend.
func (d *draft) share(key, rest, value string) {
	name, arg, isArg := cutArguments(rest)
	src := d.shared[strings.ToLower(name)]
	switch {
	case src == nil:
		src = &source{name: name, arguments: map[string]argument{}}
		d.shared[strings.ToLower(name)] = src
	case src.given != nil:
		d.fault(fmt.Errorf("%s: the backend is given in Setup.Backends already", key))
		return
	}
	if isArg {
		if err := addArgument(src.arguments, argument{key, arg, value}); err != nil {
			d.fault(err)
		}
		return
	}
	url, _ := plain(value)
	if src.key != "" && !overrules(key, src.key) {
		d.fault(twice(key, src.key))
		return
	}
	src.key, src.url = key, url
}

// cutArguments cuts what follows the prefix of the settings, such as "main.arguments.db",
// into the name of whose arguments they are and that of the argument. Where there is no
// argument, name is rest.
func cutArguments(rest string) (name, arg string, is bool) {
	// strings.ToLower may change the length of a text, and an index into what it returns
	// is none into rest.
	const word = ".arguments."
	for i := range rest {
		if hasPrefix(rest[i:], word) {
			return rest[:i], rest[i+len(word):], true
		}
	}
	return rest, "", false
}

// overrules reports whether a setting counts in place of another one, whose key differs
// in case alone.
func overrules(key, other string) bool { return key == strings.ToLower(key) && key != other }

func twice(key, other string) error { return fmt.Errorf("%s: is given twice, as %s too", key, other) }

func addArgument(to map[string]argument, a argument) error {
	fold := strings.ToLower(a.name)
	if old, is := to[fold]; is {
		if !overrules(a.key, old.key) {
			return twice(a.key, old.key)
		}
		a.name = old.name // the backend's own spelling, if either is
	}
	to[fold] = a
	return nil
}

// plain returns a value as it counts: "None" is dogpile.cache's word for one that is
// not set.
func plain(value string) (v string, given bool) {
	if value = strings.TrimSpace(value); value == "None" {
		value = ""
	}
	return value, value != ""
}

// source returns the backend of a region, or nil if there is a fault.
func (d *draft) source(p *part) *source {
	url, given := p.take("backend")
	key := p.key("backend")
	if !given {
		p.fault("backend", errors.New("is missing"))
		return nil
	}
	name, shared := strings.CutPrefix(url, "@")
	if !shared {
		return &source{key: key, url: url, arguments: p.arguments}
	}
	for _, a := range p.arguments {
		p.faults = append(p.faults, fmt.Errorf("%s: the arguments of a shared backend are %s%s%s.arguments.*", a.key, d.setup.Prefix, sharedPrefix, name))
	}
	src := d.shared[strings.ToLower(name)]
	if src == nil {
		var known []string
		for _, s := range d.shared {
			known = append(known, s.name)
		}
		slices.Sort(known)
		if len(known) == 0 && name != "" {
			known = []string{fmt.Sprintf("none, %s%s%s would be one", d.setup.Prefix, sharedPrefix, name)}
		}
		p.fault("backend", fmt.Errorf("there is no shared backend %q; known: %s", name, strings.Join(known, ", ")))
	}
	return src
}

// open returns the backend of a source, which it opens once. It returns nil after a
// fault, which it notes once.
func (d *draft) open(ctx context.Context, src *source) driver.Backend {
	switch {
	case src == nil:
		return nil
	case src.given != nil:
		return src.given
	case !src.tried && src.url != "":
		src.tried = true
		arguments := make(map[string]string)
		for _, a := range src.arguments {
			arguments[a.name] = a.value
		}
		b, err := driver.OpenWith(ctx, src.url, arguments)
		if err != nil {
			d.faults = append(d.faults, src.faultsOf(err)...)
			break
		}
		src.opened = &opened{Backend: b}
		d.sources = append(d.sources, src)
	}
	if src.opened == nil {
		return nil
	}
	return src.opened.Backend
}

// faultsOf returns what a backend says of its arguments, each under its key.
func (src *source) faultsOf(err error) []error {
	var arg *driver.ArgError
	if !errors.As(err, &arg) {
		return []error{fmt.Errorf("%s: %w", src.key, err)}
	}
	all := parts(innermost(err))
	for i, e := range all {
		key := src.key
		if errors.As(e, &arg) {
			if a, separate := src.arguments[strings.ToLower(arg.Name)]; separate {
				key = a.key
			}
		}
		all[i] = fmt.Errorf("%s: %w", key, e)
	}
	return all
}

// innermost follows single causes down to the last one.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
