package memory_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

var flavours = map[string]*memory.Options{
	"plain":               nil,
	"Copy":                {Copy: true},
	"MaxEntries":          {MaxEntries: 100_000},
	"MaxEntries and Copy": {MaxEntries: 100_000, Copy: true},
	"MaxBytes":            {MaxBytes: 64 << 20},
}

func open(t testing.TB, o *memory.Options) *memory.Backend {
	t.Helper()
	b, err := memory.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestContract(t *testing.T) {
	for name, o := range flavours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(t *testing.T) driver.Backend { return open(t, o) }, nil)
		})
	}
}

func TestCaps(t *testing.T) {
	t.Parallel()
	for name, o := range flavours {
		c := driver.CapsOf(open(t, o))
		objects := name == "plain" || name == "MaxEntries"
		if c.Name != "memory" || c.Objects != objects || !c.Locks || !c.Fenced || c.Shared || !c.InMemory || c.Discards || c.TTLUnit != 1 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, fault string }{
		{"memory", ""},
		{"memory://", ""},
		{"memory:///", ""},
		{"memory://?max_entries=100000", ""},
		{"memory://?max_bytes=64MiB", ""},
		{"memory://?copy=true&max_entries=10", ""},
		{"memory://?max_entries=-1", "max_entries"},
		{"memory://?max_bytes=-1", "max_bytes"},
		{"memory://?max_entries=1&max_bytes=1", "exclude"},
		{"memory://?max_entries=many", "max_entries"},
		{"memory://?max=1", "max"},
		{"memory://localhost", "host"},
		{"memory:///tmp/cache", "path"},
	} {
		b, err := driver.Open(t.Context(), tt.url)
		switch {
		case tt.fault == "" && err != nil:
			t.Errorf("%s: %v", tt.url, err)
		case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
			t.Errorf("%s: %v, want an error about %q", tt.url, err, tt.fault)
		case err == nil && driver.CapsOf(b).Name != "memory":
			t.Errorf("%s opened %T", tt.url, b)
		}
	}
}

func set(t testing.TB, b driver.Backend, key string, it driver.Item) {
	t.Helper()
	it.Key = key
	items := []driver.Item{it}
	if err := b.Set(t.Context(), items); err != nil || items[0].Err != nil {
		t.Fatalf("Set = %v, %v", err, items[0].Err)
	}
}

func get(t testing.TB, b driver.Backend, key string) *driver.Item {
	t.Helper()
	items := []driver.Item{{Key: key}}
	if err := b.Get(t.Context(), items); err != nil || items[0].Err != nil {
		t.Fatalf("Get = %v, %v", err, items[0].Err)
	}
	return &items[0]
}

func TestGoValuesAreRefusedWhereBytesAreKept(t *testing.T) {
	t.Parallel()
	for name, o := range flavours {
		b := open(t, o)
		items := []driver.Item{{Key: "k", Object: 1}}
		if err := b.Set(t.Context(), items); err != nil {
			t.Errorf("%s: Set = %v", name, err)
		}
		if b.Caps().Objects != (items[0].Err == nil) || b.Caps().Objects != (b.Len() == 1) {
			t.Errorf("%s: Err = %v, Len = %d", name, items[0].Err, b.Len())
		}
	}
}

func TestMaxEntriesHolds(t *testing.T) {
	t.Parallel()
	for _, max := range []int{1, 10, 1000} {
		b := open(t, &memory.Options{MaxEntries: max})
		for i := range 10 * max {
			set(t, b, fmt.Sprint(i), driver.Item{Object: i})
		}
		s := b.Stats()
		if s.Entries > max || s.Entries == 0 {
			t.Errorf("%d entries, want at most %d", s.Entries, max)
		}
		if want := int64(10*max - s.Entries); s.Evictions != want {
			t.Errorf("Evictions = %d, want %d", s.Evictions, want)
		}
		if s.Bytes != 0 {
			t.Errorf("Bytes = %d without MaxBytes", s.Bytes)
		}
	}
}

func TestMaxEntriesKeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	b := open(t, &memory.Options{MaxEntries: 1000})
	lost := 0
	for i := range 20_000 {
		if !get(t, b, "hot").Found() {
			lost++
			set(t, b, "hot", driver.Item{Object: 1})
		}
		set(t, b, fmt.Sprint(i), driver.Item{Object: i})
	}
	if lost > 20 {
		t.Errorf("the entry that is asked for all the time was evicted %d times by others that are never asked for", lost)
	}
}

func TestMaxBytesHolds(t *testing.T) {
	t.Parallel()
	const max = 1 << 20
	b := open(t, &memory.Options{MaxBytes: max})
	for i := range 1000 {
		set(t, b, fmt.Sprint("k", i), driver.Item{Data: make([]byte, rand.IntN(10_000))})
		if s := b.Stats(); s.Bytes > max {
			t.Fatalf("%d bytes in %d entries, want at most %d", s.Bytes, s.Entries, max)
		}
	}
	if s := b.Stats(); s.Bytes < max/2 || s.Evictions == 0 {
		t.Errorf("%+v: the bound is hardly used", s)
	}
	set(t, b, "huge", driver.Item{Data: make([]byte, 2*max)})
	if b.Len(); get(t, b, "huge").Data != nil {
		t.Error("an entry over MaxBytes was kept")
	}
}

