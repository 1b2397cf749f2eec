package dogpile_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// ways are all that ends the life of a value, but for time.
var ways = map[string]func(ctx context.Context, r *dogpile.Region, c *dogpile.Cache[int], key string) error{
	"Delete": func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int], key string) error {
		return c.Delete(ctx, "other", key)
	},
	"Set": func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int], key string) error {
		return c.Set(ctx, key, setValue)
	},
	"SetMulti": func(ctx context.Context, _ *dogpile.Region, c *dogpile.Cache[int], key string) error {
		return c.SetMulti(ctx, map[string]int{"other": 0, key: setValue})
	},
	"Invalidate(Hard)": func(ctx context.Context, r *dogpile.Region, _ *dogpile.Cache[int], _ string) error {
		return r.Invalidate(ctx, dogpile.Hard)
	},
	"Invalidate(Soft)": func(ctx context.Context, r *dogpile.Region, _ *dogpile.Cache[int], _ string) error {
		return r.Invalidate(ctx, dogpile.Soft)
	},
}

const setValue = 1000

// TestOldValueIsNotReadAfterwards: the value whose creation had begun is given
// to those who had asked for it before, and to nobody else.
//
//  1. A starts creating 1. B, in the same process, waits for it.
//  2. Somebody, here or in another process, deletes, sets or invalidates.
//  3. C, D and E in A's process and F in another come. They are not given 1,
//     whether A has ended or not. B may be given 1, or what is made for them.
func TestOldValueIsNotReadAfterwards(t *testing.T) {
	for way, do := range ways {
		for where, by := range map[string]int{"here": 0, "elsewhere": 1} {
			for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
				t.Run(way+"/"+where+"/"+name, func(t *testing.T) {
					softElsewhere := way == "Invalidate(Soft)" && by == 1 // the old value is served as a stale one
					bubble(t, func(t *testing.T) { oldValueIsNotRead(t, newFake(t, l), by, softElsewhere, do) })
				})
			}
		}
	}
}

func oldValueIsNotRead(t *testing.T, b *fake, by int, staleToo bool, do func(context.Context, *dogpile.Region, *dogpile.Cache[int], string) error) {
	rs, cs := processes[int](t, 2, b, nil)
	wantErr(t, "Set", cs[0].Set(bg, "token", 0), nil)
	old := &creator[int]{takes: 2 * time.Second, value: func(int64) int { return 1 }}
	next := &creator[int]{takes: 5 * time.Second, value: func(int64) int { return 2 }}
	leader, follower := start(get(cs[0], "k", old.create)), start(get(cs[0], "k", old.create))
	pass(time.Second)
	wantErr(t, "the call", do(bg, rs[by], cs[by], "k"), nil)
	after := []<-chan result[int]{
		start(get(cs[0], "k", next.create)),
		start(func() (int, error) {
			vals, err := cs[0].GetOrCreateMulti(bg, []string{"k"}, func(ctx context.Context, _ []string) (map[string]int, error) {
				v, err := next.create(ctx)
				return map[string]int{"k": v}, err
			})
			return vals["k"], err
		}),
		start(get(cs[1], "k", next.create)),
	}
	later(1500 * time.Millisecond) // the old creation has ended
	for _, c := range cs {
		if v, ok, err := c.Get(bg, "k"); ok && v == 1 || err != nil {
			t.Errorf("Get after the old creation: %v, %v", v, err)
		}
	}
	after = append(after, start(get(cs[0], "k", next.create)))
	r := <-leader
	wantValue(t, "leader", r.v, r.err, 1)
	if r := <-follower; r.err != nil || r.v == 0 {
		t.Errorf("follower from before: %v, %v", r.v, r.err)
	}
	for i, call := range after {
		if r := <-call; r.err != nil || r.v != 2 && r.v != setValue && !(staleToo && r.v == 1) {
			t.Errorf("caller %d from after: %v, %v", i, r.v, r.err)
		}
	}
	wantCalls(t, old, 1)
	if n := next.most.Load(); n > 1 {
		t.Errorf("%d new creators at once", n)
	}
	wantFree(t, rs[0], "k")
}

