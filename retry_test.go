package dogpile_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestCloseTriesOnceMore what has failed, and tells what is left.
func TestCloseTriesOnceMore(t *testing.T) {
	for _, row := range []struct {
		name    string
		trouble trouble
		left    string // that the error tells of; "": it is nil
	}{
		{"all is well again", nil, ""},
		{"it still fails", failing("delete"), `deletes not done: 2 ("a", "b"): connection refused`},
		{"the server hangs", hanging("delete"), `deletes not done: 2 ("a", "b"): context deadline exceeded`},
		{"one of them fails", func(_ context.Context, op string, keys []string) error {
			if op == "delete" && strings.HasSuffix(keys[len(keys)-1], "b") {
				return errBackend
			}
			return nil
		}, `deletes not done: 1 ("b"): connection refused`},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				r, _ := failedDelete(t, b, dogpile.Options{}, "a", "b")
				b.in(row.trouble)
				ctx, cancel := context.WithTimeout(bg, 500*time.Millisecond)
				defer cancel()
				began := time.Now()
				err := r.Close(ctx)
				if took := time.Since(began); took > 600*time.Millisecond {
					t.Errorf("Close took %v", took)
				}
				if row.left == "" {
					wantErr(t, "Close", err, nil)
				} else if wantErr(t, "Close", err, dogpile.ErrBackend); !strings.Contains(err.Error(), row.left) || errors.Is(err, dogpile.ErrPending) {
					t.Errorf("Close = %v", err)
				}
				n := b.called("delete")
				time.Sleep(time.Minute)
				if more := b.called("delete") - n; more != 0 {
					t.Errorf("%d deletes after Close", more)
				}
				b.in(nil)
				wantErr(t, "Close again", r.Close(bg), nil)
				_, others := processes[int](t, 1, b, nil)
				wantGone(t, "at last", others[0], "a")
				wantGone(t, "at last", others[0], "b")
			})
		})
	}
}

// TestDeleteThatFailsAfterClose is not kept: nobody would try it again.
func TestDeleteThatFailsAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{RetryDeletes: 10})
		b.in(hanging("delete"))
		deleted := start(func() (int, error) { return 0, r.Delete(bg, "k") })
		synctest.Wait()
		wantErr(t, "Close", r.Close(bg), nil)
		got := <-deleted
		if wantErr(t, "Delete", got.err, dogpile.ErrBackend); errors.Is(got.err, dogpile.ErrPending) {
			t.Errorf("Delete = %v", got.err)
		}
		if n := r.Stats().Pending; n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

// TestReconfigureKeepsFailedDeletes: what is kept goes with the region to its next
// configuration. One that keeps nothing gives it up, and says so.
func TestReconfigureKeepsFailedDeletes(t *testing.T) {
	for _, row := range []struct {
		name string
		most int
		lost int
	}{
		{"as many", 10, 0},
		{"fewer", 1, 1},
		{"none", 0, 3}, // the invalidation is the third
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				var rec recorder
				o := dogpile.Options{Hooks: rec.hooks()}
				r, c := failedDelete(t, b, o, "a", "b")
				b.in(failing("delete", "set"))
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), dogpile.ErrPending)
				rec.take("error")
				wantErr(t, "Reconfigure", r.Reconfigure(b, &dogpile.Options{Prefix: "test:", RetryDeletes: row.most, Hooks: o.Hooks}), nil)
				if lost := rec.take("error"); len(lost) != row.lost {
					t.Errorf("given up: %v", lost)
				}
				if row.most == 0 {
					return
				}
				wantGone(t, "in the next configuration", c, "b")
				heals(t, b, r)
				_, others := processes[int](t, 1, b, nil)
				wantGone(t, "at last", others[0], "b")
				if n := r.Stats().Invalidations; n != 1 {
					t.Errorf("%d invalidations", n)
				}
			})
		})
	}
}

// TestDeleteThatFailsAfterReconfigure was begun before. It is kept by the configuration
// that is in force.
func TestDeleteThatFailsAfterReconfigure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{RetryDeletes: 10})
		c := dogpile.NewCache[int](r, nil)
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		b.in(hanging("delete"))
		deleted := start(func() (int, error) { return 0, r.Delete(bg, "k") })
		synctest.Wait()
		wantErr(t, "Reconfigure", r.Reconfigure(b, &dogpile.Options{Prefix: "test:", RetryDeletes: 10}), nil)
		got := <-deleted
		wantErr(t, "Delete", got.err, dogpile.ErrPending)
		wantGone(t, "in the next configuration", c, "k")
		heals(t, b, r)
		wantGone(t, "at last", c, "k")
	})
}

// TestRetryDeletesInMemory has no effect, and costs a hit nothing.
func TestRetryDeletesInMemory(t *testing.T) {
	r := newRegion(t, newMemory(t), &dogpile.Options{RetryDeletes: 10})
	c := dogpile.NewCache[int](r, nil)
	wantErr(t, "Set", c.Set(bg, "k", 1), nil)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = c.Get(bg, "k") }); n != 0 {
		t.Errorf("%v allocations for a hit", n)
	}
	wantErr(t, "Delete", c.Delete(bg, "k"), nil)
	wantGone(t, "deleted", c, "k")
}

