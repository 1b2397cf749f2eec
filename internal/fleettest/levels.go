//go:build unix

package fleettest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// made is what is kept in a cache with tags. It knows what it was made of.
type made struct {
	Key string
	N   int64  // version of its entry, as value.N
	Set bool   // as value.Set
	Of  []part // in no order, none twice
}

// part is the data of one product.
type part struct {
	P   int
	N   int64 // version of the data
	Set bool  // a Set stored it; else the origin gave it
}

// tag returns the tag of a product. The last one is no good for a key as it is.
func tag(p int) string {
	if p == products-1 {
		return strings.Repeat("a long tag ü\n", 30)
	}
	return fmt.Sprint("product:", p)
}

// level is the entries of one kind: products, or what is made of those.
type level struct {
	a     *actor
	name  string
	n     int // how many entries there are
	entry int // the thing that the first of them is
	cache *dogpile.Cache[made]
	fn    *dogpile.Func[int, made]
	multi *dogpile.MultiFunc[int, made]
	parts func(ctx context.Context, ctl *dogpile.Control, i int) ([]part, error)
}

// levels are the caches with tags of a process: a page is made of fragments, and these of
// products, but only products tag themselves.
type levels struct {
	products, fragments, pages *level
	regions                    []*dogpile.Region // of the products, and of all that is made of them
	other                      driver.Backend    // of the second region
	notes                      *dogpile.Cache[made]
	tagged                     *dogpile.Cache[made] // of products, whose tags are known beforehand
}

// openLevels makes the caches. In every other process products and what is made of them have
// clients of their own, where there can be two.
func (a *actor) openLevels(b driver.Backend) (*levels, error) {
	base, derived := dogpile.NewRegion(a.Region+"-products"), dogpile.NewRegion(a.Region+"-pages")
	ls := a.newLevels(base, derived)
	ls.other = b
	// What is done by another client of this process is as if another process had done it.
	if a.Procs > 1 && a.Proc%2 == 1 && a.lag() == 0 {
		var err error
		if ls.other, err = driver.Open(context.Background(), a.URL); err != nil {
			return nil, err
		}
	}
	o := a.options()
	o.Expiration *= 4 // what is made of stale values is stale: there are to be fresh ones too
	if a.Proc%2 == 1 {
		// The tokens that these make for their entries have to be prolonged for those of
		// the others.
		o.StaleFor = 2 * time.Second
	}
	return ls, errors.Join(base.Configure(b, o), derived.Configure(ls.other, o))
}

// close closes what openLevels has opened, but for the backend that it was given.
func (ls *levels) close(ctx context.Context, b driver.Backend) error {
	err := errors.Join(ls.regions[1].Close(ctx), ls.regions[0].Close(ctx))
	if ls.other != b {
		err = errors.Join(err, driver.Close(ls.other))
	}
	return err
}

// newLevels makes caches. Some processes know the tags of products beforehand.
func (a *actor) newLevels(base, derived *dogpile.Region) *levels {
	ls := &levels{regions: []*dogpile.Region{base, derived}, notes: dogpile.NewCache[made](derived, nil)}
	known := func(key string) []string { return []string{tag(numberOf(key))} }
	var o *dogpile.CacheOptions[made]
	if a.known() {
		o = &dogpile.CacheOptions[made]{Tags: known}
	}
	ls.products = a.newLevel(base, "product", products, thingProduct, o, a.asked)
	ls.fragments = a.newLevel(derived, "fragment", fragments, thingFragment, nil, func(ctx context.Context, _ *dogpile.Control, i int) ([]part, error) {
		return inTurn(ls.products.partsOf(ctx, i), ls.products.partsOf(ctx, i+1))
	})
	ls.pages = a.newLevel(derived, "page", pages, thingPage, nil, func(ctx context.Context, _ *dogpile.Control, i int) ([]part, error) {
		of, err := atOnce(ls.fragments.partsOf(ctx, i), ls.fragments.partsOf(ctx, i+1))
		if err == nil && rand.IntN(2) == 0 {
			err = a.took(ctx, ls.notes.Set(ctx, noteKey(i), made{Key: noteKey(i), Of: of}))
		}
		return of, err
	})
	ls.tagged = ls.products.cache.With(dogpile.CacheOptions[made]{Tags: known})
	return ls
}

// known reports whether this process tells of the tags of products beforehand.
func (a *actor) known() bool { return a.Role == "products" || a.Proc%4 >= 2 }

