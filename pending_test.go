package dogpile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
)

// failedDelete returns a region over b that has failed to delete keys, which hold 1.
func failedDelete(t *testing.T, b *fake, o dogpile.Options, keys ...string) (*dogpile.Region, *dogpile.Cache[int]) {
	t.Helper()
	if o.RetryDeletes == 0 {
		o.RetryDeletes = 10
	}
	r := newRegion(t, b, &o)
	c := dogpile.NewCache[int](r, nil)
	for _, key := range keys {
		wantErr(t, "Set", c.Set(bg, key, 1), nil)
	}
	b.in(failing("delete"))
	err := c.Delete(bg, keys...)
	wantErr(t, "Delete", err, dogpile.ErrPending)
	wantErr(t, "Delete", err, dogpile.ErrBackend)
	wantErr(t, "Delete", err, errBackend)
	return r, c
}

// heals ends the trouble of b, and waits until nothing is pending.
func heals(t *testing.T, b *fake, r *dogpile.Region) {
	t.Helper()
	b.in(nil)
	time.Sleep(2 * time.Second)
	synctest.Wait()
	if n := r.Stats().Pending; n != 0 {
		t.Errorf("%d are still pending", n)
	}
}

func wantGone(t *testing.T, when string, c *dogpile.Cache[int], key string) {
	t.Helper()
	if v, ok, err := c.Get(bg, key); ok || err != nil {
		t.Errorf("%s: Get of %q = %v, %v, %v", when, key, v, ok, err)
	}
	if e, ok, err := c.Peek(bg, key); ok && e.State != dogpile.Invalidated || err != nil {
		t.Errorf("%s: Peek of %q = %v, %v, %v", when, key, e, ok, err)
	}
	if vals, err := c.GetMulti(bg, []string{key}); len(vals) != 0 || err != nil {
		t.Errorf("%s: GetMulti of %q = %v, %v", when, key, vals, err)
	}
}

func TestFailedDeleteIsTriedAgain(t *testing.T) {
	for _, bytesLike := range []bool{false, true} {
		t.Run(fmt.Sprint("bytes ", bytesLike), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: bytesLike})
				var rec recorder
				var log bytes.Buffer
				o := dogpile.Options{Hooks: rec.hooks(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
				r, c := failedDelete(t, b, o, "a", "b")
				_, others := processes[int](t, 1, b, nil)
				v, ok, err := others[0].Get(bg, "a")
				if wantValue(t, "another process, which knows of nothing", v, err, 1); !ok {
					t.Error("not found")
				}
				wantGone(t, "while it fails", c, "a")
				wantGone(t, "while it fails", c, "b")
				if n := r.Stats().Pending; n != 2 {
					t.Errorf("%d are pending, want 2", n)
				}
				rec.take("delete")
				heals(t, b, r)
				wantGone(t, "the process that has deleted", c, "a")
				wantGone(t, "another process", others[0], "a")
				wantGone(t, "another process", others[0], "b")
				done := rec.take("delete")
				if len(done) != 2 || done[0].Err != nil || done[0].Key+done[1].Key != "ab" || r.Stats().Deletes != 2 {
					t.Errorf("told of %v; %d deletes", done, r.Stats().Deletes)
				}
				if text := log.String(); !strings.Contains(text, "delete done that had failed") || !strings.Contains(text, "keys=2") {
					t.Errorf("the log is %s", text)
				}
			})
		})
	}
}

// TestFailedDeleteWithoutRetry is an error as ever, and nothing more happens.
func TestFailedDeleteWithoutRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, nil)
		b.in(failing("delete", "set"))
		for what, err := range map[string]error{"Delete": r.Delete(bg, "k"), "Invalidate": r.Invalidate(bg, dogpile.Hard)} {
			if wantErr(t, what, err, dogpile.ErrBackend); errors.Is(err, dogpile.ErrPending) {
				t.Errorf("%s: %v", what, err)
			}
		}
		n := b.called("delete")
		time.Sleep(time.Minute)
		if more := b.called("delete") - n; more != 0 {
			t.Errorf("%d deletes later", more)
		}
	})
}

