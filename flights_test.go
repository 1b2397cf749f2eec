package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/lock"
)

func TestCancelledLeaderLeavesFollowersTheirValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		o := counting(2 * time.Second)
		ctx, cancel := context.WithCancel(bg)
		leader := start(func() (int, error) { return c.GetOrCreate(ctx, "k", o.create) })
		followers := crowd(20, get(c, "k", o.create))
		pass(time.Second)
		cancel()
		r := <-leader
		wantErr(t, "leader", r.err, context.Canceled)
		if r.took != time.Second {
			t.Errorf("the leader left after %v, want 1s", r.took)
		}
		for _, f := range followers {
			r := <-f
			wantValue(t, "follower", r.v, r.err, 1)
		}
		wantCalls(t, o, 1)
	})
}

func TestFollowerLeavesAtItsOwnDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		o := counting(10 * time.Second)
		leader := start(get(c, "k", o.create))
		deadlines := []time.Duration{time.Millisecond, 1234 * time.Millisecond, 9999 * time.Millisecond}
		var calls []<-chan result[int]
		for _, d := range deadlines {
			ctx, cancel := context.WithTimeout(bg, d)
			defer cancel()
			calls = append(calls,
				start(func() (int, error) { return c.GetOrCreate(ctx, "k", o.create) }),
				start(func() (int, error) {
					vals, err := c.GetOrCreateMulti(ctx, []string{"k"}, func(context.Context, []string) (map[string]int, error) { panic("called") })
					return vals["k"], err
				}))
		}
		for i, call := range calls {
			r := <-call
			wantErr(t, "follower", r.err, context.DeadlineExceeded)
			if want := deadlines[i/2]; r.took != want {
				t.Errorf("left after %v, want %v", r.took, want)
			}
		}
		<-leader
		wantCalls(t, o, 1)
	})
}

// ends are the ways in which a creator can end without a value.
var ends = []struct {
	name string
	end  func() (int, error)
	is   func(error) bool
}{
	{"error", func() (int, error) { return 0, errOrigin }, func(err error) bool { return err == errOrigin }},
	{"panic", func() (int, error) { panic("boom") }, func(err error) bool {
		var p *dogpile.PanicError
		return errors.As(err, &p) && p.Value == "boom" && strings.Contains(string(p.Stack), "flights_test.go")
	}},
	{"panic with an error", func() (int, error) { panic(errOrigin) }, func(err error) bool {
		var p *dogpile.PanicError
		return errors.As(err, &p) && errors.Is(err, errOrigin)
	}},
	{"Goexit", func() (int, error) { runtime.Goexit(); return 0, nil }, func(err error) bool {
		return errors.Is(err, lock.ErrGoexit)
	}},
}

func TestCreatorThatEndsWithoutAValueFreesEverybodyAtOnce(t *testing.T) {
	for _, row := range ends {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCache[int](t, &dogpile.Options{MaxCreators: 1})
				var calls atomic.Int64
				create := func(context.Context) (int, error) {
					calls.Add(1)
					pass(time.Second)
					return row.end()
				}
				for _, call := range crowd(20, get(c, "k", create)) {
					if r := <-call; !row.is(r.err) || r.took != time.Second {
						t.Errorf("got %v, %v after %v", r.v, r.err, r.took)
					}
				}
				if n := calls.Load(); n != 1 {
					t.Errorf("%d calls of a creator that fails, want 1", n)
				}
				next := <-start(get(c, "k", constant(7).create))
				wantValue(t, "the next call", next.v, next.err, 7)
				if next.took != 0 {
					t.Errorf("the next call took %v", next.took)
				}
			})
		})
	}
}

// Nor does it matter that the first of them finds a shared backend empty, and
// makes the version token that the others read.
func TestOneCallOfAFailingCreatorOnAColdBackend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := dogpile.NewCache[int](newRegion(t, newFake(t, like{}), nil), nil)
		o := &creator[int]{takes: time.Second, err: errOrigin}
		for _, call := range crowd(20, get(c, "k", o.create)) {
			wantErr(t, "caller", (<-call).err, errOrigin)
		}
		wantCalls(t, o, 1)
	})
}

