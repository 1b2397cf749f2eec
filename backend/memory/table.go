package memory

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// table is the unbounded map: shards of the built-in one, which docs/performance.md
// compares with others. It has no goroutine of its own: each Set pays for a part of the
// sweep that drops what is past its deadline.
type table struct {
	shards [256]shard

	timed  atomic.Bool  // some entry had a deadline
	credit atomic.Int64 // Sets since the last shard was swept
	price  atomic.Int64 // Sets that pay for the next one
	mu     sync.Mutex   // held by who sweeps
	next   int          // shard to sweep
}

type shard struct {
	mu      sync.RWMutex
	entries map[string]record
	_       [32]byte // a cache line each
}

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
	if rec.deadline != 0 && !t.timed.Load() {
		t.timed.Store(true)
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
		return
	}
	defer t.mu.Unlock()
	now := time.Since(base)
	s := &t.shards[t.next]
	s.mu.Lock()
	for key, rec := range s.entries {
		if rec.deadline != 0 && now >= rec.deadline {
			delete(s.entries, key)
		}
	}
	s.mu.Unlock()
	t.next = (t.next + 1) % len(t.shards)
	due := &t.shards[t.next]
	due.mu.RLock()
	t.price.Store(int64(len(due.entries)) + sweepFee)
	due.mu.RUnlock()
	t.credit.Store(0)
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

func (t *table) clear() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.entries = nil
		s.mu.Unlock()
	}
}
