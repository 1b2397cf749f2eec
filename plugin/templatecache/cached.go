package templatecache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// maxDepth is how deeply creations of fragments may be nested. A template that caches
// itself with other arguments each time would never end.
const maxDepth = 100

// wishes are what the options of one call of cached say.
type wishes struct {
	key     []any
	keyed   bool
	timeout time.Duration // 0: the region's
	tags    []string
}

// option is one of them: it sets w, or reports that w is set already.
type option struct {
	name string
	set  func(w *wishes) (twice bool)
}

func cacheKey(args ...any) option {
	return option{"cacheKey", func(w *wishes) bool {
		twice := w.keyed
		w.key, w.keyed = args, true
		return twice
	}}
}

func cacheTags(tags ...string) option {
	return option{"cacheTags", func(w *wishes) bool {
		twice := w.tags != nil
		w.tags = append([]string{}, tags...) // not nil
		return twice
	}}
}

func cacheTimeout(timeout string) (option, error) {
	d, err := driver.ParseDuration(timeout)
	if err == nil && d <= 0 && d != dogpile.Never {
		err = errors.New("it has to be positive")
	}
	if err != nil {
		return option{}, fmt.Errorf("templatecache: cacheTimeout %q: %w", timeout, err)
	}
	return option{"cacheTimeout", func(w *wishes) bool {
		twice := w.timeout != 0
		w.timeout = d
		return twice
	}}, nil
}

// executor is a clone of the templates, in use for one creation at a time. The zero value
// stands for the templates themselves, which are in use for pages.
type executor struct {
	templates executable
	ctx       context.Context // of the creation; nil: none
	depth     int
}

// context returns the one that cached works with.
func (e *executor) context(given context.Context) (context.Context, error) {
	switch {
	case e.ctx == nil && given == nil:
		return nil, errors.New("the context is nil")
	case e.ctx == nil:
		return given, nil
	case given != nil && dogpile.Creation(given) == dogpile.Creation(e.ctx):
		return given, nil // made of the creation's, by Bypass for one
	}
	// With any other context the outer fragment would not inherit the tags of the inner one.
	return e.ctx, nil
}

// cached returns the function cached of e's templates.
func (f *Fragments) cached(e *executor) any {
	return func(ctx context.Context, region, template string, data any, options ...option) (any, error) {
		fragment, err := f.get(e, ctx, region, template, data, options)
		if err != nil {
			return nil, fmt.Errorf("templatecache: region %q, template %q: %w", region, template, err)
		}
		return f.mark(fragment), nil
	}
}

func (f *Fragments) get(e *executor, ctx context.Context, region, template string, data any, options []option) (string, error) {
	w := wishes{key: []any{data}}
	for _, o := range options {
		if o.set(&w) {
			return "", fmt.Errorf("%s is there twice", o.name)
		}
	}
	cache := f.caches[place{region, template}]
	if cache == nil && !f.regions[region] {
		return "", unknown(f.regions)
	}
	key, err := f.key(template, w.key)
	if err != nil && !w.keyed && f.names[template] != "" {
		err = fmt.Errorf("%w; say with cacheKey what tells this fragment from others", err)
	}
	if err != nil {
		return "", err
	}
	if ctx, err = e.context(ctx); err != nil {
		return "", err
	}
	if w.timeout != 0 || len(w.tags) > 0 {
		cache = cache.With(w.options())
	}
	depth := e.depth + 1 // e may be in use for another creation before this one runs
	return cache.GetOrCreate(ctx, key, func(ctx context.Context) (string, error) {
		return f.execute(ctx, template, data, depth)
	})
}

// unknown returns the error for a region that is none of regions.
func unknown(regions map[string]bool) error {
	return fmt.Errorf("not among Options.Regions, which are %q", slices.Sorted(maps.Keys(regions)))
}

func (w *wishes) options() dogpile.CacheOptions[string] {
	o := tagged(w.tags)
	o.Expiration = w.timeout
	return o
}

// tagged returns the options of a cache of fragments with these tags.
//
//  1. A page makes a fragment, and its call names no tag, or another one.
//  2. Another page, or the next version of the same one, finds the fragment. Its call
//     names the tag "menu".
//  3. "menu" is invalidated, which does not reach the fragment of 1.
//
// With the tags as its schema the fragment is missing at 2.
func tagged(tags []string) (o dogpile.CacheOptions[string]) {
	if len(tags) == 0 {
		return o
	}
	o.Tags = func(string) []string { return tags }
	sorted := slices.Sorted(slices.Values(tags))
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", slices.Compact(sorted)))
	o.Schema = fmt.Sprintf("%x", sum[:8])
	return o
}

// execute makes a fragment.
func (f *Fragments) execute(ctx context.Context, template string, data any, depth int) (string, error) {
	if depth > maxDepth {
		return "", fmt.Errorf("fragments are nested more than %d deep", maxDepth)
	}
	if l, ok := data.(Loader); ok {
		var err error
		if data, err = l.Load(ctx); err != nil {
			return "", err
		}
	}
	pool := f.executors[template]
	e, ok := pool.Get().(*executor)
	if !ok {
		e = new(executor)
		var err error
		if e.templates, err = f.clone(f.cached(e)); err != nil {
			return "", err
		}
	}
	e.ctx, e.depth = ctx, depth
	var b strings.Builder
	err := e.templates.ExecuteTemplate(&b, template, data)
	e.ctx = nil
	pool.Put(e)
	if err != nil {
		return "", err
	}
	return b.String(), nil
}
