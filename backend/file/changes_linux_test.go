package file_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// copied is what is known of a copy of an entry.
type copied struct {
	driver.Item
	asked time.Duration
}

// right reports whether the copy is known to have been right at most lag ago.
func (c *copied) right(lag time.Duration) bool {
	at, unchanged := c.Mark.Right(c.asked)
	return unchanged && at >= driver.Now()-lag
}

// keep reads a key of which a copy is kept.
func keep(t testing.TB, b *file.Backend, key string) *copied {
	t.Helper()
	items := []driver.Item{{Key: key, Keep: true}}
	asked := driver.Now()
	ok(t, b.Get(context.Background(), items))
	ok(t, items[0].Err)
	if items[0].Mark.Count == nil {
		t.Fatal("there is no mark")
	}
	return &copied{items[0], asked}
}

func watching(t testing.TB, b *file.Backend, lag time.Duration) {
	t.Helper()
	stop, atOnce := b.Watch(lag)
	if stop == nil || !atOnce {
		t.Fatalf("Watch says at once: %v", atOnce)
	}
	t.Cleanup(stop)
}

// changeRole sets, deletes, and sets under a lease a key, each time that it may go on.
func changeRole(path string, args []string) error {
	ctx := context.Background()
	b, err := file.Open(ctx, path, &file.Options{Timeout: slow})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		if err := proceed(); err != nil {
			return err
		}
		it := driver.Item{Key: args[0], Data: fmt.Append(nil, i)}
		switch i % 3 {
		case 0:
			err = b.Delete(ctx, []string{"another", args[0]})
		case 1:
			if it.Lease, err = b.TryLock(ctx, args[0], time.Hour); err != nil {
				return err
			}
			fallthrough
		case 2:
			items := []driver.Item{it}
			if err = b.Set(ctx, items); err == nil {
				err = items[0].Err
			}
		}
		if err != nil {
			return err
		}
		fmt.Println("done")
	}
}

// TestChangesOfOtherProcessesCountAtOnce: when another process has made a change, and its call
// has returned, no copy from before is right.
func TestChangesOfOtherProcessesCountAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t, place(t), nil)
	watching(t, b, time.Hour)
	c := launch(t, nil, "change", b.Path(), "k")
	c.says("ready")
	for i := range 10_000 {
		kept := keep(t, b, "k")
		other := keep(t, b, "untouched")
		if !kept.right(time.Hour) {
			t.Fatalf("round %d: the copy is not right to begin with", i)
		}
		c.goOn()
		c.says("done")
		if kept.right(time.Hour) {
			t.Fatalf("round %d: the copy is right after the change", i)
		}
		if !other.right(time.Hour) {
			t.Fatalf("round %d: the change has changed another key", i)
		}
	}
}

// dieRole is killed in the middle of a Set.
func dieRole(path string, args []string) error {
	b, err := file.Open(context.Background(), path, &file.Options{Timeout: slow})
	if err != nil {
		return err
	}
	return b.SetAndDie(context.Background(), driver.Item{Key: args[0], Data: []byte("new")}, func() {
		fmt.Println("begun")
		_ = proceed()
	})
}

// TestWriterIsKilledBeforeItHasCounted: a copy that was made in the middle of a Set is known
// to have been right when it was read, and no longer.
func TestWriterIsKilledBeforeItHasCounted(t *testing.T) {
	t.Parallel()
	const lag = 2 * time.Second
	path := place(t)
	b := open(t, path, nil)
	watching(t, b, lag)
	set(t, b, "k", "old")
	before := keep(t, b, "k")
	c := launch(t, nil, "die", b.Path(), "k")
	c.says("begun")
	if before.right(lag) {
		t.Error("a copy from before is right when the Set has begun")
	}
	during := keep(t, b, "k")
	if string(during.Data) != "old" || during.Mark.Proof != nil {
		t.Errorf("in the middle of the Set %q is read, with the mark %+v", during.Data, during.Mark)
	}
	c.goOn()
	_ = c.cmd.Wait()
	eventually(t, "the copy to end", func() bool { return !during.right(lag) })
	if took := driver.Now() - during.asked; took > lag+slow {
		t.Errorf("it took %v", took)
	}
	after := keep(t, b, "k")
	if string(after.Data) != "new" || after.Mark.Proof != nil {
		t.Errorf("afterwards %q is read, with the mark %+v", after.Data, after.Mark)
	}
	// Whoever opens the file when nobody has it open knows that no Set is under way.
	ok(t, b.Close())
	if after.right(lag) {
		t.Error("a copy is right when the backend is closed")
	}
	again := open(t, path, nil)
	watching(t, again, lag)
	if kept := keep(t, again, "k"); string(kept.Data) != "new" || kept.Mark.Proof == nil {
		t.Errorf("in the end %q is read, with the mark %+v", kept.Data, kept.Mark)
	}
}

// TestCopiesOfAFileThatIsRemoved end within the lag, though nobody calls the backend.
func TestCopiesOfAFileThatIsRemoved(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	for name, suffixes := range map[string][]string{"all": all, "the lock": {"-lock"}, "the file": {""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, place(t), nil)
			watching(t, b, lag)
			set(t, b, "k", "old")
			kept := keep(t, b, "k")
			eventually(t, "a proof", func() bool {
				at, right := kept.Mark.Right(kept.asked)
				return right && at > kept.asked
			})
			for _, suffix := range suffixes {
				ok(t, os.Remove(b.Path()+suffix))
			}
			eventually(t, "the copy to end", func() bool { return !kept.right(lag) })
		})
	}
}

// TestMarksOfAClosedBackend: they may be looked at, and are not right. The file is let go.
func TestMarksOfAClosedBackend(t *testing.T) {
	t.Parallel()
	path := place(t)
	for range 20 {
		a, err := file.Open(t.Context(), path, nil)
		ok(t, err)
		b, err := file.Open(t.Context(), path, nil)
		ok(t, err)
		watching(t, a, time.Hour)
		kept := keep(t, a, "k")
		ok(t, a.Close())
		if !kept.right(time.Hour) {
			t.Error("a copy is not right although another Backend has the file open")
		}
		set(t, b, "k", "v")
		if kept.right(time.Hour) {
			t.Error("the change of another Backend does not count")
		}
		ok(t, b.Close())
		if kept.right(time.Hour) {
			t.Error("a copy is right when the file is closed")
		}
	}
}
