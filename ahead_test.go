package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
)

// aMinute is how long entries live in these tests, and how long past that they are stale.
var aMinute = dogpile.Options{Expiration: time.Minute, RefreshAhead: .8}

// TestRefreshAhead: whoever asks gets a fresh value at once, one caller after 48 s has it
// renewed, and nothing ever expires.
func TestRefreshAhead(t *testing.T) {
	eachCall(t, aMinute, nil, func(t *testing.T, p asked) {
		v, err := p.call(bg)
		wantValue(t, "the first call", v, err, 1)
		for minute := range 10 {
			for range 48 {
				pass(time.Second)
				v, err = p.call(bg)
				wantValue(t, "a call", v, err, minute+1)
			}
			later(time.Second) // for the creation
		}
		s := p.r.Stats()
		if want := (dogpile.Stats{Hits: 480, Misses: 1, Creations: 11, Early: 10, Stores: 11}); s != want {
			t.Errorf("got %+v, want %+v", s, want)
		}
		pass(time.Hour) // nobody asks
		wantCalls(t, p.one, 11)
	})
}

// TestRefreshAheadInAFleet: eight processes ask all the time, and each expiry costs the
// origin one creation.
func TestRefreshAheadInAFleet(t *testing.T) {
	for _, bytes := range []bool{true, false} {
		t.Run(fmt.Sprintf("bytes %v", bytes), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				regions, caches := processes[int](t, 8, newFake(t, like{bytes: bytes}), &aMinute)
				one := counting(2 * time.Second)
				_, _ = caches[0].GetOrCreate(bg, "k", one.create)
				for range 10 * 60 {
					for _, c := range caches {
						e, err := c.GetOrCreateEntry(bg, "k", one.create)
						if err != nil || e.From != dogpile.Hit || e.State != dogpile.Fresh {
							t.Fatalf("a caller got %+v, %v", e, err)
						}
					}
					pass(time.Second)
				}
				later(2 * time.Second)
				// Each entry lives for 48 s, and is served for the 2 s that the next one takes.
				wantCalls(t, one, 13)
				early := int64(0)
				for _, r := range regions {
					early += r.Stats().Early
				}
				if most := one.most.Load(); most != 1 || early != 12 {
					t.Errorf("%d creators ran at once, %d ahead", most, early)
				}
			})
		})
	}
}

// 1. A and B read an entry that is to be renewed.  2. A renews it.  3. B takes the lock,
// and finds what A has made.
func TestRefreshAheadFindsWhatAnotherHasRenewed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		regions, caches := processes[int](t, 2, b, &aMinute)
		one := counting(0)
		_, _ = caches[0].GetOrCreate(bg, "k", one.create)
		pass(50 * time.Second)
		slow := caches[1].With(dogpile.CacheOptions[int]{Name: "slow"})
		b.slow = func(ctx context.Context, op string) error {
			if op == "lock" && b.called("lock") == 2 {
				// B is about to take the lock.
				b.slow = nil
				_, _ = caches[0].GetOrCreate(bg, "k", one.create)
				synctest.Wait()
			}
			return nil
		}
		v, err := slow.GetOrCreate(bg, "k", one.create)
		wantValue(t, "B", v, err, 1)
		later(time.Second)
		wantCalls(t, one, 2)
		v, err = slow.GetOrCreate(bg, "k", one.create)
		wantValue(t, "B afterwards", v, err, 2)
		wantFree(t, regions[0], "k")
	})
}

func TestRefreshAheadThatFails(t *testing.T) {
	for _, row := range []struct {
		name string
		fail func(ctx context.Context) (int, error)
		told int // errors in 10 s
		o    dogpile.CacheOptions[int]
	}{
		{"an error", func(context.Context) (int, error) { return 0, errOrigin }, 10, dogpile.CacheOptions[int]{}},
		{"a panic", func(context.Context) (int, error) { panic("boom") }, 10, dogpile.CacheOptions[int]{}},
		{"a value that is not stored", func(context.Context) (int, error) { return 2, nil }, 0, dogpile.CacheOptions[int]{ShouldCache: func(v int) bool { return v == 1 }}},
		{"a creator that wants it not stored", func(ctx context.Context) (int, error) { dogpile.Creation(ctx).NoStore(); return 2, nil }, 0, dogpile.CacheOptions[int]{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				o := aMinute
				o.Hooks = rec.hooks()
				c := newCache[int](t, &o).With(row.o)
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(49 * time.Second)
				rec.counts()
				for range 1000 {
					v, err := c.GetOrCreate(bg, "k", row.fail)
					wantValue(t, "a caller", v, err, 1)
					pass(10 * time.Millisecond)
				}
				synctest.Wait()
				created, failed := rec.take("create"), rec.take("error")
				if len(created) != 10 || len(failed) != row.told {
					t.Errorf("%d creations and %d errors told in 10 s, want one a second, and %d", len(created), len(failed), row.told)
				}
				for _, e := range append(created, failed...) {
					if !e.Background || e.Key != "k" {
						t.Errorf("told: %+v", e)
					}
				}
			})
		})
	}
}

