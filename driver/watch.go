package driver

import (
	"math"
	"sync/atomic"
	"time"
)

// Watcher is implemented by backends that know when an entry changes. A region can then
// keep copies of entries in the memory of its process, and knows for how long they are
// right.
type Watcher interface {
	// Watch has each Get give the items that have [Item.Keep] a [Mark], until stop is
	// called, and has the proofs of those marks renewed at least every third of lag, as
	// long as the backend can be reached. Several callers may watch at once. stop may be
	// called again.
	//
	// atOnce tells that a mark changes before the Set or Delete of any process returns
	// that changes the entry. A backend that cannot tell of changes, as a proxy over
	// one that is no Watcher, returns a nil stop.
	Watch(lag time.Duration) (stop func(), atOnce bool)
}

// Mark tells for how long a copy of an entry is right. A backend makes it before it
// reads the entry. The zero Mark is that of an entry of which no copy may be kept.
type Mark struct {
	// Count is changed by every Set and Delete of the entry, and by everything else that
	// changes it but the end of its TTL. The backend's own calls change it before they
	// return, whatever comes of them. It may change for nothing.
	Count *atomic.Uint64
	// Seen is what Count was before the entry was read.
	Seen uint64
	// Proof tells until when Count has counted the changes that others make. nil: nobody
	// vouches for that, so that a copy is known to have been right only when it was read.
	Proof *Proof
}

// Right returns the last moment, on the clock of [Now], at which a copy that was asked for
// at a moment is known to have been right. It is false if the entry may have changed, and
// for the zero Mark.
func (m *Mark) Right(asked time.Duration) (at time.Duration, ok bool) {
	if m.Count == nil {
		return 0, false
	}
	// The proof comes first:
	// 1. Count is read, and is unchanged.  2. A change is counted.  3. A proof comes in
	// from after that. It says nothing of what Count was at 1.
	if m.Proof != nil {
		asked = max(asked, m.Proof.Until())
	}
	return asked, m.Count.Load() == m.Seen
}

// Proof is a moment until which all changes have been counted. The zero Proof is of none.
// It may be used from many goroutines.
type Proof struct {
	until atomic.Int64 // 0: of none
}

// Until returns the moment, on the clock of [Now], or the least there is.
func (p *Proof) Until() time.Duration {
	if until := p.until.Load(); until != 0 {
		return time.Duration(until)
	}
	return math.MinInt64
}

// Renew tells that every change for which somebody had been told before that moment that it
// was made has been counted. An earlier moment than the last one changes nothing.
func (p *Proof) Renew(until time.Duration) {
	if until == 0 {
		until = -1
	}
	for {
		before := p.until.Load()
		if before != 0 && int64(until) <= before || p.until.CompareAndSwap(before, int64(until)) {
			return
		}
	}
}

// Changes counts the changes of keys, in counters that are chosen by a hash: one change
// counts for some other keys as well. It may be used from many goroutines, and from several
// processes if its counters are in memory that they share.
//
// A counter has two halves: how many changes have begun, in its upper 32 bits, and how many
// are done. While they differ a change is under way, or its process was killed in the middle
// of it, and nobody knows whether it was made. A mark of then has no proof:
//
//  1. W begins a change: copies from before are not right any more.
//  2. R reads the entry as it was, and keeps a copy.  3. W makes the change.
//  4. W has done it: R's copy is not right any more either, before W returns. If W was killed
//     before that, the copy is known to have been right when it was read, and no longer.
type Changes struct{ counts []atomic.Uint64 }

// countersOf a process take half a MiB. With 10,000 copies a change takes 0.15 others with it.
const countersOf = 1 << 16

// NewChanges returns one in the memory of this process, of half a MiB.
func NewChanges() *Changes { return ChangesIn(make([]atomic.Uint64, countersOf)) }

// ChangesIn returns one with these counters, which have to be a power of two. Their memory
// has to stay for as long as there are marks.
func ChangesIn(counts []atomic.Uint64) *Changes {
	if n := len(counts); n == 0 || n&(n-1) != 0 {
		panic("dogpile: driver: the number of counters is no power of two")
	}
	return &Changes{counts}
}

func (c *Changes) of(key string) *atomic.Uint64 { return &c.counts[hash(key)%uint64(len(c.counts))] }

// Mark returns a mark of key as of now. p is what vouches for it; nil: nobody does.
func (c *Changes) Mark(key string, p *Proof) Mark {
	count := c.of(key)
	seen := count.Load()
	if uint32(seen>>32) != uint32(seen) {
		p = nil
	}
	return Mark{Count: count, Seen: seen, Proof: p}
}

// Begin counts a change of key that is about to be made.
func (c *Changes) Begin(key string) { c.of(key).Add(1 << 32) }

// Done counts a change of key that has begun, and was made, or has failed.
func (c *Changes) Done(key string) { done(c.of(key)) }

func done(count *atomic.Uint64) {
	for {
		// The lower half must not overflow into the upper one.
		n := count.Load()
		if count.CompareAndSwap(n, n&^math.MaxUint32|(n+1)&math.MaxUint32) {
			return
		}
	}
}

// Note counts a change of key that was made.
func (c *Changes) Note(key string) { note(c.of(key)) }

func note(count *atomic.Uint64) {
	count.Add(1 << 32)
	done(count)
}

// NoteAll counts a change of every key.
func (c *Changes) NoteAll() {
	for i := range c.counts {
		note(&c.counts[i])
	}
}

// Settle ends the changes that were never done, when nobody can be in the middle of one.
func (c *Changes) Settle() {
	for i := range c.counts {
		for n := c.counts[i].Load(); uint32(n>>32) != uint32(n); n = c.counts[i].Load() {
			c.counts[i].CompareAndSwap(n, (n>>32+1)<<32|(n>>32+1)&math.MaxUint32)
		}
	}
}

// hash is FNV-1a, whose low bits depend on all of the key.
func hash(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h
}

// base is where the clock of Now begins.
var base = time.Now()

// Now returns a moment on a clock that only goes forward, whatever is done to the clock of
// the host.
func Now() time.Duration { return time.Since(base) }
