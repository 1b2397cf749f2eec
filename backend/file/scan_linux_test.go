package file_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// leases returns the holders that a Scan finds, by key.
func leases(t testing.TB, b driver.Scanner, prefix string) map[string]driver.Holder {
	t.Helper()
	all := map[string]driver.Holder{}
	ok(t, b.Scan(t.Context(), prefix, func(f driver.Found) bool {
		if f.Holder != nil {
			all[f.Key] = *f.Holder
		}
		return true
	}))
	return all
}

func TestHolderOfAnotherProcess(t *testing.T) {
	t.Parallel()
	// 1. Another process takes the lease.  2. It is killed, and nobody holds it.
	// 3. We take it over.
	host, err := os.Hostname()
	ok(t, err)
	b := open(t, place(t), nil)
	want := func(when string, pid int, from time.Time) {
		t.Helper()
		h, held, err := b.Holder(t.Context(), "k")
		if held != (pid != 0) || err != nil {
			t.Fatalf("%s, Holder = %+v, %v, %v", when, h, held, err)
		}
		if in := leases(t, b, "k"); len(in) != 0 != held || in["k"] != h {
			t.Errorf("%s, Scan finds %+v, and Holder %+v", when, in, h)
		}
		if !held && h != (driver.Holder{}) || held && (h.Host != host[:min(len(host), 64)] || h.PID != pid || h.Since.Before(from.Truncate(time.Millisecond)) || h.Since.After(time.Now())) {
			t.Errorf("%s, Holder = %+v, want process %d on %q since %v", when, h, pid, host, from)
		}
	}
	want("at first", 0, time.Time{})
	from := time.Now()
	c := launch(t, nil, "hold", b.Path(), "k", "1h")
	c.says("held")
	want("while another process holds it", c.cmd.Process.Pid, from)
	want("a bit later", c.cmd.Process.Pid, from)
	c.kill()
	want("when that was killed", 0, time.Time{})
	from = time.Now()
	l := hold(t, b, "k", time.Minute)
	want("when this process has it", os.Getpid(), from)
	ok(t, l.Extend(t.Context(), time.Hour))
	want("when it was extended", os.Getpid(), from)
	ok(t, l.Release(t.Context()))
	want("when it was released", 0, time.Time{})
}

// TestScanOfManyRows goes through several pages of entries and of leases, among those of
// other prefixes, and reads entries that another process writes meanwhile.
func TestScanOfManyRows(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	var items []driver.Item
	for i := range 1500 {
		for _, prefix := range []string{"a:", "b:", "b;"} {
			items = append(items, driver.Item{Key: fmt.Sprint(prefix, i), Data: []byte("value"), TTL: time.Hour})
		}
	}
	ok(t, b.Set(t.Context(), items))
	for i := range 600 {
		for _, prefix := range []string{"a:", "b:", "b;"} {
			hold(t, b, fmt.Sprint(prefix, i), time.Hour)
		}
	}
	found := map[string]int{}
	ok(t, b.Scan(t.Context(), "b:", func(f driver.Found) bool {
		if f.Holder == nil {
			found[f.Key]++
		}
		if f.Holder == nil && f.Size != 5 || f.TTL <= 50*time.Minute || f.TTL > time.Hour {
			t.Errorf("found %+v", f)
		}
		return true
	}))
	if in := leases(t, b, "b:"); len(found) != 1500 || len(in) != 600 {
		t.Errorf("it finds %d entries of 1500, and %d leases of 600", len(found), len(in))
	}
	for key, n := range found {
		if n != 1 {
			t.Fatalf("%s is found %d times", key, n)
		}
	}
	if in := leases(t, b, ""); len(in) != 1800 {
		t.Errorf("it finds %d leases of 1800", len(in))
	}
}

func TestCloseEndsAScan(t *testing.T) {
	t.Parallel()
	backendtest.Scans(t, open(t, place(t), nil))
}

// TestScanOfAFileThatIsRemoved goes on with the new one.
func TestScanOfAFileThatIsRemoved(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	var items []driver.Item
	for i := range 1000 {
		items = append(items, driver.Item{Key: fmt.Sprint(i), Data: []byte("v")})
	}
	ok(t, b.Set(t.Context(), items))
	n := 0
	ok(t, b.Scan(t.Context(), "", func(driver.Found) bool {
		if n++; n == 1 {
			for _, suffix := range []string{"", "-wal", "-shm", "-lock"} {
				ok(t, os.Remove(b.Path()+suffix))
			}
		}
		return true
	}))
	if n == 0 || n >= 1000 {
		t.Errorf("%d entries of a file that was removed are found", n)
	}
	set(t, b, "new", "v")
	found := 0
	ok(t, b.Scan(t.Context(), "", func(f driver.Found) bool { found++; return f.Key == "new" }))
	if found != 1 {
		t.Errorf("%d entries of a new file are found", found)
	}
}

// TestScanOfARegion over a file tells its keys, and whose creators are at work.
func TestScanOfARegion(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	r := backendtest.Region(t, "users", b, &dogpile.Options{Expiration: time.Hour, Near: nil})
	cache := dogpile.NewCache[string](r, nil)
	ok(t, r.Invalidate(t.Context(), dogpile.Hard))
	ok(t, cache.Set(t.Context(), "42", "Ann"))
	c := launch(t, nil, "hold", b.Path(), "users:43", "1h")
	c.says("held")
	got := map[string]int{}
	ok(t, r.Scan(t.Context(), func(f driver.Found) bool {
		got[f.Key] = 0
		if f.Holder != nil {
			got[f.Key] = f.Holder.PID
		}
		return true
	}))
	if len(got) != 2 || got["42"] != 0 || got["43"] != c.cmd.Process.Pid {
		t.Errorf("found %v", got)
	}
}
