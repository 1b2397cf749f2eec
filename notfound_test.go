package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// errNone is the answer of an origin that there is no such thing.
var errNone = errors.New("no such row")

// absent is what an origin says of keys that it does not have.
func absent() *creator[int] {
	return &creator[int]{takes: time.Second, err: fmt.Errorf("select: %w", errNone)}
}

var knowsNone = &dogpile.CacheOptions[int]{NotFound: errNone, NotFoundFor: 5 * time.Second}

// almost5s is less than that by what a time is rounded to when it is stored.
const almost5s = 5*time.Second - time.Microsecond

// TestNotFoundIsAnAnswer: in all forms of call one creator asks for 5 s, and all callers
// get the very error; and 5 s are 5 s, whatever the region says of stale values.
func TestNotFoundIsAnAnswer(t *testing.T) {
	stale := dogpile.Options{Expiration: time.Minute, StaleFor: 2 * time.Hour, StaleIfError: dogpile.Never, FailFor: time.Minute}
	for kind, open := range kinds {
		for _, name := range []string{"GetOrCreate", "GetOrCreateEntry", "Func.Call", "Func0.Call"} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, open(t), &stale)
					one := absent()
					call := calls(r, dogpile.NewCache(r, knowsNone), knowsNone, one.create)[name]
					for range 2 {
						for _, c := range crowd(3, func() (int, error) { return call(bg) }) {
							if got := <-c; got.err != errNone || got.v != 0 {
								t.Errorf("a caller that waits got %v, %v", got.v, got.err)
							}
						}
						asked := one.calls.Load()
						pass(almost5s)
						for range 3 {
							if v, err := call(bg); err != errNone || v != 0 {
								t.Errorf("after 5 s: %v, %v", v, err)
							}
						}
						wantCalls(t, one, asked)
						pass(5*time.Second - almost5s)
					}
					wantCalls(t, one, 2)
					if s := r.Stats(); s.Failures != 0 || s.Creations != 2 || s.Errors != 0 || s.Hits != 6 {
						t.Errorf("%+v; want an answer to be no failure", s)
					}
				})
			})
		}
	}
}

func TestNotFoundOfReads(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, open(t), &dogpile.Options{Expiration: time.Hour})
				c := dogpile.NewCache(r, knowsNone)
				one := absent()
				_, _ = c.GetOrCreate(bg, "k", one.create)
				pass(time.Second)
				if v, ok, err := c.Get(bg, "k"); v != 0 || ok || err != errNone {
					t.Errorf("Get: %v, %v, %v", v, ok, err)
				}
				if vals, err := c.GetMulti(bg, []string{"k", "j"}); len(vals) != 0 || err != nil {
					t.Errorf("GetMulti: %v, %v", vals, err)
				}
				e, ok, err := c.Peek(bg, "k")
				if ok || err != errNone || e.State != dogpile.Fresh || e.Age() != time.Second {
					t.Errorf("Peek: %+v, %v, %v", e, ok, err)
				}
				e, err = c.GetOrCreateEntry(bg, "k", one.create)
				if err != errNone || e.From != dogpile.Hit || e.Age() != time.Second {
					t.Errorf("GetOrCreateEntry: %+v, %v", e, err)
				}
				// A cache that has no error for it takes it for missing, and the other way round.
				plain := dogpile.NewCache[int](r, nil)
				if v, ok, err := plain.Get(bg, "k"); ok || err != nil {
					t.Errorf("Get without NotFound: %v, %v, %v", v, ok, err)
				}
				v, err := plain.GetOrCreate(bg, "k", constant(7).create)
				wantValue(t, "GetOrCreate without NotFound", v, err, 7)
				v, err = c.GetOrCreate(bg, "k", one.create)
				wantValue(t, "GetOrCreate of what that has stored", v, err, 7)
				wantCalls(t, one, 1)
				if s := r.Stats(); s.Errors != 0 {
					t.Errorf("%d errors", s.Errors)
				}
			})
		})
	}
}

