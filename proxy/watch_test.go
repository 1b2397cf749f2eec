package proxy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// telling is a farm that tells of changes.
type telling struct {
	*farm
	changes  *driver.Changes
	proof    driver.Proof
	lag      time.Duration
	watching int
}

func newTelling() *telling { return &telling{farm: newFarm(), changes: driver.NewChanges()} }

func (f *telling) Watch(lag time.Duration) (stop func(), atOnce bool) {
	f.lag = lag
	f.watching++
	return func() { f.watching-- }, true
}

func (f *telling) Get(ctx context.Context, items []driver.Item) error {
	for i := range items {
		if it := &items[i]; it.Keep {
			it.Mark = f.changes.Mark(it.Key, &f.proof)
		}
	}
	return f.farm.Get(ctx, items)
}

// keeping reads keys, and wants copies of those for which keep returns true. Only these have
// marks: their own, with the proof of the backend.
func (f *telling) keeping(t *testing.T, b driver.Backend, keep func(key string) bool, keys ...string) []driver.Item {
	t.Helper()
	items := itemsOf(keys...)
	for i := range items {
		items[i].Keep = keep(keys[i])
	}
	if err := b.Get(t.Context(), items); err != nil {
		t.Fatalf("Get = %v", err)
	}
	for i, it := range items {
		want := driver.Mark{}
		if keep(keys[i]) && it.Err == nil {
			want = f.changes.Mark(keys[i], &f.proof)
		}
		if it.Key != keys[i] || it.Keep != keep(keys[i]) || it.Mark != want {
			t.Errorf("%s came back as %+v, want the mark %+v", keys[i], it, want)
		}
	}
	return items
}

// TestWatchThroughProxies: each stock proxy hands on Watch, Keep and Mark as they are.
func TestWatchThroughProxies(t *testing.T) {
	wraps := map[string]func(driver.Backend) driver.Backend{"Breaker": proxy.Breaker(nil)}
	for name, wrap := range gentle {
		wraps[name] = wrap
	}
	for name, wrap := range wraps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTelling()
			b := wrap(f)
			stop, atOnce := b.(driver.Watcher).Watch(3 * time.Minute)
			if stop == nil || !atOnce || f.watching != 1 || f.lag != 3*time.Minute {
				t.Fatalf("Watch: at once %v, %d watch, with the lag %v", atOnce, f.watching, f.lag)
			}
			f.changes.Note("a2") // so that marks differ
			f.keeping(t, b, func(key string) bool { return key != "b1" }, "a1", "b1", "a2", "c1")
			if stop(); f.watching != 0 {
				t.Error("stop does not reach the backend")
			}
			if stop, atOnce := wrap(newFarm()).(driver.Watcher).Watch(time.Minute); stop != nil || atOnce {
				t.Errorf("over a backend that tells nothing Watch says at once: %v, and stop is nil: %v", atOnce, stop == nil)
			}
		})
	}
}

// TestBreakerWithOpenServerKeepsMarks: the items of other servers reach the backend in a batch
// of their own, and come back with the marks of their own keys.
func TestBreakerWithOpenServerKeepsMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTelling()
		b := proxy.Breaker(&proxy.BreakerOptions{Failures: 3})(f)
		f.set("a", refuses)
		for range 3 {
			f.keeping(t, b, func(string) bool { return false }, "a1", "b1")
		}
		f.changes.Note("c1")
		items := f.keeping(t, b, func(key string) bool { return key != "d1" }, "a1", "b1", "d1", "a2", "c1")
		for _, i := range []int{0, 3} {
			if !errors.Is(items[i].Err, proxy.ErrOpen) {
				t.Errorf("%s has the error %v, want that of an open breaker", items[i].Key, items[i].Err)
			}
		}
		if items[4].Mark.Seen == 0 {
			t.Error("all marks are the same: this proves little")
		}
	})
}