// The same for the creator of a batch, which takes one place for all its keys.
func TestBatchCreatorThatEndsWithoutAValueFreesEverybodyAtOnce(t *testing.T) {
	for _, row := range ends {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newMemory(t), &dogpile.Options{MaxCreators: 1})
				c := dogpile.NewCache[int](r, nil)
				multi := start(func() (map[string]int, error) {
					return c.GetOrCreateMulti(bg, []string{"a", "b"}, func(context.Context, []string) (map[string]int, error) {
						pass(time.Second)
						_, err := row.end()
						return nil, err
					})
				})
				followers := []<-chan result[int]{start(get(c, "a", constant(1).create)), start(get(c, "b", constant(1).create))}
				if r := <-multi; !row.is(r.err) || r.took != time.Second {
					t.Errorf("got %v, %v after %v", r.v, r.err, r.took)
				}
				for _, f := range followers {
					if r := <-f; !row.is(r.err) || r.took != time.Second {
						t.Errorf("follower: got %v, %v after %v", r.v, r.err, r.took)
					}
				}
				wantFree(t, r, "a", "b")
				next := <-start(get(c, "c", constant(7).create))
				wantValue(t, "the next call", next.v, next.err, 7)
				if next.took != 0 {
					t.Errorf("the next call took %v", next.took)
				}
			})
		})
	}
}

func TestRefusedValueSatisfiesAllWaiters(t *testing.T) {
	for name, refuse := range map[string]func(*dogpile.Region) (*dogpile.Cache[int], func(context.Context)){
		"ShouldCache": func(r *dogpile.Region) (*dogpile.Cache[int], func(context.Context)) {
			return dogpile.NewCache(r, &dogpile.CacheOptions[int]{ShouldCache: func(int) bool { return false }}), func(context.Context) {}
		},
		"NoStore": func(r *dogpile.Region) (*dogpile.Cache[int], func(context.Context)) {
			return dogpile.NewCache[int](r, nil), func(ctx context.Context) { dogpile.Creation(ctx).NoStore() }
		},
		"ExpireIn(0)": func(r *dogpile.Region) (*dogpile.Cache[int], func(context.Context)) {
			return dogpile.NewCache[int](r, nil), func(ctx context.Context) { dogpile.Creation(ctx).ExpireIn(0) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newMemory(t), nil)
				c, control := refuse(r)
				o := counting(time.Second)
				create := func(ctx context.Context) (int, error) {
					control(ctx)
					return o.create(ctx)
				}
				for _, call := range crowd(20, get(c, "k", create)) {
					r := <-call
					wantValue(t, "waiter", r.v, r.err, 1)
					if r.took != time.Second {
						t.Errorf("a waiter took %v", r.took)
					}
				}
				wantCalls(t, o, 1)
				wantFree(t, r, "k")
				if _, ok, err := c.Peek(bg, "k"); ok || err != nil {
					t.Error("the refused value was stored", err)
				}
			})
		})
	}
}

// TestOneCreationForAThousandReadersOfAStaleKey: all but the creator have the
// old value in no time, and nobody is parked for them.
func TestOneCreationForAThousandReadersOfAStaleKey(t *testing.T) {
	for name, runner := range map[string]func(func()){"caller creates": nil, "Background": dogpile.Background} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T) {
				c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, Runner: runner})
				if err := c.Set(bg, "k", 1); err != nil {
					t.Fatal(err)
				}
				pass(90 * time.Second)
				o := &creator[int]{takes: 2 * time.Second, value: func(int64) int { return 2 }}
				leader := start(get(c, "k", o.create))
				before := runtime.NumGoroutine()
				for range 1000 {
					pass(time.Millisecond)
					began := time.Now()
					v, err := c.GetOrCreate(bg, "k", o.create)
					if took := time.Since(began); v != 1 || err != nil || took != 0 {
						t.Fatalf("reader: %v, %v after %v; want the old value at once", v, err, took)
					}
				}
				if after := runtime.NumGoroutine(); after > before+2 {
					t.Errorf("%d goroutines more after 1000 readers", after-before)
				}
				want := 2
				if runner != nil {
					want = 1
				}
				r := <-leader
				wantValue(t, "leader", r.v, r.err, want)
				later(2 * time.Second)
				v, ok, err := c.Get(bg, "k")
				if !ok {
					t.Error("the new value is not there")
				}
				wantValue(t, "afterwards", v, err, 2)
				wantCalls(t, o, 1)
			})
		})
	}
}