// While one server of four is down, an invalidation that is tried again is for its entries.
func TestPendingInvalidationIsForTheServerThatIsDown(t *testing.T) {
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft} {
		t.Run(mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newCluster(t, 4, like{bytes: true})
				r := newRegion(t, b, &dogpile.Options{RetryDeletes: 10})
				c := dogpile.NewCache[int](r, nil)
				for server := range b.servers {
					wantErr(t, "Set", c.Set(bg, b.keysOn(server, 1)[0], 1), nil)
				}
				b.servers[2].in(failing("get", "set", "delete", "lock", "wait"))
				wantErr(t, "Invalidate", r.Invalidate(bg, mode), dogpile.ErrPending)
				for server := range b.servers {
					one := counting(0)
					key := b.keysOn(server, 1)[0]
					for range 10 {
						if _, err := c.GetOrCreate(bg, key, one.create); err != nil {
							t.Error(err)
						}
						pass(time.Second)
					}
					if server != 2 {
						wantCalls(t, one, 1)
					}
				}
				b.servers[2].in(nil)
				pass(3 * time.Second)
				if n := r.Stats().Pending; n != 0 {
					t.Error("pending", n)
				}
				if e, _, err := c.Peek(bg, b.keysOn(2, 1)[0]); e.State == dogpile.Fresh && e.Value == 1 || err != nil {
					t.Errorf("%v %v", e, err)
				}
				if _, ok, err := c.Get(bg, b.keysOn(1, 1)[0]); !ok || err != nil {
					t.Errorf("%v %v", ok, err)
				}
			})
		})
	}
}

func TestWhatFailsAfterReconfigureIsToldOfByClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{RetryDeletes: 10})
		b.in(hanging("delete"))
		deleted := start(func() (int, error) { return 0, r.Delete(bg, "k") })
		wantErr(t, "Reconfigure", r.Reconfigure(b, &dogpile.Options{Prefix: "test:", RetryDeletes: 10}), nil)
		got := <-deleted
		wantErr(t, "Delete", got.err, dogpile.ErrPending)
		ctx, cancel := context.WithCancel(bg)
		cancel()
		err := r.Close(ctx)
		if wantErr(t, "Close", err, dogpile.ErrBackend); strings.Contains(err.Error(), "nil") {
			t.Error(err)
		}
		b.in(nil)
	})
}

// Keys of a server that is down must not hold up those of the others.
func TestRetriesForOneServerDoNotHoldUpOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 2, like{bytes: true})
		r := newRegion(t, b, &dogpile.Options{RetryDeletes: 1000})
		for _, f := range b.servers {
			f.in(failing("delete"))
		}
		wantErr(t, "Delete", r.Delete(bg, b.keysOn(0, 300)...), dogpile.ErrPending)
		wantErr(t, "Delete", r.Delete(bg, b.keysOn(1, 300)...), dogpile.ErrPending)
		b.servers[1].in(nil)
		pass(10 * time.Second)
		if n := r.Stats().Pending; n != 300 {
			t.Errorf("%d are pending after 10 s, want the 300 of the server that is down", n)
		}
		b.servers[0].in(nil)
		pass(2 * time.Second)
	})
}

// Once the next configuration has tried it, an invalidation is for the server that is down.
func TestReconfigureKeepsAnInvalidationOfSeveralServers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newCluster(t, 4, like{bytes: true})
		o := &dogpile.Options{Prefix: "test:", RetryDeletes: 10, Logger: slog.New(slog.DiscardHandler)}
		r := newRegion(t, b, o)
		c := dogpile.NewCache[int](r, nil)
		for server := range b.servers {
			wantErr(t, "Set", c.Set(bg, b.keysOn(server, 1)[0], 1), nil)
		}
		b.servers[2].in(failing("get", "set", "delete", "lock", "wait"))
		wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), dogpile.ErrPending)
		wantErr(t, "Reconfigure", r.Reconfigure(b, o), nil)
		pass(2 * time.Second)
		one := counting(0)
		for range 5 {
			if _, err := c.GetOrCreate(bg, b.keysOn(1, 1)[0], one.create); err != nil {
				t.Error(err)
			}
			pass(time.Second)
		}
		wantCalls(t, one, 1)
		b.servers[2].in(nil)
		pass(3 * time.Second)
		if n := r.Stats().Pending; n != 0 {
			t.Error(n)
		}
		if _, ok, err := c.Get(bg, b.keysOn(2, 1)[0]); ok || err != nil {
			t.Error(ok, err)
		}
		if _, ok, err := c.Get(bg, b.keysOn(1, 1)[0]); !ok || err != nil {
			t.Error(ok, err)
		}
	})
}

func TestHooksOfRetriesCallTheRegion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		var r *dogpile.Region
		h := &dogpile.Hooks{
			Error:  func(ctx context.Context, e dogpile.Event) { _ = r.Invalidate(ctx, dogpile.Soft) },
			Delete: func(ctx context.Context, e dogpile.Event) { _, _ = r.Locked(ctx, "x") },
		}
		r = newRegion(t, b, &dogpile.Options{RetryDeletes: 1, Hooks: h})
		b.in(failing("delete"))
		for _, key := range []string{"a", "b", "c"} {
			if err := r.Delete(bg, key); !errors.Is(err, dogpile.ErrPending) {
				t.Error(err)
			}
		}
		pass(3 * time.Second)
		b.in(nil)
		pass(3 * time.Second)
		if n := r.Stats().Pending; n != 0 {
			t.Error(n)
		}
	})
}
