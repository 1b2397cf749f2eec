package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// filled returns a closed file with entries k0, k1, …, each of 3000 bytes.
func filled(t *testing.T, n int) string {
	t.Helper()
	path := place(t)
	b := open(t, path, nil)
	for i := range n {
		set(t, b, fmt.Sprint("k", i), noise(3000, uint64(i)))
	}
	ok(t, b.Close())
	return path
}

// holds reads the entries of filled and counts those that are there. There is
// never a wrong one.
func holds(t *testing.T, b driver.Backend, n int) (found int, err error) {
	t.Helper()
	for i := range n {
		it, e := tryGet(t, b, fmt.Sprint("k", i))
		err = errors.Join(err, e)
		if it.Found() {
			found++
			if string(it.Data) != noise(3000, uint64(i)) {
				t.Fatalf("k%d holds what was never stored", i)
			}
		}
	}
	return found, err
}

// edit changes what is in a file.
func edit(t *testing.T, path string, change func(data []byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	ok(t, err)
	ok(t, os.WriteFile(path, change(data), 0o600))
}

func TestFlippedBytesAreNoValue(t *testing.T) {
	t.Parallel()
	const n = 20
	for at := range 12 {
		path := filled(t, n)
		edit(t, path, func(data []byte) []byte {
			value := bytes.Index(data, []byte(noise(3000, 7)))
			if value < 0 {
				t.Fatal("the value is not in the file")
			}
			data[value+at*250] ^= 1 << (at % 8)
			return data
		})
		b := open(t, path, nil)
		it, err := tryGet(t, b, "k7")
		if it.Found() || !errors.Is(err, driver.ErrCorrupt) {
			t.Errorf("byte %d: found %v, %v", at*250, it.Found(), err)
		}
		if found, err := holds(t, b, n); found != n-1 || !errors.Is(err, driver.ErrCorrupt) {
			t.Errorf("%d of %d are left, %v", found, n, err)
		}
		set(t, b, "k7", noise(3000, 7))
		if found, err := holds(t, b, n); found != n || err != nil {
			t.Errorf("after a new Set %d of %d are there, %v", found, n, err)
		}
		ok(t, b.Close())
	}
}

func TestChangedTimesAndKeysAreNoValue(t *testing.T) {
	t.Parallel()
	for _, change := range []string{
		"UPDATE entry SET expires = expires + 3600000",
		"UPDATE entry SET expires = 0",
		"UPDATE entry SET data = CAST('another' AS BLOB)",
		"UPDATE entry SET sum = sum + 1",
	} {
		path := place(t)
		b := open(t, path, nil)
		ok(t, trySet(t, b, driver.Item{Key: "k", Data: []byte("v"), TTL: slow}))
		sql(t, raw(t, path), change)
		if it, err := tryGet(t, b, "k"); it.Found() || !errors.Is(err, driver.ErrCorrupt) {
			t.Errorf("after %s found %+v, %v", change, it, err)
		}
	}
	path := place(t)
	b := open(t, path, nil)
	set(t, b, "k", "v")
	sql(t, raw(t, path), "UPDATE entry SET key = CAST('l' AS BLOB)")
	want(t, b, "k", "")
	want(t, b, "l", "")
}

// It is not parallel: it changes how keys are hashed.
func TestKeysOfOneHash(t *testing.T) {
	defer file.SetHash(func(string) int64 { return 42 })()
	b := open(t, place(t), nil)
	set(t, b, "a", "A")
	want(t, b, "b", "")
	ok(t, b.Delete(t.Context(), []string{"b"}))
	want(t, b, "a", "A")
	set(t, b, "b", "B")
	want(t, b, "a", "")
	want(t, b, "b", "B")
	// Leases are by the key itself.
	hold(t, b, "a", slow)
	l := hold(t, b, "b", slow)
	items := []driver.Item{{Key: "b", Data: []byte("C"), Lease: l}}
	ok(t, errors.Join(b.Set(t.Context(), items), items[0].Err))
	want(t, b, "b", "C")
}

func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	const n = 100
	zero := func(from, to int) func([]byte) []byte {
		return func(data []byte) []byte { clear(data[from:min(to, len(data))]); return data }
	}
	for name, change := range map[string]func(data []byte) []byte{
		"truncated to a half":       func(data []byte) []byte { return data[:len(data)/2] },
		"truncated within a page":   func(data []byte) []byte { return data[:len(data)-1000] },
		"truncated to one page":     func(data []byte) []byte { return data[:4096] },
		"truncated to the header":   func(data []byte) []byte { return data[:100] },
		"truncated to a few bytes":  func(data []byte) []byte { return data[:10] },
		"first page is zero":        zero(0, 4096),
		"header is zero":            zero(0, 16),
		"all but the first is zero": zero(4096, 1<<30),
		"some pages are zero":       zero(5*4096, 40*4096),
		"text":                      func([]byte) []byte { return bytes.Repeat([]byte("somebody's text\n"), 10000) },
		"another schema":            func(data []byte) []byte { return bytes.Replace(data, []byte("TABLE lease"), []byte("TABLE laase"), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filled(t, n)
			edit(t, path, change)
			b, err := file.Open(t.Context(), path, nil)
			if err == nil {
				_, err = holds(t, b, n)
				ok(t, b.Close())
			}
			if err == nil {
				t.Error("without Reset there was no error")
			}
			t.Log(err)

			b = open(t, path, &file.Options{Reset: true})
			_, _ = holds(t, b, n) // may be what finds the damage
			for i := range n {
				_ = trySet(t, b, driver.Item{Key: fmt.Sprint("k", i), Data: []byte(noise(3000, uint64(i)))})
			}
			eventually(t, "all entries to be there again", func() bool {
				for i := range n {
					if trySet(t, b, driver.Item{Key: fmt.Sprint("k", i), Data: []byte(noise(3000, uint64(i)))}) != nil {
						return false
					}
				}
				found, err := holds(t, b, n)
				return found == n && err == nil
			})
			other := open(t, path, nil)
			if found, err := holds(t, other, n); found != n || err != nil {
				t.Errorf("another Backend finds %d of %d, %v", found, n, err)
			}
		})
	}
}

func TestErrorsOfDamageSayWhatToDo(t *testing.T) {
	t.Parallel()
	path := filled(t, 10)
	edit(t, path, func(data []byte) []byte { return data[:4096] })
	b, err := file.Open(t.Context(), path, nil)
	if err == nil {
		_, err = tryGet(t, b, "k1")
		b.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "reset=true") {
		t.Errorf("%v", err)
	}
}