// TestNotFoundInBatches: keys that a creator leaves out are not asked for again, by
// whatever call.
func TestNotFoundInBatches(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := dogpile.NewCache(newRegion(t, open(t), &dogpile.Options{Expiration: time.Minute, StaleFor: 2 * time.Hour}), knowsNone)
				var asked [][]string
				create := func(_ context.Context, keys []string) (map[string]int, error) {
					asked = append(asked, keys)
					if slices.Contains(keys, "all") {
						return nil, errNone
					}
					return map[string]int{"a": 1}, nil
				}
				get := func(keys ...string) {
					t.Helper()
					vals, err := c.GetOrCreateMulti(bg, keys, create)
					if err != nil || !maps.Equal(vals, map[string]int{"a": 1}) {
						t.Errorf("got %v, %v; want a alone", vals, err)
					}
				}
				get("a", "b", "c")
				get("a", "b", "c")
				pass(almost5s)
				get("c", "a", "d")
				if v, err := c.GetOrCreate(bg, "b", constant(1).create); err != errNone {
					t.Errorf("GetOrCreate of a key that was left out: %v, %v", v, err)
				}
				pass(5*time.Second - almost5s)
				get("a", "b")
				if vals, err := c.GetOrCreateMulti(bg, []string{"all"}, create); len(vals) > 0 || err != nil {
					t.Errorf("a creator that has none of its keys: %v, %v", vals, err)
				}
				if want := "[[a b c] [d] [b] [all]]"; fmt.Sprint(asked) != want {
					t.Errorf("asked for %v, want %v", asked, want)
				}
			})
		})
	}
}

// A type whose codec cannot decode a null is stored as "not found" all the same.
type noNull struct{ V int }

func (n *noNull) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return errors.New("null is no value")
	}
	_, err := fmt.Sscan(string(data), &n.V)
	return err
}

func (n noNull) MarshalJSON() ([]byte, error) { return fmt.Append(nil, n.V), nil }

func TestNotFoundOfATypeWithoutNull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		regions, _ := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour})
		o := &dogpile.CacheOptions[noNull]{NotFound: errNone, NotFoundFor: time.Second}
		one := &creator[noNull]{err: errNone}
		for range 2 {
			for _, r := range regions {
				if _, err := dogpile.NewCache(r, o).GetOrCreate(bg, "k", one.create); err != errNone {
					t.Errorf("got %v", err)
				}
			}
			pass(time.Second + 1)
		}
		wantCalls(t, one, 2) // of which the other process knows
		if s := regions[0].Stats(); s.Errors != 0 {
			t.Errorf("%d errors", s.Errors)
		}
	})
}

// TestNotFoundIsKeptNoLonger: neither the backend nor the creator's own wish keeps the
// answer for longer than NotFoundFor.
func TestNotFoundIsKeptNoLonger(t *testing.T) {
	for _, row := range []struct {
		name string
		ask  func(*dogpile.Control)
		want time.Duration // how long it holds
	}{
		{"the creator wants nothing", func(*dogpile.Control) {}, 5 * time.Second},
		{"the creator wants it kept for longer", func(c *dogpile.Control) { c.ExpireIn(time.Hour) }, 5 * time.Second},
		{"the creator wants it kept for ever", func(c *dogpile.Control) { c.ExpireIn(dogpile.Never) }, 5 * time.Second},
		{"the creator wants it kept for less", func(c *dogpile.Control) { c.ExpireIn(time.Second) }, time.Second},
		{"the creator wants it not stored", func(c *dogpile.Control) { c.NoStore() }, 0},
	} {
		for _, bytes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/bytes %v", row.name, bytes), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, like{bytes: bytes})
					r := newRegion(t, b, &dogpile.Options{Expiration: dogpile.Never, StaleFor: dogpile.Never})
					c := dogpile.NewCache(r, knowsNone)
					_, err := c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
						row.ask(dogpile.Creation(ctx))
						return 0, errNone
					})
					wantErr(t, "the creator's caller", err, errNone)
					if row.want > 0 {
						pass(row.want - time.Microsecond)
						_, _, err = c.Get(bg, "k")
						wantErr(t, "Get in time", err, errNone)
						pass(time.Microsecond)
					}
					if v, ok, err := c.Get(bg, "k"); ok || err != nil {
						t.Errorf("Get when the time is up: %v, %v, %v", v, ok, err)
					}
					if e, ok, err := c.Peek(bg, "k"); ok || err != nil {
						t.Errorf("Peek when the time is up: %v, %v, %v", e, ok, err)
					}
					if raw := b.stored(t, "test:k"); raw != "" {
						t.Errorf("the backend has %q", raw)
					}
				})
			})
		}
	}
}

