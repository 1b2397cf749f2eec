package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// asked is a region with a cache, and a call of one of its forms.
type asked struct {
	r    *dogpile.Region
	c    *dogpile.Cache[int]
	one  *creator[int]
	call func(context.Context) (int, error)
}

// calls are the forms in which a cache is asked for the value of "k", which creators make.
// f is a function whose results are in the same cache.
func calls(r *dogpile.Region, c *dogpile.Cache[int], o *dogpile.CacheOptions[int], create func(context.Context) (int, error)) map[string]func(context.Context) (int, error) {
	f := dogpile.NewFunc(r, "k", func(ctx context.Context, _ struct{}) (int, error) { return create(ctx) }, o)
	f0 := dogpile.NewFunc0(r, "k0", create, o)
	m := dogpile.NewMultiFunc(r, "m", func(ctx context.Context, keys []int) (map[int]int, error) {
		v, err := create(ctx)
		return map[int]int{keys[0]: v}, err
	}, o)
	return map[string]func(context.Context) (int, error){
		"GetOrCreate": func(ctx context.Context) (int, error) { return c.GetOrCreate(ctx, "k", create) },
		"GetOrCreateEntry": func(ctx context.Context) (int, error) {
			e, err := c.GetOrCreateEntry(ctx, "k", create)
			return e.Value, err
		},
		"GetOrCreateMulti": func(ctx context.Context) (int, error) {
			vals, err := c.GetOrCreateMulti(ctx, []string{"k"}, func(ctx context.Context, _ []string) (map[string]int, error) {
				v, err := create(ctx)
				return map[string]int{"k": v}, err
			})
			return vals["k"], err
		},
		"Func.Call":  func(ctx context.Context) (int, error) { return f.Call(ctx, struct{}{}) },
		"Func0.Call": func(ctx context.Context) (int, error) { return f0.Call(ctx) },
		"MultiFunc.Call": func(ctx context.Context) (int, error) {
			vals, err := m.Call(ctx, 1)
			return vals[1], err
		},
	}
}

// names are those of calls, in order.
var callNames = []string{"Func.Call", "Func0.Call", "GetOrCreate", "GetOrCreateEntry", "GetOrCreateMulti", "MultiFunc.Call"}

// eachCall runs a test for each form of call on each kind of backend.
func eachCall(t *testing.T, o dogpile.Options, co *dogpile.CacheOptions[int], test func(t *testing.T, p asked)) {
	for kind, open := range kinds {
		for _, name := range callNames {
			t.Run(kind+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, open(t), &o)
					c := dogpile.NewCache(r, co)
					one := counting(time.Second)
					test(t, asked{r, c, one, calls(r, c, co, one.create)[name]})
				})
			})
		}
	}
}

func TestBypassNeitherReadsNorStores(t *testing.T) {
	eachCall(t, dogpile.Options{Expiration: time.Minute}, nil, func(t *testing.T, p asked) {
		v, err := p.call(bg)
		wantValue(t, "the first call", v, err, 1)
		v, err = p.call(dogpile.Bypass(bg))
		wantValue(t, "a call past the cache", v, err, 2)
		v, err = p.call(bg)
		wantValue(t, "a call after it", v, err, 1)
		// Nobody shares a call past the cache, nor waits for it.
		two := crowd(2, func() (int, error) { return p.call(dogpile.Bypass(bg)) })
		a, b := <-two[0], <-two[1]
		got := []int{a.v, b.v}
		slices.Sort(got)
		if !slices.Equal(got, []int{3, 4}) || a.took != time.Second || b.took != time.Second {
			t.Errorf("two at once got %v and %v", a, b)
		}
	})
}

