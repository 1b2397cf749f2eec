package file

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/dogpile-go/dogpile/driver"
)

// The changes of entries are counted in memory that all processes share which use the file.
// It is a part of the lock file, which is there for as long as the cache is, and which nobody
// writes to otherwise. A writer counts the begin of a change before its transaction, and the
// end before its call returns; see driver.Changes for why both.
//
// An entry that is dropped, to keep within the bound or because its TTL is over, is no change:
// nothing is stored under its key but by a Set, and that counts.
//
// Somebody may remove the lock file alone, and others make another one, with counters of its
// own, for the same cache:
//
//  1. W has the old one open.  2. It is removed, and R opens a new one.  3. R keeps a copy.
//  4. W changes the entry. R looks at other counters than W counts in.
//
// So W looks inside its transaction whether its lock file is where it was, and opens the cache
// anew if not. A process that opens a lock file as the first waits for the transactions that are
// under way: at 3 those are over that began, and looked, before 2.
const (
	changesAt   = 4096 // in the lock file
	changeSlots = 1 << 14
	changesSize = changeSlots * 8
)

// change is write for what changes the entries of n keys.
func (s *store) change(l *limit, n int, key func(i int) string, f func(*conn) error) error {
	each := func(count func(key string)) {
		safely(func() {
			for i := range n {
				count(key(i))
			}
		})
	}
	each(s.changes.Begin)
	tried := false
	err := s.write(l, func(c *conn) error {
		if err := s.counted(); err != nil {
			return err
		}
		err := f(c)
		tried = err == nil
		return err
	})
	if err == nil {
		committed()
	}
	// What has begun is not done if nobody knows what came of it. A commit that failed may be
	// in the log all the same, and be found there by a process that has to read the log from
	// its start. So it is with a fault, which ends this function before. Where the disk was
	// full the end of the transaction is not in the log.
	if err == nil || !tried || sqlite.ErrCode(err) == sqlite.ResultFull {
		each(s.changes.Done)
	}
	return err
}

// committed is called between a commit and the end of the change.
var committed = func() {}

// safely calls f, and reports whether it came to its end: somebody may have cut the counters
// off. Then all that use them have to find that out, and open the cache anew.
func safely(f func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); isFault(p) {
			ok = false
		} else if p != nil {
			panic(p)
		}
	}()
	f()
	return true
}

// errMoved is what a change comes to that has to be made again, with other counters.
var errMoved = errors.New("the lock file was removed, replaced or cut off")

// counted returns errMoved if what s changes is not counted where others look. It is called in
// a transaction that writes.
func (s *store) counted() error {
	if s.countsInPlace() {
		return nil
	}
	s.moved.Store(true)
	return errMoved
}

// countsInPlace reports whether others look at the counters of s.
func (s *store) countsInPlace() bool { return !changesShared || s.lock.there() && s.lock.whole() }

// again calls change until its changes were counted where others look. Each time but the last
// somebody has removed the lock file.
func (b *Backend) again(ctx context.Context, change func(visit) error) error {
	for {
		if err := b.visit(ctx, change); !errors.Is(err, errMoved) {
			return err
		}
	}
}

// visit calls use with the store.
func (b *Backend) visit(ctx context.Context, use func(visit) error) (err error) {
	v, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer v.leave(&err)
	return use(v)
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
		if !safely(func() { it.Mark = s.changes.Mark(it.Key, p) }) {
			s.moved.Store(true)
		}
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
	if v.countsInPlace() {
		v.proof.Renew(asked)
	} else {
		v.moved.Store(true)
	}
}
