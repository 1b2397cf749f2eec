package memcached

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// own counts what this Backend changes, while somebody watches. What others change
// memcached tells nobody.
type own struct {
	watching atomic.Int64
	changes  atomic.Pointer[driver.Changes] // nil: nobody has ever watched
}

// begin is Backend.Watch.
func (o *own) begin() (stop func()) {
	if o.changes.Load() == nil {
		o.changes.CompareAndSwap(nil, driver.NewChanges()) // of half a MiB
	}
	o.watching.Add(1)
	return sync.OnceFunc(func() { o.watching.Add(-1) })
}

// mark gives marks to the items of which copies are kept, before they are read.
func (o *own) mark(items []driver.Item) {
	if o.watching.Load() == 0 {
		return
	}
	for i := range items {
		if it := &items[i]; it.Keep && it.Lease == nil {
			it.Mark = o.changes.Load().Mark(it.Key, nil)
		}
	}
}

// noted counts changes of n keys. It is called when they have been made, or may have been.
func (o *own) noted(n int, key func(i int) string) {
	if c := o.changes.Load(); c != nil {
		for i := range n {
			c.Note(key(i))
		}
	}
}

// Watch has each Get of an item with Keep give it a mark; see driver.Watcher. Set and Delete
// of b change the marks of their keys before they return. Since memcached tells nobody of
// what others change, nobody vouches for the marks, and atOnce is false.
func (b *Backend) Watch(time.Duration) (stop func(), atOnce bool) {
	return b.own.begin(), false
}
