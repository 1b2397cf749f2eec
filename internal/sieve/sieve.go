// Package sieve is a map of bounded size. What makes room for what is new is chosen by the
// SIEVE algorithm (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024): entries stand in
// the order in which they came, and a hand goes from the oldest to the newest. It takes the
// mark off each one that was asked for since it last came by, and removes the first that
// was not. A hit sets a mark, if there is none, and moves nothing.
package sieve

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Map is a map from strings to values of type V, each of a size, with bounds on their number
// and on the sum of their sizes. All methods may be called from many goroutines.
type Map[V any] struct {
	maxEntries, maxSize int64 // 0: no bound
	entries, size       atomic.Int64
	shards              []shard[V]
}

type shard[V any] struct {
	mu             sync.RWMutex
	nodes          map[string]*node[V]
	newest, oldest *node[V]
	hand           *node[V] // nil: it begins with the oldest
	_              [64]byte // a cache line each
}

type node[V any] struct {
	key          string
	value        V
	size         int64
	asked        atomic.Bool
	newer, older *node[V]
}

// A shard has room for at least perShard entries, so that its order means something.
const (
	maxShards = 256
	perShard  = 64
)

var seed = maphash.MakeSeed()

// New returns an empty Map. A bound of 0 is none.
func New[V any](maxEntries, maxSize int) *Map[V] {
	n := maxShards
	for maxEntries > 0 && n > 1 && n*perShard > maxEntries {
		n /= 2
	}
	m := &Map[V]{maxEntries: int64(maxEntries), maxSize: int64(maxSize), shards: make([]shard[V], n)}
	for i := range m.shards {
		m.shards[i].nodes = make(map[string]*node[V])
	}
	return m
}

func (m *Map[V]) at(key string) int { return int(maphash.String(seed, key) % uint64(len(m.shards))) }

// Get returns what is kept under key. It allocates nothing, and does not keep key.
func (m *Map[V]) Get(key string) (v V, ok bool) {
	s := &m.shards[m.at(key)]
	s.mu.RLock()
	n := s.nodes[key]
	if n == nil {
		s.mu.RUnlock()
		return v, false
	}
	v = n.value
	s.mu.RUnlock()
	if !n.asked.Load() { // or processors would contend for what is asked for most
		n.asked.Store(true)
	}
	return v, true
}

// Set keeps v under key, in place of what is there. What is larger than the bound by itself
// is not kept, and neither is what was there.
func (m *Map[V]) Set(key string, v V, size int) {
	at := m.at(key)
	s := &m.shards[at]
	fresh := &node[V]{key: key, value: v, size: int64(size)}
	s.mu.Lock()
	if old := s.nodes[key]; old != nil {
		fresh.asked.Store(old.asked.Load())
		m.remove(s, old)
	}
	if m.maxSize > 0 && int64(size) > m.maxSize {
		s.mu.Unlock()
		return
	}
	s.nodes[key] = fresh
	s.push(fresh)
	over := m.add(1, fresh.size)
	s.mu.Unlock()
	for i := 0; over && i < len(m.shards); i++ {
		over = m.makeRoom(&m.shards[(at+i)%len(m.shards)], fresh)
	}
}

// add counts entries, and reports whether there are too many.
func (m *Map[V]) add(n, size int64) bool {
	entries, all := m.entries.Add(n), m.size.Add(size)
	return m.maxEntries > 0 && entries > m.maxEntries || m.maxSize > 0 && all > m.maxSize
}

// makeRoom removes entries of a shard, but not the one that has just come, for as long as
// there are too many in all, and reports whether there are still.
func (m *Map[V]) makeRoom(s *shard[V], spared *node[V]) (over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m.add(0, 0) {
		victim := s.choose(spared)
		if victim == nil {
			return true
		}
		m.remove(s, victim)
	}
	return false
}

// choose returns the entry whose turn it is to go; nil: there is none but spared.
func (s *shard[V]) choose(spared *node[V]) *node[V] {
	// After one turn no entry has a mark, unless it was asked for meanwhile: then the second
	// turn takes the first it comes to.
	for range 2*len(s.nodes) + 1 {
		if s.hand == nil {
			s.hand = s.oldest
		}
		n := s.hand
		if n == nil {
			return nil
		}
		s.hand = n.newer
		if n != spared && !n.asked.Swap(false) {
			return n
		}
	}
	for n := s.oldest; n != nil; n = n.newer {
		if n != spared {
			return n
		}
	}
	return nil
}

// push puts n in front of the others. s.mu is held, as it is for remove.
func (s *shard[V]) push(n *node[V]) {
	if n.older = s.newest; n.older != nil {
		n.older.newer = n
	} else {
		s.oldest = n
	}
	s.newest = n
}

func (m *Map[V]) remove(s *shard[V], n *node[V]) {
	if s.hand == n {
		s.hand = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		s.newest = n.older
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		s.oldest = n.newer
	}
	delete(s.nodes, n.key)
	m.add(-1, -n.size)
}

// Len returns how many entries there are.
func (m *Map[V]) Len() int { return int(m.entries.Load()) }

// Size returns the sum of their sizes.
func (m *Map[V]) Size() int { return int(m.size.Load()) }