// Without the backend nothing that is made could be stored, so nothing is made.
func TestRefreshAheadWithoutTheBackend(t *testing.T) {
	for _, op := range []string{"lock", "extend", "release"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: true})
				c := dogpile.NewCache[int](newRegion(t, b, &aMinute), nil)
				one := counting(0)
				_, _ = c.GetOrCreate(bg, "k", one.create)
				pass(49 * time.Second)
				b.in(failing(op))
				for range 1000 {
					v, err := c.GetOrCreate(bg, "k", one.create)
					if op == "lock" {
						wantValue(t, "a caller", v, err, 1)
					}
					pass(time.Millisecond)
				}
				want := int64(2)
				if op == "lock" {
					want = 1
				}
				wantCalls(t, one, want)
			})
		})
	}
}

// TestRefreshAheadGoesByTheEntrysOwnLife, not by the region's.
func TestRefreshAheadGoesByTheEntrysOwnLife(t *testing.T) {
	for kind, open := range kinds {
		for _, row := range []struct {
			name   string
			o      dogpile.Options
			co     dogpile.CacheOptions[int]
			create func(ctx context.Context)
			early  time.Duration // when it is too early
			due    time.Duration
		}{
			{"ExpireIn", aMinute, dogpile.CacheOptions[int]{}, func(ctx context.Context) { dogpile.Creation(ctx).ExpireIn(10 * time.Second) }, 7 * time.Second, 9 * time.Second},
			{"ExpireIn Never", aMinute, dogpile.CacheOptions[int]{}, func(ctx context.Context) { dogpile.Creation(ctx).ExpireIn(dogpile.Never) }, time.Hour, 0},
			{"the cache's Expiration", aMinute, dogpile.CacheOptions[int]{Expiration: 10 * time.Second}, nil, 7 * time.Second, 9 * time.Second},
			{"ExpirationFunc", aMinute, dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration { return 10 * time.Second }}, nil, 7 * time.Second, 9 * time.Second},
			{"no expiration", dogpile.Options{RefreshAhead: .1}, dogpile.CacheOptions[int]{}, nil, time.Hour, 0},
			{"Jitter", dogpile.Options{Expiration: time.Minute, Jitter: .5, RefreshAhead: .8}, dogpile.CacheOptions[int]{}, nil, 23 * time.Second, 0},
			{"no such answer", aMinute, *knowsNone, nil, 47 * time.Second, 49 * time.Second},
		} {
			t.Run(kind+"/"+row.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					c := dogpile.NewCache(newRegion(t, open(t), &row.o), &row.co)
					one := counting(0)
					create := func(ctx context.Context) (int, error) {
						if row.create != nil {
							row.create(ctx)
						}
						return one.create(ctx)
					}
					ask := func() {
						t.Helper()
						e, err := c.GetOrCreateEntry(bg, "k", create)
						if err != nil || e.Value != 1 || e.From != dogpile.Hit {
							t.Errorf("got %+v, %v", e, err)
						}
						synctest.Wait()
					}
					_, _ = c.GetOrCreate(bg, "k", create)
					pass(row.early)
					ask()
					wantCalls(t, one, 1)
					if row.due != 0 {
						pass(row.due - row.early)
						ask()
						wantCalls(t, one, 2)
					}
				})
			})
		}
	}
}

func TestRefreshAheadOfAnAnswerThatThereIsNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newFake(t, like{bytes: true}), &aMinute)
		c := dogpile.NewCache(r, knowsNone)
		one := &creator[int]{err: errNone}
		for range 20 {
			if _, err := c.GetOrCreate(bg, "k", one.create); err != errNone {
				t.Errorf("got %v", err)
			}
			later(4 * time.Second)
		}
		wantCalls(t, one, 20)
		if s := r.Stats(); s.Misses != 1 || s.Early != 19 {
			t.Errorf("%+v; want no caller but the first to wait", s)
		}
	})
}

