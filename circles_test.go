package dogpile_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// TestCreatorsThatWaitForEachOther: A needs B, and B needs A. At once one of the creators
// is told so, by an error that names both keys; nobody waits for a time-out.
func TestCreatorsThatWaitForEachOther(t *testing.T) {
	type ask = func(ctx context.Context, c *dogpile.Cache[int], key string, create func(context.Context) (int, error)) error
	single := func(ctx context.Context, c *dogpile.Cache[int], key string, create func(context.Context) (int, error)) error {
		_, err := c.GetOrCreate(ctx, key, create)
		return err
	}
	refresh := func(ctx context.Context, c *dogpile.Cache[int], key string, create func(context.Context) (int, error)) error {
		_, err := c.Refresh(ctx, key, create)
		return err
	}
	multi := func(ctx context.Context, c *dogpile.Cache[int], key string, create func(context.Context) (int, error)) error {
		_, err := c.GetOrCreateMulti(ctx, []string{key, "with " + key}, func(ctx context.Context, _ []string) (map[string]int, error) {
			v, err := create(ctx)
			return map[string]int{key: v, "with " + key: v}, err
		})
		return err
	}
	asks := map[string]ask{"GetOrCreate": single, "Refresh": refresh, "GetOrCreateMulti": multi}
	never := &dogpile.Options{CreateTimeout: dogpile.Never, Prefix: "p:"}
	for name, row := range map[string]struct {
		o     *dogpile.Options
		inner *dogpile.Options // of a second region over the same prefix, for what creators ask; nil: there is none
		like  like
	}{
		"one region":                         {never, nil, like{}},
		"a second region over the prefix":    {never, never, like{}},
		"a second region, both with a proxy": {withProxy(never), withProxy(never), like{}},
		"a backend that keeps bytes":         {never, never, like{bytes: true}},
		"a backend without leases":           {never, nil, like{lockless: true}},
		"as many creators as there are slots": {
			&dogpile.Options{CreateTimeout: dogpile.Never, Prefix: "p:", MaxCreators: 2}, nil, like{},
		},
	} {
		for first, outer := range asks {
			for second, inner := range asks {
				t.Run(name+"/"+first+" and "+second, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						b := newFake(t, row.like)
						r := newRegion(t, b, row.o)
						c := dogpile.NewCache[int](r, nil)
						c2 := c
						if row.inner != nil {
							c2 = dogpile.NewCache[int](newRegion(t, b, row.inner), nil)
						}
						var both, done sync.WaitGroup
						both.Add(2)
						began := time.Now()
						errs := make([]error, 2)
						for i, key := range []string{"a", "b"} {
							done.Go(func() {
								errs[i] = outer(bg, c, key, func(ctx context.Context) (int, error) {
									both.Done()
									both.Wait()
									return 1, inner(ctx, c2, []string{"b", "a"}[i], constant(1).create)
								})
							})
						}
						done.Wait()
						if took := time.Since(began); took > 10*time.Millisecond {
							t.Errorf("took %v", took)
						}
						told := errors.Join(errs...)
						wantErr(t, "one of the two", told, dogpile.ErrRecursive)
						var op *dogpile.OpError
						if text := told.Error(); !errors.As(told, &op) || !strings.Contains(text, `a", test "`) || !strings.Contains(text, `b", test "`) {
							t.Errorf("error %q", told)
						}
						wantFree(t, r, "a", "b")
						wantErr(t, "the next call", single(bg, c, "a", constant(1).create), nil)
					})
				})
			}
		}
	}
}

func withProxy(o *dogpile.Options) *dogpile.Options {
	with := *o
	with.Proxies = []func(driver.Backend) driver.Backend{func(b driver.Backend) driver.Backend { return driver.Proxy{Backend: b} }}
	return &with
}