// Callers in this process do not wait for the old creator, whose value would be
// of no use.
func TestCallersAfterwardsDoNotWaitForTheOldCreator(t *testing.T) {
	for way, do := range ways {
		if strings.HasPrefix(way, "Set") {
			continue // there is a value
		}
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				for name, b := range map[string]driver.Backend{"memory": newMemory(t), "shared": newFake(t, like{})} {
					r := newRegion(t, b, nil)
					c := dogpile.NewCache[int](r, nil)
					old := start(get(c, "k", counting(20*time.Second).create))
					wantErr(t, "the call", do(bg, r, c, "k"), nil)
					v := <-start(get(c, "k", (&creator[int]{takes: time.Second, value: func(int64) int { return 2 }}).create))
					wantValue(t, name, v.v, v.err, 2)
					if v.took != time.Second {
						t.Errorf("%s: took %v, want 1s", name, v.took)
					}
					<-old
					now, _, err := c.Get(bg, "k")
					wantValue(t, name+" after the old creator", now, err, 2)
				}
			})
		})
	}
}

// The same after a Set whose value has gone again.
func TestCallersAfterASetDoNotWaitForTheOldCreator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		old := start(get(cs[0], "k", counting(20*time.Second).create))
		wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		r := <-start(get(cs[0], "k", (&creator[int]{takes: time.Second, value: func(int64) int { return 2 }}).create))
		if wantValue(t, "GetOrCreate", r.v, r.err, 2); r.took != time.Second {
			t.Errorf("took %v, want 1s", r.took)
		}
		<-old
	})
}

// TestNobodyJoinsBetweenStoreAndPublication:
//
//  1. A creates and stores. The backend is slow to tell that it has stored.
//  2. B, elsewhere, deletes the key.
//  3. C, in A's process, reads: missing. It must not be given A's value, though
//     A's lease did hold until the value was stored.
func TestNobodyJoinsBetweenStoreAndPublication(t *testing.T) {
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprintf("batch=%v", batch), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				_, cs := processes[int](t, 2, b, nil)
				wantErr(t, "Set", cs[0].Set(bg, "token", 0), nil)
				var sets atomic.Int64
				b.slow = func(ctx context.Context, op string) error {
					if op == "set" && sets.Add(1) == 2 {
						return wait(ctx, time.Second)
					}
					return nil
				}
				a := start(func() (int, error) {
					if !batch {
						return cs[0].GetOrCreate(bg, "k", constant(1).create)
					}
					vals, err := cs[0].GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]int, error) {
						return map[string]int{"k": 1}, nil
					})
					return vals["k"], err
				})
				wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
				c := start(get(cs[0], "k", constant(2).create))
				r := <-a
				if wantValue(t, "A", r.v, r.err, 1); r.took != time.Second {
					t.Errorf("A took %v: the schedule was not run", r.took)
				}
				r = <-c
				wantValue(t, "C, whose read began after Delete", r.v, r.err, 2)
			})
		})
	}
}

// TestValueThatAFlightHasReadIsNotServedAfterDelete:
//
//  1. A reads: missing. B, elsewhere, stores the value.
//  2. A locks and reads again: fresh. The backend is slow to take the lock back.
//  3. B deletes the key. C, in A's process, reads: missing. It must not be given
//     what A has read.
func TestValueThatAFlightHasReadIsNotServedAfterDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 2, b, nil)
		wantErr(t, "Set", cs[0].Set(bg, "token", 0), nil)
		b.in(func(ctx context.Context, op string, _ []string) error {
			switch op {
			case "lock":
				return cs[1].Set(ctx, "k", 1)
			case "release":
				return wait(ctx, time.Second)
			}
			return nil
		})
		a := start(get(cs[0], "k", constant(3).create))
		b.in(nil)
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		c := start(get(cs[0], "k", constant(2).create))
		r := <-a
		if wantValue(t, "A", r.v, r.err, 1); r.took != time.Second {
			t.Errorf("A took %v: the schedule was not run", r.took)
		}
		r = <-c
		wantValue(t, "C, whose read began after Delete", r.v, r.err, 2)
	})
}

