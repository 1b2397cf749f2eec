package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestBands: fresh, stale and beyond, in this order, and what is served of each.
func TestBands(t *testing.T) {
	const exp, bit = time.Minute, time.Millisecond
	type options = dogpile.Options
	for name, row := range map[string]struct {
		o        options
		after    time.Duration
		served   bool // at once, while another creates
		standsIn bool // for a creator that fails
	}{
		"stale":                      {options{}, exp + bit, true, false},
		"stale at the end":           {options{}, 2*exp - bit, true, false},
		"StaleFor":                   {options{StaleFor: time.Second}, exp + time.Second - bit, true, false},
		"beyond, with StaleIfError":  {options{StaleFor: time.Second, StaleIfError: time.Hour}, exp + time.Second + bit, false, true},
		"StaleIfError at the end":    {options{StaleFor: time.Second, StaleIfError: time.Hour}, exp + time.Hour - bit, false, true},
		"StaleFor Never":             {options{StaleFor: dogpile.Never}, 1000 * exp, true, false},
		"StaleIfError Never":         {options{StaleIfError: dogpile.Never}, 1000 * exp, false, true},
		"both Never":                 {options{StaleFor: dogpile.Never, StaleIfError: dogpile.Never}, 1000 * exp, true, true},
		"StaleIfError Never, within": {options{StaleIfError: dogpile.Never}, exp + time.Second, true, true},
	} {
		for kind, backend := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					o := row.o
					o.Expiration = exp
					c := dogpile.NewCache[int](newRegion(t, backend(t), &o), nil)
					wantErr(t, "Set", c.Set(bg, "k", 1), nil)
					pass(row.after)
					e, ok, err := c.Peek(bg, "k")
					if !ok || e.State != dogpile.Stale || e.Value != 1 || err != nil {
						t.Errorf("Peek: %+v, %v, %v; want it stale", e, ok, err)
					}
					leader := start(get(c, "k", (&creator[int]{takes: bit / 2, err: errOrigin}).create))
					reader := <-start(get(c, "k", constant(2).create))
					if row.served || row.standsIn {
						wantValue(t, "reader", reader.v, reader.err, 1)
					} else {
						wantErr(t, "reader", reader.err, errOrigin)
					}
					if atOnce := reader.took == 0; atOnce != row.served {
						t.Errorf("a reader took %v", reader.took)
					}
					if r := <-leader; row.standsIn {
						wantValue(t, "leader", r.v, r.err, 1)
					} else {
						wantErr(t, "leader", r.err, errOrigin)
					}
				})
			})
		}
	}
}

// TestStaleIfErrorLeavesTheKeyAloneForAWhile: a creator that has failed, or did
// not come back, is not asked again for a second; each time that it fails
// nothing is younger for it.
func TestStaleIfErrorLeavesTheKeyAloneForAWhile(t *testing.T) {
	for _, staleFor := range []time.Duration{time.Second, 5 * time.Minute} {
		for name, backend := range kinds {
			t.Run(fmt.Sprint(staleFor, "/", name), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					o := &dogpile.Options{Expiration: time.Minute, StaleFor: staleFor, StaleIfError: 10 * time.Minute}
					c := dogpile.NewCache[int](newRegion(t, backend(t), o), nil)
					wantErr(t, "Set", c.Set(bg, "k", 1), nil)
					pass(2 * time.Minute)
					bad := &creator[int]{err: errOrigin}
					many := func(ctx context.Context, _ []string) (map[string]int, error) {
						v, err := bad.create(ctx)
						return map[string]int{"k": v}, err
					}
					for range 50 { // ten in a second
						v, err := c.GetOrCreate(bg, "k", bad.create)
						wantValue(t, "GetOrCreate", v, err, 1)
						vals, err := c.GetOrCreateMulti(bg, []string{"k"}, many)
						wantValue(t, "GetOrCreateMulti", vals["k"], err, 1)
						pass(100 * time.Millisecond)
					}
					if n := bad.calls.Load(); n < 4 || n > 6 {
						t.Errorf("the failing creator was called %d times in 5s, want once a second", n)
					}
					e, _, _ := c.Peek(bg, "k")
					if off := e.Age() - 125*time.Second; off.Abs() > time.Microsecond || e.State != dogpile.Stale {
						t.Errorf("%v, aged %v; want stale, 2m5s", e.State, e.Age())
					}
					later(time.Second)
					v, err := c.GetOrCreate(bg, "k", constant(2).create)
					wantValue(t, "a creator that is well again", v, err, 2)
				})
			})
		}
	}
}

func TestStaleIfErrorEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Second, StaleIfError: 10 * time.Minute})
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		bad := &creator[int]{err: errOrigin}
		pass(time.Minute)
		for range 600 {
			pass(time.Second)
			if _, err := c.GetOrCreate(bg, "k", bad.create); err != nil && err != errOrigin {
				t.Error(err)
			}
		}
		pass(2 * time.Second)
		_, err := c.GetOrCreate(bg, "k", bad.create)
		wantErr(t, "after eleven minutes of errors", err, errOrigin)
	})
}

func TestStaleIfErrorNeverServesWhatIsInvalid(t *testing.T) {
	for way, do := range ways {
		if way == "Set" || way == "SetMulti" || way == "Invalidate(Soft)" {
			continue
		}
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}
				rs, cs := processes[int](t, 2, newFake(t, like{}), o)
				bad := &creator[int]{err: errOrigin, takes: time.Second}
				for by := range 2 {
					wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
					pass(90 * time.Second)
					before := start(get(cs[0], "k", bad.create))
					wantErr(t, "the call", do(bg, rs[by], cs[by], "k"), nil)
					after := start(get(cs[0], "k", bad.create))
					elsewhere := start(get(cs[1], "k", bad.create))
					<-before
					wantErr(t, "after it, here", (<-after).err, errOrigin)
					wantErr(t, "after it, elsewhere", (<-elsewhere).err, errOrigin)
					_, err := cs[0].GetOrCreate(bg, "k", bad.create)
					wantErr(t, "and once more", err, errOrigin)
					wantErr(t, "Delete", cs[0].Delete(bg, "k"), nil)
				}
			})
		})
	}
}

func TestStaleIfErrorStandsInForACreatorThatTakesTooLong(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := &dogpile.Options{CreateTimeout: time.Second, Expiration: time.Second, StaleFor: time.Second, StaleIfError: time.Hour}
				c := newCache[int](t, o)
				slow := &creator[int]{takes: time.Minute, deaf: deaf}
				for range 20 {
					wantErr(t, "Set", c.SetMulti(bg, map[string]int{"a": 1, "b": 2}), nil)
					pass(time.Minute)
					calls := crowd(3, get(c, "a", slow.create))
					vals, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, func(ctx context.Context, _ []string) (map[string]int, error) {
						_, err := slow.create(ctx)
						return nil, err
					})
					if err != nil || vals["a"] != 1 || vals["b"] != 2 {
						t.Errorf("GetOrCreateMulti: %v, %v", vals, err)
					}
					for _, call := range calls {
						r := <-call
						wantValue(t, "caller", r.v, r.err, 1)
						if r.took != time.Second {
							t.Errorf("took %v, want CreateTimeout", r.took)
						}
					}
				}
			})
		})
	}
}

