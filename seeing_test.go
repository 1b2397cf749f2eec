package dogpile_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// TestEventsTellWhy: for what was found instead of a fresh entry, its age and its size.
func TestEventsTellWhy(t *testing.T) {
	for name, row := range map[string]struct {
		before func(t *testing.T, s *scene)
		want   dogpile.Reason
		age    time.Duration
	}{
		"absent":             {func(*testing.T, *scene) {}, dogpile.ReasonAbsent, 0},
		"expired":            {func(*testing.T, *scene) { pass(90 * time.Second) }, dogpile.ReasonExpired, 90 * time.Second},
		"invalidated":        {func(t *testing.T, s *scene) { wantErr(t, "Invalidate", s.r.Invalidate(bg, dogpile.Hard), nil) }, dogpile.ReasonInvalidated, 0},
		"invalidated softly": {func(t *testing.T, s *scene) { wantErr(t, "Invalidate", s.r.Invalidate(bg, dogpile.Soft), nil) }, dogpile.ReasonInvalidated, 0},
		"tagged": {func(t *testing.T, s *scene) {
			wantErr(t, "InvalidateTags", s.r.InvalidateTags(bg, dogpile.Hard, "t"), nil)
		}, dogpile.ReasonTagged, 0},
		"tagged softly": {func(t *testing.T, s *scene) {
			wantErr(t, "InvalidateTags", s.r.InvalidateTags(bg, dogpile.Soft, "t"), nil)
		}, dogpile.ReasonTagged, 0},
		"damaged":              {func(t *testing.T, s *scene) { put(t, s.b, "k", "garbage") }, dogpile.ReasonDamaged, 0},
		"cannot be looked for": {func(t *testing.T, s *scene) { s.b.in(failing("get")) }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec, b := new(recorder), newFake(t, like{bytes: true})
				r := newRegion(t, b, &dogpile.Options{Expiration: time.Minute, Hooks: rec.hooks()})
				s := &scene{t, b, r, dogpile.NewCache(r, &dogpile.CacheOptions[int]{Name: "n", Tags: func(string) []string { return []string{"t"} }})}
				if name != "absent" {
					wantErr(t, "Set", s.c.Set(bg, "k", 7), nil)
					if e := rec.take("store")[0]; e.Size == 0 || e.Backend != "memory" {
						t.Errorf("Set: %+v", e)
					}
					_, _, _ = s.c.Get(bg, "k")
					if e := rec.take("hit")[0]; e.Reason != "" || e.Size == 0 || e.Name != "n" {
						t.Errorf("a hit: %+v", e)
					}
				}
				row.before(t, s)
				wants := map[string]func(){"GetOrCreate": func() { _, _ = s.get("k", &creator[int]{err: errOrigin}) }}
				if row.want != "" {
					wants["Get"] = func() { _, _, _ = s.c.Get(bg, "k") }
					wants["GetMulti"] = func() { _, _ = s.c.GetMulti(bg, []string{"k"}) }
				}
				wants["GetOrCreateMulti"] = func() {
					_, _ = s.c.GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]int, error) { return nil, errOrigin })
				}
				for call, do := range wants {
					do()
					es := rec.take("miss")
					if len(es) != 1 || es[0].Reason != row.want || es[0].Age != row.age || es[0].Backend != "memory" {
						t.Errorf("%s: %+v, want %q and the age %v", call, es, row.want, row.age)
					}
				}
			})
		})
	}
}