// TestStandInOfAFlightThatCannotReadIsNotServedAfterDelete:
//
//  1. A reads a stale value. The backend is slow to give it the lock.
//  2. B, elsewhere, deletes the key. C, in A's process, reads: missing. It joins
//     A's flight, which has not begun to create.
//  3. A has the lock and cannot read again. Its creator fails. The value that it
//     has read first may stand in for A, but not for C.
func TestStandInOfAFlightThatCannotReadIsNotServedAfterDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour})
		wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
		pass(90 * time.Second)
		b.in(func(ctx context.Context, op string, _ []string) error {
			if op == "lock" {
				return wait(ctx, time.Second)
			}
			return nil
		})
		bad := &creator[int]{err: errOrigin}
		a := start(get(cs[0], "k", bad.create))
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		c := start(get(cs[0], "k", bad.create))
		b.in(failing("get"))
		r := <-a
		wantValue(t, "A", r.v, r.err, 1)
		r = <-c
		wantErr(t, "C, whose read began after Delete", r.err, errOrigin)
		b.in(nil)
	})
}

func TestDeleteDuringRefreshAndBackgroundCreation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background})
		wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
		pass(90 * time.Second)
		o := counting(2 * time.Second)
		v, err := cs[0].GetOrCreate(bg, "k", o.create)
		wantValue(t, "stale", v, err, 1)
		refresh := start(func() (int, error) { return cs[0].Refresh(bg, "r", o.create) })
		wantErr(t, "Delete", cs[1].Delete(bg, "k", "r"), nil)
		<-refresh
		later(time.Second)
		for _, key := range []string{"k", "r"} {
			if v, ok, err := cs[0].Peek(bg, key); ok || err != nil {
				t.Errorf("%s came back as %v, %v", key, v, err)
			}
		}
	})
}

// TestSetFailsAndNothingProvesTheLease:
//
//  1. A creates. B, elsewhere, deletes the key: A's lease is gone.
//  2. C, in A's process, reads: missing. It waits for A.
//  3. A cannot store, for another reason. C must not be given A's value.
func TestValueThatCannotBeStoredIsNotServedAfterDelete(t *testing.T) {
	for name, row := range map[string]struct {
		trouble trouble
		like    like
		value   any
	}{
		"Set fails":         {trouble: failing("set"), value: 1},
		"too large":         {like: like{bytes: true, maxValue: 200}, value: strings.Repeat("x", 500)},
		"cannot be encoded": {like: like{bytes: true}, value: func() {}},
		"Extend fails":      {trouble: failing("extend", "set"), value: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, row.like)
				_, cs := processes[any](t, 2, b, nil)
				wantErr(t, "Set", cs[0].Set(bg, "token", 0), nil)
				a := start(get(cs[0], "k", func(context.Context) (any, error) { pass(2 * time.Second); return row.value, nil }))
				wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
				b.in(row.trouble)
				c := start(get(cs[0], "k", func(context.Context) (any, error) { return "new", nil }))
				if r := <-a; r.err != nil {
					t.Error("A:", r.err)
				}
				if r := <-c; r.err != nil || r.v != "new" {
					t.Errorf("C, whose read began after Delete: %.9v, %v", fmt.Sprint(r.v), r.err)
				}
				b.in(nil)
			})
		})
	}
}

