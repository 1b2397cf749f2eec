package dogpile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

func TestExpireInAndPrevious(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, backend(t), &dogpile.Options{Expiration: time.Minute})
				c := dogpile.NewCache[int](r, nil)
				ask := func(expireIn time.Duration, v, wantPrev int, wantOK bool) {
					t.Helper()
					got, err := c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
						ctl := dogpile.Creation(ctx)
						if prev, ok := dogpile.Previous[int](ctx); prev != wantPrev || ok != wantOK {
							t.Errorf("Previous: %v, %v; want %v, %v", prev, ok, wantPrev, wantOK)
						}
						ctl.ExpireIn(expireIn)
						return v, nil
					})
					wantValue(t, "GetOrCreate", got, err, v)
				}
				ask(time.Second, 1, 0, false)
				pass(1500 * time.Millisecond) // for as long again it is stale
				ask(time.Hour, 2, 1, true)
				pass(time.Hour - time.Second)
				other := c.With(dogpile.CacheOptions[int]{Expiration: time.Second})
				v, _, err := other.Get(bg, "k")
				wantValue(t, "for all readers", v, err, 2)
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil)
				ask(dogpile.Never, 3, 2, true)
				pass(1000 * time.Hour)
				v, _, err = c.Get(bg, "k")
				wantValue(t, "never expires", v, err, 3)
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
				ask(time.Second, 4, 0, false)
			})
		})
	}
}

func TestControlOutsideOfACreation(t *testing.T) {
	t.Parallel()
	ctl := dogpile.Creation(bg)
	ctl.ExpireIn(time.Second)
	ctl.StaleFor(time.Second)
	ctl.NoStore()
	if prev, ok := dogpile.Previous[int](bg); ctl != nil || prev != 0 || ok {
		t.Errorf("%v: %v, %v", ctl, prev, ok)
	}
}

// Nested creators have a control each.
func TestControlIsThatOfTheInnermostCreation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		_, err := c.GetOrCreate(bg, "outer", func(ctx context.Context) (int, error) {
			_, err := c.GetOrCreate(ctx, "inner", func(ctx context.Context) (int, error) {
				dogpile.Creation(ctx).NoStore()
				return 1, nil
			})
			return 2, err
		})
		wantErr(t, "GetOrCreate", err, nil)
		if _, ok, _ := c.Get(bg, "inner"); ok {
			t.Error("inner was stored")
		}
		if _, ok, _ := c.Get(bg, "outer"); !ok {
			t.Error("outer was not stored")
		}
	})
}

func TestControlIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	c := dogpile.NewCache[int](newRegion(t, newMemory(t), nil), nil)
	_, err := c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
		done := make(chan bool)
		for range 4 {
			go func() {
				dogpile.Creation(ctx).NoStore()
				dogpile.Creation(ctx).ExpireIn(time.Second)
				dogpile.Previous[int](ctx)
				done <- true
			}()
		}
		for range 4 {
			<-done
		}
		return 1, nil
	})
	wantErr(t, "GetOrCreate", err, nil)
}

// In a batch the control is that of all its keys; ShouldCache is asked for each.
func TestControlOfABatch(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := dogpile.NewCache(newRegion(t, backend(t), nil), &dogpile.CacheOptions[int]{ShouldCache: func(v int) bool { return v != 2 }})
				ask := func(control func(*dogpile.Control)) map[string]int {
					t.Helper()
					wantErr(t, "Delete", c.Delete(bg, "a", "bb", "ccc"), nil)
					got, err := c.GetOrCreateMulti(bg, []string{"a", "bb", "ccc"}, func(ctx context.Context, keys []string) (map[string]int, error) {
						ctl := dogpile.Creation(ctx)
						if prev, ok := dogpile.Previous[int](ctx); ok {
							t.Error("Previous in a batch:", prev)
						}
						control(ctl)
						return many(0, new([][]string))(ctx, keys)
					})
					wantMap(t, "GetOrCreateMulti", got, err, map[string]int{"a": 1, "bb": 2, "ccc": 3})
					stored, err := c.GetMulti(bg, []string{"a", "bb", "ccc"})
					wantErr(t, "GetMulti", err, nil)
					return stored
				}
				wantMap(t, "ShouldCache", ask(func(*dogpile.Control) {}), nil, map[string]int{"a": 1, "ccc": 3})
				wantMap(t, "NoStore", ask((*dogpile.Control).NoStore), nil, map[string]int{})
				wantMap(t, "ExpireIn", ask(func(ctl *dogpile.Control) { ctl.ExpireIn(time.Minute) }), nil, map[string]int{"a": 1, "ccc": 3})
				pass(61 * time.Second)
				left, err := c.GetMulti(bg, []string{"a", "ccc"})
				wantMap(t, "a minute later", left, err, map[string]int{})
			})
		})
	}
}