// TestReasonsWhereThereWasNoValue: the answer that there is none is an entry too, with a reason of
// its own for not being believed any more.
func TestReasonsWhereThereWasNoValue(t *testing.T) {
	for name, row := range map[string]struct {
		before func(t *testing.T, r *dogpile.Region)
		want   dogpile.Reason
		age    time.Duration
	}{
		"expired":            {func(*testing.T, *dogpile.Region) { pass(90 * time.Second) }, dogpile.ReasonExpired, 90 * time.Second},
		"invalidated":        {func(t *testing.T, r *dogpile.Region) { wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil) }, dogpile.ReasonInvalidated, 0},
		"invalidated softly": {func(t *testing.T, r *dogpile.Region) { wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil) }, dogpile.ReasonInvalidated, 0},
		"tagged": {func(t *testing.T, r *dogpile.Region) {
			wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Soft, "t"), nil)
		}, dogpile.ReasonTagged, 0},
		"deleted": {func(t *testing.T, r *dogpile.Region) { wantErr(t, "Delete", r.Delete(bg, "k"), nil) }, dogpile.ReasonAbsent, 0},
	} {
		for kind, bytes := range map[string]bool{"objects": false, "bytes": true} {
			t.Run(name+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					rec := new(recorder)
					r := newRegion(t, unending{driver.Proxy{Backend: newFake(t, like{bytes: bytes})}}, &dogpile.Options{Expiration: time.Minute, Hooks: rec.hooks()})
					c := dogpile.NewCache(r, notFoundFor(time.Minute))
					none := func(context.Context) (v product, err error) { return v, sql.ErrNoRows }
					_, err := c.GetOrCreate(bg, "k", none)
					wantErr(t, "GetOrCreate", err, sql.ErrNoRows)
					row.before(t, r)
					rec.take("miss")
					for call, do := range map[string]func(){
						"Get":      func() { _, _, _ = c.Get(bg, "k") },
						"GetMulti": func() { _, _ = c.GetMulti(bg, []string{"k"}) },
						"GetOrCreate": func() {
							_, _ = c.GetOrCreate(bg, "k", func(context.Context) (v product, err error) { return v, errOrigin })
						},
					} {
						do()
						if es := rec.take("miss"); len(es) != 1 || es[0].Reason != row.want || es[0].Age != row.age {
							t.Errorf("%s: %+v, want %q and the age %v", call, es, row.want, row.age)
						}
					}
				})
			})
		}
	}
}

func TestBackendHookTellsOfEachCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec, b := new(recorder), newFake(t, like{bytes: true})
		hooks := rec.hooks()
		hooks.Backend = func(_ context.Context, e dogpile.Event) {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			rec.events["backend"] = append(rec.events["backend"], e)
		}
		r := newRegion(t, b, &dogpile.Options{Expiration: time.Minute, LockTTL: 3 * time.Second, Hooks: hooks})
		s := &scene{t, b, r, dogpile.NewCache[int](r, nil)}
		b.slow = func(context.Context, string) error { pass(time.Millisecond); return nil }
		_, err := s.get("k", &creator[int]{takes: 1500 * time.Millisecond})
		wantErr(t, "GetOrCreate", err, nil)
		wantErr(t, "Delete", r.Delete(bg, "k"), nil)
		_, err = r.Locked(bg, "k")
		wantErr(t, "Locked", err, nil)
		var ops []string
		for _, e := range rec.take("backend") {
			ops = append(ops, e.Op)
			if e.Duration < time.Millisecond || e.Duration > time.Second || e.Err != nil || e.Region != "test" || e.Backend != "memory" || e.Key != "" {
				t.Errorf("%+v", e)
			}
			if e.Size == 0 && e.Op == "set" {
				t.Errorf("a set of nothing: %+v", e)
			}
		}
		for _, op := range []string{"get", "lock", "extend", "set", "delete", "locked"} {
			if !slices.Contains(ops, op) {
				t.Errorf("%v: no %s", ops, op)
			}
		}
		b.in(failing("get"))
		_, _, _ = s.c.Get(bg, "k")
		if es := rec.take("backend"); len(es) != 1 || es[0].Err == nil {
			t.Errorf("a Get that fails: %+v", es)
		}
	})
}

// TestHitsTellTheirAge: also where it is not asked for, as nothing expires.
func TestHitsTellTheirAge(t *testing.T) {
	for name, expiration := range map[string]time.Duration{"expires": time.Hour, "does not expire": dogpile.Never} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				r := newRegion(t, newMemory(t), &dogpile.Options{Expiration: expiration, Hooks: rec.hooks()})
				c := dogpile.NewCache[int](r, nil)
				f := dogpile.NewFunc(r, "f", func(context.Context, int) (int, error) { return 1, nil }, nil)
				wantErr(t, "Set", c.Set(bg, "k", 7), nil)
				wantErr(t, "Set", f.Set(bg, 7, 1), nil)
				pass(time.Minute)
				_, _, _ = c.Get(bg, "k")
				_, _ = c.GetOrCreate(bg, "k", constant(1).create)
				_, _ = f.Call(bg, 1)
				hits := rec.take("hit")
				for _, e := range hits {
					if e.Age != time.Minute || e.Region != "test" || e.Backend != "memory" || e.Op != "get" {
						t.Errorf("%+v", e)
					}
				}
				if len(hits) != 3 {
					t.Errorf("%d hits", len(hits))
				}
			})
		})
	}
}