func TestNotFoundAndTheRest(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, open(t), &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour})
				c := dogpile.NewCache(r, knowsNone).With(dogpile.CacheOptions[int]{
					ShouldCache: func(int) bool { t.Error("ShouldCache was asked about no value"); return false },
				})
				one := absent()
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(time.Minute + 1)
				// An answer is no failure for which a stale value would stand in.
				_, err := c.GetOrCreate(bg, "k", one.create)
				wantErr(t, "a stale value that is gone", err, errNone)
				_, err = c.Refresh(bg, "k", func(ctx context.Context) (int, error) {
					if v, ok := dogpile.Previous[int](ctx); ok {
						t.Errorf("the creator is told of a previous value %v", v)
					}
					return one.create(ctx)
				})
				wantErr(t, "Refresh", err, errNone)
				// Softly invalidated, it is asked for again, and nobody gets the old answer.
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil)
				if _, ok, err := c.Get(bg, "k"); ok || err != nil {
					t.Errorf("Get after Invalidate: %v, %v", ok, err)
				}
				two := crowd(2, get(c.With(dogpile.CacheOptions[int]{ShouldCache: func(int) bool { return true }}), "k", counting(time.Second).create))
				for _, ch := range two {
					got := <-ch
					wantValue(t, "a caller after Invalidate", got.v, got.err, 1)
				}
				_, err = c.GetOrCreate(dogpile.Renew(bg), "k", one.create)
				wantErr(t, "Renew", err, errNone)
				wantErr(t, "Set", c.Set(bg, "k", 2), nil)
				v, err := c.GetOrCreate(bg, "k", one.create)
				wantValue(t, "a value that was set meanwhile", v, err, 2)
				wantErr(t, "Delete", c.Delete(bg, "k"), nil)
				_, err = c.GetOrCreate(dogpile.Bypass(bg), "k", one.create)
				wantErr(t, "Bypass", err, errNone)
				if _, ok, err := c.Get(bg, "k"); ok || err != nil {
					t.Errorf("Get after Bypass: %v, %v", ok, err)
				}
			})
		})
	}
}

func TestFaultsOfCacheOptions(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	for name, o := range map[string]dogpile.CacheOptions[int]{
		"NotFound is set, and NotFoundFor, which": {NotFound: errNone},
		"NotFoundFor is set, and NotFound, which": {NotFoundFor: time.Second},
		"NotFoundFor -2ns is negative":            {NotFound: errNone, NotFoundFor: -2},
		"both Expiration and ExpirationFunc":      {Expiration: 1, ExpirationFunc: func() time.Duration { return 1 }},
		"Expiration -2ns is negative":             {Expiration: -2},
	} {
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "dogpile: NewCache: "+name) {
					t.Errorf("panic is %s, want %s", p, name)
				}
			}()
			dogpile.NewCache(r, &o)
		}()
	}
	dogpile.NewCache(r, knowsNone).With(dogpile.CacheOptions[int]{NotFoundFor: dogpile.Never})
}

