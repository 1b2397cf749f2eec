package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
)

// client is a connection to a backend that is not known to lead to the same place as
// another: what a program has that opens one server twice.
type client struct{ b *fake }

func (c *client) Get(ctx context.Context, items []driver.Item) error { return c.b.Get(ctx, items) }
func (c *client) Set(ctx context.Context, items []driver.Item) error { return c.b.Set(ctx, items) }
func (c *client) Delete(ctx context.Context, keys []string) error    { return c.b.Delete(ctx, keys) }
func (c *client) Caps() driver.Caps                                  { return c.b.Caps() }
func (c *client) Wait(ctx context.Context, key string) error         { return c.b.Wait(ctx, key) }
func (c *client) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	return c.b.TryLock(ctx, key, ttl)
}
func (c *client) Locked(ctx context.Context, key string) (bool, error) { return c.b.Locked(ctx, key) }

// readsAll returns a creator of what it reads in other caches, under its own context.
func readsAll(reads ...func(ctx context.Context) (int, error)) func(context.Context) (int, error) {
	return func(ctx context.Context) (sum int, err error) {
		for _, read := range reads {
			v, e := read(ctx)
			sum, err = sum+v, errors.Join(err, e)
		}
		return sum, err
	}
}

// TestWhatIsInherited: by every way of reading, and where the value comes from a creation.
func TestWhatIsInherited(t *testing.T) {
	type reads = func(c *dogpile.Cache[int]) func(ctx context.Context) (int, error)
	product := tagged(constant(1), "t:k")
	batch := func(ctx context.Context, keys []string) (map[string]int, error) {
		for _, key := range keys {
			dogpile.Creation(ctx).Key(key).Tag(ctx, "t:"+key)
		}
		return map[string]int{"k": 1}, nil
	}
	for name, read := range map[string]reads{
		"GetOrCreate": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) { return c.GetOrCreate(ctx, "k", product) }
		},
		"GetOrCreateEntry": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				e, err := c.GetOrCreateEntry(ctx, "k", product)
				return e.Value, err
			}
		},
		"Get": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				_, err := c.GetOrCreate(bg, "k", product)
				v, ok, e := c.Get(ctx, "k")
				if !ok {
					e = errors.New("nothing was read")
				}
				return v, errors.Join(err, e)
			}
		},
		"Peek": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				_, err := c.GetOrCreate(bg, "k", product)
				e, _, err2 := c.Peek(ctx, "k")
				return e.Value, errors.Join(err, err2)
			}
		},
		"GetMulti": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				_, err := c.GetOrCreate(bg, "k", product)
				m, e := c.GetMulti(ctx, []string{"absent", "k"})
				return m["k"], errors.Join(err, e)
			}
		},
		"GetOrCreateMulti": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				m, err := c.GetOrCreateMulti(ctx, []string{"k"}, batch)
				return m["k"], err
			}
		},
		"Refresh": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) { return c.Refresh(ctx, "k", product) }
		},
		"under Bypass": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				return c.GetOrCreate(dogpile.Bypass(ctx), "k", product)
			}
		},
		"under Renew": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) { return c.GetOrCreate(dogpile.Renew(ctx), "k", product) }
		},
		"in goroutines": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() { _, _ = c.GetOrCreate(ctx, "k", product) })
				}
				all.Wait()
				return 1, nil
			}
		},
		"an answer that there is none": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			c = c.With(dogpile.CacheOptions[int]{NotFound: errOrigin, NotFoundFor: time.Hour})
			return func(ctx context.Context) (int, error) {
				_, err := c.GetOrCreate(ctx, "none", func(ctx context.Context) (int, error) {
					dogpile.Creation(ctx).Tag(ctx, "t:k")
					return 0, errOrigin
				})
				if err != errOrigin {
					return 0, errors.New("there is an answer")
				}
				return 1, nil
			}
		},
		"a function": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			f := dogpile.NewFunc(newRegionOf(c), "f", func(ctx context.Context, _ int) (int, error) { return product(ctx) }, nil)
			return func(ctx context.Context) (int, error) { return f.Call(ctx, 42) }
		},
		"a function of many": func(c *dogpile.Cache[int]) func(context.Context) (int, error) {
			var f *dogpile.MultiFunc[string, int]
			f = dogpile.NewMultiFunc(newRegionOf(c), "g", func(ctx context.Context, keys []string) (map[string]int, error) {
				key, err := f.Key("k")
				dogpile.Creation(ctx).Key(key).Tag(ctx, "t:k")
				return map[string]int{"k": 1}, err
			}, nil)
			return func(ctx context.Context) (int, error) { m, err := f.Call(ctx, "k"); return m["k"], err }
		},
	} {
		for kind, open := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					regions, caches := processes[int](t, 2, open(t), &dogpile.Options{Expiration: time.Hour})
					regionOf.Store(caches[0], regions[0])
					defer regionOf.Delete(caches[0])
					n := 0
					read := read(caches[0])
					create := func(ctx context.Context) (int, error) { n++; return readsAll(read)(ctx) }
					for i := range 2 { // created, and then a hit, in the inner cache
						v, err := caches[0].GetOrCreate(bg, "outer", create)
						wantValue(t, "the outer value", v, err, 1)
						wantTags(t, "the outer value", caches[1], "outer", dogpile.Fresh, "t:k")
						if i == 0 {
							wantErr(t, "Delete", caches[0].Delete(bg, "outer"), nil)
						}
					}
					wantErr(t, "InvalidateTags", regions[1].InvalidateTags(bg, dogpile.Hard, "t:k"), nil)
					v, err := caches[0].GetOrCreate(bg, "outer", create)
					wantValue(t, "the outer value anew", v, err, 1)
					if n != 3 {
						t.Errorf("%d creations", n)
					}
				})
			})
		}
	}
}