func TestExpiredEntriesAreDropped(t *testing.T) {
	for _, tt := range []struct {
		name string
		sets func(i int) string // keys of the Sets after they have run out
		live int
	}{
		{"by Sets of other keys", func(i int) string { return fmt.Sprint("new", i%1000) }, 1001},
		{"by Sets of one key", func(int) string { return "new" }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 20_000
				b := open(t, nil)
				set(t, b, "for ever", driver.Item{Object: 1})
				for i := range n {
					set(t, b, fmt.Sprint("old", i), driver.Item{Object: i, TTL: time.Minute})
				}
				time.Sleep(time.Minute)
				if got := b.Len(); got != n+1 {
					t.Errorf("%d entries before any Set, want %d", got, n+1)
				}
				for i := range 3 * n {
					set(t, b, tt.sets(i), driver.Item{Object: i, TTL: time.Hour})
				}
				if got := b.Len(); got != tt.live {
					t.Errorf("%d entries are kept, of which %d live", got, tt.live)
				}
				if !get(t, b, "for ever").Found() {
					t.Error("an entry without a TTL was dropped")
				}
			})
		})
	}
}

func TestExpiredEntryIsDroppedWhenAskedFor(t *testing.T) {
	for name, o := range flavours {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, o)
			set(t, b, "k", driver.Item{Data: []byte("v"), TTL: time.Second})
			time.Sleep(time.Second)
			if b.Len() != 1 {
				t.Errorf("%s: the entry went by itself", name)
			}
			if get(t, b, "k").Found() || b.Len() != 0 {
				t.Errorf("%s: %d entries kept", name, b.Len())
			}
		})
	}
}

func TestGetOfAnExpiredEntryLeavesItsSuccessorAlone(t *testing.T) {
	for name, o := range flavours {
		synctest.Test(t, func(t *testing.T) {
			// 1. Readers find an entry that has run out.  2. A writer replaces it.
			// 3. The readers drop what they found: never what the writer stored.
			b := open(t, o)
			for range 50 {
				set(t, b, "k", driver.Item{Data: []byte("old"), TTL: time.Nanosecond})
				time.Sleep(time.Nanosecond)
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() { get(t, b, "k") })
				}
				set(t, b, "k", driver.Item{Data: []byte("new"), TTL: time.Hour})
				wg.Wait()
				if it := get(t, b, "k"); string(it.Data) != "new" {
					t.Fatalf("%s: found %q", name, it.Data)
				}
			}
		})
	}
}

func TestGetTellsTheTimeLeft(t *testing.T) {
	for name, o := range flavours {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, o)
			set(t, b, "k", driver.Item{Data: []byte("v"), TTL: time.Hour})
			time.Sleep(10 * time.Minute)
			if it := get(t, b, "k"); it.TTL != 50*time.Minute {
				t.Errorf("%s: %v left, want 50m", name, it.TTL)
			}
		})
	}
}

func TestLongestTTL(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	set(t, b, "k", driver.Item{Data: []byte("v"), TTL: math.MaxInt64})
	if it := get(t, b, "k"); !it.Found() {
		t.Error("the deadline overflowed into the past")
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	for name, o := range flavours {
		b := open(t, o)
		for i := range 1000 {
			set(t, b, fmt.Sprint(i), driver.Item{Data: []byte("v")})
		}
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("%s: Close = %v", name, err)
			}
		}
		if n := b.Len(); n != 0 {
			t.Errorf("%s: %d entries after Close", name, n)
		}
		_, tryErr := b.TryLock(t.Context(), "k", time.Second)
		_, lockedErr := b.Locked(t.Context(), "k")
		for op, err := range map[string]error{
			"Get": b.Get(t.Context(), []driver.Item{{Key: "1"}}), "Set": b.Set(t.Context(), []driver.Item{{Key: "1"}}),
			"Delete": b.Delete(t.Context(), []string{"1"}), "TryLock": tryErr, "Wait": b.Wait(t.Context(), "k"), "Locked": lockedErr,
		} {
			if err == nil {
				t.Errorf("%s: %s after Close succeeds", name, op)
			}
		}
	}
}

func TestCloseWaitsForHousekeeping(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		b := open(t, &memory.Options{MaxEntries: 100})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 1000 {
					// Close comes at any moment, so errors are expected here.
					_ = b.Set(context.Background(), []driver.Item{{Key: fmt.Sprint(w, i), Object: i}})
					_ = b.Get(context.Background(), []driver.Item{{Key: fmt.Sprint(w, i)}})
				}
			})
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		wg.Wait()
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	for name, o := range flavours {
		b := open(t, o)
		set(t, b, "k", driver.Item{Data: []byte("v")})
		set(t, b, "timed", driver.Item{Data: []byte("v"), TTL: time.Hour})
		for range 100 { // past the growth of otter's buffers
			get(t, b, "k")
		}
		ctx, items := t.Context(), make([]driver.Item, 1)
		for _, key := range []string{"k", "timed", "missing"} {
			if n := testing.AllocsPerRun(1000, func() {
				items[0] = driver.Item{Key: key}
				if err := b.Get(ctx, items); err != nil {
					t.Fatal(err)
				}
			}); n >= 1 {
				t.Errorf("%s: Get of %q allocates %v times", name, key, n)
			}
		}
	}
}
