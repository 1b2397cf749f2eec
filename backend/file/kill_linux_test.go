package file_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// The processes that are killed write groups of keys, each group in a batch of
// one version. A reader of a group finds all of it, of one version, or none;
// in a file with a bound, which drops entries one by one, what is left of it.
const (
	groups    = 12
	groupSize = 6
)

func groupKey(g, i int) string { return fmt.Sprint("g", g, ".", i) }

// groupValue is what key holds in a version: nothing else looks like it.
func groupValue(key string, version uint64) []byte {
	v := fmt.Sprint(version, "|", key, "|")
	return []byte(v + noise(int(version%5000), version+uint64(len(key))))
}

func checkGroup(b *file.Backend, g int) error {
	bounded := b.Caps().MaxValue < 1<<20
	items := make([]driver.Item, groupSize)
	for i := range items {
		items[i].Key = groupKey(g, i)
	}
	if err := b.Get(context.Background(), items); err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(items[0].Data), "|")
	for _, it := range items {
		if bounded && it.Found() {
			first, _, _ = strings.Cut(string(it.Data), "|")
		}
		switch version, err := strconv.ParseUint(first, 10, 64); {
		case it.Err != nil:
			return it.Err
		case !bounded && it.Found() != items[0].Found():
			return fmt.Errorf("%s: found %v, others of its batch %v", it.Key, it.Found(), !it.Found())
		case !it.Found():
		case err != nil || string(it.Data) != string(groupValue(it.Key, version)):
			return fmt.Errorf("%s: torn or of another version: %.60q", it.Key, it.Data)
		}
	}
	return nil
}

// writeRole writes until it is killed.
func writeRole(path string, args []string) error {
	ctx := context.Background()
	maxBytes, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	b, err := file.Open(ctx, path, &file.Options{Timeout: slow, MaxBytes: maxBytes})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		g, version := rand.IntN(groups), rand.Uint64()
		items, keys := make([]driver.Item, groupSize), make([]string, groupSize)
		for i := range items {
			keys[i] = groupKey(g, i)
			items[i] = driver.Item{Key: keys[i], Data: groupValue(keys[i], version)}
		}
		switch rand.IntN(8) {
		case 0:
			err = b.Delete(ctx, keys)
		case 1:
			if _, err = b.TryLock(ctx, fmt.Sprint("held by one that is killed ", rand.IntN(5)), time.Hour); err == nil {
				err = b.Set(ctx, items)
			}
		default:
			err = b.Set(ctx, items)
		}
		if err != nil {
			return err
		}
	}
}

func TestKilled200TimesUnderLoad(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*file.Options{
		"unbounded": {Timeout: slow},
		"bounded":   {Timeout: slow, MaxBytes: 200 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killMany(t, 100, o)
		})
	}
}

func killMany(t *testing.T, n int64, o *file.Options) {
	path := place(t)
	var kills, reads atomic.Int64
	var readers, lanes sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 2 {
		mine := open(t, path, o)
		readers.Go(func() {
			for g := 0; ctx.Err() == nil; g++ {
				if err := checkGroup(mine, g%groups); err != nil {
					t.Errorf("reader: %v", err)
					return
				}
				reads.Add(1)
				<-time.After(time.Millisecond)
			}
		})
	}
	for range 2 {
		lanes.Go(func() {
			for kills.Add(1) <= n && !t.Failed() {
				killOne(t, path, o)
			}
		})
	}
	lanes.Wait()
	stop()
	readers.Wait()
	if reads.Load() < 5*n {
		t.Errorf("only %d groups were read meanwhile", reads.Load())
	}
	for i := range 5 {
		hold(t, open(t, path, o), fmt.Sprint("held by one that is killed ", i), time.Hour)
	}
	c := raw(t, path)
	if n := number(t, c, "SELECT count(*) FROM entry"); n == 0 {
		t.Error("the file is empty")
	}
	if n := number(t, c, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"); n != 0 {
		t.Errorf("integrity_check finds %d faults", n)
	}
}

// killOne starts a writer, kills it at any moment, and looks at the file.
func killOne(t *testing.T, path string, o *file.Options) {
	c := launch(t, nil, "write", path, strconv.Itoa(o.MaxBytes))
	if line := <-c.lines; line != "ready" {
		t.Errorf("a writer says %q", line)
		return
	}
	timer := time.NewTimer(rand.N(15 * time.Millisecond))
	<-timer.C
	c.kill()
	for line := range c.lines {
		t.Error(line)
	}
	b, err := file.Open(t.Context(), path, o)
	if err != nil {
		t.Errorf("after a kill: %v", err)
		return
	}
	for g := range groups {
		err = errors.Join(err, checkGroup(b, g))
	}
	if err = errors.Join(err, b.Close()); err != nil {
		t.Error(err)
	}
}

func TestKilledWhileItMakesTheFile(t *testing.T) {
	t.Parallel()
	for range 20 {
		path := place(t)
		c := launch(t, nil, "write", path, "0")
		timer := time.NewTimer(rand.N(100 * time.Millisecond))
		<-timer.C
		c.kill()
		b := open(t, path, nil)
		for g := range groups {
			ok(t, checkGroup(b, g))
		}
		set(t, b, "k", "v")
		want(t, b, "k", "v")
		ok(t, b.Close())
	}
}