// A batch has what is due renewed by one call of its creator, and waits for nothing.
func TestRefreshAheadInBatches(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := dogpile.NewCache[int](newRegion(t, open(t), &aMinute), nil)
				var asked [][]string
				ask := func(keys ...string) {
					t.Helper()
					began := time.Now()
					vals, err := c.GetOrCreateMulti(bg, keys, func(ctx context.Context, keys []string) (map[string]int, error) {
						asked = append(asked, keys)
						made := make(map[string]int)
						for _, key := range keys {
							made[key] = len(asked)
						}
						return made, wait(ctx, time.Second)
					})
					if err != nil || len(vals) != len(keys) || time.Since(began) > time.Second {
						t.Errorf("got %v, %v after %v", vals, err, time.Since(began))
					}
				}
				ask("a", "b")
				pass(10 * time.Second)
				ask("c", "a")
				pass(40 * time.Second)
				for range 10 {
					ask("a", "b", "c")
				}
				later(2 * time.Second)
				ask("a", "b")
				ask("c", "d") // d is missing, and waited for; c is not due yet
				if want := "[[a b] [c] [a b] [d]]"; fmt.Sprint(asked) != want {
					t.Errorf("asked for %v, want %v", asked, want)
				}
			})
		})
	}
}

func TestCloseWaitsForRefreshAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, b, &aMinute)
		c := dogpile.NewCache[int](r, nil)
		one := counting(time.Second)
		_, _ = c.GetOrCreate(bg, "k", one.create)
		pass(50 * time.Second)
		v, err := c.GetOrCreate(bg, "k", one.create)
		wantValue(t, "a caller", v, err, 1)
		began := time.Now()
		wantErr(t, "Close", r.Close(bg), nil)
		if took := time.Since(began); took != time.Second || r.Stats().Stores != 2 {
			t.Errorf("Close took %v, and %+v", took, r.Stats())
		}
	})
}

// A value that is renewed is not joined by those who found it deleted in the meantime.
func TestDeleteDuringRefreshAhead(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := dogpile.NewCache[int](newRegion(t, open(t), &aMinute), nil)
				one := counting(time.Second)
				_, _ = c.GetOrCreate(bg, "k", one.create)
				pass(50 * time.Second)
				_, _ = c.GetOrCreate(bg, "k", one.create)
				synctest.Wait()
				wantErr(t, "Delete", c.Delete(bg, "k"), nil)
				v, err := c.GetOrCreate(bg, "k", one.create)
				wantValue(t, "a caller", v, err, 3)
				v, err = c.GetOrCreate(bg, "k", one.create)
				wantValue(t, "a caller afterwards", v, err, 3)
			})
		})
	}
}

// The Runner gets the renewals too, and a creator that asks for its own key, which is
// fresh yet, has its value and starts nothing.
func TestRefreshAheadByTheRunner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := aMinute
		var tasks []func()
		o.Runner = func(task func()) { tasks = append(tasks, task) }
		c := newCache[int](t, &o)
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		pass(50 * time.Second)
		create := func(ctx context.Context) (int, error) {
			v, err := c.GetOrCreate(ctx, "k", func(context.Context) (int, error) { return 0, errors.New("nested") })
			return v + 1, err
		}
		for range 3 {
			v, err := c.GetOrCreate(bg, "k", create)
			wantValue(t, "a caller", v, err, 1)
		}
		if len(tasks) != 1 {
			t.Fatalf("the Runner has %d tasks", len(tasks))
		}
		tasks[0]()
		v, err := c.GetOrCreate(bg, "k", create)
		wantValue(t, "a caller afterwards", v, err, 2)
	})
}

// A caller that joins a renewal ahead of expiration is not given its backend error.
func TestCallerThatJoinsRefreshAheadDoesWithoutTheBackend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, b, &dogpile.Options{Expiration: 10 * time.Second, StaleFor: time.Millisecond, RefreshAhead: 0.5})
		c := dogpile.NewCache[int](r, nil)
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		pass(9900 * time.Millisecond)
		b.in(hanging("lock"))
		v, err := c.GetOrCreate(bg, "k", constant(2).create)
		wantValue(t, "early", v, err, 1)
		synctest.Wait()
		pass(200 * time.Millisecond)
		v, err = c.GetOrCreate(bg, "k", constant(3).create)
		wantValue(t, "expired meanwhile", v, err, 3)
		b.in(nil)
	})
}