// TestOwnKeyInASecondRegion over the same prefix: the creator would wait for its own lease.
func TestOwnKeyInASecondRegion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		rs, cs := processes[int](t, 2, b, &dogpile.Options{CreateTimeout: dogpile.Never})
		began, inner := time.Now(), constant(1)
		_, err := cs[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) { return cs[1].GetOrCreate(ctx, "k", inner.create) })
		wantErr(t, "the creator", err, dogpile.ErrRecursive)
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Second)
		wantFree(t, rs[0], "k")
		wantCalls(t, inner, 0)
	})
}

// TestSameKeyInAnotherBackend is another key: a region before another one, with the keys of
// that, does not wait for itself while another process creates there.
func TestSameKeyInAnotherBackend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		shared := newFake(t, like{})
		near := dogpile.NewCache[int](newRegion(t, newFake(t, like{unshared: true}), nil), nil)
		_, cs := processes[int](t, 2, shared, nil)
		gate := make(chan struct{})
		go cs[1].GetOrCreate(bg, "k", func(context.Context) (int, error) { <-gate; return 7, nil })
		time.Sleep(time.Second)
		time.AfterFunc(time.Second, func() { close(gate) })
		v, err := near.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) { return cs[0].GetOrCreate(ctx, "k", constant(1).create) })
		wantValue(t, "through both", v, err, 7)
	})
}

// TestRunnerInsideACreator: a Runner that runs its tasks itself has a creator wait for a
// creation that asks for the creator's own key.
func TestRunnerInsideACreator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &dogpile.Options{Expiration: time.Minute, StaleFor: dogpile.Never, CreateTimeout: dogpile.Never, Runner: func(task func()) { task() }}
		var unseen []error
		o.Hooks = &dogpile.Hooks{Error: func(_ context.Context, e dogpile.Event) { unseen = append(unseen, e.Err) }}
		c := dogpile.NewCache[int](newRegion(t, newMemory(t), o), nil)
		wantErr(t, "Set", c.Set(bg, "b", 1), nil)
		time.Sleep(time.Hour)
		began := time.Now()
		v, err := c.GetOrCreate(bg, "a", func(ctx context.Context) (int, error) {
			return c.GetOrCreate(ctx, "b", func(ctx context.Context) (int, error) { return c.GetOrCreate(ctx, "a", constant(2).create) })
		})
		wantValue(t, "a, made of the stale b", v, err, 1)
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		if len(unseen) != 1 || !errors.Is(unseen[0], dogpile.ErrRecursive) {
			t.Errorf("the creation of b failed with %v", unseen)
		}
	})
}

// TestCirclesThroughRefreshAhead: a renewal in the background is waited for by nobody. A
// Runner that runs it itself makes its caller wait.
func TestCirclesThroughRefreshAhead(t *testing.T) {
	for name, runner := range map[string]func(func()){"none": nil, "background": dogpile.Background, "sync": func(f func()) { f() }} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newMemory(t), &dogpile.Options{Expiration: 10 * time.Second, RefreshAhead: 0.5, CreateTimeout: dogpile.Never, Runner: runner})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "Set", c.Set(bg, "b", 1), nil)
				pass(6 * time.Second)
				var a, bb func(ctx context.Context) (int, error)
				var inner error
				bb = func(ctx context.Context) (int, error) { _, inner = c.GetOrCreate(ctx, "a", a); return 2, nil }
				a = func(ctx context.Context) (int, error) {
					v, err := c.GetOrCreate(ctx, "b", bb)
					return v, err
				}
				began := time.Now()
				v, err := c.GetOrCreate(bg, "a", a)
				wantValue(t, "a", v, err, 1)
				synctest.Wait()
				if circle := name == "sync"; circle != errors.Is(inner, dogpile.ErrRecursive) || time.Since(began) > time.Second {
					t.Errorf("b's creator got %v, after %v", inner, time.Since(began))
				}
				// Now both are to be renewed.
				wantErr(t, "Set", c.Set(bg, "a", 1), nil)
				wantErr(t, "Set", c.Set(bg, "b", 1), nil)
				pass(6 * time.Second)
				ra, rb := start(get(c, "a", a)), start(get(c, "b", bb))
				x, y := <-ra, <-rb
				if x.err != nil || y.err != nil {
					t.Error(x, y)
				}
			})
		})
	}
}
