package dogpile_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// afterReads is a proxy that calls read after the backend has answered.
type afterReads struct {
	driver.Proxy
	read func(keys []string)
}

func (p *afterReads) Get(ctx context.Context, items []driver.Item) error {
	err := p.Proxy.Get(ctx, items)
	if read := p.read; read != nil {
		read(keysOf(items))
	}
	return err
}

// TestReadingThatATagOvertakesIsNotTrusted:
//
//  1. A reads an entry and the tokens of its tag, T.  2. The tag is invalidated in the same
//     process, and the call of that returns.  3. A takes note of T.
//  4. B reads, within the lag: T must not be trusted.
func TestReadingThatATagOvertakesIsNotTrusted(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: true})
				p := &afterReads{Proxy: driver.Proxy{Backend: b}}
				r := newRegion(t, p, &dogpile.Options{Expiration: time.Hour, InvalidationLag: time.Minute})
				c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Tags: byKey})
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(time.Minute + 1)
				p.read = func(keys []string) {
					p.read = nil
					wantErr(t, "InvalidateTags", r.InvalidateTags(bg, mode, "t:k"), nil) // 2
				}
				wantTags(t, "A, who came before", c, "k", dogpile.Fresh, "t:k") // 1, 3
				want := dogpile.Invalidated
				if mode == dogpile.Soft {
					want = dogpile.Stale
				}
				wantTags(t, "B", c, "k", want, "t:k")
			})
		})
	}
}

// TestReadingThatAnInvalidationOvertakesIsNotTrusted is the same for the token of a region.
func TestReadingThatAnInvalidationOvertakesIsNotTrusted(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := &afterReads{Proxy: driver.Proxy{Backend: newFake(t, like{bytes: true})}}
				r := newRegion(t, p, &dogpile.Options{Expiration: time.Hour, InvalidationLag: time.Minute})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(time.Minute + 1)
				p.read = func([]string) {
					p.read = nil
					wantErr(t, "Invalidate", r.Invalidate(bg, mode), nil)
				}
				wantTags(t, "A, who came before", c, "k", dogpile.Fresh)
				want := dogpile.Invalidated
				if mode == dogpile.Soft {
					want = dogpile.Stale
				}
				wantTags(t, "B", c, "k", want)
			})
		})
	}
}

// TestTokenIsNotProlongedInAnotherRegion: as above, where leases are those of each region
// by itself.
func TestTokenIsNotProlongedInAnotherRegion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true, unshared: true, lockless: true})
		inv := new(dogpile.LocalInvalidator)
		regions, caches := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Minute, Invalidator: inv})
		c := caches[0].With(dogpile.CacheOptions[int]{Tags: func(string) []string { return []string{"all"} }})
		wantErr(t, "Set", c.Set(bg, "a", 1), nil)
		invalidate := func() { wantErr(t, "InvalidateTags", regions[1].InvalidateTags(bg, dogpile.Hard, "all"), nil) }
		b.in(func(_ context.Context, op string, keys []string) error {
			if op == "set" && strings.HasPrefix(keys[0], "_tag:") {
				b.in(nil)
				invalidate()
			}
			return nil
		})
		_, err := c.With(dogpile.CacheOptions[int]{Expiration: time.Hour}).GetOrCreate(bg, "b", constant(1).create)
		wantErr(t, "GetOrCreate", err, nil)
		if b.in(nil); b.called("delete") == 0 {
			invalidate() // the token is not written again, at no time
		}
		for _, key := range []string{"a", "b"} {
			wantTags(t, "invalidated", c, key, dogpile.Invalidated, "all")
		}
	})
}

// TestBornStaleWhereTheExpirationHasPassed: what is made of a stale value is served for no
// longer than what is not.
func TestBornStaleWhereTheExpirationHasPassed(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t)
				products := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, Runner: dogpile.Background, Prefix: "p:"}), nil)
				pages := dogpile.NewCache(newRegion(t, b, &dogpile.Options{Runner: dogpile.Background, Prefix: "q:"}), &dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration { return -time.Hour }})
				n := counting(10 * time.Second)
				page := func(ctx context.Context) (int, error) {
					v, err := products.GetOrCreate(ctx, "42", n.create)
					return 10 * v, err
				}
				_, err := products.GetOrCreate(bg, "42", n.create)
				wantErr(t, "the product", err, nil)
				pass(2 * time.Minute)
				v, err := pages.GetOrCreate(bg, "42", page)
				wantValue(t, "the page of a stale product", v, err, 10)
				later(time.Minute)
				v, err = pages.GetOrCreate(bg, "42", page)
				wantValue(t, "a page that nobody may be served", v, err, 20)
			})
		})
	}
}

