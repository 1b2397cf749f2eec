package dogpile_test

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestUnreachableBackendGivesNothingThatBeganBeforeTheCall:
//
//	0 s    The backend fails in process A. A1 creates: it reads the origin, version 1.
//	1 s    The origin changes to version 2. Process B, which reaches the backend,
//	       deletes the key. The delete returns.
//	1.1 s  Ten callers come in A. They cannot read, and must not be given version 1.
//	2 s    A1 is done. One of the ten creates, and the others take what it makes.
func TestUnreachableBackendGivesNothingThatBeganBeforeTheCall(t *testing.T) {
	for name, multi := range map[string]bool{"one key": false, "several": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				as := dogpile.NewCache[int](newRegion(t, b, nil), nil)
				var origin atomic.Int64
				origin.Store(1)
				cr := &creator[int]{takes: 2 * time.Second}
				create := func(ctx context.Context) (int, error) {
					v := int(origin.Load())
					_, err := cr.create(ctx)
					return v, err
				}
				call := get(as, "k", create)
				if multi {
					call = func() (int, error) {
						vals, err := as.GetOrCreateMulti(bg, []string{"k"}, func(ctx context.Context, _ []string) (map[string]int, error) {
							v, err := create(ctx)
							return map[string]int{"k": v}, err
						})
						return vals["k"], err
					}
				}
				b.in(failing("get", "set", "delete", "lock", "wait", "locked"))
				first := start(call)
				pass(time.Second)
				origin.Store(2)
				pass(100 * time.Millisecond)
				later := crowd(10, call)
				r := <-first
				wantValue(t, "the first caller", r.v, r.err, 1)
				for _, ch := range later {
					r := <-ch
					wantValue(t, "a caller that came after the delete", r.v, r.err, 2)
				}
				if cr.calls.Load() != 2 || cr.most.Load() != 1 {
					t.Errorf("%d creations, %d at once; want 2, one after the other", cr.calls.Load(), cr.most.Load())
				}
			})
		})
	}
}

// TestRenewersOfManyKeysShareTheNextCreation: another process creates some keys. Five
// callers of MultiFunc.Refresh wait for it, and then one creation is made for all.
func TestRenewersOfManyKeysShareTheNextCreation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		rs, _ := processes[int](t, 2, b, nil)
		keys := []int{1, 2, 3, 4, 5}
		var calls, most, now atomic.Int64
		slow := func(_ context.Context, ks []int) (map[int]int, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			n := calls.Add(1)
			pass(time.Second)
			out := make(map[int]int)
			for _, k := range ks {
				out[k] = int(n)
			}
			return out, nil
		}
		f1 := dogpile.NewMultiFunc(rs[0], "f", slow, nil)
		f2 := dogpile.NewMultiFunc(rs[1], "f", slow, nil)
		refresh := func(f *dogpile.MultiFunc[int, int]) func() (map[int]int, error) {
			return func() (map[int]int, error) { return f.Refresh(bg, keys...) }
		}
		other := start(refresh(f1))
		five := crowd(5, refresh(f2))
		if r := <-other; r.err != nil || r.v[1] != 1 {
			t.Errorf("the other process: %v, %v", r.v, r.err)
		}
		for _, ch := range five {
			r := <-ch
			if wantErr(t, "Refresh", r.err, nil); !maps.Equal(r.v, map[int]int{1: 2, 2: 2, 3: 2, 4: 2, 5: 2}) {
				t.Errorf("Refresh = %v, want the second creation's", r.v)
			}
			if r.took > 2100*time.Millisecond {
				t.Errorf("took %v", r.took)
			}
		}
		if calls.Load() != 2 || most.Load() != 1 {
			t.Errorf("%d creations, %d at once; want 2, one after the other", calls.Load(), most.Load())
		}
	})
}

