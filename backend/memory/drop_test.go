package memory_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// grace is how long after its deadline an entry is dropped at the latest.
const grace = 10 * time.Second

// Without a Set or a Get what has expired goes.
func TestExpiredEntriesGoByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		b := open(t, nil)
		set(t, b, "for ever", driver.Item{Object: 1})
		set(t, b, "nearly for ever", driver.Item{Object: 1, TTL: math.MaxInt64})
		for i := range n {
			set(t, b, fmt.Sprint("hours", i), driver.Item{Object: i, TTL: time.Hour})
		}
		for i := range n {
			set(t, b, fmt.Sprint("minutes", i), driver.Item{Object: i, TTL: time.Minute}) // before those with more
		}
		wantLen := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := b.Len(); got != want {
				t.Errorf("%d entries, want %d", got, want)
			}
		}
		wantLen(2*n + 2)
		time.Sleep(time.Minute + grace)
		wantLen(n + 2)
		set(t, b, "seconds", driver.Item{Object: 1, TTL: time.Second}) // once nothing is due for long
		time.Sleep(time.Second + grace)
		wantLen(n + 2)
		time.Sleep(time.Hour)
		wantLen(2)
		set(t, b, "later", driver.Item{Object: 1, TTL: time.Minute}) // once there was no deadline
		time.Sleep(time.Minute + grace)
		wantLen(2)
	})
}

// An entry that has taken the place of one that expires stays.
func TestSweepByTimeLeavesLiveEntriesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, nil)
		for range 20 {
			set(t, b, "k", driver.Item{Object: 1, TTL: time.Second})
			set(t, b, "k", driver.Item{Object: 2, TTL: time.Hour})
			set(t, b, "gone", driver.Item{Object: 1, TTL: time.Second})
			time.Sleep(time.Second + grace)
			synctest.Wait()
			if got := get(t, b, "k").Object; got != 2 || b.Len() != 1 {
				t.Fatalf("found %v, %d entries", got, b.Len())
			}
		}
	})
}

// A backend with entries whose deadlines are far is dropped without Close, and goes; after
// Close nothing happens any more.
func TestDeadlinesKeepNoBackendInMemory(t *testing.T) {
	for _, closed := range []bool{false, true} {
		before := runtime.NumGoroutine()
		b := open(t, nil)
		set(t, b, "k", driver.Item{Object: 1, TTL: time.Hour})
		there := weak.Make(b)
		if closed {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%d goroutines, %d before", n, before)
		}
		b = nil
		for deadline := time.Now().Add(10 * time.Second); there.Value() != nil && time.Now().Before(deadline); {
			runtime.GC()
		}
		if there.Value() != nil {
			t.Errorf("closed=%v: the backend is still in memory", closed)
		}
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	for name, o := range flavours {
		b := open(t, o)
		const n = 1000
		for i := range n {
			set(t, b, fmt.Sprint(i%2, "/", i), driver.Item{Data: []byte(fmt.Sprint(i))})
		}
		lease, err := b.TryLock(t.Context(), "0/0", time.Minute)
		if err != nil || lease == nil {
			t.Fatal(lease, err)
		}
		b.Drop(func(it *driver.Item) bool {
			if !strings.HasSuffix(it.Key, "/"+string(it.Data)) {
				t.Errorf("%s: %q comes with %q", name, it.Key, it.Data)
			}
			return strings.HasPrefix(it.Key, "0/")
		})
		if got := b.Len(); got != n/2 {
			t.Errorf("%s: %d entries, want %d", name, got, n/2)
		}
		if get(t, b, "0/0").Found() || !get(t, b, "1/1").Found() {
			t.Errorf("%s: others were dropped than those chosen", name)
		}
		if held, err := b.Locked(t.Context(), "0/0"); !held || err != nil {
			t.Errorf("%s: the lease: %v, %v", name, held, err)
		}
	}
}

func TestDropOffersWhatGetReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory.Options{})
		set(t, b, "object", driver.Item{Object: 7})
		set(t, b, "expired", driver.Item{Object: 8, TTL: time.Second})
		time.Sleep(time.Second)
		b.Drop(func(it *driver.Item) bool {
			if it.Key != "object" || it.Object != 7 || it.Data != nil {
				t.Errorf("offered %+v", it)
			}
			return false
		})
		if b.Len() != 1 {
			t.Errorf("%d entries, want the one that lives", b.Len())
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		b.Drop(func(*driver.Item) bool { t.Error("offered after Close"); return true })
	})
}
