package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
)

// isToken reports whether a call concerns version tokens alone.
func isToken(keys []string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return !strings.Contains(key, "_inv:") })
}

// TestInvalidateReachesAProcessThatSeesOtherServers:
//
//  1. P, which believes that the key is on another server, begins a creation.
//  2. Q, which knows better, invalidates.
//  3. P stores. Nobody finds what P has stored, whichever server the reader believes
//     the key to be on.
func TestInvalidateReachesAProcessThatSeesOtherServers(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newCluster(t, 4, like{bytes: true})
				var cs []*dogpile.Cache[int]
				var rs []*dogpile.Region
				for by := range 6 {
					view := b
					if by > 0 {
						view = b.seenAs(b.moved(by))
					}
					rs = append(rs, newRegion(t, view, nil))
					cs = append(cs, dogpile.NewCache[int](rs[by], nil))
				}
				for key := range 8 {
					k := fmt.Sprint("k", key)
					for p := range cs {
						a := start(get(cs[p], k, (&creator[int]{takes: time.Second, value: func(int64) int { return 1 }}).create))
						wantErr(t, "Invalidate", rs[(p+1)%len(rs)].Invalidate(bg, mode), nil)
						r := <-a
						wantValue(t, "P", r.v, r.err, 1)
						synctest.Wait()
						for q := range cs {
							if _, ok, err := cs[q].Get(bg, k); ok || err != nil {
								t.Fatalf("%s, created by process %d, is fresh to process %d; %v", k, p, q, err)
							}
						}
					}
				}
			})
		})
	}
}

// TestTwoInvalidationsAtOnce: the versions that one invalidation writes are not the same
// for all tokens.
//
//  1. I invalidates. It has replaced the token of server 0, and is slow to reach server 1.
//  2. P reads that token, and begins a creation on server 0.
//  3. J invalidates, and returns.
//  4. I replaces the token of server 1, and P stores.
//  5. Q, which believes that the key is on server 1, must not find what P has stored.
func TestTwoInvalidationsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 2, like{bytes: true})
		rs, cs := processes[int](t, 3, b, nil)
		other := dogpile.NewCache[int](newRegion(t, b.seenAs(func(key string) int {
			if isToken([]string{key}) {
				return b.keeper(key)
			}
			return 1 - b.keeper(key)
		}), nil), nil)
		key := b.keysOn(0, 1)[0]
		var slow atomic.Bool
		slow.Store(true)
		b.servers[1].in(func(ctx context.Context, op string, keys []string) error {
			if op == "set" && isToken(keys) && slow.Swap(false) {
				return wait(ctx, 500*time.Millisecond)
			}
			return nil
		})
		i := start(func() (int, error) { return 0, rs[0].Invalidate(bg, dogpile.Hard) })
		p := start(get(cs[2], key, (&creator[int]{takes: 800 * time.Millisecond, value: func(int64) int { return 1 }}).create))
		wantErr(t, "J", rs[1].Invalidate(bg, dogpile.Hard), nil)
		r := <-i
		wantErr(t, "I", r.err, nil)
		if r.took != 500*time.Millisecond {
			t.Errorf("I took %v: the schedule was not run", r.took)
		}
		r = <-p
		wantValue(t, "P", r.v, r.err, 1)
		if v, ok, err := other.Get(bg, key); ok || err != nil {
			t.Errorf("Q found %v, %v", v, err)
		}
		if v, ok, err := cs[0].Get(bg, key); ok || err != nil {
			t.Errorf("found %v, %v", v, err)
		}
	})
}

// TestSoftInvalidationWhileAnAbsentTokenIsWritten:
//
//  1. Invalidate finds that the token of a server is absent.
//  2. P finds that too, writes one, and begins a creation under it. Or it has the lease
//     to do so.
//  3. Invalidate returns, and P stores. What it has stored is not fresh.
func TestSoftInvalidationWhileAnAbsentTokenIsWritten(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(fmt.Sprintf("half-written=%v", half), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newCluster(t, 4, like{bytes: true})
				rs, cs := processes[int](t, 2, b, nil)
				key := b.keysOn(0, 1)[0]
				var p <-chan result[int]
				var read atomic.Bool
				for _, f := range b.servers {
					f.slow = func(ctx context.Context, op string) error {
						if op == "lock" && half && f == b.servers[0] {
							return wait(ctx, 10*time.Millisecond)
						}
						return nil
					}
				}
				b.servers[0].in(func(ctx context.Context, op string, keys []string) error {
					if op == "set" && isToken(keys) && len(keys) > 1 && !read.Swap(true) {
						// The absent tokens are about to be written without a look at them.
						p = make1(cs[1], key)
						pass(15 * time.Millisecond)
					}
					return nil
				})
				wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Soft), nil)
				if !read.Load() {
					t.Fatal("the schedule was not run")
				}
				r := <-p
				wantValue(t, "P", r.v, r.err, 1)
				for i, c := range cs {
					// P may have begun again after the invalidation, with its token.
					e, ok, err := c.Peek(bg, key)
					if err != nil || ok && e.State == dogpile.Fresh && !half {
						t.Errorf("process %d finds an entry that is %v; %v", i, e.State, err)
					}
				}
			})
		})
	}
}