func TestSoftInvalidationNeedsNoExpiration(t *testing.T) {
	for name, o := range map[string]*dogpile.Options{"none": {}, "Never": {Expiration: dogpile.Never}, "an hour": {Expiration: time.Hour}} {
		for backend, l := range map[string]like{"local": {unshared: true}, "shared": {}} {
			t.Run(name+"/"+backend, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, newFake(t, l), o)
					c := dogpile.NewCache[int](r, nil)
					wantErr(t, "Set", c.Set(bg, "k", 1), nil)
					wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil)
					if _, ok, err := c.Get(bg, "k"); ok || err != nil {
						t.Error("Get returned an invalidated value", err)
					}
					e, ok, err := c.Peek(bg, "k")
					if !ok || e.Value != 1 || e.State != dogpile.Stale || err != nil {
						t.Errorf("Peek: %+v, %v, %v", e, ok, err)
					}
					o := &creator[int]{takes: time.Second, value: func(int64) int { return 2 }}
					leader := start(get(c, "k", o.create))
					v, err := c.GetOrCreate(bg, "k", o.create)
					wantValue(t, "reader", v, err, 1)
					l := <-leader
					wantValue(t, "leader", l.v, l.err, 2)
					v, err = c.GetOrCreate(bg, "k", o.create)
					wantValue(t, "afterwards", v, err, 2)
					wantCalls(t, o, 1)
				})
			})
		}
	}
}

func TestStatesAfterInvalidations(t *testing.T) {
	const hard, soft = dogpile.Hard, dogpile.Soft
	many := make([]dogpile.Mode, 12)
	for i := range many {
		many[i] = soft
	}
	for name, row := range map[string]struct {
		modes []dogpile.Mode
		want  dogpile.State
	}{
		"none":            {nil, dogpile.Fresh},
		"hard":            {[]dogpile.Mode{hard}, dogpile.Invalidated},
		"soft":            {[]dogpile.Mode{soft}, dogpile.Stale},
		"soft after hard": {[]dogpile.Mode{hard, soft}, dogpile.Invalidated},
		"hard after soft": {[]dogpile.Mode{soft, hard}, dogpile.Invalidated},
		"three soft ones": {[]dogpile.Mode{soft, soft, soft}, dogpile.Stale},
		"a dozen":         {many, dogpile.Invalidated}, // not remembered: closed, not open
	} {
		for backend, l := range map[string]like{"shared": {}, "shared bytes": {bytes: true}} {
			t.Run(name+"/"+backend, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					rs, cs := processes[int](t, 2, newFake(t, l), nil)
					checkState(t, row.modes, row.want, rs[0], cs[0], cs[1])
				})
			})
		}
		for kind, backend := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					rs, cs := processes[int](t, 1, backend(t), nil)
					checkState(t, row.modes, row.want, rs[0], cs[0], cs[0])
				})
			})
		}
	}
}

func checkState(t *testing.T, modes []dogpile.Mode, want dogpile.State, r *dogpile.Region, c, reader *dogpile.Cache[int]) {
	t.Helper()
	wantErr(t, "Set", c.Set(bg, "k", 1), nil)
	for _, mode := range modes {
		wantErr(t, "Invalidate", r.Invalidate(bg, mode), nil)
	}
	e, ok, err := reader.Peek(bg, "k")
	if !ok || e.State != want || e.Value != 1 || err != nil {
		t.Errorf("Peek: %+v, %v, %v; want %v", e, ok, err, want)
	}
	_, ok, _ = reader.Get(bg, "k")
	vals, _ := reader.GetMulti(bg, []string{"k"})
	if fresh := want == dogpile.Fresh; ok != fresh || len(vals) == 1 != fresh {
		t.Errorf("Get: %v, GetMulti: %v; want %v", ok, vals, fresh)
	}
	wantErr(t, "Set", c.Set(bg, "k", 2), nil)
	v, ok, err := reader.Get(bg, "k")
	if wantValue(t, "stored since", v, err, 2); !ok {
		t.Error("what was stored after the invalidation is invalid")
	}
}

func TestUnknownModeIsAnError(t *testing.T) {
	t.Parallel()
	r := newRegion(t, newMemory(t), nil)
	if err := r.Invalidate(bg, dogpile.Soft+1); !contains(err, "Mode(2)") && !contains(err, "mode 2") {
		t.Error(err)
	}
}