// TestTriesForALeaseFollowTheLengthOfACreation: fifty processes read a stale value all
// the time, and one of them renews it, in half a second. Each tries for the lease twice
// at the most.
func TestTriesForALeaseFollowTheLengthOfACreation(t *testing.T) {
	for name, bytes := range map[string]bool{"objects": false, "bytes": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const fleet = 50
				b := newFake(t, like{bytes: bytes})
				_, cs := processes[int](t, fleet, b, &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour})
				cr := counting(500 * time.Millisecond)
				// How long a creation takes nobody knows after this, in the first round.
				wantErr(t, "Set", cs[0].Set(bg, "k", 1), nil)
				for round := range 4 {
					pass(1001 * time.Millisecond) // stale
					before := b.called("lock")
					for range 60 { // reads for 600 ms
						for _, c := range cs {
							start(get(c, "k", cr.create))
						}
						pass(10 * time.Millisecond)
					}
					if n := b.called("lock") - before; n > 2*fleet {
						t.Errorf("round %d: %d tries by %d processes, want 2 each at the most", round, n, fleet)
					}
				}
				wantCalls(t, cr, 4)
			})
		})
	}
}

// TestDeadCreatorIsFollowedDuringABackoff: the process that renews a stale value dies.
// Others, whose last creation took long, follow within LockTTL and a second.
func TestDeadCreatorIsFollowedDuringABackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 1, b, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, LockTTL: 10 * time.Second})
		slow := counting(20 * time.Second)
		_, err := cs[0].GetOrCreate(bg, "k", slow.create)
		wantErr(t, "GetOrCreate", err, nil)
		pass(time.Minute + 1)
		// The dead creator: it took the lease and never renews it.
		if l, err := b.TryLock(bg, "test:k", 10*time.Second); l == nil || err != nil {
			t.Fatalf("TryLock = %v, %v", l, err)
		}
		died := time.Now()
		quick := constant(7)
		for quick.calls.Load() == 0 && time.Since(died) < time.Minute {
			start(get(cs[0], "k", quick.create))
			pass(10 * time.Millisecond)
		}
		if took := time.Since(died); took > 11*time.Second {
			t.Errorf("followed after %v, want LockTTL + 1 s", took)
		}
	})
}

// TestCreatorOfABatchIsNotCalledTwiceAtOnce: a creator that is given to one call may be
// a closure that is not safe for concurrent use.
func TestCreatorOfABatchIsNotCalledTwiceAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		other := start(get(cs[1], "b", (&creator[int]{err: errOrigin, takes: 500 * time.Millisecond}).create))
		var calls [][]string // not guarded: the race detector watches
		vals, err := cs[0].GetOrCreateMulti(bg, []string{"a", "b", "c"}, func(_ context.Context, keys []string) (map[string]int, error) {
			calls = append(calls, keys)
			pass(time.Second)
			out := make(map[string]int)
			for _, key := range keys {
				out[key] = len(calls)
			}
			return out, nil
		})
		wantMap(t, "GetOrCreateMulti", vals, err, map[string]int{"a": 1, "b": 2, "c": 1})
		if len(calls) != 2 || !slices.Equal(calls[0], []string{"a", "c"}) || !slices.Equal(calls[1], []string{"b"}) {
			t.Errorf("creations of %v, want of a and c, then of b", calls)
		}
		<-other
	})
}

// TestCreatorMayAskForAKeyThatKeptItsStaleValue: another process renews b. A batch wants a,
// which is missing, and b, whose stale value is its result. Its creator is asked for a
// alone, and may ask for b: it is not creating that.
func TestCreatorMayAskForAKeyThatKeptItsStaleValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour})
		wantErr(t, "Set", cs[0].Set(bg, "b", 1), nil)
		pass(61 * time.Second)
		other := start(get(cs[1], "b", counting(5*time.Second).create))
		vals, err := cs[0].GetOrCreateMulti(bg, []string{"a", "b"}, func(ctx context.Context, keys []string) (map[string]int, error) {
			if !slices.Equal(keys, []string{"a"}) {
				t.Errorf("asked to create %v", keys)
			}
			v, err := cs[0].GetOrCreate(ctx, "b", constant(3).create)
			return map[string]int{"a": 10 + v}, err
		})
		wantMap(t, "GetOrCreateMulti", vals, err, map[string]int{"a": 11, "b": 1})
		<-other
	})
}
