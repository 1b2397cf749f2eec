package dogpile_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// TestUnreadableCallerGetsWhatWasInvalidatedBefore:
//
//  1. In process P, X has the only place. A reads: token T, nothing under the key.
//     It waits for the place.
//  2. Process Q stores "old" under T.
//  3. Q invalidates: token U. Invalidate returns.
//  4. In P, B calls. It cannot read, and joins A's flight, which has not begun.
//  5. A's flight gets the lease and reads "old". It judges it by T, the token of its
//     reading before: fresh.
//
// B has called after 3, and must not get "old".
func TestUnreadableCallerGetsWhatWasInvalidatedBefore(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, l)
				_, ps := processes[string](t, 1, b, &dogpile.Options{MaxCreators: 1})
				q, qs := processes[string](t, 1, b, nil)
				p := ps[0]
				wantErr(t, "Set", qs[0].Set(bg, "warm", "x"), nil)
				x := start(get(p, "x", (&creator[string]{takes: 3 * time.Second}).create))
				a := start(get(p, "k", constant("of A").create))
				wantErr(t, "Set", qs[0].Set(bg, "k", "old"), nil)
				pass(time.Second)
				wantErr(t, "Invalidate", q[0].Invalidate(bg, dogpile.Hard), nil)
				pass(time.Second)
				b.in(failing("get"))
				late := start(get(p, "k", constant("of B").create))
				b.in(nil)
				<-x
				<-a
				if r := <-late; r.err != nil || r.v == "old" {
					t.Errorf("a caller that came after Invalidate had returned got %q, %v", r.v, r.err)
				}
			})
		})
	}
}

// TestCallerAfterReconfigureJoinsTheOldConfiguration:
//
//  1. A reads the old backend, which is slow.
//  2. Reconfigure replaces it by the new one, and returns.
//  3. A finds nothing and starts to create. Its creator reads the origin: 1. It has a
//     lease of the old backend.
//  4. The origin changes to 2. Another process deletes the key from the new backend.
//  5. B calls, finds nothing in the new backend, and joins A, whose store in the old
//     backend succeeds.
//
// Reconfigure says that no later caller joins what ends with the old backend; B has
// called after the delete, and must not get 1.
func TestCallerAfterReconfigureJoinsTheOldConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		older, newer := newFake(t, like{bytes: true}), newFake(t, like{bytes: true})
		opt := &dogpile.Options{Prefix: "test:", Invalidator: new(dogpile.LocalInvalidator)}
		r := newRegion(t, older, opt)
		c := dogpile.NewCache[int](r, nil)
		other, _ := processes[int](t, 1, newer, nil)
		var origin atomic.Int64
		origin.Store(1)
		create := func(ctx context.Context) (int, error) {
			v := int(origin.Load())
			return v, wait(ctx, 5*time.Second)
		}
		older.in(func(ctx context.Context, op string, _ []string) error {
			if op == "get" {
				return wait(ctx, time.Second)
			}
			return nil
		})
		a := start(get(c, "k", create))
		pass(500 * time.Millisecond)
		wantErr(t, "Reconfigure", r.Reconfigure(newer, opt), nil)
		older.in(nil)
		later(time.Second)
		origin.Store(2)
		wantErr(t, "Delete", other[0].Delete(bg, "k"), nil)
		pass(time.Second)
		late := start(get(c, "k", create))
		<-a
		got := <-late
		wantValue(t, "a caller after Reconfigure and Delete", got.v, got.err, 2)
	})
}

// A creator may do with its keys what it likes: nothing says that they are not its own.
func TestCreatorThatReordersItsKeys(t *testing.T) {
	t.Parallel()
	c := newCache[string](t, nil)
	got, err := c.GetOrCreateMulti(bg, []string{"a", "b", "c"}, func(_ context.Context, missing []string) (map[string]string, error) {
		vals := make(map[string]string)
		for _, k := range missing {
			vals[k] = "value of " + k
		}
		slices.Reverse(missing)
		return vals, nil
	})
	wantMap(t, "GetOrCreateMulti", got, err, map[string]string{"a": "value of a", "b": "value of b", "c": "value of c"})
	stored, err := c.GetMulti(bg, []string{"a", "b", "c"})
	wantMap(t, "what was stored", stored, err, map[string]string{"a": "value of a", "b": "value of b", "c": "value of c"})
}

// TestRefreshThatStartsOverAfterAnInvalidation:
//
//  1. Refresh runs its creator under token T.
//  2. Invalidate replaces T by U, and gives the lease back.
//  3. The renewal of the lease finds it lost. The creator is stopped, and Refresh
//     starts over: it creates anew, entirely after the invalidation.
//
// That value is what Refresh stores. It must be there afterwards.
func TestRefreshThatStartsOverAfterAnInvalidation(t *testing.T) {
	for name, backend := range map[string]func(*testing.T) driver.Backend{
		"local":  func(t *testing.T) driver.Backend { return newMemory(t) },
		"shared": func(t *testing.T) driver.Backend { return newFake(t, like{bytes: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, backend(t), nil)
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "Set", c.Set(bg, "warm", 1), nil) // there is a token from now on
				var calls atomic.Int64
				refreshed := start(func() (int, error) {
					return c.Refresh(bg, "k", func(ctx context.Context) (int, error) {
						if calls.Add(1) == 1 {
							<-ctx.Done()
							return 0, ctx.Err()
						}
						return 2, nil
					})
				})
				pass(time.Second)
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
				got := <-refreshed
				wantValue(t, "Refresh", got.v, got.err, 2)
				v, ok, err := c.Get(bg, "k")
				if !ok || err != nil || v != 2 {
					t.Errorf("Get after Refresh: %v, %v, %v; want 2", v, ok, err)
				}
			})
		})
	}
}

// TestInvalidateWhileTheLeaseIsOnItsWay:
//
//  1. A asks for the lease, and the backend grants it. The answer takes a second.
//  2. Invalidate forgets A's flight, but finds no lease to give back.
//  3. The answer arrives. A's flight gives the lease back, and A starts over: its creator
//     begins after the invalidation, so that callers that come later may share it.
func TestInvalidateWhileTheLeaseIsOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, nil)
		c := dogpile.NewCache[int](r, nil)
		wantErr(t, "Set", c.Set(bg, "warm", 1), nil)
		var slow atomic.Bool
		slow.Store(true)
		var locks atomic.Int64
		b.slow = func(ctx context.Context, op string) error {
			// before and after each operation: the second is the answer on its way
			if op == "lock" && slow.Load() && locks.Add(1) == 2 {
				return wait(ctx, time.Second)
			}
			return nil
		}
		var invalidated atomic.Bool
		cr := counting(20 * time.Second)
		a := start(get(c, "k", func(ctx context.Context) (int, error) {
			if !invalidated.Load() {
				t.Error("a creator began before the invalidation")
			}
			return cr.create(ctx)
		}))
		pass(500 * time.Millisecond)
		slow.Store(false)
		wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
		invalidated.Store(true)
		later(time.Second)
		got := <-start(get(c, "k", constant(7).create))
		wantValue(t, "a caller after Invalidate", got.v, got.err, 1)
		<-a
		v, ok, err := c.Get(bg, "k")
		if wantValue(t, "what was stored", v, err, 1); !ok {
			t.Error("nothing was stored: it was created under the old token")
		}
	})
}
