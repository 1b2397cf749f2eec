package file_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// openFiles counts the descriptors on files whose path contains part.
func openFiles(t *testing.T, part string) (n int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	for _, fd := range all {
		if path, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.Contains(path, part) {
			n++
		}
	}
	return n
}

// It is not parallel: it counts goroutines.
func TestCloseLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	goroutines := runtime.NumGoroutine()
	for i := range 5 {
		path := fmt.Sprint(dir, "/", i)
		b, err := file.Open(t.Context(), path, &file.Options{MaxBytes: 1 << 20, Timeout: slow})
		ok(t, err)
		other, err := file.Open(t.Context(), path, &file.Options{Timeout: slow})
		ok(t, err)
		items := make([]driver.Item, 600)
		for j := range items {
			items[j] = driver.Item{Key: fmt.Sprint(j), Data: make([]byte, 2000), TTL: time.Millisecond}
		}
		ok(t, b.Set(t.Context(), items)) // the janitor is at work
		hold(t, other, "k", time.Hour)
		if i == 1 {
			remove(t, path, all...)
			set(t, b, "k", "v")
			set(t, other, "k", "v")
		}
		ok(t, b.Close())
		ok(t, other.Close())
	}
	_, err := file.Open(t.Context(), dir, nil)
	if err == nil {
		t.Error("a directory was opened")
	}
	ok(t, os.WriteFile(dir+"/text", []byte(strings.Repeat("text", 5000)), 0o600))
	if _, err = file.Open(t.Context(), dir+"/text", nil); err == nil {
		t.Error("text was opened")
	}
	if n := openFiles(t, dir); n != 0 {
		t.Errorf("%d files are still open", n)
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
}
