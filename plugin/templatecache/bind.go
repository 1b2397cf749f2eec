package templatecache

import (
	"context"
	"errors"
	"fmt"
	html "html/template"
	"io"
	"slices"
	"sync"
	text "text/template"
	"text/template/parse"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/funckey"
)

// Options says where the fragments of a set of templates are kept. The zero value knows
// no region.
type Options struct {
	// Regions are those that templates may name. They need not be configured yet. Two
	// with one name are a fault.
	Regions []*dogpile.Region
}

// Fragments are those of a set of templates. All methods may be called from many
// goroutines.
type Fragments struct {
	names   map[string]string // what the keys of a template's fragments begin with
	regions map[string]bool
	caches  map[place]*dogpile.Cache[string]
	mark    func(string) any // makes a fragment what the template set takes as it is

	// executors are clones of the set, in which cached knows the creation that it runs
	// for: a template has no other way to know. Cloning and escaping a set takes longer
	// than executing most fragments does. Each clone executes one template alone, by
	// whose name it is found here: how html/template escapes a template, or whether it
	// does, depends on those that the clone has executed before.
	executors map[string]*sync.Pool
	clone     func(cached any) (executable, error)
}

// place is where the fragments of one template are kept.
type place struct{ region, template string }

// executable is a set of templates of either package.
type executable interface {
	ExecuteTemplate(w io.Writer, name string, data any) error
}

// set is what the templates of both packages can do.
type set[T any] interface {
	executable
	Clone() (T, error)
	Funcs(text.FuncMap) T
	Templates() []T
	Name() string
}

// FuncMap returns the functions that templates call, for Funcs before Parse. The caller
// owns it. Until the templates are bound cached returns an error.
func FuncMap() map[string]any {
	return map[string]any{
		"cached": func(...any) (string, error) {
			return "", errors.New("templatecache: the templates are not bound; see BindHTML and BindText")
		},
		"cacheKey":     cacheKey,
		"cacheTimeout": cacheTimeout,
		"cacheTags":    cacheTags,
	}
}

// BindHTML binds the set of templates that t belongs to, all of which have been parsed
// and none executed; a clone has to be bound itself. From then on cached works in them,
// and they may be executed by many goroutines at once.
//
// The error names all faults that can be seen in the templates, each with its place:
// regions that o does not have, templates that do not exist, timeouts that cannot be
// read, cached where a fragment cannot stand, and fragments that begin or end elsewhere
// than in the text of HTML. What a template computes is checked when it is executed. With
// an error nothing is bound.
func BindHTML(t *html.Template, o *Options) (*Fragments, error) {
	if t == nil {
		return nil, errors.New("templatecache: no templates to bind")
	}
	return bind(t, o, "html", func(t *html.Template) *parse.Tree { return t.Tree },
		checkContexts, func(s string) any { return html.HTML(s) })
}

// BindText binds the set of templates that t belongs to, as [BindHTML] does. Nothing is
// escaped, and a fragment can stand anywhere.
func BindText(t *text.Template, o *Options) (*Fragments, error) {
	if t == nil {
		return nil, errors.New("templatecache: no templates to bind")
	}
	return bind(t, o, "text", func(t *text.Template) *parse.Tree { return t.Tree },
		func(*source) []error { return nil }, func(s string) any { return s })
}

