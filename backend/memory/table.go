package memory

import (
	"hash/maphash"
	"sync"
	"time"
)

// table is the unbounded map: shards of the built-in one, which docs/performance.md
// compares with others.
type table struct {
	shards [256]shard
}

type shard struct {
	mu      sync.RWMutex
	entries map[string]record
	timed   bool // some entry may have a deadline
	sets    int  // since the last sweep
	swept   int  // entries that the last sweep left
	_       [8]byte
}

// sweepAfter keeps small shards from being swept at every turn.
const sweepAfter = 32

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
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[string]record)
	}
	s.entries[key] = rec
	s.timed = s.timed || rec.deadline != 0
	if s.sets++; s.timed && s.sets > s.swept+sweepAfter {
		s.sweep()
	}
}

// sweep drops what is past its deadline. Its cost is spread over the Sets
// before it, of which there were as many as there are entries to look at, less
// those that the last sweep left.
func (s *shard) sweep() {
	now := time.Since(base)
	s.timed = false
	for key, rec := range s.entries {
		if rec.deadline == 0 {
			continue
		}
		if now >= rec.deadline {
			delete(s.entries, key)
		} else {
			s.timed = true
		}
	}
	s.sets, s.swept = 0, len(s.entries)
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