func TestRunners(t *testing.T) {
	for name, row := range map[string]struct {
		runner func(queue *[]func(), task func())
		within time.Duration // the caller's share
	}{
		"Background":        {func(_ *[]func(), task func()) { dogpile.Background(task) }, 0},
		"inline":            {func(_ *[]func(), task func()) { task() }, time.Second},
		"queue":             {func(queue *[]func(), task func()) { *queue = append(*queue, task) }, 0},
		"calls it twice":    {func(_ *[]func(), task func()) { go task(); go task() }, 0},
		"and once too late": {func(queue *[]func(), task func()) { go task(); *queue = append(*queue, task) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var queue []func()
				c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, Runner: func(task func()) { row.runner(&queue, task) }})
				o := &creator[int]{takes: time.Second, value: func(int64) int { return 2 }}
				miss := <-start(get(c, "new", o.create))
				if wantValue(t, "a missing key is no business of the Runner", miss.v, miss.err, 2); miss.took != time.Second {
					t.Errorf("took %v", miss.took)
				}
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(90 * time.Second)
				for i := range 5 {
					r := <-start(get(c, "k", o.create))
					if want := map[bool]int{true: 1, false: 2}[i == 0 || row.within == 0]; r.v != want || r.err != nil {
						t.Errorf("caller %d: %v, %v, want %v", i, r.v, r.err, want)
					}
					if i == 0 && r.took != row.within {
						t.Errorf("took %v, want %v", r.took, row.within)
					}
				}
				for _, task := range queue {
					task()
				}
				later(time.Second)
				v, _, err := c.Get(bg, "k")
				wantValue(t, "afterwards", v, err, 2)
				wantCalls(t, o, 2)
			})
		})
	}
}

func TestRunnerThatPanicsKeepsNoKey(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("task first=%v", first), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var well atomic.Bool
				r := newRegion(t, newMemory(t), &dogpile.Options{Expiration: time.Minute, Runner: func(task func()) {
					if first || well.Load() {
						task()
					}
					if !well.Load() {
						panic("queue is full")
					}
				}})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 1}), nil)
				pass(90 * time.Second)
				if p := panicOf(func() { _, _ = c.GetOrCreate(bg, "a", constant(2).create) }); p != "queue is full" {
					t.Error("the panic did not go to the caller:", p)
				}
				if p := panicOf(func() {
					_, _ = c.GetOrCreateMulti(bg, []string{"b"}, func(context.Context, []string) (map[string]int, error) { return map[string]int{"b": 2}, nil })
				}); p != "queue is full" {
					t.Error("the panic did not go to the caller:", p)
				}
				well.Store(true)
				wantFree(t, r, "a", "b")
				for _, key := range []string{"a", "b"} {
					_, err := c.GetOrCreate(bg, key, constant(2).create)
					wantErr(t, "the next call", err, nil)
					v, _, err := c.Get(bg, key)
					wantValue(t, "created by it", v, err, 2)
				}
				if n := r.Stats().Running; n != 0 {
					t.Errorf("%d flights are in the air", n)
				}
			})
		})
	}
}

// A Runner that drops what it is given, because its queue is full, costs the
// renewal of an entry for CreateTimeout, not for ever, and its callers nothing.
func TestRunnerThatDropsTheTask(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var drop atomic.Bool
		r := newRegion(t, newMemory(t), &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, CreateTimeout: 10 * time.Second, Runner: func(task func()) {
			if !drop.Load() {
				task()
			}
		}})
		c := dogpile.NewCache[int](r, nil)
		wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 1}), nil)
		pass(90 * time.Second)
		drop.Store(true)
		many := func(context.Context, []string) (map[string]int, error) { return map[string]int{"a": 2, "b": 2}, nil }
		for range 2 {
			v, err := c.GetOrCreate(bg, "a", constant(2).create)
			wantValue(t, "stale", v, err, 1)
			vals, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, many)
			wantValue(t, "stale", vals["b"], err, 1)
		}
		drop.Store(false)
		later(10 * time.Second)
		wantFree(t, r, "a", "b")
		if n := r.Stats().Running; n != 0 {
			t.Errorf("%d flights are in the air", n)
		}
		_, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, many)
		wantErr(t, "GetOrCreateMulti", err, nil)
		v, _, err := c.Get(bg, "a")
		wantValue(t, "renewed", v, err, 2)
	})
}

// Callers who find nothing do not wait for a task that nobody runs.
func TestMissingKeyDoesNotWaitForADroppedTask(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{Expiration: time.Minute, Runner: func(func()) {}})
		wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
		pass(90 * time.Second)
		v, err := cs[0].GetOrCreate(bg, "k", constant(2).create)
		wantValue(t, "stale", v, err, 1)
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		r := <-start(get(cs[0], "k", constant(3).create))
		wantValue(t, "missing", r.v, r.err, 2) // of the flight that was dropped, and is run now
		if r.took > 0 {
			t.Errorf("took %v", r.took)
		}
	})
}

