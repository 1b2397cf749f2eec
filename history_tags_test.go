package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// parts is a value that knows which data it was made of, and when that was read.
type parts struct{ Of []dataRead }

type dataRead struct {
	Product int
	At      int64
}

// seller is the caches of one process: a page is made of fragments, and these of products,
// in regions of their own. Only products tag themselves.
type seller struct {
	w                          *sellers
	known                      bool // the tags of products are known beforehand
	regions                    [2]*dogpile.Region
	products, fragments, pages *dogpile.Cache[parts]
}

// sellers is a history of tags that is being made.
type sellers struct {
	*history
	all   []*seller
	pause func() // lets others go on
}

const stock = 3 // of each kind of entry

func newSellers(t *testing.T, n int, b *fake, o dogpile.Options, pause func()) *sellers {
	w := &sellers{history: newHistory(), pause: pause}
	for i := range n {
		s := &seller{w: w, known: i%2 == 1 || n == 1 && rand.IntN(2) == 0}
		base, derived := o, o
		base.Prefix, derived.Prefix = "base:", "derived:"
		s.regions = [2]*dogpile.Region{newRegion(t, b, &base), newRegion(t, b, &derived)}
		var tags dogpile.CacheOptions[parts]
		if s.known {
			tags.Tags = func(key string) []string { return []string{"tag of " + key} }
		}
		s.products = dogpile.NewCache(s.regions[0], &tags)
		s.fragments = dogpile.NewCache[parts](s.regions[1], nil)
		s.pages = dogpile.NewCache[parts](s.regions[1], nil)
		w.all = append(w.all, s)
	}
	return w
}

func (s *seller) product(i int) (string, func(context.Context) (parts, error)) {
	key := fmt.Sprint("product ", i%stock)
	return key, func(ctx context.Context) (parts, error) {
		if !s.known {
			dogpile.Creation(ctx).Tag(ctx, "tag of "+key)
		}
		p := parts{[]dataRead{{i % stock, s.w.clock.Add(1)}}}
		s.w.pause()
		switch rand.IntN(20) {
		case 0:
			return p, errOrigin
		case 1:
			dogpile.Creation(ctx).NoStore()
		}
		return p, nil
	}
}

// fragment reads its products one after the other.
func (s *seller) fragment(i int) (string, func(context.Context) (parts, error)) {
	return fmt.Sprint("fragment ", i%stock), func(ctx context.Context) (all parts, err error) {
		for _, i := range []int{i, i + 1} {
			p, err := s.part(ctx, s.products, s.product, i)
			if err != nil {
				return all, err
			}
			all.Of = append(all.Of, p.Of...)
		}
		s.w.pause()
		return all, nil
	}
}

// page reads its fragments in goroutines.
func (s *seller) page(i int) (string, func(context.Context) (parts, error)) {
	return fmt.Sprint("page ", i%stock), func(ctx context.Context) (all parts, err error) {
		var of [2]parts
		var errs [2]error
		var wg sync.WaitGroup
		for n := range of {
			wg.Go(func() { of[n], errs[n] = s.part(ctx, s.fragments, s.fragment, i+n) })
		}
		wg.Wait()
		s.w.pause()
		return parts{append(of[0].Of, of[1].Of...)}, errors.Join(errs[:]...)
	}
}

// shelf makes the entries of one kind.
type shelf func(i int) (key string, create func(context.Context) (parts, error))

// part reads an entry for a creator.
func (s *seller) part(ctx context.Context, c *dogpile.Cache[parts], l shelf, i int) (parts, error) {
	key, create := l(i)
	switch rand.IntN(12) {
	case 0:
		if v, ok, err := c.Get(ctx, key); ok && err == nil {
			return v, nil
		}
	case 1:
		if e, ok, err := c.Peek(ctx, key); ok && err == nil && e.State == dogpile.Fresh {
			return e.Value, nil
		}
	case 2:
		vals, err := c.GetOrCreateMulti(ctx, []string{key}, forEach(create))
		return vals[key], err
	case 3:
		return c.Refresh(ctx, key, create)
	case 4:
		ctx = dogpile.Bypass(ctx)
	case 5:
		ctx = dogpile.NoStale(ctx)
	}
	return c.GetOrCreate(ctx, key, create)
}

// forEach returns a creator of several entries, each of which is made by create.
func forEach(create func(context.Context) (parts, error)) func(context.Context, []string) (map[string]parts, error) {
	return func(ctx context.Context, keys []string) (map[string]parts, error) {
		vals := make(map[string]parts)
		for _, key := range keys {
			v, err := create(ctx)
			if err != nil {
				return nil, err
			}
			vals[key] = v
		}
		return vals, nil
	}
}

