package file

import (
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// The changes of entries are counted in memory that all processes share which use the file.
// It is a part of the lock file, which is there for as long as the cache is, and which nobody
// writes to otherwise. A writer counts the begin of a change before its transaction, and the
// end before its call returns; see driver.Changes for why both.
const (
	changesAt   = 4096 // in the lock file
	changeSlots = 1 << 14
	changesSize = changeSlots * 8
)

// begin counts changes of keys that are about to be made. The caller calls done when they
// were made, or have failed.
func (s *store) begin(n int, key func(i int) string) (done func()) {
	for i := range n {
		s.changes.Begin(key(i))
	}
	return func() {
		for i := range n {
			s.changes.Done(key(i))
		}
	}
}

// mark gives a mark to each item of which a copy is kept, before it is read.
func (s *store) mark(items []*driver.Item) {
	for _, it := range items {
		if !it.Keep || it.Lease != nil {
			continue
		}
		p := &s.proof
		if !changesShared {
			p = nil // nobody knows what others change
		}
		it.Mark = s.changes.Mark(it.Key, p)
	}
}

// Watch has each Get of an item with Keep give it a mark; see driver.Watcher. On Linux atOnce
// is true: the mark changes before a Set or Delete returns, in whichever process. Marks are
// vouched for while the file is where it was: it is looked for every fourth of the least
// lag. On other systems nobody vouches for them, and atOnce is false.
func (b *Backend) Watch(lag time.Duration) (stop func(), atOnce bool) {
	return b.watchers.Watch(lag), changesShared
}

// goAsking starts the goroutine that asks for proofs.
func (b *Backend) goAsking(task func()) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.store == nil {
		return false // it is closed, which waits for the goroutine no more
	}
	b.asking.Go(task)
	return true
}

// prove looks whether the file is still the one that others use.
func (b *Backend) prove() {
	asked := driver.Now()
	var err error
	v, entered := b.enter(b.ctx)
	if entered != nil {
		return
	}
	defer v.leave(&err)
	if v.lock.there() {
		v.proof.Renew(asked)
	}
}
