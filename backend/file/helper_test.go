package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// slow keeps a loaded machine from failing tests that are not about time.
const slow = 20 * time.Second

// place returns the path of a file that is not there yet.
func place(t testing.TB) string { return filepath.Join(t.TempDir(), "app.db") }

// open opens path until the test ends. Without Options of its own it is patient.
func open(t testing.TB, path string, o *file.Options) *file.Backend {
	t.Helper()
	if o == nil {
		o = &file.Options{}
	}
	if o.Timeout == 0 {
		o.Timeout = slow
	}
	b, err := file.Open(t.Context(), path, o)
	ok(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

// trySet stores one value and returns the error of the call or the item.
func trySet(t testing.TB, b driver.Backend, it driver.Item) error {
	t.Helper()
	items := []driver.Item{it}
	return errors.Join(b.Set(t.Context(), items), items[0].Err)
}

func set(t testing.TB, b driver.Backend, key, value string) {
	t.Helper()
	ok(t, trySet(t, b, driver.Item{Key: key, Data: []byte(value)}))
}

// get returns the value of key, "" for none.
func get(t testing.TB, b driver.Backend, key string) string {
	t.Helper()
	it, err := tryGet(t, b, key)
	ok(t, err)
	return string(it.Data)
}

func tryGet(t testing.TB, b driver.Backend, key string) (driver.Item, error) {
	t.Helper()
	items := []driver.Item{{Key: key}}
	err := b.Get(t.Context(), items)
	return items[0], errors.Join(err, items[0].Err)
}

func want(t testing.TB, b driver.Backend, key, value string) {
	t.Helper()
	if got := get(t, b, key); got != value {
		t.Errorf("%q holds %.40q, want %.40q", key, got, value)
	}
}

// hold takes the lease on key, which has to be free.
func hold(t testing.TB, b driver.Locker, key string, ttl time.Duration) driver.Lease {
	t.Helper()
	l, err := b.TryLock(t.Context(), key, ttl)
	ok(t, err)
	if l == nil {
		t.Fatalf("the lease on %q is held by another", key)
	}
	return l
}

// eventually waits for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	limit := time.NewTimer(slow)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// raw opens the file as any SQLite program does.
func raw(t testing.TB, path string) *sqlite.Conn {
	t.Helper()
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	ok(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func sql(t testing.TB, c *sqlite.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		ok(t, sqlitex.ExecuteTransient(c, text, nil))
	}
}

func number(t testing.TB, c *sqlite.Conn, text string) int64 {
	t.Helper()
	n, err := sqlitex.ResultInt64(c.Prep(text))
	ok(t, err)
	return n
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	ok(t, err)
	return fi.Size()
}

// noise returns n bytes that look like nothing else.
func noise(n int, seed uint64) string {
	data := make([]byte, n)
	for i, x := 0, seed*2654435761+88172645463325252; i < n; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		data[i] = byte(x)
	}
	return string(data)
}