// TestCreateTellsThatACreatorDidNotReturn: and callers are told of the panic itself.
func TestCreateTellsThatACreatorDidNotReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		c := newCache[int](t, &dogpile.Options{Hooks: rec.hooks()})
		for _, create := range []func(context.Context) (int, error){
			func(context.Context) (int, error) { panic("boom") },
			func(context.Context) (int, error) { runtime.Goexit(); return 1, nil },
		} {
			if _, err := c.GetOrCreate(bg, "k", create); err == nil || errors.Is(err, dogpile.ErrAborted) {
				t.Errorf("GetOrCreate = %v", err)
			}
			if es := rec.take("create"); len(es) != 1 || es[0].Err != dogpile.ErrAborted {
				t.Errorf("Create was told %+v", es)
			}
		}
	})
}

type spanKey struct{}

// TestCreatingGoesAroundTheCreator: what it returns reaches the creator and Create.
func TestCreatingGoesAroundTheCreator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var order []string
		note := func(what string, ctx context.Context) {
			order = append(order, fmt.Sprint(what, " ", ctx.Value(spanKey{})))
		}
		r := newRegion(t, newFake(t, like{}), &dogpile.Options{Expiration: time.Minute, Hooks: &dogpile.Hooks{
			Creating: func(ctx context.Context, e dogpile.Event) context.Context {
				note("creating "+e.Op+" "+e.Key, ctx)
				return context.WithValue(ctx, spanKey{}, "span")
			},
			Create: func(ctx context.Context, e dogpile.Event) { note("create "+e.Key, ctx) },
		}})
		c := dogpile.NewCache[int](r, nil)
		_, err := c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
			note("creator", ctx)
			if dogpile.Creation(ctx) == nil {
				t.Error("the creation is not in the context")
			}
			return 1, nil
		})
		wantErr(t, "GetOrCreate", err, nil)
		if got, want := strings.Join(order, ", "), "creating get k <nil>, creator span, create k span"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// TestCreatingThatPanics takes nothing with it, and one that returns nil changes nothing.
func TestCreatingThatPanics(t *testing.T) {
	for name, creating := range map[string]func(context.Context, dogpile.Event) context.Context{
		"panics": func(context.Context, dogpile.Event) context.Context { panic("boom") },
		"nil":    func(context.Context, dogpile.Event) context.Context { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newFake(t, like{}), &dogpile.Options{Hooks: &dogpile.Hooks{Creating: creating}})
				v, err := dogpile.NewCache[int](r, nil).GetOrCreate(bg, "k", constant(1).create)
				wantValue(t, "GetOrCreate", v, err, 1)
			})
		})
	}
}