// regionOf tells the region of a cache of a test.
var regionOf sync.Map

func newRegionOf(c *dogpile.Cache[int]) *dogpile.Region {
	r, _ := regionOf.Load(c)
	return r.(*dogpile.Region)
}

// TestEachKeyOfABatchCarriesItsOwn: and what the creator has read of other caches, all of
// them carry.
func TestEachKeyOfABatchCarriesItsOwn(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := open(t)
				r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour})
				c := dogpile.NewCache[int](r, nil)
				known := c.With(dogpile.CacheOptions[int]{Tags: byKey})
				n := 0
				create := func(ctx context.Context, keys []string) (map[string]int, error) {
					n++
					_, err := c.GetOrCreate(ctx, "inner", tagged(constant(1), "inner"))
					m := make(map[string]int)
					for _, key := range keys {
						dogpile.Creation(ctx).Key(key).Tag(ctx, "own:"+key)
						m[key] = n
					}
					return m, err
				}
				keys := []string{"a", "b", "c"}
				_, err := known.GetOrCreateMulti(bg, keys, create)
				wantErr(t, "GetOrCreateMulti", err, nil)
				for _, key := range keys {
					wantTags(t, "created", c, key, dogpile.Fresh, "t:"+key, "inner", "own:"+key)
				}
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Soft, "t:a"), nil)
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Hard, "own:b"), nil)
				m, err := known.GetMulti(bg, keys)
				if fmt.Sprint(m) != "map[c:1]" || err != nil {
					t.Errorf("GetMulti = %v, %v", m, err)
				}
				m, err = known.GetOrCreateMulti(bg, keys, create)
				if fmt.Sprint(m) != "map[a:2 b:2 c:1]" || err != nil {
					t.Errorf("GetOrCreateMulti = %v, %v", m, err)
				}
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Hard, "inner"), nil)
				if m, err = known.GetMulti(bg, keys); len(m) != 0 || err != nil {
					t.Errorf("GetMulti = %v, %v", m, err)
				}
			})
		})
	}
}