func TestMaxCreators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{MaxCreators: 3, Expiration: time.Minute})
		wantErr(t, "Set", c.Set(bg, "stale", 1), nil)
		pass(90 * time.Second)
		o := counting(time.Second)
		var calls []<-chan result[int]
		for i := range 8 {
			calls = append(calls, start(get(c, fmt.Sprint("missing", i), o.create)))
		}
		calls = append(calls, start(func() (int, error) {
			_, err := c.GetOrCreateMulti(bg, []string{"m1", "m2", "stale"}, func(ctx context.Context, keys []string) (map[string]int, error) {
				v, err := o.create(ctx)
				return map[string]int{keys[0]: v}, err
			})
			return 0, err
		}))
		r := <-start(get(c, "stale", o.create))
		if wantValue(t, "stale while all places are taken", r.v, r.err, 1); r.took > 0 {
			t.Errorf("took %v", r.took)
		}
		took := make(map[time.Duration]int)
		for _, call := range calls {
			r := <-call
			wantErr(t, "caller", r.err, nil)
			took[r.took]++
		}
		if n := o.most.Load(); n != 3 {
			t.Errorf("%d creators at once, want 3", n)
		}
		if took[time.Second] != 3 || took[2*time.Second] != 3 || took[3*time.Second] != 3 {
			t.Errorf("nine creations, three at once: %v", took)
		}
	})
}

// Those who wait for a place do not take it from each other in turn: each asks
// the backend as often as alone.
func TestMaxCreatorsWaitersDoNotSpin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{unshared: true})
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{MaxCreators: 1, CreateTimeout: time.Hour}), nil)
		const n = 100
		var calls []<-chan result[int]
		for i := range n {
			calls = append(calls, start(get(c, fmt.Sprint("key", i), counting(time.Second).create)))
		}
		for _, call := range calls {
			r := <-call
			wantValue(t, "waiter", r.v, r.err, 1)
		}
		if gets, locks := b.called("get"), b.called("lock"); gets > 4*n || locks > 2*n {
			t.Errorf("%d creations, one at a time, took %d reads and %d attempts to lock", n, gets, locks)
		}
	})
}

func TestMaxCreatorsWaitHonoursTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), &dogpile.Options{MaxCreators: 1, CreateTimeout: time.Minute})
		c := dogpile.NewCache[int](r, nil)
		busy := start(get(c, "busy", counting(50*time.Second).create))
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		got := <-start(func() (int, error) { return c.GetOrCreate(ctx, "k", constant(1).create) })
		if wantErr(t, "with a deadline", got.err, context.DeadlineExceeded); got.took != time.Second {
			t.Errorf("took %v", got.took)
		}
		_, err := c.GetOrCreateMulti(ctx, []string{"l"}, func(context.Context, []string) (map[string]int, error) { panic("called") })
		wantErr(t, "multi", err, context.DeadlineExceeded)
		<-busy
		later(0)
		if n := r.Stats().Running; n != 0 {
			t.Errorf("%d flights are in the air", n)
		}
	})
}

// A creator that is nested needs no place, also where it meets a flight of
// others that waits for one.
func TestMaxCreatorsAndNestedCreators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{MaxCreators: 1})
		outer := start(get(c, "outer", func(ctx context.Context) (int, error) {
			pass(time.Second)
			v, err := c.GetOrCreate(ctx, "inner", constant(1).create)
			if err != nil {
				return 0, err
			}
			vals, err := c.GetOrCreateMulti(ctx, []string{"inner", "inner2"}, func(context.Context, []string) (map[string]int, error) {
				return map[string]int{"inner2": 10}, nil
			})
			return v + vals["inner2"], err
		}))
		inner := []<-chan result[int]{start(get(c, "inner", constant(1).create)), start(get(c, "inner2", constant(10).create))}
		r := <-outer
		if wantValue(t, "outer", r.v, r.err, 11); r.took != time.Second {
			t.Errorf("took %v", r.took)
		}
		for _, call := range inner {
			if r := <-call; r.err != nil || r.took != time.Second {
				t.Errorf("inner: %v, %v after %v", r.v, r.err, r.took)
			}
		}
	})
}