// A creator may do with its own key what it likes, but for asking who creates
// it. What it does last is overtaken by nothing that it has begun.
func TestCreatorMayTouchItsOwnKey(t *testing.T) {
	for name, row := range map[string]struct {
		do   func(ctx context.Context, r *dogpile.Region, c *dogpile.Cache[int]) error
		want int // in the cache afterwards; 0: nothing
	}{
		"Get": {func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int]) error {
			_, _, err := c.Get(ctx, "k")
			return err
		}, 1},
		"GetMulti": {func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int]) error {
			_, err := c.GetMulti(ctx, []string{"k"})
			return err
		}, 1},
		"Peek": {func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int]) error {
			_, _, err := c.Peek(ctx, "k")
			return err
		}, 1},
		"Set":    {func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int]) error { return c.Set(ctx, "k", 5) }, 5},
		"Delete": {func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int]) error { return c.Delete(ctx, "k") }, 0},
		"Hard": {func(ctx context.Context, r *dogpile.Region, _ *dogpile.Cache[int]) error {
			return r.Invalidate(ctx, dogpile.Hard)
		}, 0},
		"Locked": {func(ctx context.Context, r *dogpile.Region, _ *dogpile.Cache[int]) error {
			locked, err := r.Locked(ctx, "k")
			if !locked {
				err = errors.Join(err, errors.New("not locked"))
			}
			return err
		}, 1},
	} {
		for kind, backend := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, backend(t), nil)
					c := dogpile.NewCache[int](r, nil)
					got := <-start(get(c, "k", func(ctx context.Context) (int, error) { return 1, row.do(ctx, r, c) }))
					if wantValue(t, "GetOrCreate", got.v, got.err, 1); got.took > 0 {
						t.Errorf("took %v", got.took)
					}
					v, ok, err := c.Get(bg, "k")
					if wantValue(t, "afterwards", v, err, row.want); ok != (row.want != 0) {
						t.Errorf("afterwards it is there: %v", ok)
					}
					wantFree(t, r, "k")
				})
			})
		}
	}
}

func TestRefresh(t *testing.T) {
	for name, l := range map[string]like{"local": {unshared: true}, "shared": {}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, cs := processes[int](t, 2, newFake(t, l), &dogpile.Options{Expiration: time.Hour, StaleIfError: time.Hour})
				c := cs[0]
				refresh := func(o *creator[int]) func() (int, error) {
					return func() (int, error) { return c.Refresh(bg, "k", o.create) }
				}
				first := start(get(c, "k", counting(time.Second).create))
				o := &creator[int]{takes: time.Second, value: func(n int64) int { return int(100 + n) }}
				during := crowd(5, refresh(o)) // wait for it, and share one creation
				r := <-first
				wantValue(t, "GetOrCreate", r.v, r.err, 1)
				for _, call := range during {
					r := <-call
					if wantValue(t, "Refresh", r.v, r.err, 101); r.took != 2*time.Second {
						t.Errorf("took %v, want a second for the other creation and one for its own", r.took)
					}
				}
				v, _, err := c.Get(bg, "k")
				wantValue(t, "stored", v, err, 101)

				running := start(refresh(o))
				v, err = c.GetOrCreate(bg, "k", constant(9).create)
				wantValue(t, "fresh meanwhile", v, err, 101)
				late := start(refresh(o)) // that one had begun
				r, s := <-running, <-late
				wantValue(t, "Refresh", r.v, r.err, 102)
				wantValue(t, "late Refresh", s.v, s.err, 103)

				_, err = c.Refresh(bg, "k", (&creator[int]{err: errOrigin}).create)
				wantErr(t, "Refresh that fails", err, errOrigin)
				v, _, err = c.Get(bg, "k")
				wantValue(t, "stays as it is", v, err, 103)
				_, err = c.Refresh(bg, "k", func(context.Context) (int, error) { panic("boom") })
				if err == nil || !strings.Contains(err.Error(), "boom") {
					t.Error("Refresh that panics:", err)
				}
				ctx, cancel := context.WithTimeout(bg, time.Millisecond)
				defer cancel()
				_, err = c.Refresh(ctx, "k", o.create)
				wantErr(t, "Refresh with a deadline", err, context.DeadlineExceeded)
				later(time.Second)
				v, _, err = c.Get(bg, "k")
				wantValue(t, "went on without its caller", v, err, 104)
			})
		})
	}
}

// A caller whose context has ended still gets what is there.
func TestContextThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute})
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		ctx, cancel := context.WithCancel(bg)
		cancel()
		v, err := c.GetOrCreate(ctx, "k", constant(2).create)
		wantValue(t, "fresh", v, err, 1)
		o := constant(3)
		_, err = c.GetOrCreate(ctx, "missing", o.create)
		wantErr(t, "missing", err, context.Canceled)
		_, err = c.Refresh(ctx, "missing", o.create)
		wantErr(t, "Refresh", err, context.Canceled)
		_, err = c.GetOrCreateMulti(ctx, []string{"k", "missing"}, func(ctx context.Context, _ []string) (map[string]int, error) {
			v, err := o.create(ctx)
			return map[string]int{"missing": v}, err
		})
		wantErr(t, "GetOrCreateMulti", err, context.Canceled)
		wantCalls(t, o, 0)
	})
}