func (a *actor) newLevel(r *dogpile.Region, name string, n, entry int, o *dogpile.CacheOptions[made],
	parts func(context.Context, *dogpile.Control, int) ([]part, error)) *level {
	l := &level{a: a, name: name, n: n, entry: entry, parts: parts}
	l.cache = dogpile.NewCache(r, o)
	l.fn = dogpile.NewFunc(r, name, l.create, o)
	l.multi = dogpile.NewMultiFunc(r, name, l.createMulti, o)
	return l
}

// key returns the key of an entry, which is that of the functions too.
func (l *level) key(i int) string { return fmt.Sprint(l.name, "|", i) }

// numberOf is the reverse of key; -1: there is none.
func numberOf(key string) int {
	i := -1
	_, _ = fmt.Sscanf(key[strings.Index(key, "|")+1:], "%d", &i) // it stays -1
	return i
}

// create is the creator of an entry. It takes a while also when it has read all.
func (l *level) create(ctx context.Context, i int) (made, error) {
	return l.createUnder(ctx, dogpile.Creation(ctx), i)
}

func (l *level) createUnder(ctx context.Context, ctl *dogpile.Control, i int) (v made, err error) {
	v = made{Key: l.key(i), N: l.a.w.versions[l.entry+i].Load()}
	if v.Of, err = l.parts(ctx, ctl, i); err != nil {
		return v, err
	}
	switch rand.IntN(400) {
	case 0:
		pause(l.a.LockTTL)
	case 1, 2:
		return v, errOrigin
	case 3, 4:
		ctl.NoStore()
	default:
		pause(rand.N(3 * time.Millisecond))
	}
	return v, nil
}

// createMulti creates entries each for itself. What one of them reads with the context all
// of them inherit.
func (l *level) createMulti(ctx context.Context, is []int) (map[int]made, error) {
	vals := make(map[int]made)
	for _, i := range is {
		v, err := l.createUnder(ctx, dogpile.Creation(ctx).Key(l.key(i)), i)
		if err != nil {
			return nil, err
		}
		vals[i] = v
	}
	return vals, nil
}

// asked asks the origin for the data of a product, after it has tagged what is made of it.
func (a *actor) asked(ctx context.Context, ctl *dogpile.Control, i int) ([]part, error) {
	late := a.Broken == tagsTooLate
	if !a.known() && !late {
		ctl.Tag(ctx, tag(i))
	}
	p := part{P: i, N: a.w.versions[thingData+i].Load()}
	if a.Role == "products" {
		pause(20 * time.Millisecond) // there are to be late callers
	}
	pause(rand.N(2 * time.Millisecond))
	if late {
		ctl.Tag(ctx, tag(i))
	}
	return []part{p}, nil
}

// partsOf returns a function that reads an entry for a creator, by one method or another,
// and returns what it was made of.
func (l *level) partsOf(ctx context.Context, i int) func() ([]part, error) {
	i %= l.n
	return func() ([]part, error) {
		ctx := ctx
		switch rand.IntN(40) {
		case 0:
			ctx = dogpile.Bypass(ctx)
		case 1:
			ctx = dogpile.NoStale(ctx)
		}
		for range 2 {
			op := rand.IntN(100)
			got, err := l.read(ctx, op, []int{i})
			if err != nil && !l.a.Trouble { // amid trouble a call that creates may do better
				return nil, l.a.took(ctx, err)
			}
			// A call under NoStale may be waiting, and Peek returns what is stale all the same.
			peeked := op >= peeks && op < refreshes
			if err == nil && len(got) > 0 && (got[0].fresh || !peeked) {
				return got[0].Of, nil
			}
		}
		v, err := l.fn.Call(ctx, i)
		return v.Of, l.a.took(ctx, err)
	}
}

// took returns the error of a creator, after an error of what it has called.
func (a *actor) took(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && !a.expected(ctx, err) && !a.w.ended(): // regions are closed at the end
		a.fault("in a creator: %v", err)
	}
	return errOrigin
}

// inTurn returns what the functions return together.
func inTurn(fs ...func() ([]part, error)) (all []part, err error) {
	for _, f := range fs {
		of, err := f()
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	return distinct(all), nil
}

// atOnce is inTurn with a goroutine for each function.
func atOnce(fs ...func() ([]part, error)) (all []part, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, f := range fs {
		wg.Go(func() {
			of, failed := f()
			mu.Lock()
			defer mu.Unlock()
			all = append(all, of...)
			if failed != nil {
				err = failed
			}
		})
	}
	wg.Wait()
	return distinct(all), err
}

func distinct(parts []part) (out []part) {
	for _, p := range parts {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