// What the backend has lost of the token cannot bring anything back.
func TestTokenEvictedMakesEverythingOlderMissing(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, l)
				rs, cs := processes[int](t, 2, b, nil)
				wantErr(t, "SetMulti", cs[0].SetMulti(bg, map[string]int{"k": 1, "l": 1}), nil)
				wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Hard), nil)
				wantErr(t, "Set", cs[0].Set(bg, "l", 2), nil)
				wantErr(t, "evict", b.Proxy.Delete(bg, []string{"test:_inv:test"}), nil)
				for _, key := range []string{"k", "l"} {
					if e, _, err := cs[1].Peek(bg, key); e.State != dogpile.Invalidated || err != nil {
						t.Errorf("%s without a token: %v, %v", key, e.State, err)
					}
				}
				v, err := cs[1].GetOrCreate(bg, "k", constant(3).create)
				wantValue(t, "k", v, err, 3)
				if e, _, err := cs[0].Peek(bg, "l"); e.State != dogpile.Invalidated || err != nil {
					t.Errorf("l under a new token: %v, %v", e.State, err)
				}
				v, _, err = cs[0].Get(bg, "k")
				wantValue(t, "k in the other process", v, err, 3)
			})
		})
	}
}

// A token that cannot be read is as good as none.
func TestTokenDamaged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		rs, cs := processes[int](t, 1, b, nil)
		for _, damage := range []string{"{", "null", "{}", `{"v":""}`, "1"} {
			wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
			wantErr(t, "damage", b.Proxy.Set(bg, []driver.Item{{Key: "test:_inv:test", Data: []byte(damage)}}), nil)
			if e, _, err := cs[0].Peek(bg, "k"); e.State != dogpile.Invalidated || err != nil {
				t.Errorf("token %s: %v, %v", damage, e.State, err)
			}
			wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Soft), nil)
			v, err := cs[0].GetOrCreate(bg, "k", constant(2).create)
			wantValue(t, "token "+damage, v, err, 2)
			wantErr(t, "Delete", cs[0].Delete(bg, "k"), nil)
		}
	})
}

// TestConcurrentInvalidations: a hard one is never lost among soft ones.
func TestConcurrentInvalidations(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, l)
				slow := atomic.Int64{}
				b.in(func(ctx context.Context, _ string, _ []string) error {
					return wait(ctx, time.Duration(slow.Add(1)%7)*time.Millisecond)
				})
				rs, cs := processes[int](t, 4, b, nil)
				for range 20 {
					wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
					var wg sync.WaitGroup
					for i, r := range rs {
						wg.Go(func() {
							mode := dogpile.Soft
							if i == 0 {
								mode = dogpile.Hard
							}
							wantErr(t, "Invalidate", r.Invalidate(bg, mode), nil)
						})
					}
					wg.Wait()
					if e, _, err := cs[1].Peek(bg, "k"); e.State != dogpile.Invalidated || err != nil {
						t.Fatalf("after a hard and three soft invalidations: %v, %v", e.State, err)
					}
				}
			})
		})
	}
}

// A holder of the token's lease that hangs cannot delay a hard invalidation.
func TestHardInvalidationWaitsForNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		rs, cs := processes[int](t, 2, b, nil)
		wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
		if l, err := b.TryLock(bg, "test:_inv:test", time.Hour); l == nil || err != nil {
			t.Fatal(l, err)
		}
		began := time.Now()
		wantErr(t, "Invalidate", rs[1].Invalidate(bg, dogpile.Hard), nil)
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		if e, _, _ := cs[0].Peek(bg, "k"); e.State != dogpile.Invalidated {
			t.Error(e.State)
		}
	})
}

