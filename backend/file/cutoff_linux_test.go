package file_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// proved waits until the copy is known to have been right after it was asked for.
func proved(t testing.TB, c *copied) {
	t.Helper()
	eventually(t, "a proof", func() bool {
		at, right := c.Mark.Right(c.asked)
		return right && at > c.asked
	})
}

// TestWriterWhoseLockFileIsAnother: 1. W has the cache open.  2. Somebody removes the lock
// file.  3. R opens the cache, makes another lock file, and keeps a copy.  4. W changes the
// entry. R's copy is not right any more when W returns.
func TestWriterWhoseLockFileIsAnother(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(path string) error{
		"removed": func(path string) error { return os.Remove(path + "-lock") },
		"moved":   func(path string) error { return os.Rename(path+"-lock", path+"-old") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			w := open(t, path, nil)
			set(t, w, "k", "old")
			lease := hold(t, w, "leased", slow)
			ok(t, away(path))
			r := open(t, path, nil)
			watching(t, r, time.Second)
			for _, change := range []func(){
				func() { set(t, w, "k", "new") },
				func() { ok(t, w.Delete(t.Context(), []string{"k"})) },
			} {
				kept, other := keep(t, r, "k"), keep(t, r, "other")
				proved(t, other)
				change()
				if kept.right(slow) {
					t.Error("R's copy is right after W has returned")
				}
				if !other.right(slow) {
					t.Error("R's copy of another entry is not right")
				}
			}
			// W's copies are vouched for as well, and its lease is still its own.
			watching(t, w, time.Second)
			kept := keep(t, w, "k")
			set(t, r, "k", "R's")
			if kept.right(slow) {
				t.Error("W's copy is right after R has returned")
			}
			proved(t, keep(t, w, "k"))
			if l, err := r.TryLock(t.Context(), "leased", slow); l != nil || err != nil {
				t.Errorf("TryLock of what W holds = %v, %v", l, err)
			}
			ok(t, lease.Release(t.Context()))
		})
	}
}

// TestProofsComeBackWhenTheLockFileWasRemoved: a reader whose lock file was removed goes on
// with another one.
func TestProofsComeBackWhenTheLockFileWasRemoved(t *testing.T) {
	t.Parallel()
	const lag = 100 * time.Millisecond
	path := place(t)
	b := open(t, path, nil)
	watching(t, b, lag)
	before := keep(t, b, "k")
	remove(t, path, "-lock")
	eventually(t, "the copy to end", func() bool { return !before.right(lag) })
	eventually(t, "a proof of a new copy", func() bool {
		kept := keep(t, b, "k")
		tick := time.NewTimer(lag)
		defer tick.Stop()
		<-tick.C
		at, right := kept.Mark.Right(kept.asked)
		return right && at > kept.asked
	})
	other := open(t, path, nil)
	kept := keep(t, b, "k")
	set(t, other, "k", "v")
	if kept.right(lag) {
		t.Error("a copy is right after another Backend's Set")
	}
}

// TestLockFileThatIsCutOff: the backend goes on, and its changes count.
func TestLockFileThatIsCutOff(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 1, 4096 + 1<<16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			path := place(t)
			a, b := open(t, path, nil), open(t, path, nil)
			set(t, a, "k", "old")
			var items []driver.Item
			for i := range 100 {
				items = append(items, driver.Item{Key: fmt.Sprint("k", i), Data: []byte("v")})
			}
			ok(t, os.Truncate(path+"-lock", size))
			ok(t, a.Set(t.Context(), items))
			ok(t, b.Delete(t.Context(), []string{"k"}))
			want(t, a, "k", "")
			watching(t, b, time.Second)
			kept := keep(t, b, "k")
			proved(t, kept)
			set(t, a, "k", "new")
			if kept.right(slow) {
				t.Error("a copy is right after another Backend's Set")
			}
		})
	}
}

// unsureRole has a commit fail in the middle of writing the log.
func unsureRole(path string, _ []string) error {
	ctx := context.Background()
	b, err := file.Open(ctx, path, &file.Options{Timeout: slow})
	if err != nil {
		return err
	}
	stop, _ := b.Watch(slow)
	defer stop()
	if err := b.Set(ctx, []driver.Item{{Key: "k", Data: []byte("old")}}); err != nil {
		return err
	}
	log, err := os.Stat(path + "-wal")
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(log.Size()) + 20_000, Max: before.Max}); err != nil {
		return err
	}
	failure := b.Set(ctx, []driver.Item{{Key: "k", Data: make([]byte, 1<<20)}})
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	items := []driver.Item{{Key: "k", Keep: true}, {Key: "other", Keep: true}}
	if err := b.Get(ctx, items); err != nil {
		return err
	}
	fmt.Printf("failed: %v, read: %s, vouched for: %v, another: %v\n", failure != nil, items[0].Data, items[0].Mark.Proof != nil, items[1].Mark.Proof != nil)
	return b.Close()
}

// TestCommitThatFailsInTheMiddle: the end of the transaction may be in the log all the same,
// so nobody vouches for a copy of what was there before.
func TestCommitThatFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	launch(t, nil, "unsure", place(t)).says("failed: true, read: old, vouched for: false, another: true")
}

// TestLockFileThatIsCutOffAndRemoved: the backend opens the cache anew.
func TestLockFileThatIsCutOffAndRemoved(t *testing.T) {
	t.Parallel()
	path := place(t)
	b := open(t, path, nil)
	set(t, b, "k", "old")
	ok(t, os.Truncate(path+"-lock", 0))
	remove(t, path, "-lock", "")
	want(t, b, "k", "")
	set(t, b, "k", "new")
	want(t, b, "k", "new")
}

// TestLockFileThatIsCutOffWhileCopiesAreMade: there are marks again, also if nobody writes.
func TestLockFileThatIsCutOffWhileCopiesAreMade(t *testing.T) {
	t.Parallel()
	path := place(t)
	b := open(t, path, nil)
	watching(t, b, time.Second)
	set(t, b, "k", "v")
	ok(t, os.Truncate(path+"-lock", 0))
	eventually(t, "a mark", func() bool {
		items := []driver.Item{{Key: "k", Keep: true}}
		ok(t, b.Get(t.Context(), items))
		return items[0].Mark.Count != nil
	})
	proved(t, keep(t, b, "k"))
}
