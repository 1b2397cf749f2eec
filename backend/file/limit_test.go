package file_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// writes are the calls that have to wait while another process writes.
func writes(ctx context.Context, b *file.Backend, l driver.Lease) map[string]error {
	_, err := b.TryLock(ctx, "other", time.Hour)
	return map[string]error{
		"Set":     b.Set(ctx, []driver.Item{{Key: "k", Data: []byte("new")}}),
		"Delete":  b.Delete(ctx, []string{"k"}),
		"TryLock": err,
		"Extend":  l.Extend(ctx, time.Hour),
	}
}

func TestWritersWaitNoLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), &file.Options{Timeout: 2 * time.Second})
	ctx := t.Context()
	set(t, b, "k", "v")
	l := hold(t, b, "leased", time.Hour)
	c := raw(t, b.Path())
	sql(t, c, "BEGIN IMMEDIATE")
	all := writes(ctx, b, l)
	all["Release"] = l.Release(ctx)
	for what, err := range all {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s while another writes = %v", what, err)
		}
	}
	// Readers do not have to wait.
	want(t, b, "k", "v")
	if locked, err := b.Locked(ctx, "leased"); !locked || err != nil {
		t.Errorf("Locked = %v, %v", locked, err)
	}
	sql(t, c, "ROLLBACK")
	for what, err := range writes(ctx, b, l) {
		if err != nil {
			t.Errorf("%s afterwards = %v", what, err)
		}
	}
	want(t, b, "k", "")
}

func TestWritersHonourTheirContext(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), &file.Options{Timeout: -1})
	set(t, b, "k", "v")
	l := hold(t, b, "leased", time.Hour)
	c := raw(t, b.Path())
	sql(t, c, "BEGIN IMMEDIATE")
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 8 { // one in SQLite's queue, the others in that of the process
		all.Go(func() {
			for what, err := range writes(ctx, b, l) {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s = %v", what, err)
				}
			}
		})
	}
	cancel()
	all.Wait()
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for what, err := range writes(ctx, b, l) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v", what, err)
		}
	}
	// Who gives a lease back does so with a context that is done, too.
	sql(t, c, "ROLLBACK")
	ok(t, l.Release(ctx))
	want(t, b, "k", "v")
	hold(t, b, "leased", time.Hour)
}

func TestCloseEndsTheWaiting(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), &file.Options{Timeout: -1})
	sql(t, raw(t, b.Path()), "BEGIN IMMEDIATE")
	done := make(chan error, 4)
	for range cap(done) {
		go func() { done <- b.Delete(context.Background(), []string{"k"}) }()
	}
	timer := time.NewTimer(20 * time.Millisecond)
	<-timer.C
	ok(t, b.Close())
	for range cap(done) {
		if err := <-done; err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Delete = %v", err)
		}
	}
}

func TestLargeBatchesHonourTheirContextAndTimeout(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), &file.Options{Timeout: 1})
	items := make([]driver.Item, 1000)
	keys := make([]string, len(items))
	for i := range items {
		keys[i] = string(rune('a' + i))
		items[i] = driver.Item{Key: keys[i], Data: []byte("v")}
	}
	for what, err := range map[string]error{
		"Set": b.Set(t.Context(), items), "Delete": b.Delete(t.Context(), keys), "Get": b.Get(t.Context(), items),
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s within a nanosecond = %v", what, err)
		}
	}
	// None of it was done by half.
	patient := open(t, b.Path(), nil)
	for _, key := range keys {
		want(t, patient, key, "")
	}
}

func TestWaitersOfThisBackendAreWoken(t *testing.T) {
	t.Parallel()
	// 1. A holds the lease, B waits.  2. A gives it up, and at once somebody else
	// has it.  3. B is awake, though a look from time to time would have seen no
	// change.
	b := open(t, place(t), nil)
	for name, free := range map[string]func(l driver.Lease) error{
		"Release":             func(l driver.Lease) error { return l.Release(t.Context()) },
		"Delete":              func(driver.Lease) error { return b.Delete(t.Context(), []string{"k"}) },
		"Set":                 func(driver.Lease) error { return trySet(t, b, driver.Item{Key: "k", Data: []byte("v")}) },
		"Set under the lease": func(l driver.Lease) error { return trySet(t, b, driver.Item{Key: "k", Data: []byte("v"), Lease: l}) },
	} {
		l := hold(t, b, "k", time.Hour)
		awake := make(chan error, 3)
		for range cap(awake) {
			go func() { awake <- b.Wait(context.Background(), "k") }()
		}
		eventually(t, "all to wait", func() bool { return file.Waiting(b) == cap(awake) })
		ok(t, free(l))
		again := hold(t, b, "k", time.Hour)
		for range cap(awake) {
			select {
			case err := <-awake:
				ok(t, err)
			case <-time.After(slow):
				t.Fatalf("%s wakes nobody", name)
			}
		}
		ok(t, again.Release(t.Context()))
		if n := file.Waiting(b); n != 0 {
			t.Errorf("%d are still waiting", n)
		}
	}
}

func TestEntryReadWithTheLeaseIsUsedOnce(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	set(t, b, "k", "v")
	l := hold(t, b, "k", time.Hour)
	sql(t, raw(t, b.Path()), "DELETE FROM entry") // which no lease forbids
	for _, want := range []string{"v", ""} {
		items := []driver.Item{{Key: "k", Lease: l}}
		ok(t, b.Get(t.Context(), items))
		if string(items[0].Data) != want {
			t.Errorf("Get under the lease found %q, want %q", items[0].Data, want)
		}
	}
	items := []driver.Item{{Key: "other", Lease: hold(t, b, "k2", time.Hour)}}
	ok(t, b.Get(t.Context(), items))
	if items[0].Found() {
		t.Error("a lease on another key answers")
	}
}
