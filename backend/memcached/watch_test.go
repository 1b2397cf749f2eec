package memcached_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestWatch: what a Backend changes itself changes marks before the call returns, whatever
// comes of it. Nobody vouches for anything else.
func TestWatch(t *testing.T) {
	t.Parallel()
	for mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			b := open(t, "memcached://"+sharedServer(t).Addr(), options(mode))
			stop, atOnce := b.Watch(time.Second)
			if stop == nil || atOnce {
				t.Fatalf("Watch says at once: %v", atOnce)
			}
			key := unique(t)
			keep := func() driver.Mark {
				items := []driver.Item{{Key: key, Keep: true}, {Key: key + "2"}}
				ok(t, b.Get(ctx, items))
				if items[1].Mark.Count != nil {
					t.Error("there is a mark of what is not kept")
				}
				return items[0].Mark
			}
			right := func(m driver.Mark) bool { _, right := m.Right(0); return right }
			for name, change := range map[string]func() error{
				"Set":    func() error { return backendtest.Set(ctx, b, driver.Item{Key: key, Data: []byte("v")}) },
				"Delete": func() error { return b.Delete(ctx, []string{key + "3", key}) },
				"Set under a lease": func() error {
					l, err := b.TryLock(ctx, key, time.Minute)
					ok(t, err)
					return backendtest.Set(ctx, b, driver.Item{Key: key, Data: []byte("v"), Lease: l})
				},
				"a Set that fails": func() error {
					ended, end := context.WithCancel(ctx)
					end()
					if backendtest.Set(ended, b, driver.Item{Key: key, Data: []byte("v")}) == nil {
						t.Error("Set with a context that has ended")
					}
					return nil
				},
			} {
				m := keep()
				if !right(m) || m.Proof != nil {
					t.Errorf("before %s: the mark is %+v", name, m)
				}
				ok(t, change())
				if right(m) {
					t.Errorf("%s has not changed the mark", name)
				}
			}
			stop()
			stop()
			if m := keep(); m.Count != nil {
				t.Error("there are marks though nobody watches")
			}
		})
	}
}