// TestSameServerOpenedTwice: the tags go from one region to the other, and between two
// servers they do not.
func TestSameServerOpenedTwice(t *testing.T) {
	for _, lag := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprint("lag ", lag), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				server, another := newFake(t, like{bytes: true}), newFake(t, like{bytes: true})
				o := &dogpile.Options{Expiration: time.Hour, InvalidationLag: lag}
				products := dogpile.NewCache[int](newRegion(t, &client{server}, o), nil)
				product := func(ctx context.Context) (int, error) {
					return products.GetOrCreate(ctx, "42", tagged(constant(1), "product:42"))
				}
				same := dogpile.NewCache[int](newRegion(t, &client{server}, &dogpile.Options{Expiration: time.Hour, Prefix: "pages:"}), nil)
				other := dogpile.NewCache[int](newRegion(t, &client{another}, o), nil)
				local := dogpile.NewCache[int](newRegion(t, newMemory(t), nil), nil)
				scope := dogpile.NewCache[int](newRegion(t, &client{server}, &dogpile.Options{TagScope: "b", Prefix: "b:"}), nil)
				for range 3 {
					for _, c := range []*dogpile.Cache[int]{same, other, local, scope} {
						wantErr(t, "Delete", c.Delete(bg, "page"), nil)
						v, err := c.GetOrCreate(bg, "page", product)
						wantValue(t, "the page", v, err, 1)
					}
					wantTags(t, "the same server", same, "page", dogpile.Fresh, "product:42")
					wantTags(t, "another server", other, "page", dogpile.Fresh)
					wantTags(t, "memory", local, "page", dogpile.Fresh)
					wantTags(t, "another scope", scope, "page", dogpile.Fresh)
					wantErr(t, "InvalidateTags", newRegion(t, &client{server}, nil).InvalidateTags(bg, dogpile.Hard, "product:42"), nil)
					wantTags(t, "the same server", same, "page", dogpile.Invalidated, "product:42")
					pass(2 * lag)
				}
			})
		})
	}
}

// TestInvalidatedBetweenTwoReadings: what is made of both is invalid, whichever is older.
func TestInvalidatedBetweenTwoReadings(t *testing.T) {
	for _, order := range []string{"old first", "new first"} {
		t.Run(order, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour})
				c := dogpile.NewCache[int](r, nil)
				read := func(ctx context.Context) (int, error) { return c.GetOrCreate(ctx, "k", tagged(constant(1), "t")) }
				peek := func(ctx context.Context) (int, error) { e, _, err := c.Peek(ctx, "old"); return e.Value, err }
				_, err := c.GetOrCreate(bg, "old", tagged(constant(1), "t"))
				wantErr(t, "old", err, nil)
				invalidate := func(ctx context.Context) (int, error) { return 0, r.InvalidateTags(ctx, dogpile.Soft, "t") }
				parts := []func(context.Context) (int, error){peek, invalidate, read}
				if order == "new first" {
					parts = []func(context.Context) (int, error){invalidate, read, peek}
				}
				_, err = c.GetOrCreate(bg, "outer", readsAll(parts...))
				wantErr(t, "outer", err, nil)
				wantTags(t, "made of both", c, "outer", dogpile.Stale, "t")
			})
		})
	}
}

// TestSetInsideACreation: what it stores carries what its creator has read.
func TestSetInsideACreation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newFake(t, like{bytes: true}), &dogpile.Options{Expiration: time.Hour})
		c := dogpile.NewCache[int](r, nil)
		_, err := c.GetOrCreate(bg, "outer", func(ctx context.Context) (int, error) {
			v, err := c.GetOrCreate(ctx, "inner", tagged(constant(1), "t"))
			return v, errors.Join(err, c.With(dogpile.CacheOptions[int]{Tags: byKey}).Set(ctx, "other", v))
		})
		wantErr(t, "GetOrCreate", err, nil)
		wantTags(t, "set inside", c, "other", dogpile.Fresh, "t:other", "t")
	})
}