// step does one thing at random.
func (w *sellers) step() {
	s, i := w.all[rand.IntN(len(w.all))], rand.IntN(stock)
	switch n := rand.IntN(100); {
	case n < 25:
		w.readOf(s.products, s.product, i)
	case n < 45:
		w.readOf(s.fragments, s.fragment, i)
	case n < 85:
		w.readOf(s.pages, s.page, i)
	case n < 95:
		w.invalidate(s, dogpile.Hard, i)
	default:
		w.invalidate(s, dogpile.Soft, i)
	}
}

// readOf reads an entry, and notes which data it was made of: all of that has to be of
// after the last invalidation, and what is called fresh of after the last soft one too.
func (w *sellers) readOf(c *dogpile.Cache[parts], l shelf, i int) {
	key, create := l(i)
	begin, fresh := w.clock.Add(1), false
	var v parts
	var err error
	switch n := rand.IntN(10); {
	case n == 0:
		var ok bool
		v, ok, err = c.Get(bg, key)
		fresh = ok
	case n < 3:
		var e dogpile.Entry[parts]
		e, _, err = c.Peek(bg, key)
		if fresh = e.State == dogpile.Fresh; e.State != dogpile.Invalidated {
			v = e.Value
		}
	case n < 6:
		var e dogpile.Entry[parts]
		e, err = c.GetOrCreateEntry(bg, key, create)
		v, fresh = e.Value, e.State == dogpile.Fresh
	case n == 6:
		var vals map[string]parts
		vals, err = c.GetOrCreateMulti(bg, []string{key}, forEach(create))
		v = vals[key]
	case n == 7:
		v, err = c.GetOrCreate(dogpile.NoStale(bg), key, create)
		fresh = true
	default:
		v, err = c.GetOrCreate(bg, key, create)
	}
	if err != nil {
		return
	}
	for _, d := range v.Of {
		w.read(dataOf(d.Product), begin, made{Created: d.At})
		if fresh {
			w.read(freshDataOf(d.Product), begin, made{Created: d.At})
		}
	}
}

func dataOf(product int) string      { return fmt.Sprint("data of product ", product) }
func freshDataOf(product int) string { return fmt.Sprint("fresh data of product ", product) }

// invalidate invalidates the tags of a product and of another one.
func (w *sellers) invalidate(s *seller, mode dogpile.Mode, i int) {
	other := rand.IntN(stock)
	begin := w.clock.Add(1)
	err := s.regions[rand.IntN(2)].InvalidateTags(bg, mode, fmt.Sprint("tag of product ", i), fmt.Sprint("tag of product ", other))
	for _, p := range []int{i, other} {
		if mode == dogpile.Hard {
			w.ended(begin, err, dataOf(p))
		}
		w.ended(begin, err, freshDataOf(p))
	}
}

func (w *sellers) run(t *testing.T, goroutines, steps int) {
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range steps {
				w.step()
			}
		})
	}
	wg.Wait()
	w.check(t)
}

// TestNothingOldIsMadeOfTags: at no level, as fast as it goes.
func TestNothingOldIsMadeOfTags(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}, "unshared": {unshared: true}} {
		for mode, o := range historyOptions {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				n := 3
				if l.unshared {
					n = 1
				}
				newSellers(t, n, newFake(t, l), o, runtime.Gosched).run(t, 12, 40)
			})
		}
	}
}

// TestNothingOldIsMadeOfTagsOverASlowBackend: every call of the backend takes a while, some
// fail before, and some after they have been carried out.
func TestNothingOldIsMadeOfTagsOverASlowBackend(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}, "lockless": {lockless: true}} {
		for mode, o := range historyOptions {
			t.Run(name+"/"+mode, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, l)
					var over atomic.Bool // flights that nobody waits for may go on
					b.slow = func(ctx context.Context, _ string) error {
						if over.Load() {
							return nil
						}
						if rand.IntN(100) > 0 {
							return wait(ctx, time.Duration(rand.IntN(4))*time.Millisecond)
						}
						return errBackend
					}
					n := 3
					if l.lockless {
						n = 1 // one process is all that its locks are good for
					}
					o.LockTTL = 10 * time.Millisecond
					pause := func() { pass(time.Duration(rand.IntN(20)) * time.Millisecond) }
					newSellers(t, n, b, o, pause).run(t, 12, 25)
					over.Store(true)
				})
			})
		}
	}
}