func TestBypassOfReadsAndSets(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				c := dogpile.NewCache[int](newRegion(t, open(t), &dogpile.Options{Hooks: rec.hooks()}), nil)
				ctx := dogpile.Bypass(dogpile.Renew(bg))
				if err := c.Set(bg, "k", 1); err != nil {
					t.Fatal(err)
				}
				if v, ok, err := c.Get(ctx, "k"); ok || err != nil {
					t.Errorf("Get: %v, %v, %v", v, ok, err)
				}
				if vals, err := c.GetMulti(ctx, []string{"k"}); len(vals) > 0 || err != nil {
					t.Errorf("GetMulti: %v, %v", vals, err)
				}
				if e, ok, err := c.Peek(ctx, "k"); ok || err != nil {
					t.Errorf("Peek: %v, %v, %v", e, ok, err)
				}
				if n := len(rec.take("miss")); n != 2 {
					t.Errorf("%d misses told, want 2", n)
				}
				v, err := c.Refresh(ctx, "k", constant(2).create)
				wantValue(t, "Refresh", v, err, 2)
				if v, ok, err := c.Get(bg, "k"); v != 1 || !ok || err != nil {
					t.Errorf("Get of what was there before: %v, %v, %v", v, ok, err)
				}
				// What is there is old when a caller has another value to set.
				wantErr(t, "Set", c.Set(ctx, "k", 3), nil)
				if v, ok, err := c.Get(bg, "k"); ok || err != nil {
					t.Errorf("Get after a Set past the cache: %v, %v, %v", v, ok, err)
				}
			})
		})
	}
}

// TestBypassAsksNoBackend: its trouble is nothing to a caller that leaves it aside.
func TestBypassAsksNoBackend(t *testing.T) {
	b := newFake(t, like{bytes: true})
	c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
	b.in(failing("get"))
	ctx := dogpile.Bypass(bg)
	_, _, err := c.Get(ctx, "k")
	wantErr(t, "Get", err, nil)
	_, err = c.GetMulti(ctx, []string{"k"})
	wantErr(t, "GetMulti", err, nil)
	_, _, err = c.Peek(ctx, "k")
	wantErr(t, "Peek", err, nil)
	if n := b.called("get"); n != 0 {
		t.Errorf("the backend was asked %d times", n)
	}
}

func TestRenewCreatesAnew(t *testing.T) {
	eachCall(t, dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}, nil, func(t *testing.T, p asked) {
		v, err := p.call(bg)
		wantValue(t, "the first call", v, err, 1)
		two := crowd(2, func() (int, error) { return p.call(dogpile.Renew(bg)) })
		v, err = p.call(bg)
		wantValue(t, "a call in the meantime", v, err, 1)
		for i, r := range two {
			got := <-r // the second one called when the creator of the first had begun to read
			wantValue(t, "a call that renews", got.v, got.err, 2+i)
		}
		v, err = p.call(bg)
		wantValue(t, "a call after it", v, err, 3)
		p.one.err = errOrigin
		_, err = p.call(dogpile.Renew(bg))
		wantErr(t, "a call that fails to renew", err, errOrigin)
		v, err = p.call(bg)
		wantValue(t, "a call after that", v, err, 3)
		if most := p.one.most.Load(); most != 1 {
			t.Errorf("%d creators ran at once", most)
		}
		if s := p.r.Stats(); s.Hits != 3 || s.Misses != 4 {
			t.Errorf("%d hits and %d misses; want 3 and 4", s.Hits, s.Misses)
		}
	})
}

func TestNoStaleWaits(t *testing.T) {
	eachCall(t, dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}, nil, func(t *testing.T, p asked) {
		v, err := p.call(dogpile.NoStale(bg))
		wantValue(t, "a call that finds nothing", v, err, 1)
		v, err = p.call(dogpile.NoStale(bg))
		wantValue(t, "a call that finds a fresh value", v, err, 1)
		pass(time.Minute + time.Second)
		renewer := start(func() (int, error) { return p.call(bg) })
		waits := start(func() (int, error) { return p.call(dogpile.NoStale(bg)) })
		v, err = p.call(bg)
		wantValue(t, "a call that takes what is stale", v, err, 1)
		for _, r := range []<-chan result[int]{renewer, waits} {
			got := <-r
			wantValue(t, "a call that waits", got.v, got.err, 2)
		}
		p.one.err = errOrigin
		pass(time.Minute + time.Second)
		_, err = p.call(dogpile.NoStale(bg))
		wantErr(t, "a call that waits for a creator that fails", err, errOrigin)
		v, err = p.call(bg)
		wantValue(t, "one that takes what is stale", v, err, 2)
	})
}