// TestTagsAreKeptByRenewals: ahead of the expiration, by a Runner, by Refresh: the value
// that takes the place of another carries what its own creator has said.
func TestTagsAreKeptByRenewals(t *testing.T) {
	for name, renew := range map[string]func(c *dogpile.Cache[int], create func(context.Context) (int, error)) (int, error){
		"ahead": func(c *dogpile.Cache[int], create func(context.Context) (int, error)) (int, error) {
			pass(50 * time.Minute)
			return c.GetOrCreate(bg, "k", create)
		},
		"by the Runner": func(c *dogpile.Cache[int], create func(context.Context) (int, error)) (int, error) {
			pass(70 * time.Minute)
			return c.GetOrCreate(bg, "k", create)
		},
		"Refresh": func(c *dogpile.Cache[int], create func(context.Context) (int, error)) (int, error) {
			return c.Refresh(bg, "k", create)
		},
	} {
		for kind, make := range tagKinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, like{bytes: true})
					r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour, RefreshAhead: .5, Runner: dogpile.Background})
					n := counting(0)
					c, create := make(dogpile.NewCache[int](r, nil), n)
					_, err := c.GetOrCreate(bg, "k", create)
					wantErr(t, "created", err, nil)
					// 1. A renewal begins.  2. The tag is invalidated.  3. It ends.
					hooked := func(ctx context.Context) (int, error) {
						v, err := create(ctx)
						return v, errors.Join(err, r.InvalidateTags(ctx, dogpile.Hard, "t:k"))
					}
					_, err = renew(c, hooked)
					wantErr(t, "renewed", err, nil)
					synctest.Wait()
					wantTags(t, "renewed from old data", c, "k", dogpile.Invalidated, "t:k")
					_, err = c.GetOrCreate(bg, "k", create)
					wantErr(t, "created anew", err, nil)
					_, err = renew(c, create)
					wantErr(t, "renewed", err, nil)
					synctest.Wait()
					wantTags(t, "renewed", c, "k", dogpile.Fresh, "t:k")
					wantCalls(t, n, 4)
				})
			})
		}
	}
}

// TestInvalidateTagsIsTriedAgain: until it is done this process takes what carries the tag
// for invalid, and serves nothing that is made in the meantime from its cache.
func TestInvalidateTagsIsTriedAgain(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		for _, lag := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprint(mode, " lag ", lag), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b, rec := newFake(t, like{bytes: true}), new(recorder)
					r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour, RetryDeletes: 10, InvalidationLag: lag, Hooks: rec.hooks()})
					c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Tags: byKey})
					n := counting(0)
					_, err := c.GetOrCreate(bg, "k", n.create)
					wantErr(t, "created", err, nil)
					wantErr(t, "another", c.Set(bg, "other", 1), nil)
					b.in(failing("delete"))
					err = r.InvalidateTags(bg, mode, "t:k", "t:none")
					wantErr(t, "InvalidateTags", err, dogpile.ErrPending)
					wantErr(t, "InvalidateTags", err, dogpile.ErrBackend)
					worst := dogpile.Invalidated
					if mode == dogpile.Soft {
						worst = dogpile.Stale
					}
					wantTags(t, "pending", c, "k", worst, "t:k")
					wantTags(t, "another", c, "other", dogpile.Fresh, "t:other")
					v, err := c.GetOrCreate(bg, "k", n.create)
					wantValue(t, "meanwhile", v, err, 2)
					wantTags(t, "made meanwhile", c, "k", worst, "t:k")
					if got := r.Stats().Pending; got != 2 {
						t.Errorf("%d pending", got)
					}
					rec.take("invalidate")
					b.in(nil)
					later(5 * time.Second)
					done := rec.take("invalidate")
					if len(done) != 2 || done[0].Err != nil || !slices.Equal(done[0].Keys, []string{"t:k"}) || r.Stats().Pending != 0 {
						t.Errorf("done: %+v, pending: %d", done, r.Stats().Pending)
					}
					wantTags(t, "what was made meanwhile", c, "k", worst, "t:k")
					_, err = c.GetOrCreate(bg, "k", n.create)
					wantErr(t, "afterwards", err, nil)
					wantTags(t, "afterwards", c, "k", dogpile.Fresh, "t:k")
				})
			})
		}
	}
}

