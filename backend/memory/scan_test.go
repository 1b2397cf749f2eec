package memory_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// every is a Backend of each kind.
var every = map[string]*memory.Options{
	"unbounded": nil, "by entries": {MaxEntries: 100_000}, "by bytes": {MaxBytes: 64 << 20}, "bytes": {Copy: true},
}

// filled returns a Backend with n entries.
func filled(t *testing.T, o *memory.Options, n int) *memory.Backend {
	t.Helper()
	b, err := memory.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	items := make([]driver.Item, n)
	for i := range items {
		items[i] = driver.Item{Key: fmt.Sprint("k", i), Data: []byte("value"), TTL: time.Hour}
	}
	if err := b.Set(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestScanTellsSizes(t *testing.T) {
	t.Parallel()
	for name, o := range every {
		b := filled(t, o, 1)
		n := 0
		if err := b.Scan(t.Context(), "k", func(f driver.Found) bool {
			if n++; f.Key != "k0" || f.Size != 5 || f.TTL <= 59*time.Minute || f.TTL > time.Hour || f.Holder != nil {
				t.Errorf("%s: found %+v", name, f)
			}
			return true
		}); err != nil || n != 1 {
			t.Errorf("%s: %d calls of found, Scan = %v", name, n, err)
		}
	}
	b := filled(t, nil, 0)
	if err := b.Set(t.Context(), []driver.Item{{Key: "object", Object: 42}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Scan(t.Context(), "", func(f driver.Found) bool {
		if f != (driver.Found{Key: "object"}) {
			t.Errorf("a Go value is found as %+v", f)
		}
		return true
	}); err != nil {
		t.Errorf("Scan = %v", err)
	}
}

func TestCloseEndsAScan(t *testing.T) {
	t.Parallel()
	for name, o := range every {
		b := filled(t, o, 5000)
		n := 0
		err := b.Scan(t.Context(), "k", func(driver.Found) bool {
			if n++; n == 1 {
				b.Close()
			}
			return true
		})
		if err == nil || n != 1 {
			t.Errorf("%s: Close came in the first call of %d of found, and Scan = %v", name, n, err)
		}
		_, _, err = b.Holder(t.Context(), "k")
		if err2 := b.Scan(t.Context(), "", func(driver.Found) bool { return true }); err == nil || err2 == nil {
			t.Errorf("%s: after Close, Holder = %v and Scan = %v", name, err, err2)
		}
	}
}

// TestScanHoldsNothingUp has calls go on while found takes its time.
func TestScanHoldsNothingUp(t *testing.T) {
	t.Parallel()
	for name, o := range every {
		b := filled(t, o, 2000)
		in, out := make(chan struct{}), make(chan struct{})
		var scanning sync.WaitGroup
		scanning.Go(func() {
			first := true
			if err := b.Scan(t.Context(), "", func(driver.Found) bool {
				if first {
					first = false
					close(in)
					<-out
				}
				return true
			}); err != nil {
				t.Errorf("%s: Scan = %v", name, err)
			}
		})
		<-in
		for i := range 2000 {
			items := []driver.Item{{Key: fmt.Sprint("k", i), Data: []byte("new")}}
			l, err := b.TryLock(t.Context(), items[0].Key, time.Hour)
			items[0].Lease = l
			if err := errors.Join(err, b.Get(t.Context(), items[:1:1]), b.Set(t.Context(), items), items[0].Err, b.Delete(t.Context(), []string{items[0].Key})); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		close(out)
		scanning.Wait()
		runtime.KeepAlive(b)
	}
}
