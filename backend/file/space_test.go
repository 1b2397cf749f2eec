package file_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

func TestBoundHoldsAndTheOldestGo(t *testing.T) {
	t.Parallel()
	const bound = file.MinBytes
	for _, length := range []int{100, 1000, 5000, bound / 4} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			t.Parallel()
			path := place(t)
			o := &file.Options{MaxBytes: bound}
			a, b := open(t, path, o), open(t, path, o)
			n := (3*bound/(length+50) + 30) / 10 * 10
			key := func(i int) string { return fmt.Sprint("key ", i) }
			for i := 0; i < n; i += 10 {
				items := make([]driver.Item, 10)
				for j := range items {
					items[j] = driver.Item{Key: key(i + j), Data: []byte(noise(length, uint64(i+j)))}
				}
				ok(t, map[bool]*file.Backend{false: a, true: b}[i%20 == 0].Set(t.Context(), items))
				if length <= 1000 {
					set(t, a, "often", "written") // and so never the oldest
				}
				if i%50 == 0 && size(t, path) > bound {
					t.Fatalf("the file has %d bytes", size(t, path))
				}
			}
			found, bytes, gap := 0, 0, false
			for i := n - 1; i >= 0; i-- {
				it, err := tryGet(t, b, key(i))
				ok(t, err)
				switch {
				case it.Found() && gap:
					t.Fatalf("%s is there, and younger ones are not", key(i))
				case it.Found() && string(it.Data) != noise(length, uint64(i)):
					t.Fatalf("%s has another value", key(i))
				case it.Found():
					found++
					bytes += len(it.Key) + length
				default:
					gap = true
				}
			}
			if length <= 1000 {
				want(t, b, "often", "written")
			}
			if size(t, path) > bound || bytes < bound/5 || !gap {
				t.Errorf("%d entries of %d bytes are there, in a file of %d", found, bytes, size(t, path))
			}
			if n, limit := size(t, path+"-wal"), int64(8*bound); n > limit {
				t.Errorf("the log has %d bytes, over %d", n, limit)
			}
		})
	}
}

func TestSmallerBoundLater(t *testing.T) {
	t.Parallel()
	path := place(t)
	a := open(t, path, nil)
	for i := range 100 {
		items := make([]driver.Item, 10)
		for j := range items {
			items[j] = driver.Item{Key: fmt.Sprint("k", 10*i+j), Data: []byte(noise(4000, uint64(i)))}
		}
		ok(t, a.Set(t.Context(), items))
	}
	ok(t, a.Close())
	if size(t, path) < 3<<20 {
		t.Fatalf("the file has %d bytes", size(t, path))
	}
	b := open(t, path, &file.Options{MaxBytes: 1 << 20})
	eventually(t, "the file to become smaller", func() bool { return size(t, path) <= 1<<20 })
	want(t, b, "k999", noise(4000, 99))
	want(t, b, "k0", "")
}

func TestValuesOverTheBound(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), &file.Options{MaxBytes: 1 << 20})
	set(t, b, "k", "old")
	l := hold(t, b, "k", time.Hour)
	items := []driver.Item{
		{Key: "a", Data: []byte("a")},
		{Key: "k", Data: make([]byte, b.Caps().MaxValue+1), Lease: l},
		{Key: "none"},
	}
	ok(t, b.Set(t.Context(), items))
	if items[0].Err != nil || items[1].Err == nil || items[2].Err == nil {
		t.Errorf("Errs are %v, %v, %v", items[0].Err, items[1].Err, items[2].Err)
	}
	want(t, b, "k", "old")
	ok(t, l.Extend(t.Context(), time.Hour)) // it was not used up
}

func TestSpaceIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int{"many small": 1000, "few large": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			b := open(t, path, nil)
			keys := make([]string, 6<<20/length)
			items := make([]driver.Item, len(keys))
			for i := range keys {
				keys[i] = fmt.Sprint("k", i)
				items[i] = driver.Item{Key: keys[i], Data: make([]byte, length)}
			}
			ok(t, b.Set(t.Context(), items))
			set(t, b, "kept", "v")
			ok(t, b.Close()) // which brings all of it into the file
			if n := size(t, path); n < 5<<20 {
				t.Fatalf("the file has %d bytes", n)
			}
			b = open(t, path, nil)
			ok(t, b.Delete(t.Context(), keys))
			eventually(t, "the file to become smaller", func() bool { return size(t, path) < 2<<20 })
			want(t, b, "kept", "v")
			want(t, b, keys[0], "")
		})
	}
}