// TestStoreAfterAFailedDelete: what is stored by what began after the error was returned is
// good, and stays.
func TestStoreAfterAFailedDelete(t *testing.T) {
	stores := map[string]func(c *dogpile.Cache[int]) error{
		"GetOrCreate": func(c *dogpile.Cache[int]) error {
			v, err := c.GetOrCreate(bg, "k", constant(2).create)
			return errors.Join(err, is(v, 2))
		},
		"GetOrCreateMulti": func(c *dogpile.Cache[int]) error {
			vals, err := c.GetOrCreateMulti(bg, []string{"k", "other"}, func(context.Context, []string) (map[string]int, error) {
				return map[string]int{"k": 2, "other": 3}, nil
			})
			return errors.Join(err, is(vals["k"], 2))
		},
		"Refresh": func(c *dogpile.Cache[int]) error {
			v, err := c.Refresh(bg, "k", constant(2).create)
			return errors.Join(err, is(v, 2))
		},
		"Set": func(c *dogpile.Cache[int]) error { return c.Set(bg, "k", 2) },
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				r, c := failedDelete(t, b, dogpile.Options{}, "k")
				wantErr(t, name, store(c), nil)
				v, ok, err := c.Get(bg, "k")
				if wantValue(t, "Get", v, err, 2); !ok || r.Stats().Pending != 0 {
					t.Errorf("found: %v; %d pending", ok, r.Stats().Pending)
				}
				heals(t, b, r)
				v, _, err = c.Get(bg, "k")
				wantValue(t, "Get after all", v, err, 2)
			})
		})
	}
}

func is(got, want int) error {
	if got != want {
		return fmt.Errorf("got %d, want %d", got, want)
	}
	return nil
}

// TestOldCreationAfterAFailedDelete: 1. A creates.  2. A delete fails, so A's lease is not
// revoked.  3. A stores what it has made of old data.  4. Nobody gets that here.  5. The
// delete is done, and nobody gets it anywhere.
func TestOldCreationAfterAFailedDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		gate := make(chan struct{})
		r := newRegion(t, b, &dogpile.Options{RetryDeletes: 1})
		c := dogpile.NewCache[int](r, nil)
		a := start(func() (int, error) {
			return c.GetOrCreate(bg, "k", func(context.Context) (int, error) { <-gate; return 1, nil })
		})
		synctest.Wait()
		b.in(failing("delete"))
		wantErr(t, "Delete", c.Delete(bg, "k"), dogpile.ErrPending)
		close(gate)
		old := <-a
		wantValue(t, "A", old.v, old.err, 1)
		wantGone(t, "A has stored", c, "k")
		if n := r.Stats().Pending; n != 1 {
			t.Errorf("%d pending", n)
		}
		heals(t, b, r)
		_, others := processes[int](t, 1, b, nil)
		wantGone(t, "at last", others[0], "k")
	})
}

// TestReadingWhileADeleteIsDoneAtLast: 1. The old entry is read.  2. The delete is done.
// 3. What was read must not be returned.
func TestReadingWhileADeleteIsDoneAtLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r, c := failedDelete(t, b, dogpile.Options{}, "k")
		var gets atomic.Int64
		b.slow = func(_ context.Context, op string) error {
			if op == "get" && gets.Add(1) == 2 { // it has been read
				heals(t, b, r)
			}
			return nil
		}
		if v, ok, err := c.Get(bg, "k"); ok || err != nil {
			t.Errorf("Get = %v, %v, %v", v, ok, err)
		}
	})
}

// TestLockingWhileADeleteIsDoneAtLast: 1. The old entry is read with the lease.  2. The delete
// is done.  3. What was read must not be returned.
func TestLockingWhileADeleteIsDoneAtLast(t *testing.T) {
	for name, get := range map[string]func(c *dogpile.Cache[int]) (int, error){
		"GetOrCreate": func(c *dogpile.Cache[int]) (int, error) {
			return c.GetOrCreate(bg, "k", func(context.Context) (int, error) { return 2, nil })
		},
		"GetOrCreateMulti": func(c *dogpile.Cache[int]) (int, error) {
			vals, err := c.GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]int, error) {
				return map[string]int{"k": 2}, nil
			})
			return vals["k"], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{reads: true})
				r, c := failedDelete(t, b, dogpile.Options{}, "k")
				var locks atomic.Int64
				b.slow = func(_ context.Context, op string) error {
					if op == "lock" && locks.Add(1) == 2 { // the lease is there
						heals(t, b, r)
					}
					return nil
				}
				if v, err := get(c); v != 2 || err != nil {
					t.Errorf("%s = %v, %v", name, v, err)
				}
			})
		})
	}
}

