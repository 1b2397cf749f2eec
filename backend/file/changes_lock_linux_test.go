package file_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
)

// TestCopiesWhenTheLockFileAloneIsRemoved: two Backends that opened one cache with lock files
// of their own count each other's changes all the same.
func TestCopiesWhenTheLockFileAloneIsRemoved(t *testing.T) {
	t.Parallel()
	for name, newWrites := range map[string]bool{"the old one writes": false, "the new one writes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const lag = time.Second
			path := place(t)
			writer := open(t, path, nil)
			watching(t, writer, lag)
			set(t, writer, "k", "old")
			ok(t, os.Remove(writer.Path()+"-lock"))
			reader := open(t, path, nil)
			watching(t, reader, lag)
			if newWrites {
				writer, reader = reader, writer
			}
			for _, value := range []string{"1", "2", "3"} {
				var kept *copied
				eventually(t, "a proof", func() bool {
					if kept == nil || !kept.right(lag) {
						kept = keep(t, reader, "k")
					}
					at, _ := kept.Mark.Right(kept.asked)
					return at > kept.asked
				})
				set(t, writer, "k", value)
				eventually(t, "the copy to end", func() bool { return !kept.right(lag) })
				want(t, reader, "k", value)
			}
		})
	}
}

// TestLeaseThatIsHeldWhenTheLockFileIsRemoved holds, though its Backend opens the cache anew.
func TestLeaseThatIsHeldWhenTheLockFileIsRemoved(t *testing.T) {
	t.Parallel()
	path := place(t)
	a := open(t, path, nil)
	l := hold(t, a, "k", slow)
	remove(t, path, "-lock")
	b := open(t, path, nil)
	set(t, a, "another", "v")
	if got, err := b.TryLock(t.Context(), "k", slow); got != nil || err != nil {
		t.Errorf("another's TryLock = %v, %v", got, err)
	}
	ok(t, l.Extend(t.Context(), slow))
	ok(t, l.Release(t.Context()))
	hold(t, b, "k", slow)
}

// TestMarkIsNotRightAgain: what is cut off and made anew has no mark that is right of before.
// The memory of a mark is not read while it has no file, since that ends the process.
func TestMarkIsNotRightAgain(t *testing.T) {
	t.Parallel()
	path := place(t)
	b := open(t, path, nil)
	watching(t, b, time.Hour)
	kept := keep(t, b, "k")
	set(t, b, "k", "v")
	ok(t, os.Truncate(path+"-lock", 0))
	open(t, path, nil)
	if kept.right(time.Hour) {
		t.Error("a mark from before a Set is right")
	}
}

// TestOpeningANewLockFileWaitsForWriters: who began to write before the lock file was removed
// has looked that it is there, and counts in the old one.
func TestOpeningANewLockFileWaitsForWriters(t *testing.T) {
	t.Parallel()
	path := place(t)
	open(t, path, nil)
	writer := raw(t, path)
	sql(t, writer, "BEGIN IMMEDIATE")
	open(t, path, nil) // waits for nobody: the lock file is where it was
	remove(t, path, "-lock")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if b, err := file.Open(ctx, path, nil); err == nil {
		ok(t, b.Close())
		t.Error("Open does not wait")
	}
	sql(t, writer, "COMMIT")
	open(t, path, nil)
}

// mappings returns how often this process has mapped the lock file of the cache at path.
func mappings(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	ok(t, err)
	return strings.Count(string(maps), path+"-lock\n")
}

// TestCountersAreMappedOnce however many Backends use a cache, and let go with the last.
func TestCountersAreMappedOnce(t *testing.T) {
	t.Parallel()
	path := place(t)
	first := open(t, path, nil)
	path = first.Path()
	var all []*file.Backend
	for range 20 {
		all = append(all, open(t, path, nil))
	}
	if n := mappings(t, path); n != 1 {
		t.Errorf("the counters are mapped %d times", n)
	}
	ok(t, first.Close())
	if n := mappings(t, path); n != 1 {
		t.Errorf("when one of many is closed, the counters are mapped %d times", n)
	}
	for _, b := range all {
		ok(t, b.Close())
	}
	if n := mappings(t, path); n != 0 {
		t.Errorf("when all are closed, the counters are mapped %d times", n)
	}
}