func TestExpiredEntriesAndLeasesGo(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	c := raw(t, b.Path())
	const n = 3000
	items := make([]driver.Item, n)
	for i := range items {
		items[i] = driver.Item{Key: fmt.Sprint("short ", i), Data: []byte("v"), TTL: 1}
		if i%2 == 0 {
			items[i].TTL = time.Hour
		}
	}
	ok(t, b.Set(t.Context(), items))
	hold(t, b, "lost", 1)
	hold(t, b, "held", time.Hour)
	eventually(t, "what has expired to be removed", func() bool {
		for i := range 100 { // somebody has to write
			set(t, b, fmt.Sprint("other ", i), "v")
		}
		return number(t, c, "SELECT count(*) FROM entry WHERE expires > 0") == n/2 && number(t, c, "SELECT count(*) FROM lease") == 1
	})
	for i := range items {
		if got := get(t, b, items[i].Key); (got == "v") != (i%2 == 0) {
			t.Fatalf("%s holds %q", items[i].Key, got)
		}
	}
}

func TestLogStaysSmall(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), &file.Options{MaxBytes: 1 << 20})
	most, written := int64(0), 0
	for i := range 300 {
		items := make([]driver.Item, 10)
		for j := range items {
			items[j] = driver.Item{Key: fmt.Sprint("k", (10*i+j)%500), Data: make([]byte, 400)}
			written += 4096 // a page, as things are
		}
		ok(t, b.Set(t.Context(), items))
		if i%10 == 0 {
			most = max(most, size(t, b.Path()+"-wal"))
		}
	}
	if limit := int64(1 << 20); most > limit || most == 0 {
		t.Errorf("while about %d bytes were written the log had %d, over %d", written, most, limit)
	}
}

func TestTTLIsInMilliseconds(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	c := raw(t, b.Path())
	for _, row := range []struct {
		ttl      time.Duration
		min, max int64
	}{
		{0, 0, 0},
		{1, 1, 1},
		{time.Millisecond, 1, 1},
		{time.Millisecond + 1, 2, 2},
		{time.Hour, 3600_000, 3600_000},
		{1<<63 - 1, 9223372036855, 9223372036855},
	} {
		before := time.Now()
		ok(t, trySet(t, b, driver.Item{Key: "k", Data: []byte("v"), TTL: row.ttl}))
		least, most := before.UnixMilli()+row.min, time.Now().UnixMilli()+1+row.max
		if row.ttl == 0 {
			least, most = 0, 0
		}
		if got := number(t, c, "SELECT expires FROM entry"); got < least || got > most {
			t.Errorf("a TTL of %v ends at %d, want %d to %d", row.ttl, got, least, most)
		}
	}
}

func TestNothingIsLeftButTheLock(t *testing.T) {
	t.Parallel()
	path := place(t)
	for range 3 {
		a, b := open(t, path, nil), open(t, path, nil)
		set(t, a, "k", "v")
		ok(t, a.Close())
		want(t, b, "k", "v")
		ok(t, b.Close())
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Stat(path + suffix); err == nil {
			t.Errorf("%s is there", suffix)
		}
	}
}

func TestGetTellsWhatIsLeftOfTheTTL(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	for _, key := range []string{"", "k"} {
		ok(t, trySet(t, b, driver.Item{Key: key, Data: []byte("v"), TTL: time.Hour}))
		it, err := tryGet(t, b, key)
		if err != nil || string(it.Data) != "v" || it.TTL <= time.Hour-slow || it.TTL > time.Hour+time.Millisecond {
			t.Errorf("%q: %+v, %v", key, it, err)
		}
		// The same through a lease.
		items := []driver.Item{{Key: key, Lease: hold(t, b, key, time.Hour)}}
		ok(t, b.Get(t.Context(), items))
		if it := items[0]; string(it.Data) != "v" || it.TTL <= time.Hour-slow || it.TTL > time.Hour+time.Millisecond {
			t.Errorf("%q under a lease: %+v", key, it)
		}
	}
}