// A soft one waits, but not for ever.
func TestSoftInvalidationHasABound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{LockTTL: time.Second})
		if l, err := b.TryLock(bg, "test:_inv:test", 500*time.Millisecond); l == nil || err != nil {
			t.Fatal(l, err)
		}
		got := <-start(func() (int, error) { return 0, r.Invalidate(bg, dogpile.Soft) })
		if got.err != nil || got.took != 500*time.Millisecond {
			t.Errorf("%v after %v, want the lease's 500ms", got.err, got.took)
		}
		if l, err := b.TryLock(bg, "test:_inv:test", time.Hour); l == nil || err != nil {
			t.Fatal(l, err)
		}
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		got = <-start(func() (int, error) { return 0, r.Invalidate(ctx, dogpile.Soft) })
		wantErr(t, "with a deadline", got.err, context.DeadlineExceeded)
		if got.took != 100*time.Millisecond {
			t.Errorf("took %v, want 100ms", got.took)
		}
		got = <-start(func() (int, error) { return 0, r.Invalidate(bg, dogpile.Soft) })
		if got.err == nil || got.took > 5*time.Second {
			t.Errorf("%v after %v, want an error", got.err, got.took)
		}
	})
}

// With a lag the token is asked for now and then, and an invalidation elsewhere
// is seen once the lag is over; one made here is seen at once.
func TestInvalidationLag(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, l)
				var tokens atomic.Int64
				b.in(func(_ context.Context, op string, keys []string) error {
					if op == "get" && keys[len(keys)-1] == "test:_inv:test" {
						tokens.Add(1)
					}
					return nil
				})
				rs, cs := processes[int](t, 2, b, &dogpile.Options{InvalidationLag: time.Second})
				wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
				tokens.Store(0)
				for range 100 {
					pass(100 * time.Millisecond)
					v, _, err := cs[0].Get(bg, "k")
					wantValue(t, "Get", v, err, 1)
				}
				if n := tokens.Load(); n < 8 || n > 11 {
					t.Errorf("the token was asked for %d times in 10s, want once a second", n)
				}
				v, _, err := cs[1].Get(bg, "k") // it has seen the token just now
				wantValue(t, "Get elsewhere", v, err, 1)
				wantErr(t, "Invalidate", rs[1].Invalidate(bg, dogpile.Hard), nil)
				if _, ok, _ := cs[1].Get(bg, "k"); ok {
					t.Error("the invalidating process reads what it has invalidated")
				}
				pass(time.Second)
				if _, ok, _ := cs[0].Get(bg, "k"); ok {
					t.Error("invalid after the lag, and read")
				}
			})
		})
	}
}

// tenants is an invalidator with a version for each tenant, which is the part
// of the key before the slash.
type tenants struct {
	mu       sync.Mutex
	versions map[string]int
	all      int
	asked    []string
}

func (x *tenants) version(key string) string {
	tenant, _, _ := strings.Cut(key, "/")
	return fmt.Sprint(x.all, "-", x.versions[tenant])
}

func (x *tenants) drop(tenant string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.versions == nil {
		x.versions = make(map[string]int)
	}
	x.versions[tenant]++
}

func (x *tenants) Invalidate(context.Context, dogpile.Mode) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all++
	return nil
}

func (x *tenants) Version(_ context.Context, key string) (string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked = append(x.asked, key)
	return x.version(key), nil
}

func (x *tenants) Judge(key, version string, _ time.Time) dogpile.State {
	x.mu.Lock()
	defer x.mu.Unlock()
	if version == x.version(key) {
		return dogpile.Fresh
	}
	return dogpile.Invalidated
}

func TestCustomInvalidatorSeesTheKey(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				x := new(tenants)
				r := newRegion(t, newFake(t, l), &dogpile.Options{Invalidator: x, Mangler: dogpile.SHA1})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a/1": 1, "b/1": 1}), nil)
				_, err := c.GetOrCreate(bg, "a/2", constant(1).create)
				wantErr(t, "GetOrCreate", err, nil)
				if got := strings.Join(x.asked, " "); got != "a/1 b/1 a/2" {
					t.Errorf("Version was asked for %q", got)
				}
				x.drop("a")
				vals, err := c.GetMulti(bg, []string{"a/1", "a/2", "b/1"})
				if err != nil || len(vals) != 1 || vals["b/1"] != 1 {
					t.Errorf("after a was invalidated: %v, %v", vals, err)
				}
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
				if _, ok, _ := c.Get(bg, "b/1"); ok {
					t.Error("Region.Invalidate did not reach the invalidator")
				}
			})
		})
	}
}