func TestJoinHooks(t *testing.T) {
	t.Parallel()
	if dogpile.JoinHooks() != nil || dogpile.JoinHooks(nil, nil) != nil {
		t.Error("hooks are made of nothing")
	}
	var order []string
	on := func(name string) *dogpile.Hooks {
		hook := func(what string) func(context.Context, dogpile.Event) {
			return func(ctx context.Context, e dogpile.Event) {
				order = append(order, fmt.Sprint(what, name, ctx.Value(spanKey{})))
			}
		}
		return &dogpile.Hooks{
			Creating: func(ctx context.Context, _ dogpile.Event) context.Context {
				hook("creating ")(ctx, dogpile.Event{})
				return context.WithValue(ctx, spanKey{}, name)
			},
			Hit: hook("hit "), Stale: hook("stale "), Miss: hook("miss "), Wait: hook("wait "), Create: hook("create "), Store: hook("store "),
			Delete: hook("delete "), Invalidate: hook("invalidate "), Error: hook("error "), Backend: hook("backend "),
		}
	}
	h := dogpile.JoinHooks(nil, on("a"), &dogpile.Hooks{}, on("b"))
	if inner := h.Creating(bg, dogpile.Event{}); inner.Value(spanKey{}) != "b" {
		t.Errorf("the context has %v", inner.Value(spanKey{}))
	}
	for _, hook := range []func(context.Context, dogpile.Event){h.Hit, h.Stale, h.Miss, h.Wait, h.Create, h.Store, h.Delete, h.Invalidate, h.Error, h.Backend} {
		hook(bg, dogpile.Event{})
	}
	want := "creating a<nil> creating ba"
	for _, what := range strings.Fields("hit stale miss wait create store delete invalidate error backend") {
		want += fmt.Sprintf(" %s a<nil> %s b<nil>", what, what)
	}
	if got := strings.Join(order, " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	order = nil
	func() {
		defer func() { _ = recover() }()
		dogpile.JoinHooks(&dogpile.Hooks{Hit: func(context.Context, dogpile.Event) { panic("boom") }}, on("b")).Hit(bg, dogpile.Event{})
		t.Error("the panic is lost")
	}()
	if len(order) != 1 {
		t.Errorf("after a panic %v", order)
	}
}

// TestAPanicLosesNoContextOfOtherHooks: a span that one has begun is ended, whichever of the others
// panics.
func TestAPanicLosesNoContextOfOtherHooks(t *testing.T) {
	for name, row := range map[string]struct {
		panics []int // of three hooks
		errors int64
	}{
		"none": {nil, 0}, "the first": {[]int{0}, 1}, "the second": {[]int{1}, 1}, "the last": {[]int{2}, 1},
		"the first two": {[]int{0, 1}, 2}, "all but the second": {[]int{0, 2}, 2}, "all": {[]int{0, 1, 2}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			type span int
			var begun, ended []int
			var hooks []*dogpile.Hooks
			for i := range 3 {
				hooks = append(hooks, &dogpile.Hooks{
					Creating: func(ctx context.Context, _ dogpile.Event) context.Context {
						if slices.Contains(row.panics, i) {
							panic("boom")
						}
						begun = append(begun, i)
						return context.WithValue(ctx, span(i), true)
					},
					Create: func(ctx context.Context, _ dogpile.Event) {
						if ctx.Value(span(i)) != nil {
							ended = append(ended, i)
						}
					},
				})
			}
			joined := map[string]*dogpile.Hooks{
				"joined at once":  dogpile.JoinHooks(hooks...),
				"joined before":   dogpile.JoinHooks(dogpile.JoinHooks(hooks[:2]...), hooks[2]),
				"joined behind":   dogpile.JoinHooks(hooks[0], dogpile.JoinHooks(hooks[1:]...)),
				"joined with nil": dogpile.JoinHooks(nil, hooks[0], &dogpile.Hooks{}, hooks[1], hooks[2], nil),
			}
			for how, h := range joined {
				begun, ended = nil, nil
				book := newLogbook()
				r := newRegion(t, newFake(t, like{}), &dogpile.Options{Hooks: h, Logger: slog.New(book)})
				var inside []int
				_, err := dogpile.NewCache[int](r, nil).GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
					for i := range 3 {
						if ctx.Value(span(i)) != nil {
							inside = append(inside, i)
						}
					}
					return 1, nil
				})
				wantErr(t, "GetOrCreate", err, nil)
				if len(begun) != 3-len(row.panics) || !slices.Equal(begun, ended) || !slices.Equal(begun, inside) {
					t.Errorf("%s: spans were begun by %v, ended by %v, and the creator has those of %v", how, begun, ended, inside)
				}
				if n := r.Stats().Errors; n != row.errors {
					t.Errorf("%s: %d errors are counted, want %d", how, n, row.errors)
				}
				records, _ := book.all()
				if logged := len(records) > 0; logged != (row.errors > 0) {
					t.Errorf("%s: the log has %+v", how, records)
				}
				func() {
					defer func() {
						if p := recover(); (p != nil) != (row.errors > 0) || p != nil && !strings.Contains(fmt.Sprint(p), "boom") {
							t.Errorf("%s: without a region it panics with %v", how, p)
						}
					}()
					h.Creating(bg, dogpile.Event{})
				}()
			}
		})
	}
}