// make1 creates 1 in a second, in a goroutine.
func make1(c *dogpile.Cache[int], key string) <-chan result[int] {
	done := make(chan result[int], 1)
	go func() {
		v, err := c.GetOrCreate(bg, key, (&creator[int]{takes: time.Second, value: func(int64) int { return 1 }}).create)
		done <- result[int]{v: v, err: err}
	}()
	return done
}

// TestNoOldValueIsReadWhileServersChange: processes disagree on which server keeps
// what, and change their minds.
func TestNoOldValueIsReadWhileServersChange(t *testing.T) {
	for mode, o := range historyOptions {
		t.Run(mode, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newCluster(t, 3, like{bytes: true})
				var over atomic.Bool
				for _, f := range b.servers {
					f.slow = func(ctx context.Context, op string) error {
						if over.Load() {
							return nil
						}
						if rand.IntN(100) == 0 && op != "get" { // who cannot read promises nothing
							return errBackend
						}
						return wait(ctx, time.Duration(rand.IntN(4))*time.Millisecond)
					}
				}
				o.LockTTL = 10 * time.Millisecond
				var rs []*dogpile.Region
				var cs []*dogpile.Cache[made]
				var views []*cluster
				for by := range 3 {
					views = append(views, b.seenAs(b.moved(by)))
					rs = append(rs, newRegion(t, views[by], &o))
					cs = append(cs, dogpile.NewCache[made](rs[by], nil))
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					for !over.Load() {
						believes := b.moved(rand.IntN(6))
						views[rand.IntN(3)].believes.Store(&believes)
						pass(200 * time.Millisecond)
					}
				}()
				pause := func() { pass(time.Duration(rand.IntN(20)) * time.Millisecond) }
				newWorld(t, rs, cs, pause).run(12, 60)
				over.Store(true)
				<-done
			})
		})
	}
}

// TestServersThatTheFirstCallTellsOf: a process that has just started learns from the
// first answer which server keeps what. What it finds with that call, and what it stores,
// is judged like anything else.
func TestServersThatTheFirstCallTellsOf(t *testing.T) {
	for name, first := range map[string]func(c *dogpile.Cache[int], key string) error{
		"Get": func(c *dogpile.Cache[int], key string) error {
			_, ok, err := c.Get(bg, key)
			return errors.Join(err, map[bool]error{false: errors.New("not found")}[ok])
		},
		"GetOrCreate": func(c *dogpile.Cache[int], key string) error {
			v, err := c.GetOrCreate(bg, key, constant(-1).create)
			return errors.Join(err, map[bool]error{true: errors.New("created anew")}[v == -1])
		},
		"GetOrCreate of a new one": func(c *dogpile.Cache[int], key string) error {
			_, err := c.GetOrCreate(bg, "new"+key, constant(-1).create)
			return err
		},
		"Set": func(c *dogpile.Cache[int], key string) error { return c.Set(bg, key, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newCluster(t, 4, like{bytes: true})
				c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
				for server := range b.servers {
					key := b.keysOn(server, 1)[0]
					wantErr(t, "Set", c.Set(bg, key, 1), nil)
					started := b.seenAs(func(string) int { return -1 })
					for _, f := range b.servers {
						f.in(func(_ context.Context, op string, _ []string) error {
							believes := b.keeper
							started.believes.Store(&believes)
							return nil
						})
					}
					own := dogpile.NewCache[int](newRegion(t, started, nil), nil)
					wantErr(t, name, first(own, key), nil)
					if name == "GetOrCreate of a new one" {
						key = "new" + key
					}
					if _, ok, err := c.Get(bg, key); !ok || err != nil {
						t.Errorf("the others find it: %v, %v", ok, err)
					}
				}
			})
		})
	}
}