// TestNoStaleTakesNothingMadeOfStale: 1. A's creator reads a stale product. 2. B, who takes
// nothing stale, joins A. 3. A's page is stale from the beginning: B starts over, and reads
// the product anew.
func TestNoStaleTakesNothingMadeOfStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour, Runner: dogpile.Background})
		products := dogpile.NewCache[int](r, nil)
		n := counting(time.Minute)
		n.takes = 3 * time.Second
		product := tagged(n, "t")
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Hour, Prefix: "pages:"}), nil)
		page := func(ctx context.Context) (int, error) {
			v, err := products.GetOrCreate(ctx, "42", product)
			pass(time.Second)
			return v, err
		}
		_, err := products.GetOrCreate(bg, "42", product)
		wantErr(t, "the product", err, nil)
		wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Soft, "t"), nil)
		a := start(get(c, "page", page))
		e, err := c.GetOrCreateEntry(dogpile.NoStale(bg), "page", page)
		if e.Value != 2 || e.State != dogpile.Fresh || err != nil {
			t.Errorf("who takes nothing stale got %+v, %v", e, err)
		}
		first := <-a
		wantValue(t, "who does", first.v, first.err, 1)
		later(time.Minute)
	})
}

// TestTagAfterTheLeaseIsLost: nothing is stored, and nobody's backend has failed.
func TestTagAfterTheLeaseIsLost(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprint("strict ", strict), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, rec := newFake(t, like{bytes: true}), new(recorder)
				regions, caches := processes[int](t, 2, b, &dogpile.Options{Strict: strict, Hooks: rec.hooks(), LockTTL: time.Second})
				v, err := caches[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
					wantErr(t, "Delete", regions[1].Delete(bg, "k"), nil)
					<-ctx.Done()
					b.in(func(ctx context.Context, _ string, _ []string) error { return ctx.Err() })
					dogpile.Creation(ctx).Tag(ctx, "t")
					b.in(nil)
					return 1, nil
				})
				wantValue(t, "the creator's caller", v, err, 1)
				if told := rec.take("error"); len(told) > 0 {
					t.Errorf("Hooks.Error was told of %+v", told)
				}
				if got := b.stored(t, "test:k"); got != "" {
					t.Errorf("stored: %s", got)
				}
			})
		})
	}
}

// TestPeekAtWhatIsReplaced: a creator that looks at the old entry makes one that is valid.
func TestPeekAtWhatIsReplaced(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		for name, open := range kinds {
			t.Run(mode.String()+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, open(t), &dogpile.Options{Expiration: time.Hour})
					c, n := dogpile.NewCache[int](r, nil), counting(0)
					create := func(ctx context.Context) (int, error) {
						_, _, err := c.Peek(ctx, "k")
						wantErr(t, "Peek", err, nil)
						return tagged(n, "t")(ctx)
					}
					_, err := c.GetOrCreate(bg, "k", create)
					wantErr(t, "the first creation", err, nil)
					wantErr(t, "InvalidateTags", r.InvalidateTags(bg, mode, "t"), nil)
					for range 2 {
						v, err := c.GetOrCreate(bg, "k", create)
						wantValue(t, "after the invalidation", v, err, 2)
						wantTags(t, "after the invalidation", c, "k", dogpile.Fresh, "t")
					}
				})
			})
		}
	}
}