func bind[T set[T]](t T, o *Options, kind string, tree func(T) *parse.Tree,
	contexts func(*source) []error, mark func(string) any) (*Fragments, error) {
	original, err := t.Clone() // executing t changes its trees, and then it cannot be cloned
	if err != nil {
		return nil, fmt.Errorf("templatecache: %w", err)
	}
	src := &source{trees: make(map[string]*parse.Tree)}
	for _, each := range original.Templates() {
		if tree := tree(each); tree != nil && tree.Root != nil {
			src.trees[each.Name()] = tree
		}
	}
	f := &Fragments{names: make(map[string]string), regions: make(map[string]bool), mark: mark,
		caches: make(map[place]*dogpile.Cache[string]), executors: make(map[string]*sync.Pool)}
	f.clone = func(cached any) (executable, error) {
		c, err := original.Clone()
		if err != nil {
			return nil, err
		}
		return c.Funcs(text.FuncMap{"cached": cached}), nil
	}
	src.read()
	faults := f.keep(o, src, kind)
	faults = append(faults, src.check(f.regions)...)
	faults = append(faults, contexts(src)...)
	if len(faults) > 0 {
		for i, fault := range faults {
			faults[i] = fmt.Errorf("templatecache: %w", fault)
		}
		return nil, errors.Join(faults...)
	}
	t.Funcs(text.FuncMap{"cached": f.cached(&executor{})})
	return f, nil
}

// keep makes a cache for the fragments of every template in every region of o.
func (f *Fragments) keep(o *Options, src *source, kind string) (faults []error) {
	for name := range src.trees {
		key := append([]byte("fragment:"), funckey.AppendName(nil, name)...)
		f.names[name] = string(key) + "@" + src.digest(kind, name)
		f.executors[name] = new(sync.Pool)
	}
	if o == nil {
		return nil
	}
	for i, r := range o.Regions {
		switch {
		case r == nil:
			faults = append(faults, fmt.Errorf("Options.Regions: region %d is nil", i))
			continue
		case f.regions[r.Name()]:
			faults = append(faults, fmt.Errorf("Options.Regions: two regions are called %q", r.Name()))
			continue
		}
		f.regions[r.Name()] = true
		for name := range src.trees {
			f.caches[place{r.Name(), name}] = dogpile.NewCache(r, &dogpile.CacheOptions[string]{Codec: dogpile.Text, Name: name})
		}
	}
	return faults
}

// Key returns the key under which regions keep the fragment of a template for the
// arguments of cacheKey, or for the data where there is no cacheKey: to delete it with
// [dogpile.Region.Delete], or to read or set it with [View]. It is the key of
// these templates: a program with others keeps its fragments elsewhere, and tags are the
// way to reach those too. The error names a template that does not exist, or an
// argument that cannot be part of a key.
func (f *Fragments) Key(template string, args ...any) (string, error) {
	key, err := f.key(template, args)
	if err != nil {
		return "", fmt.Errorf("templatecache: key of template %q: %w", template, err)
	}
	return key, nil
}

func (f *Fragments) key(template string, args []any) (string, error) {
	name, ok := f.names[template]
	if !ok {
		return "", errors.New("no such template")
	}
	key := []byte(name)
	for i, arg := range args {
		sep := byte(',')
		if i == 0 {
			sep = '|'
		}
		var err error
		if key, err = funckey.AppendAny(append(key, sep), arg); err != nil {
			return "", fmt.Errorf("key argument %d: %w", i+1, err)
		}
	}
	return string(key), nil
}

// View returns the cache of the fragments in r whose call of cached names these tags, in
// any order, to read and set them by their [Fragments.Key]. A fragment that is set has to
// be escaped already, and carries the tags. Fragments whose call names others are missing
// in it. It panics if r is nil.
func View(r *dogpile.Region, tags ...string) *dogpile.Cache[string] {
	o := tagged(slices.Clone(tags))
	o.Codec = dogpile.Text
	return dogpile.NewCache(r, &o)
}

// Loader is data that is loaded when a fragment is made of it, and then alone. Load gets
// the context of the creation: what it reads through caches with that context hands its
// tags on to the fragment, and Creation(ctx) takes more. The template is executed with what
// Load returns, which may keep ctx for functions that want one. An error of Load is that
// of the fragment. Without cacheKey the Loader is itself what the key is made of: a
// struct of such fields, or a [dogpile.Keyer].
type Loader interface {
	Load(ctx context.Context) (any, error)
}
