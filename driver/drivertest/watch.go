package drivertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// watchRows are about what a driver.Watcher says of changes. They are skipped for a backend
// that is none, or says so.
var watchRows = []row{
	{"watch/a mark is right until the entry changes", keepsValues, func(e *env) {
		e.watching()
		k, other := e.key("k"), e.key("other")
		for _, change := range []struct {
			name string
			do   func()
		}{
			{"the first Set", func() { e.set(item(k, "1")) }},
			{"a Set", func() { e.set(item(other, "x"), item(k, "2")) }},
			{"a Set under a lease", func() {
				if !e.caps.Locks {
					e.set(item(k, "3"))
					return
				}
				e.set(itemUnder(e.locked(k), k, "3"))
			}},
			{"a Delete", func() { e.delete(other, k) }},
			{"a Delete of what is absent", func() { e.set(item(k, "4")); e.delete(k) }},
		} {
			// What a server tells of the change before may come after that has returned, and
			// changes the mark for nothing.
			var kept *copied
			if !e.until(0, func() bool {
				kept = e.keep(k)
				e.settle()
				e.keep(k)
				return right(kept)
			}) {
				e.Errorf("before %s no mark stays right", change.name)
			}
			if change.do(); right(kept) {
				e.Errorf("%s has returned, and a mark from before it is right", change.name)
			}
		}
	}},
	{"watch/a Get without Keep, or under a lease, gives no mark", keepsValues, func(e *env) {
		e.watching()
		k := e.key("k")
		items := []driver.Item{{Key: k}}
		if e.caps.Locks {
			l := e.locked(e.key("held"))
			items = append(items, driver.Item{Key: e.key("held"), Lease: l, Keep: true})
		}
		if err := e.b.Get(e.ctx, items); err != nil {
			e.Fatalf("Get: %v", err)
		}
		for i := range items {
			if items[i].Mark.Count != nil {
				e.Errorf("item %d has a mark", i)
			}
		}
	}},
	{"watch/what changes while it is read has no mark that is right", keepsValues, func(e *env) {
		e.watching()
		for i := range 30 {
			k := e.key(fmt.Sprint("k", i))
			e.set(item(k, "old"))
			var writing sync.WaitGroup
			writing.Go(func() {
				if err := e.trySet(item(k, "new")); err != nil {
					e.Errorf("Set: %v", err)
				}
			})
			kept := e.keep(k)
			writing.Wait()
			if string(kept.Data) == "old" && right(kept) {
				e.Fatalf("try %d: the value from before the Set has a mark that is right", i)
			}
		}
	}},
	{"watch/a call that fails leaves a mark right only if it has changed nothing", keepsValues, failsToTell},
	{"watch/who stops watching does not stop others", keepsValues, func(e *env) {
		e.watching()
		stop, _ := e.b.(driver.Watcher).Watch(time.Hour)
		if stop == nil {
			e.Fatal("a second watcher gets a nil stop")
		}
		stop()
		stop()
		kept := e.keep(e.key("k"))
		if e.set(item(e.key("k"), "v")); right(kept) {
			e.Error("a mark from before a Set is right")
		}
	}},
	{"watch/what another client changes is counted before it is proved", keepsValues | shared, func(e *env) {
		atOnce := e.watching()
		o := e.sharing()
		for i := range 20 {
			k := e.key(fmt.Sprint("k", i/2%3)) // there is something to be deleted: else it is no change
			kept := e.keep(k)
			if i%2 == 0 {
				o.set(item(k, fmt.Sprint(i)))
			} else {
				o.delete(k)
			}
			told := driver.Now()
			for began := time.Now(); ; e.pass(e.tick / 100) {
				at, unchanged := kept.Mark.Right(kept.asked)
				if !unchanged {
					break
				}
				if at > told || atOnce {
					e.Fatalf("try %d: a copy is said to have been right %v after the change", i, at-told)
				}
				if time.Since(began) > e.tick/4 {
					break // it may be that nobody ever tells of what others change
				}
			}
		}
	}},
}

// failsToTell has the context of a Set or Delete end before the call, or in its midst. A call
// that returns an error may have changed the entry all the same.
func failsToTell(e *env) {
	e.watching()
	for i := range 30 {
		k := e.key(fmt.Sprint("k", i))
		e.set(item(k, "old"))
		kept := e.keep(k)
		ctx, end := context.WithCancel(e.ctx)
		var ending sync.WaitGroup
		if i < 2 {
			end()
		} else {
			ending.Go(end)
		}
		if i%2 == 0 {
			_ = e.b.Set(ctx, []driver.Item{item(k, "new")})
		} else {
			_ = e.b.Delete(ctx, []string{k})
		}
		ending.Wait()
		if it := e.get(k)[0]; string(it.Data) != "old" && right(kept) {
			e.Fatalf("try %d: the entry has changed, and a mark from before that is right", i)
		}
	}
}

// copied is an item of which a copy is kept.
type copied struct {
	driver.Item
	asked time.Duration
}

// right reports whether nothing is known to have changed.
func right(c *copied) bool {
	_, ok := c.Mark.Right(c.asked)
	return ok
}

// watching watches for as long as the row takes, or skips it.
func (e *env) watching() (atOnce bool) {
	e.Helper()
	w, ok := e.b.(driver.Watcher)
	if !ok {
		e.Skip("the backend is no driver.Watcher")
	}
	stop, atOnce := w.Watch(4 * e.tick)
	if stop == nil {
		e.Skip("the backend tells of no changes")
	}
	e.Cleanup(stop)
	return atOnce
}

// keep reads a key of which a copy is kept.
func (e *env) keep(key string) *copied {
	e.Helper()
	items := []driver.Item{{Key: key, Keep: true}}
	asked := driver.Now()
	if err := e.b.Get(e.ctx, items); err != nil {
		e.Fatalf("Get: %v", err)
	}
	if items[0].Err != nil || items[0].Mark.Count == nil {
		e.Fatalf("%s: item error %v, mark %+v; want a mark", clip(key), items[0].Err, items[0].Mark)
	}
	return &copied{items[0], asked}
}

// locked takes the lease on key.
func (e *env) locked(key string) driver.Lease {
	e.Helper()
	l, err := e.lock.TryLock(e.ctx, key, time.Hour)
	if l == nil || err != nil {
		e.Fatalf("TryLock = %v, %v", l, err)
	}
	return l
}

// watchHandedOn checks that a proxy says of changes what the backend says.
func watchHandedOn(t testing.TB, wrap wrapper) {
	w, ok := wrap(newReference()).(driver.Watcher)
	if !ok {
		t.Error("over a driver.Watcher it is none")
		return
	}
	stop, atOnce := w.Watch(time.Second)
	if stop == nil || !atOnce {
		t.Errorf("over a driver.Watcher it tells of no changes, or not at once: %v", atOnce)
	} else {
		stop()
	}
	if w, ok := wrap(bare{newReference()}).(driver.Watcher); ok {
		if stop, _ := w.Watch(time.Second); stop != nil {
			t.Error("it tells of changes although the backend does not")
		}
	}
}