// TestNoStaleCallerIsGivenNothingMadeOfStaleValues:
//
//  1. A makes a page, and reads a stale product.  2. B calls for the page, and will have
//     nothing stale.  3. A's page is ready: it is none for B.
func TestNoStaleCallerIsGivenNothingMadeOfStaleValues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newMemory(t)
		products := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, Runner: dogpile.Background, Prefix: "p:"}), nil)
		pages := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Hour, Prefix: "q:"}), nil)
		n := counting(10 * time.Second)
		page := func(ctx context.Context) (int, error) {
			v, err := products.GetOrCreate(ctx, "42", n.create)
			if err == nil {
				err = wait(ctx, time.Second)
			}
			return 10 * v, err
		}
		_, err := products.GetOrCreate(bg, "42", n.create)
		wantErr(t, "the product", err, nil)
		pass(2 * time.Minute)
		a := start(get(pages, "42", page))
		later(time.Millisecond)
		e, err := pages.GetOrCreateEntry(dogpile.NoStale(bg), "42", page)
		<-a
		if e.State != dogpile.Fresh || e.Value != 20 || err != nil {
			t.Errorf("NoStale: %+v, %v", e, err)
		}
	})
}

// opaque is a proxy that does not show what it wraps, and tells nothing of it.
type opaque struct{ driver.Backend }

// unlike is an opaque that cannot be compared.
type unlike struct {
	driver.Backend
	_ []int
}

// TestTagsAreInheritedThroughOpaqueProxies: each region has one of its own over one backend.
func TestTagsAreInheritedThroughOpaqueProxies(t *testing.T) {
	for name, wrap := range map[string]func(driver.Backend) driver.Backend{
		"pointers": func(b driver.Backend) driver.Backend { return &opaque{b} },
		"values":   func(b driver.Backend) driver.Backend { return unlike{Backend: b} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, elsewhere := newFake(t, like{bytes: true}), newFake(t, like{bytes: true})
				region := func(b driver.Backend, prefix string) *dogpile.Cache[int] {
					return dogpile.NewCache[int](newRegion(t, wrap(b), &dogpile.Options{Prefix: prefix}), nil)
				}
				products, others, pages := region(b, "p:"), region(elsewhere, "p:"), region(b, "q:")
				v, err := pages.GetOrCreate(bg, "42", func(ctx context.Context) (int, error) {
					if _, err := others.GetOrCreate(ctx, "42", tagged(constant(1), "other")); err != nil {
						return 0, err
					}
					return products.GetOrCreate(ctx, "42", tagged(constant(1), "product"))
				})
				wantValue(t, "the page", v, err, 1)
				wantTags(t, "the page", pages, "42", dogpile.Fresh, "product")
				wantErr(t, "InvalidateTags", newRegion(t, b, nil).InvalidateTags(bg, dogpile.Hard, "product"), nil)
				wantTags(t, "the page", pages, "42", dogpile.Invalidated, "product")
			})
		})
	}
}

// TestATokenThatWasReadWithALeaseIsNotTrusted:
//
//  1. A finds no token. B makes T, and stores an entry under it.  2. A is given the lease on the
//     token, with which T is read.  3. A invalidates, and the call of that returns.
//  4. A takes note of T.  5. A reads, within the lag: T must not be trusted.
func TestATokenThatWasReadWithALeaseIsNotTrusted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true, reads: true})
		regions, caches := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Hour, InvalidationLag: time.Minute})
		locks, busy := 0, false
		b.slow = func(_ context.Context, op string) error {
			if op != "lock" || busy {
				return nil
			}
			busy = true
			switch locks++; locks {
			case 1: // before the lease
				wantErr(t, "B's Set", caches[1].Set(bg, "k", 1), nil)
			case 2:
				wantErr(t, "Invalidate", regions[0].Invalidate(bg, dogpile.Hard), nil)
				pass(1)
			}
			busy = false
			return nil
		}
		wantErr(t, "Set", caches[0].Set(bg, "other", 2), nil)
		b.slow = nil
		if locks < 2 {
			t.Fatalf("%d leases were asked for", locks)
		}
		wantTags(t, "A", caches[0], "k", dogpile.Invalidated)
	})
}