// 1. A has the lock on a stale entry, in another process.  2. B wants no stale value,
// and must wait for A's where others would not.
func TestNoStaleWaitsForAnotherProcess(t *testing.T) {
	for _, row := range []struct {
		name   string
		runner func(func())
	}{{"the caller creates", nil}, {"a Runner creates", dogpile.Background}} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, caches := processes[int](t, 2, newFake(t, like{bytes: true}), &dogpile.Options{Expiration: time.Minute, Runner: row.runner})
				one := counting(time.Second)
				_, _ = caches[0].GetOrCreate(bg, "k", one.create)
				pass(time.Minute + time.Second)
				a := start(get(caches[0], "k", one.create))
				v, err := caches[1].GetOrCreate(bg, "k", one.create)
				wantValue(t, "a call that takes what is stale", v, err, 1)
				b := <-start(func() (int, error) { return caches[1].GetOrCreate(dogpile.NoStale(bg), "k", one.create) })
				wantValue(t, "a call that waits", b.v, b.err, 2)
				<-a
				wantCalls(t, one, 2)
			})
		})
	}
}

func TestFlagsReachNestedCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		inner, outer := counting(0), counting(0)
		call := func(ctx context.Context) (int, error) {
			return c.GetOrCreate(ctx, "outer", func(ctx context.Context) (int, error) {
				_, _ = outer.create(ctx)
				return c.GetOrCreate(ctx, "inner", inner.create)
			})
		}
		for i, ctx := range []context.Context{bg, dogpile.Renew(bg), dogpile.Bypass(bg)} {
			v, err := call(ctx)
			wantValue(t, fmt.Sprint("call ", i+1), v, err, i+1)
		}
		v, err := call(bg)
		wantValue(t, "a plain call", v, err, 2)
	})
}

func TestFlagsKeepTheValuesOfTheirContext(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancelCause(context.WithValue(bg, key{}, "v"))
	ctx = dogpile.NoStale(dogpile.Renew(dogpile.Bypass(ctx)))
	cancel(errOrigin)
	if ctx.Value(key{}) != "v" || !errors.Is(context.Cause(ctx), errOrigin) {
		t.Error("the context is another one")
	}
}

func TestEntriesTellWhereTheyComeFrom(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := dogpile.NewCache[int](newRegion(t, open(t), &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}), nil)
				one := counting(time.Second)
				call := func() (dogpile.Entry[int], error) { return c.GetOrCreateEntry(bg, "k", one.create) }
				want := func(what string, e dogpile.Entry[int], err error, v int, s dogpile.State, f dogpile.From, age time.Duration) {
					t.Helper()
					if err != nil || e.Value != v || e.State != s || e.From != f || e.Age().Round(time.Millisecond) != age {
						t.Errorf("%s: got %d, %v, %v, %v old, %v; want %d, %v, %v, %v old", what, e.Value, e.State, e.From, e.Age(), err, v, s, f, age)
					}
				}
				first := start(call)
				second := start(call)
				a, b := <-first, <-second
				want("the creator's caller", a.v, a.err, 1, dogpile.Fresh, dogpile.Created, 0)
				want("another caller", b.v, b.err, 1, dogpile.Fresh, dogpile.Waited, 0)
				pass(time.Second)
				e, err := call()
				want("a hit", e, err, 1, dogpile.Fresh, dogpile.Hit, time.Second)
				pass(time.Minute)
				first = start(call)
				e, err = call()
				want("a stale value", e, err, 1, dogpile.Stale, dogpile.StaleHit, time.Minute+time.Second)
				a = <-first
				want("its renewer", a.v, a.err, 2, dogpile.Fresh, dogpile.Created, 0)
				one.err = errOrigin
				pass(time.Minute + time.Second)
				e, err = call()
				want("a creator that fails", e, err, 2, dogpile.Stale, dogpile.StoodIn, time.Minute+2*time.Second)
				if e, ok, err := c.Peek(bg, "k"); e.From != 0 || !ok || err != nil {
					t.Errorf("Peek tells %v, %v, %v", e.From, ok, err)
				}
			})
		})
	}
}

func TestFromReads(t *testing.T) {
	t.Parallel()
	var got []string
	for f := dogpile.From(0); f < 7; f++ {
		got = append(got, f.String())
	}
	want := []string{"", "hit", "stale hit", "created", "waited", "stood in", "From(6)"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