// TestReadingWhileAnInvalidationIsDoneAtLast: 1. The old entry is read, and is missing because
// an invalidation is pending.  2. That is done.  3. The flight has its lease and reads again.
// The token of 1 must not judge what is read then.
func TestReadingWhileAnInvalidationIsDoneAtLast(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: true})
				r := newRegion(t, b, &dogpile.Options{RetryDeletes: 1})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "Set", c.SetMulti(bg, map[string]int{"k": 1, "l": 1}), nil)
				b.in(failing("set", "delete"))
				wantErr(t, "Invalidate", r.Invalidate(bg, mode), dogpile.ErrPending)
				var healed atomic.Bool
				b.slow = func(_ context.Context, op string) error {
					if op == "lock" && r.Stats().Running > 0 && healed.CompareAndSwap(false, true) {
						b.in(nil)
						time.Sleep(time.Second) // less than a call may take
						if n := r.Stats().Pending; n != 0 {
							t.Errorf("%d are still pending", n)
						}
					}
					return nil
				}
				v, err := c.GetOrCreate(bg, "k", constant(2).create)
				wantValue(t, "GetOrCreate", v, err, 2)
				if !healed.Load() {
					t.Error("no lease was asked for")
				}
			})
		})
	}
}

// TestDeleteDoneLate: 1. A delete fails.  2. Another process renews the entry.  3. The
// delete is done: that costs another creation, and no more.
func TestDeleteDoneLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r, c := failedDelete(t, b, dogpile.Options{}, "k")
		_, others := processes[int](t, 1, b, nil)
		wantErr(t, "Set", others[0].Set(bg, "k", 2), nil)
		wantGone(t, "while it fails", c, "k")
		heals(t, b, r)
		v, err := others[0].GetOrCreate(bg, "k", constant(3).create)
		wantValue(t, "created again", v, err, 3)
		v, err = c.GetOrCreate(bg, "k", constant(4).create)
		wantValue(t, "found here", v, err, 3)
	})
}

// TestPausesBetweenRetries grow to a second: an outage of an hour is not a storm.
func TestPausesBetweenRetries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		var rec recorder
		r, _ := failedDelete(t, b, dogpile.Options{Hooks: rec.hooks()}, "k")
		time.Sleep(time.Second)
		if n := b.called("delete"); n < 4 {
			t.Errorf("%d deletes in the first second", n)
		}
		time.Sleep(time.Hour)
		n := b.called("delete")
		if n > 3610 || n < 3500 {
			t.Errorf("%d deletes in an hour", n)
		}
		if told := rec.take("error"); len(told) != n-1 || !errors.Is(told[0].Err, dogpile.ErrPending) {
			t.Errorf("told of %d errors, %v", len(told), told[0])
		}
		b.in(nil)
		heals(t, b, r)
	})
}

// TestTooManyFailedDeletes: the newest are kept, and of the oldest one is told that they are
// not.
func TestTooManyFailedDeletes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		var rec recorder
		o := dogpile.Options{RetryDeletes: 3, Hooks: rec.hooks()}
		r, c := failedDelete(t, b, o, "a", "b", "c")
		err := c.Delete(bg, "d")
		wantErr(t, "a fourth", err, dogpile.ErrPending)
		wantErr(t, "one of them again", c.Delete(bg, "b"), dogpile.ErrPending)
		err = c.Delete(bg, "p", "q", "r", "s")
		if wantErr(t, "more than fit", err, dogpile.ErrBackend); errors.Is(err, dogpile.ErrPending) {
			t.Errorf("more than fit: %v", err)
		}
		lost := rec.take("error")
		if len(lost) != 1 || lost[0].Key != "a" || !errors.Is(lost[0].Err, errBackend) || !errors.Is(lost[0].Err, dogpile.ErrBackend) {
			t.Errorf("given up: %v", lost)
		}
		v, _, err := c.Get(bg, "a")
		wantValue(t, "given up", v, err, 1)
		for _, key := range []string{"b", "c", "d"} {
			wantGone(t, "kept", c, key)
		}
		if n := r.Stats().Pending; n != 3 {
			t.Errorf("%d pending", n)
		}
		heals(t, b, r)
		for _, key := range []string{"b", "c", "d"} {
			wantGone(t, "done", c, key)
		}
	})
}

