package file

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
)

const (
	// sweepEvery is after how many writes the janitor looks for entries past their
	// TTL, among twice as many.
	sweepEvery = 256
	// evictAtOnce is how many entries are dropped at most in one transaction to
	// keep within the bound, and vacuumAtOnce how many pages are given back: others
	// wait for that.
	evictAtOnce  = 1024
	vacuumAtOnce = 128
	// spare is how many unused pages a file may have in any case.
	spare = 256
	// patience is how long a checkpoint that starts the log anew waits until
	// nobody reads in the log. Nobody can write meanwhile.
	patience = 100 * time.Millisecond
)

// amongWriters says that a checkpoint may run while others write. Before
// 3.51.3 SQLite could then lose pages, if it was the second of two at the moment
// in which a writer started the log anew.
const amongWriters = sqlite.VersionNumber >= 3_051_003

// janitor drops what has expired, gives space back and checkpoints, in a
// goroutine that runs while there is something to do.
type janitor struct {
	tasks   sync.WaitGroup
	wanted  atomic.Bool
	running atomic.Bool
	writes  atomic.Int64 // since the last sweep
	logged  atomic.Int64 // bytes since the last checkpoint, about
	cursor  int64        // the hash up to which the sweep has come
}

// wrote counts a write of n entries with that many bytes. large says that the
// file was left larger than it should be. It is called during a visit, so that
// Close knows of all tasks.
func (b *Backend) wrote(s *store, l *limit, n, bytes int, large bool) {
	j := &b.janitor
	writes := j.writes.Add(int64(n))
	pages := 2 // that change with an entry, besides those of its value
	if s.limits.pages > 0 {
		pages = 5
	}
	logged := j.logged.Add(int64(2*bytes + n*pages*pageSize))
	if logged >= 2*s.limits.log {
		// The janitor cannot keep up, so the writers do its work.
		_ = b.restart(s, l)
	}
	if !large && writes < sweepEvery && logged < s.limits.log {
		return
	}
	j.wanted.Store(true)
	if j.running.CompareAndSwap(false, true) {
		j.tasks.Go(b.work)
	}
}

// work tidies up until there is nothing more to do.
func (b *Backend) work() {
	j := &b.janitor
	for {
		for j.wanted.Swap(false) {
			// Nobody waits for this error. The next write that needs the space meets
			// its cause, and returns it.
			_ = b.tidy()
		}
		j.running.Store(false)
		// 1. The last Swap finds nothing to do.  2. A write finds the janitor running,
		// and leaves it the work.  3. The Store says that it does not run. So look
		// once more.
		if !j.wanted.Load() || !j.running.CompareAndSwap(false, true) {
			return
		}
	}
}

func (b *Backend) tidy() error {
	j := &b.janitor
	for ; j.writes.Load() >= sweepEvery; j.writes.Add(-sweepEvery) {
		if err := b.step(b.sweep); err != nil {
			return err
		}
	}
	for more := true; more; {
		if err := b.step(func(s *store, l *limit) (err error) {
			more, err = b.shrink(s, l)
			return err
		}); err != nil {
			return err
		}
	}
	return b.step(b.flush)
}

// step does a part of the work, after which the store may be replaced.
func (b *Backend) step(do func(*store, *limit) error) (err error) {
	v, err := b.enter(b.ctx)
	if err != nil {
		return err
	}
	defer v.leave(&err)
	l := b.limit(b.ctx)
	return do(v.store, &l)
}