// The same for readers in another process, of whom one now and then asks for
// the lock.
func TestReadersElsewhereGetTheStaleValueAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Minute})
		if err := cs[0].Set(bg, "k", 1); err != nil {
			t.Fatal(err)
		}
		pass(90 * time.Second)
		o := &creator[int]{takes: 2 * time.Second, value: func(int64) int { return 2 }}
		leader := start(get(cs[0], "k", o.create))
		asked := b.called("lock")
		for range 1000 {
			pass(time.Millisecond)
			began := time.Now()
			v, err := cs[1].GetOrCreate(bg, "k", o.create)
			if took := time.Since(began); v != 1 || err != nil || took != 0 {
				t.Fatalf("reader: %v, %v after %v; want the old value at once", v, err, took)
			}
		}
		if n := b.called("lock") - asked; n < 2 || n > 20 {
			t.Errorf("asked for the lock %d times in a second, want about 10", n)
		}
		<-leader
		wantCalls(t, o, 1)
	})
}

func TestOwnKeyIsErrRecursive(t *testing.T) {
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
		_, err := c.GetOrCreateMulti(ctx, []string{"other", key}, func(ctx context.Context, _ []string) (map[string]int, error) {
			v, err := create(ctx)
			return map[string]int{key: v}, err
		})
		return err
	}
	asks := map[string]ask{"GetOrCreate": single, "Refresh": refresh, "GetOrCreateMulti": multi}
	for outer, first := range asks {
		for inner, again := range asks {
			t.Run(outer+" in "+inner, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, newMemory(t), &dogpile.Options{MaxCreators: 1})
					c := dogpile.NewCache[int](r, nil)
					began := time.Now()
					err := first(bg, c, "k", func(ctx context.Context) (int, error) {
						return c.GetOrCreate(ctx, "between", func(ctx context.Context) (int, error) {
							return 0, again(ctx, c, "k", constant(1).create)
						})
					})
					wantErr(t, "own key two levels up", err, dogpile.ErrRecursive)
					if took := time.Since(began); took > 0 {
						t.Errorf("took %v", took)
					}
					wantFree(t, r, "k", "between", "other")
					wantErr(t, "the next call", first(bg, c, "k", constant(1).create), nil)
				})
			})
		}
	}
}

func TestOtherKeysNest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newMemory(t), &dogpile.Options{MaxCreators: 1})
		var nest func(ctx context.Context, n int) (int, error)
		nest = func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				return 1, nil
			}
			v, err := cs[n%2].GetOrCreate(ctx, fmt.Sprint("key", n), func(ctx context.Context) (int, error) { return nest(ctx, n-1) })
			return 2 * v, err
		}
		v, err := nest(bg, 10)
		wantValue(t, "ten levels in two regions", v, err, 1024)
	})
}

func TestCreateTimeoutFreesCallersAndStoresNothing(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newMemory(t), &dogpile.Options{CreateTimeout: time.Second, MaxCreators: 1})
				c := dogpile.NewCache[int](r, nil)
				o := &creator[int]{value: func(int64) int { return 1 }, takes: 3 * time.Second, deaf: deaf}
				for _, call := range crowd(20, get(c, "k", o.create)) {
					r := <-call
					wantErr(t, "caller", r.err, dogpile.ErrCreateTimeout)
					if r.took != time.Second {
						t.Errorf("freed after %v, want 1s", r.took)
					}
				}
				wantCalls(t, o, 1)
				wantFree(t, r, "k")
				next := <-start(get(c, "k", constant(2).create))
				wantValue(t, "the next call", next.v, next.err, 2)
				if next.took != 0 {
					t.Errorf("the next call took %v", next.took)
				}
				later(3 * time.Second)
				v, _, err := c.Get(bg, "k")
				wantValue(t, "after the late value came", v, err, 2)
			})
		})
	}
}