func TestSchemas(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				r := newRegion(t, open(t), &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, StaleIfError: time.Hour, Hooks: rec.hooks()})
				none := dogpile.NewCache[int](r, nil)
				one, two := none.With(dogpile.CacheOptions[int]{Schema: "1"}), none.With(dogpile.CacheOptions[int]{Schema: "2"})
				caches := []*dogpile.Cache[int]{none, one, two, one.With(dogpile.CacheOptions[int]{Name: "again"})}
				for i, writer := range caches {
					wantErr(t, "Set", writer.Set(bg, "k", i), nil)
					for j, reader := range caches {
						fits := i == j || i%2 == 1 && j%2 == 1
						v, ok, err := reader.Get(bg, "k")
						if ok != fits || ok && v != i || err != nil {
							t.Errorf("Get of what %d has stored by %d: %v, %v, %v", i, j, v, ok, err)
						}
						if e, ok, err := reader.Peek(bg, "k"); ok != fits || err != nil {
							t.Errorf("Peek of what %d has stored by %d: %v, %v, %v", i, j, e, ok, err)
						}
					}
				}
				// The types may differ, which is no news.
				text := dogpile.NewCache(r, &dogpile.CacheOptions[string]{Schema: "text"})
				wantErr(t, "Set", one.Set(bg, "k", 1), nil)
				if v, ok, err := text.Get(bg, "k"); ok || err != nil {
					t.Errorf("Get of another type and schema: %v, %v, %v", v, ok, err)
				}
				// Nor does a stale value of another schema stand in, or count as the previous one.
				wantErr(t, "Set", one.Set(bg, "k", 1), nil)
				pass(time.Minute + time.Second)
				_, err := two.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
					if v, ok := dogpile.Previous[int](ctx); ok {
						t.Errorf("the creator is told of a previous value %v", v)
					}
					return 0, errOrigin
				})
				wantErr(t, "GetOrCreate of another schema", err, errOrigin)
				v, err := two.GetOrCreate(bg, "k", constant(3).create)
				wantValue(t, "GetOrCreate of another schema", v, err, 3)
				v, err = two.GetOrCreate(bg, "k", constant(4).create)
				wantValue(t, "GetOrCreate of this schema", v, err, 3)
				f := dogpile.NewFunc(r, "f", func(context.Context, int) (int, error) { return 5, nil }, &dogpile.CacheOptions[int]{Schema: "1"})
				g := f.With(dogpile.CacheOptions[int]{Schema: "2"})
				wantErr(t, "Set", f.Set(bg, 6, 1), nil)
				v, err = g.Call(bg, 1)
				wantValue(t, "Func.Call of another schema", v, err, 5)
				if n := rec.counts()["error"]; n != 0 {
					t.Errorf("%d errors told", n)
				}
			})
		})
	}
}

// A view that knows of no NotFound joins the creation of one that does.
func TestNotFoundIsNoAnswerToAnotherView(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), nil)
		knows, plain := dogpile.NewCache(r, knowsNone), dogpile.NewCache[int](r, nil)
		none := absent()
		a := start(get(knows, "k", none.create))
		p := start(get(plain, "k", none.create))
		if got := <-a; got.err != errNone {
			t.Error(got)
		}
		if got := <-p; !errors.Is(got.err, errNone) {
			t.Errorf("the plain view got %v, %v", got.v, got.err)
		}
	})
}

func TestSchemasShareNoCreation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), nil)
		one := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Schema: "1"})
		two := one.With(dogpile.CacheOptions[int]{Schema: "2"})
		c1 := &creator[int]{takes: time.Second, value: func(int64) int { return 1 }}
		c2 := &creator[int]{takes: time.Second, value: func(int64) int { return 2 }}
		a := start(get(one, "k", c1.create))
		p := start(get(two, "k", c2.create))
		if got := <-a; got.v != 1 {
			t.Error(got)
		}
		if got := <-p; got.v != 2 {
			t.Error(got)
		}
	})
}