// sweep drops what has expired, leases and some of the entries.
func (b *Backend) sweep(s *store, l *limit) error {
	c, err := s.take(l, s.readers)
	if err != nil {
		return err
	}
	var dead [][2]int64
	next, now := b.janitor.cursor, time.Now().UnixMilli()
	err = patiently(l, func() (err error) {
		dead, next, err = c.expired(b.janitor.cursor, now)
		return err
	})
	s.give(s.readers, c)
	if err != nil {
		return err
	}
	b.janitor.cursor = next
	return s.write(l, func(c *conn) error {
		if err := c.run(forget, now); err != nil {
			return err
		}
		for _, row := range dead {
			if err := c.run(expire, row[0], row[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// expired looks at the entries after a hash and returns hash and time of those
// that have expired, and the hash up to which it has looked.
func (c *conn) expired(from, now int64) (dead [][2]int64, next int64, err error) {
	s, err := c.stmt(scan)
	if err != nil {
		return nil, from, err
	}
	defer s.Reset()
	s.BindInt64(1, from)
	s.BindInt64(2, 2*sweepEvery)
	n := 0
	for ; ; n++ {
		switch row, err := s.Step(); {
		case err != nil:
			return nil, from, err
		case !row && n < 2*sweepEvery:
			return dead, math.MinInt64, nil // from the beginning
		case !row:
			return dead, next, nil
		}
		next = s.ColumnInt64(0)
		if expires := s.ColumnInt64(1); expires != 0 && expires <= now {
			dead = append(dead, [2]int64{next, expires})
		}
	}
}

// shrink takes a step towards the size that the file should have, and reports
// whether there is another one to take.
func (b *Backend) shrink(s *store, l *limit) (more bool, err error) {
	c, err := s.take(l, s.readers)
	if err != nil {
		return false, err
	}
	total, unused, err := c.size()
	s.give(s.readers, c)
	if busy(err) {
		return false, nil // another time
	}
	if err != nil {
		return false, err
	}
	waste := wasteful(total, unused)
	if !waste && !s.over(total, unused) {
		return false, nil
	}
	err = s.write(l, func(c *conn) error {
		if more, err = s.fit(c, evictAtOnce); err != nil || !waste {
			return err
		}
		more = true
		return c.giveBack(vacuumAtOnce)
	})
	b.janitor.logged.Add(s.limits.log) // the file becomes smaller at a checkpoint
	return more, err
}

// wasteful reports whether a file has more unused pages than it should.
func wasteful(total, unused int64) bool { return unused > spare && unused > total/4 }

func (s *store) over(total, unused int64) bool {
	return s.limits.pages > 0 && (total-unused > s.limits.pages || total > s.limits.pages)
}

// size returns how many pages the file has and how many of them are unused.
func (c *conn) size() (total, unused int64, err error) {
	if total, err = c.number(pages, 0); err == nil {
		unused, err = c.number(free, 0)
	}
	return total, unused, err
}

// fit drops the oldest entries, at most that many, until the file is within its
// bound, and reports whether it is not.
func (s *store) fit(c *conn, most int64) (over bool, err error) {
	if s.limits.pages == 0 {
		return false, nil
	}
	before := int64(0)
	for n := int64(1); ; most -= n {
		total, unused, err := c.size()
		excess := total - unused - s.limits.pages
		switch {
		case err != nil || !s.over(total, unused):
			return false, err
		case excess <= 0:
			return false, c.giveBack(total - s.limits.pages)
		case most <= 0:
			return true, nil
		}
		// Towards the end in ever smaller steps: entries may be of any size.
		if freed := before - excess; before > 0 && freed > 0 {
			n = max(1, min(2*n, n*excess/(2*freed)))
		} else if before > 0 {
			n *= 2
		}
		n, before = min(n, most), excess
		if err := c.run(evict, n); err != nil || c.Changes() == 0 {
			return false, err // nothing is left
		}
	}
}

// giveBack takes up to that many unused pages out of the file.
func (c *conn) giveBack(pages int64) error {
	return c.exec(fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, pages))
}

// flush brings what is in the log into the file if the log has become large, and
// starts the log anew if the writers do not.
func (b *Backend) flush(s *store, l *limit) error {
	j := &b.janitor
	logged := j.logged.Load()
	if logged < s.limits.log {
		return nil
	}
	if amongWriters {
		j.logged.Add(-logged)
		c, err := s.take(l, s.keeper)
		if err != nil {
			return err
		}
		size, err := c.number(checkpoint, 1)
		s.give(s.keeper, c)
		if err != nil || size*pageSize < 2*s.limits.log {
			return err
		}
	}
	return b.restart(s, l)
}

// restart starts the log anew, after a checkpoint that is under way.
func (b *Backend) restart(s *store, l *limit) error {
	k, err := s.take(l, s.keeper)
	if err != nil {
		return err
	}
	defer s.give(s.keeper, k)
	c, err := s.take(l, s.writer)
	if err != nil {
		return err
	}
	defer s.give(s.writer, c)
	b.janitor.logged.Store(0)
	return c.startLog()
}

// startLog brings all that is in the log into the file, and has the next write
// begin at the start of the log. The log keeps its size, so that on a full disk
// there is still something to write to.
func (c *conn) startLog() error {
	c.SetBusyTimeout(patience)
	defer c.SetBusyTimeout(0)
	return c.run(restart)
}