func TestRegionsAreListed(t *testing.T) {
	b := newFake(t, like{})
	listed := func(r *dogpile.Region) bool { return slices.Contains(dogpile.Regions(), r) }
	first, second := dogpile.NewRegion("listed b"), dogpile.NewRegion("listed a")
	if listed(first) {
		t.Error("listed before it is configured")
	}
	wantErr(t, "Configure", first.Configure(b, &dogpile.Options{Expiration: time.Hour}), nil)
	wantErr(t, "Configure", second.Configure(b, nil), nil)
	wantErr(t, "Reconfigure", second.Reconfigure(b, nil), nil)
	all := dogpile.Regions()
	at, before := slices.Index(all, first), slices.Index(all, second)
	if before < 0 || at < before || slices.Contains(all[before+1:], second) {
		t.Errorf("at %d and %d of %d", at, before, len(all))
	}
	if o := first.Options(); o.Expiration != time.Hour || o.LockTTL == 0 || o.Prefix != "listed b:" || o.Codec == nil {
		t.Errorf("Options = %+v", o)
	}
	wantErr(t, "Close", first.Close(bg), nil)
	if listed(first) || !listed(second) || first.Options().LockTTL != 0 {
		t.Error("a region that is closed has options, or is listed")
	}
	wantErr(t, "Close", second.Close(bg), nil)
}

// TestCreatingCountsItsOwnWaiters: and not those of another creation of the same key.
func TestCreatingCountsItsOwnWaiters(t *testing.T) {
	for name, forget := range map[string]func(c *dogpile.Cache[int], r *dogpile.Region) error{
		"Delete":     func(_ *dogpile.Cache[int], r *dogpile.Region) error { return r.Delete(bg, "k") },
		"Set":        func(c *dogpile.Cache[int], _ *dogpile.Region) error { return c.Set(bg, "k", 0) },
		"Invalidate": func(_ *dogpile.Cache[int], r *dogpile.Region) error { return r.Invalidate(bg, dogpile.Hard) },
		"Refresh":    func(*dogpile.Cache[int], *dogpile.Region) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newFake(t, like{}), nil)
				c := dogpile.NewCache[int](r, nil)
				calls := crowd(3, get(c, "k", counting(20*time.Second).create))
				wantWaiters(t, r, "before", 3)
				pass(time.Second)
				wantErr(t, name, forget(c, r), nil)
				wantWaiters(t, r, "when it is forgotten", 3)
				call, want := get(c, "k", counting(20*time.Second).create), []int{3, 2}
				refresh := func() (int, error) { return c.Refresh(bg, "k", counting(20*time.Second).create) }
				switch name {
				case "Set": // the second waits for the first to end, and then begins anew
					call, want = refresh, []int{3, 1}
				case "Refresh": // as it does for what was not forgotten
					call, want = refresh, []int{3}
				}
				calls = append(calls, crowd(2, call)...)
				pass(time.Second)
				wantWaiters(t, r, "and another begins", want...)
				ctx, cancel := context.WithCancel(bg)
				leaver := start(func() (int, error) { return c.GetOrCreate(dogpile.Bypass(ctx), "k", counting(20*time.Second).create) })
				pass(time.Second)
				wantWaiters(t, r, "and one that is shared with nobody", append(want, 1)...)
				cancel()
				<-leaver
				wantWaiters(t, r, "which is left", append(want, 0)...)
				for _, call := range calls {
					<-call
				}
			})
		})
	}
}

// wantWaiters compares how many wait for each creation, the oldest first.
func wantWaiters(t *testing.T, r *dogpile.Region, when string, want ...int) {
	t.Helper()
	var got []int
	for _, cr := range r.Creating() {
		got = append(got, cr.Waiters)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v wait, want %v", when, got, want)
	}
}

// TestCreatingListsWhatRuns: with its waiters, until it is over.
func TestCreatingListsWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newFake(t, like{}), nil)
		c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Name: "n"})
		began := time.Now()
		one := crowd(3, get(c, "k", counting(20*time.Second).create))
		pass(time.Second)
		several := start(func() (map[string]int, error) {
			return c.GetOrCreateMulti(bg, []string{"b", "a"}, func(ctx context.Context, _ []string) (map[string]int, error) {
				return nil, wait(ctx, 10*time.Second)
			})
		})
		var got []string
		for _, cr := range r.Creating() {
			got = append(got, fmt.Sprint(cr.Name, " ", cr.Key, " ", cr.Since.Sub(began), " ", cr.Waiters, " ", cr.Background))
		}
		if want := "n k 0s 3 false, n a 1s 1 false, n b 1s 1 false"; strings.Join(got, ", ") != want {
			t.Errorf("%v, want %s", got, want)
		}
		<-several
		for _, call := range one {
			<-call
		}
		if all := r.Creating(); len(all) != 0 {
			t.Errorf("afterwards %v", all)
		}
	})
}