// Whatever way creators end, their places are given back.
func TestMaxCreatorsPlacesComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		o := &dogpile.Options{MaxCreators: 2, CreateTimeout: time.Second, Expiration: time.Minute, StaleFor: time.Hour}
		rs, cs := processes[int](t, 2, b, o)
		c := cs[0]
		ask := func(create func(context.Context) (int, error)) {
			_, _ = c.GetOrCreate(bg, "k", create)
			_, _ = c.GetOrCreateMulti(bg, []string{"a", "b"}, func(ctx context.Context, _ []string) (map[string]int, error) {
				v, err := create(ctx)
				return map[string]int{"a": v}, err
			})
			_, _ = c.Refresh(bg, "r", create)
		}
		for range 3 {
			for _, row := range ends {
				ask(func(context.Context) (int, error) { return row.end() })
			}
			ask((&creator[int]{takes: 2 * time.Second, deaf: true}).create)
			ask((&creator[int]{takes: 2 * time.Second}).create)
			for _, op := range []string{"get", "set", "lock", "extend", "release", "wait"} {
				b.in(failing(op))
				ask(constant(1).create)
				b.in(hanging(op))
				ask(constant(1).create)
				b.in(nil)
			}
			ask(func(ctx context.Context) (int, error) {
				return 1, errors.Join(c.Delete(ctx, "k", "a", "b", "r"), rs[1].Invalidate(ctx, dogpile.Hard))
			})
			other := start(get(cs[1], "a", counting(900*time.Millisecond).create)) // the lease is elsewhere
			ask(constant(1).create)
			<-other
			wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Soft), nil)
		}
		later(10 * time.Second)
		wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Hard), nil)
		two := crowd(1, get(c, "one", counting(500*time.Millisecond).create))
		two = append(two, start(get(c, "two", counting(500*time.Millisecond).create)))
		for _, call := range two {
			if r := <-call; r.err != nil || r.took != 500*time.Millisecond {
				t.Errorf("%v after %v: a place was not given back", r.err, r.took)
			}
		}
		three := start(get(c, "three", counting(500*time.Millisecond).create))
		four := start(get(c, "four", counting(500*time.Millisecond).create))
		five := start(get(c, "five", counting(500*time.Millisecond).create))
		<-three
		<-four
		if r := <-five; r.took != time.Second {
			t.Errorf("the third of two took %v: a place was given back twice", r.took)
		}
	})
}

// TestValueThatIsStaleWhenItIsMade:
//
//	0 s    A, in one process, creates. Values expire at the moment they are made.
//	0.1 s  B, C and D, in another, find nothing, and wait.
//	2 s    A's value is stored, and stale. One of them creates the next.
//	2 s    The others have a value to return, and do.
//	4 s    So does the one.
func TestValueThatIsStaleWhenItIsMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, caches := processes[int](t, 2, newMemory(t), &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour})
		for i, c := range caches {
			caches[i] = c.With(dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration { return -2 }})
		}
		cr := counting(2 * time.Second)
		a := start(get(caches[0], "k", cr.create))
		pass(100 * time.Millisecond)
		took := map[time.Duration]int{}
		for _, ch := range crowd(3, get(caches[1], "k", cr.create)) {
			r := <-ch
			took[r.took.Round(time.Second/10)]++
			wantErr(t, "waiting", r.err, nil)
		}
		if r := <-a; r.err != nil {
			t.Errorf("A: %v", r.err)
		}
		if took[1900*time.Millisecond] != 2 || took[3900*time.Millisecond] != 1 {
			t.Errorf("waiting took %v, want 1.9 s for two and 3.9 s for one", took)
		}
		wantCalls(t, cr, 2)
	})
}