// place is a backend of values that cannot be compared.
type place struct {
	driver.Backend
	_ []byte
}

// TestInheritedOverBackendsThatCannotBeCompared: the tokens tell whether they are the same.
func TestInheritedOverBackendsThatCannotBeCompared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		cache := func(b driver.Backend, prefix string) *dogpile.Cache[int] {
			return dogpile.NewCache[int](newRegion(t, place{Backend: b}, &dogpile.Options{Expiration: time.Hour, Prefix: prefix}), nil)
		}
		product := cache(b, "a")
		page := func(ctx context.Context) (int, error) {
			return product.GetOrCreate(ctx, "k", tagged(constant(1), "t"))
		}
		same, another := cache(b, "b"), cache(newFake(t, like{bytes: true}), "c")
		for _, c := range []*dogpile.Cache[int]{same, another} {
			v, err := c.GetOrCreate(bg, "k", page)
			wantValue(t, "the page", v, err, 1)
		}
		wantTags(t, "over the same backend", same, "k", dogpile.Fresh, "t")
		wantTags(t, "over another one", another, "k", dogpile.Fresh)
	})
}

// TestCacheThatIsSwitchedOff: what a page is made of goes through a null backend.
func TestCacheThatIsSwitchedOff(t *testing.T) {
	for kind, make := range tagKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newFake(t, like{bytes: true})
			r := newRegion(t, b, &dogpile.Options{Prefix: "pages:"})
			pages := dogpile.NewCache[int](r, nil)
			off := dogpile.NewCache[int](newRegion(t, null.New(), nil), nil)
			products := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Prefix: "products:"}), nil)
			known, told := make(off, constant(1))
			card := func(ctx context.Context) (int, error) {
				return products.GetOrCreate(ctx, "k", tagged(constant(1), "product"))
			}
			page := readsAll(
				func(ctx context.Context) (int, error) { return off.GetOrCreate(ctx, "card", card) },
				func(ctx context.Context) (int, error) { return known.GetOrCreate(ctx, "k", told) },
			)
			for range 2 {
				v, err := pages.GetOrCreate(bg, "page", page)
				wantValue(t, "the page", v, err, 2)
				wantTags(t, "the page", pages, "page", dogpile.Fresh, "product", "t:k")
				wantErr(t, "Delete", pages.Delete(bg, "page"), nil)
			}
		})
	}
}

// TestTagsAreInheritedThroughWhatIsNotStored: a card that no cache keeps is between the
// product and the page.
func TestTagsAreInheritedThroughWhatIsNotStored(t *testing.T) {
	same := func(ctx context.Context) context.Context { return ctx }
	for name, kind := range map[string]struct {
		cards driver.Backend
		under func(context.Context) context.Context
	}{
		"null":                      {null.New(), same},
		"Bypass of another backend": {newMemory(t), dogpile.Bypass},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newMemory(t)
				region := func(b driver.Backend, prefix string) *dogpile.Cache[int] {
					return dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Prefix: prefix}), nil)
				}
				products, cards, pages := region(b, "p:"), region(kind.cards, "c:"), region(b, "q:")
				v, err := pages.GetOrCreate(bg, "42", func(ctx context.Context) (int, error) {
					return cards.GetOrCreate(kind.under(ctx), "42", func(ctx context.Context) (int, error) {
						v, err := products.GetOrCreate(ctx, "42", tagged(constant(1), "product"))
						if err == nil {
							err = pages.Set(ctx, "43", v)
						}
						return v, err
					})
				})
				wantValue(t, "the page", v, err, 1)
				wantTags(t, "the page", pages, "42", dogpile.Fresh, "product")
				if name == "null" { // under Bypass a Set stores nothing
					wantTags(t, "a page that was set", pages, "43", dogpile.Fresh, "product")
				}
			})
		})
	}
}