func TestBatchTimeoutFreesCallersAndStoresNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), &dogpile.Options{CreateTimeout: time.Second, MaxCreators: 1})
		c := dogpile.NewCache[int](r, nil)
		late := func(context.Context, []string) (map[string]int, error) {
			pass(3 * time.Second)
			return map[string]int{"a": 1, "b": 1}, nil
		}
		multi := start(func() (map[string]int, error) { return c.GetOrCreateMulti(bg, []string{"a", "b"}, late) })
		follower := start(get(c, "b", constant(1).create))
		m, f := <-multi, <-follower
		wantErr(t, "batch", m.err, dogpile.ErrCreateTimeout)
		wantErr(t, "follower", f.err, dogpile.ErrCreateTimeout)
		if m.took != time.Second || f.took != time.Second {
			t.Errorf("freed after %v and %v, want 1s", m.took, f.took)
		}
		wantFree(t, r, "a", "b")
		next := <-start(get(c, "c", constant(2).create))
		wantValue(t, "the next call", next.v, next.err, 2)
		if next.took != 0 {
			t.Errorf("the next call took %v", next.took)
		}
		later(3 * time.Second)
		if vals, err := c.GetMulti(bg, []string{"a", "b"}); err != nil || len(vals) > 0 {
			t.Errorf("the late values were stored: %v, %v", vals, err)
		}
	})
}

// Creation and timer end at one moment: whichever is first, the error is the
// same, and not one that callers take for their own deadline.
func TestCreateTimeoutIsAlwaysErrCreateTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{CreateTimeout: time.Second})
		wrong := map[string]int{}
		for range 100 {
			_, err := c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			})
			if !errors.Is(err, dogpile.ErrCreateTimeout) {
				wrong[fmt.Sprint(err)]++
			}
		}
		if len(wrong) > 0 {
			t.Errorf("of 100 timeouts these were not ErrCreateTimeout: %v", wrong)
		}
	})
}

func TestCreateTimeoutNever(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{CreateTimeout: dogpile.Never})
		r := <-start(get(c, "k", func(ctx context.Context) (int, error) {
			if d, ok := ctx.Deadline(); ok {
				t.Error("a deadline:", d)
			}
			pass(100 * time.Hour)
			return 1, nil
		}))
		wantValue(t, "a long creation", r.v, r.err, 1)
	})
}

// TestCreatorContext: values of the caller, not its cancellation, nor its
// deadline.
func TestCreatorContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		c := newCache[int](t, &dogpile.Options{CreateTimeout: time.Minute})
		ctx, cancel := context.WithTimeout(context.WithValue(bg, key{}, "mine"), time.Second)
		defer cancel()
		began := time.Now()
		_, err := c.GetOrCreate(ctx, "k", func(ctx context.Context) (int, error) {
			if ctx.Value(key{}) != "mine" {
				t.Error("the caller's value is gone")
			}
			if d, _ := ctx.Deadline(); !d.Equal(began.Add(time.Minute)) {
				t.Errorf("deadline after %v, want 1m", d.Sub(began))
			}
			pass(2 * time.Second)
			return 1, ctx.Err()
		})
		wantErr(t, "the caller", err, context.DeadlineExceeded)
		later(2 * time.Second)
		v, _, err := c.Get(bg, "k")
		wantValue(t, "stored without its caller", v, err, 1)
	})
}