// It may be told of an invalidation by others than the region, which then
// forgets no flight.
func TestCustomInvalidatorByItselfSeparatesFlights(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := new(tenants)
		c := newCache[int](t, &dogpile.Options{Invalidator: x})
		o := counting(time.Second)
		first := start(get(c, "a/1", o.create))
		other := start(get(c, "b/1", o.create))
		x.drop("a")
		second := start(get(c, "a/1", o.create))
		joined := start(get(c, "b/1", o.create))
		<-first
		r := <-second
		wantValue(t, "after the invalidation", r.v, r.err, 3)
		r, s := <-other, <-joined
		wantValue(t, "another tenant", s.v, s.err, r.v)
		wantCalls(t, o, 3)
	})
}

// An entry without a version, from a program that knows none, is judged by its
// time: also one of the very tick of the invalidation.
func TestEntriesOfOtherPrograms(t *testing.T) {
	for name, l := range map[string]like{"local": {bytes: true, unshared: true}, "shared": {bytes: true}} {
		for mode, want := range map[dogpile.Mode]dogpile.State{dogpile.Hard: dogpile.Invalidated, dogpile.Soft: dogpile.Stale} {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, l)
					rs, cs := processes[int](t, 1, b, nil)
					entry := func() string { return fmt.Sprintf(`{"ct": %d.0, "v": 2}|1`, time.Now().Unix()) }
					put(t, b, "before", entry())
					v, ok, err := cs[0].Get(bg, "before")
					if wantValue(t, "Get", v, err, 1); !ok {
						t.Error("missing before any invalidation")
					}
					pass(time.Second)
					put(t, b, "same", entry())
					wantErr(t, "Invalidate", rs[0].Invalidate(bg, mode), nil)
					pass(time.Second)
					put(t, b, "after", entry())
					for key, want := range map[string]dogpile.State{"before": want, "same": want, "after": dogpile.Fresh} {
						if e, ok, err := cs[0].Peek(bg, key); !ok || e.State != want || err != nil {
							t.Errorf("%s: %v, %v, %v; want %v", key, e.State, ok, err, want)
						}
					}
					wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Soft), nil)
					if e, _, _ := cs[0].Peek(bg, "before"); e.State != want {
						t.Errorf("after a soft one more: %v, want %v", e.State, want)
					}
				})
			})
		}
	}
}

// Regions may have a LocalInvalidator in common, and another may not.
func TestLocalInvalidators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		common := new(dogpile.LocalInvalidator)
		b := newFake(t, like{})
		region := func(prefix string, inv dogpile.Invalidator) (*dogpile.Region, *dogpile.Cache[int]) {
			r := newRegion(t, b, &dogpile.Options{Prefix: prefix, Invalidator: inv})
			return r, dogpile.NewCache[int](r, nil)
		}
		r1, c1 := region("1", common)
		_, c2 := region("2", common)
		_, c3 := region("3", new(dogpile.LocalInvalidator))
		for _, c := range []*dogpile.Cache[int]{c1, c2, c3} {
			wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		}
		o := counting(2 * time.Second)
		old := start(get(c2, "flight", o.create))
		wantErr(t, "Invalidate", r1.Invalidate(bg, dogpile.Hard), nil)
		next := start(get(c2, "flight", o.create))
		wantState(t, c1, dogpile.Invalidated)
		wantState(t, c2, dogpile.Invalidated)
		wantState(t, c3, dogpile.Fresh)
		<-old
		r := <-next
		wantValue(t, "a flight of the other region", r.v, r.err, 2)
	})
}

func wantState(t *testing.T, c *dogpile.Cache[int], want dogpile.State) {
	t.Helper()
	if e, _, err := c.Peek(bg, "k"); e.State != want || err != nil {
		t.Errorf("Peek: %v, %v; want %v", e.State, err, want)
	}
}