// TestOneKeyThatCannotBeDeleted, because its server is down, keeps no other from being.
func TestOneKeyThatCannotBeDeleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		var keys []string
		for i := range 40 {
			keys = append(keys, fmt.Sprint("k", i))
		}
		r, c := failedDelete(t, b, dogpile.Options{RetryDeletes: 100}, keys...)
		b.in(func(_ context.Context, op string, of []string) error {
			if op == "delete" && slices.ContainsFunc(of, func(key string) bool { return strings.HasSuffix(key, "7") || strings.HasSuffix(key, "8") }) {
				return errBackend
			}
			return nil
		})
		time.Sleep(10 * time.Second)
		if n := r.Stats().Pending; n != 8 {
			t.Errorf("%d pending, want those of the server that is down", n)
		}
		wantGone(t, "still", c, "k7")
		heals(t, b, r)
		wantGone(t, "done", c, "k7")
	})
}

func TestFailedInvalidationIsTriedAgain(t *testing.T) {
	for _, row := range []struct {
		name  string
		modes []dogpile.Mode
		hard  bool
	}{
		{"hard", []dogpile.Mode{dogpile.Hard}, true},
		{"soft", []dogpile.Mode{dogpile.Soft}, false},
		{"soft, then hard", []dogpile.Mode{dogpile.Soft, dogpile.Hard}, true},
		{"hard, then soft", []dogpile.Mode{dogpile.Hard, dogpile.Soft}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				var rec recorder
				r := newRegion(t, b, &dogpile.Options{RetryDeletes: 1, Hooks: rec.hooks(), Runner: dogpile.Background})
				c := dogpile.NewCache[int](r, nil)
				_, others := processes[int](t, 1, b, &dogpile.Options{Runner: dogpile.Background})
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				b.in(func(_ context.Context, op string, keys []string) error {
					if (op == "set" || op == "delete") && strings.Contains(keys[0], "_inv:") {
						return errBackend
					}
					return nil
				})
				for _, mode := range row.modes {
					err := r.Invalidate(bg, mode)
					wantErr(t, "Invalidate", err, dogpile.ErrPending)
					wantErr(t, "Invalidate", err, dogpile.ErrBackend)
				}
				want := dogpile.Stale
				if row.hard {
					want = dogpile.Invalidated
				}
				e, ok, err := c.Peek(bg, "k")
				if !ok || err != nil || e.State != want {
					t.Errorf("Peek = %v, %v, %v, want %v", e, ok, err, want)
				}
				v, err := c.GetOrCreate(bg, "k", constant(2).create)
				wantValue(t, "meanwhile", v, err, map[bool]int{true: 2, false: 1}[row.hard])
				if n := r.Stats().Pending; n != 1 {
					t.Errorf("%d pending", n)
				}
				time.Sleep(time.Second)
				wantErr(t, "Set", others[0].Set(bg, "k", 1), nil)
				rec.take("invalidate")
				heals(t, b, r)
				if done := rec.take("invalidate"); len(done) != 1 || done[0].Err != nil || r.Stats().Invalidations != 1 {
					t.Errorf("told of %v; %d invalidations", done, r.Stats().Invalidations)
				}
				if e, ok, err = others[0].Peek(bg, "k"); !ok || err != nil || e.State != want {
					t.Errorf("Peek elsewhere = %v, %v, %v, want %v", e, ok, err, want)
				}
			})
		})
	}
}

// TestLaterDeleteOrInvalidation that succeeds leaves nothing to be tried again.
func TestLaterDeleteOrInvalidation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r, c := failedDelete(t, b, dogpile.Options{}, "k")
		b.in(failing("set", "delete"))
		wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), dogpile.ErrPending)
		b.in(nil)
		wantErr(t, "Delete", c.Delete(bg, "k"), nil)
		wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil)
		if n := r.Stats().Pending; n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}