func TestCloseWaitsForCreators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), nil)
		c := dogpile.NewCache[int](r, nil)
		call := start(get(c, "k", counting(time.Second).create))
		closing := start(func() (int, error) { return 0, r.Close(bg) })
		_, err := c.GetOrCreate(bg, "k", constant(1).create)
		wantErr(t, "a call after Close has begun", err, dogpile.ErrClosed)
		if got := <-closing; got.err != nil || got.took != time.Second {
			t.Errorf("Close: %v after %v, want 1s", got.err, got.took)
		}
		got := <-call
		wantValue(t, "the call in progress", got.v, got.err, 1)
		wantErr(t, "Close again", r.Close(bg), nil)
	})
}

func TestCloseCancelsCreatorsWhenItsContextEnds(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newMemory(t), nil)
				c := dogpile.NewCache[int](r, nil)
				calls := crowd(3, get(c, "k", (&creator[int]{takes: 10 * time.Second, deaf: deaf}).create))
				multi := start(func() (map[string]int, error) {
					return c.GetOrCreateMulti(bg, []string{"a", "b"}, func(ctx context.Context, _ []string) (map[string]int, error) {
						return nil, wait(ctx, time.Hour)
					})
				})
				ctx, cancel := context.WithTimeout(bg, time.Second)
				defer cancel()
				wantErr(t, "Close", r.Close(ctx), context.DeadlineExceeded)
				for _, call := range calls {
					got := <-call
					wantErr(t, "caller", got.err, dogpile.ErrClosed)
					if got.took != time.Second {
						t.Errorf("freed after %v, want 1s", got.took)
					}
				}
				wantErr(t, "batch", (<-multi).err, dogpile.ErrClosed)
				pass(10 * time.Second)
				wantErr(t, "Close again", r.Close(bg), nil)
			})
		})
	}
}

func TestClosedAndUnconfiguredRegions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var zero dogpile.Region
		unconfigured := dogpile.NewRegion("users")
		closed := newRegion(t, newMemory(t), nil)
		wantErr(t, "Close", closed.Close(bg), nil)
		for _, row := range []struct {
			r    *dogpile.Region
			want error
			name string
		}{{&zero, dogpile.ErrNotConfigured, `""`}, {unconfigured, dogpile.ErrNotConfigured, `"users"`}, {closed, dogpile.ErrClosed, `"test"`}} {
			for op, call := range everyCall(dogpile.NewCache[int](row.r, nil), row.r) {
				err := call(bg)
				if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.name) {
					t.Errorf("%s of region %s: %v, want %v", op, row.name, err, row.want)
				}
			}
		}
		synctest.Wait()
	})
}

// everyCall returns everything that can be done with a cache.
func everyCall(c *dogpile.Cache[int], r *dogpile.Region) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":         func(ctx context.Context) error { _, _, err := c.Get(ctx, "k"); return err },
		"Peek":        func(ctx context.Context) error { _, _, err := c.Peek(ctx, "k"); return err },
		"Set":         func(ctx context.Context) error { return c.Set(ctx, "k", 1) },
		"Delete":      func(ctx context.Context) error { return c.Delete(ctx, "k") },
		"GetOrCreate": func(ctx context.Context) error { _, err := c.GetOrCreate(ctx, "k", constant(1).create); return err },
		"Refresh":     func(ctx context.Context) error { _, err := c.Refresh(ctx, "k", constant(1).create); return err },
		"GetMulti":    func(ctx context.Context) error { _, err := c.GetMulti(ctx, []string{"k"}); return err },
		"SetMulti":    func(ctx context.Context) error { return c.SetMulti(ctx, map[string]int{"k": 1}) },
		"GetOrCreateMulti": func(ctx context.Context) error {
			_, err := c.GetOrCreateMulti(ctx, []string{"k"}, func(context.Context, []string) (map[string]int, error) { return nil, nil })
			return err
		},
		"Locked":     func(ctx context.Context) error { _, err := r.Locked(ctx, "k"); return err },
		"Invalidate": func(ctx context.Context) error { return r.Invalidate(ctx, dogpile.Hard) },
	}
}
