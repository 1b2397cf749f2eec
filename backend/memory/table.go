package memory

import (
	"hash/maphash"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// table is the unbounded map: shards of the built-in one, which docs/performance.md
// compares with others. What is past its deadline is dropped by Sets, each of which pays
// for a part of a sweep, so that dead entries are never many more than live ones; and by
// a timer, so that they go when there are no Sets.
type table struct {
	shards [256]shard

	timed  atomic.Bool  // some entry had a deadline
	credit atomic.Int64 // Sets since the last shard was swept
	price  atomic.Int64 // Sets that pay for the next one
	mu     sync.Mutex   // held by who sweeps for a Set
	next   int          // shard to sweep

	due     atomic.Int64 // when a timer sweeps all shards, since base; 0: none is set
	rested  atomic.Int64 // when one may at the earliest
	alarm   sync.Mutex   // guards what follows, and due while it is set or cleared
	cleared bool
}

type shard struct {
	mu      sync.RWMutex
	entries map[string]record
	_       [32]byte // a cache line each
}

// All shards are swept when the first deadline has passed by grace, and not so often
// that it takes more than a hundredth of the time.
const (
	grace = 10 * time.Second
	share = 100
)

// sweepFee is what a shard costs in addition to its entries, so that small ones are
// not swept all the time.
const sweepFee = 32

var seed = maphash.MakeSeed()

func (t *table) shard(key string) *shard {
	return &t.shards[maphash.String(seed, key)%uint64(len(t.shards))]
}

func (t *table) load(key string) (record, bool) {
	s := t.shard(key)
	s.mu.RLock()
	rec, ok := s.entries[key]
	s.mu.RUnlock()
	return rec, ok
}

func (t *table) store(key string, rec record) {
	s := t.shard(key)
	s.mu.Lock()
	if s.entries == nil {
		s.entries = make(map[string]record)
	}
	s.entries[key] = rec
	s.mu.Unlock()
	if rec.deadline != 0 {
		// A store each time would take the cache line of all other writers.
		if !t.timed.Load() {
			t.timed.Store(true)
		}
		// A timer that is set rings at due: it need not be set anew for what ends within grace
		// of that, nor for anything while the shards rest.
		due := time.Duration(t.due.Load())
		if due == 0 || rec.deadline < due-grace && due > time.Duration(t.rested.Load()) {
			t.wake(rec.deadline)
		}
	}
	if t.timed.Load() && t.credit.Add(1) > t.price.Load() {
		t.sweep()
	}
}

// sweep drops from one shard what is past its deadline. The shards take turns,
// and each is due after as many Sets as it has entries to look at, wherever
// those Sets go.
func (t *table) sweep() {
	if !t.mu.TryLock() {
		return // another Set pays for this shard
	}
	defer t.mu.Unlock()
	t.shards[t.next].sweep(time.Since(base))
	t.next = (t.next + 1) % len(t.shards)
	due := &t.shards[t.next]
	due.mu.RLock()
	t.price.Store(int64(len(due.entries)) + sweepFee)
	due.mu.RUnlock()
	t.credit.Store(0)
}

// sweep drops what is past its deadline, and returns the first of those that are left.
func (s *shard) sweep(now time.Duration) (first time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = never
	for key, rec := range s.entries {
		switch {
		case rec.deadline == 0:
		case now >= rec.deadline:
			delete(s.entries, key)
		default:
			first = min(first, rec.deadline)
		}
	}
	return first
}

// never is a deadline that does not come.
const never time.Duration = math.MaxInt64

// wake has a timer sweep all shards for a deadline, though not before they have rested. The
// timer does not keep the table in memory: a backend that is dropped without Close goes,
// and its timer then finds nothing.
func (t *table) wake(deadline time.Duration) {
	t.alarm.Lock()
	defer t.alarm.Unlock()
	now := time.Since(base)
	at := max(min(deadline, never-grace)+grace, time.Duration(t.rested.Load()))
	if due := time.Duration(t.due.Load()); t.cleared || due != 0 && due <= at {
		return
	}
	t.due.Store(int64(at))
	there := weak.Make(t)
	time.AfterFunc(at-now, func() {
		if t := there.Value(); t != nil {
			t.sweepAll(at)
		}
	})
}

// sweepAll is what a timer does at its time. A new one is set while there are deadlines.
func (t *table) sweepAll(at time.Duration) {
	// 1. A shard is swept, and has no deadlines.  2. An entry with one is stored there. If
	// due were cleared only afterwards, no timer would be set for that entry.
	t.alarm.Lock()
	overtaken := time.Duration(t.due.Load()) != at // by a timer that was set for earlier
	if !overtaken {
		t.due.Store(0)
	}
	t.alarm.Unlock()
	if overtaken {
		return
	}
	began, first := time.Since(base), never
	for i := range t.shards {
		first = min(first, t.shards[i].sweep(began))
	}
	now := time.Since(base)
	t.rested.Store(int64(now + share*(now-began)))
	if first != never {
		t.wake(first)
	}
}

// drop removes the records that match.
func (t *table) drop(match func(key string, rec record) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for key, rec := range s.entries {
			if match(key, rec) {
				delete(s.entries, key)
			}
		}
		s.mu.Unlock()
		runtime.Gosched() // for those who have waited for the shard
	}
}

// expire removes the record under key if it is past its deadline: by now
// another may have taken its place.
func (t *table) expire(key string) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec := s.entries[key]; rec.deadline != 0 && time.Since(base) >= rec.deadline {
		delete(s.entries, key)
	}
}

func (t *table) remove(key string) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, key)
}

func (t *table) len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.entries)
		s.mu.RUnlock()
	}
	return n
}

// clear removes everything, for good.
func (t *table) clear() {
	t.alarm.Lock()
	t.cleared = true // a timer that is set finds nothing, and sets no other
	t.alarm.Unlock()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.entries = nil
		s.mu.Unlock()
	}
}
