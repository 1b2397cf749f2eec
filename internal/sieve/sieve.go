// Package sieve is a map of bounded size. What makes room for what is new is chosen by the
// SIEVE algorithm (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024): entries stand in
// the order in which they came, and a hand goes from the oldest to the newest. It takes the
// mark off each one that was asked for since it last came by, and removes the first that
// was not. A hit sets a mark, if there is none, and moves nothing; it takes no lock.
package sieve

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Entry is what a Map keeps. A value embeds one, so that a hit finds both in one place in
// memory. An Entry can be in one Map, once.
type Entry struct {
	next  atomic.Pointer[Entry] // of its bucket
	hash  uint64
	key   string
	value any
	size  int64
	asked atomic.Bool

	newer, older *Entry
}

// Map is a map from strings to values, each of a size, with bounds on their number and on
// the sum of their sizes. All methods may be called from many goroutines.
type Map struct {
	maxEntries, maxSize int64 // 0: no bound
	entries, size       atomic.Int64

	// A reader goes along a bucket without a lock. What it meets may have been removed since;
	// what it does not meet may have come since. Both are as if it had come a little earlier.
	buckets []atomic.Pointer[Entry]
	shards  []shard // the locks of the buckets, which take turns
}

// shard is some of the entries in their order.
type shard struct {
	mu             sync.Mutex
	newest, oldest *Entry
	hand           *Entry // nil: it begins with the oldest
	_              [64]byte
}

const (
	maxShards  = 256
	perShard   = 64  // a shard has room for so many, so that its order means something
	usualSize  = 512 // of an entry, to guess how many there will be
	maxBuckets = 1 << 24
)

var seed = maphash.MakeSeed()

// New returns an empty Map. A bound of 0 is none; one of the two has to be given. It takes 8
// to 16 bytes for each entry that it has room for.
func New(maxEntries, maxSize int) *Map {
	n := maxEntries
	if guess := maxSize / usualSize; maxSize > 0 && (n == 0 || guess < n) {
		n = guess
	}
	buckets := 1 << bits.Len(uint(min(max(n, perShard), maxBuckets)-1))
	return &Map{
		maxEntries: int64(maxEntries), maxSize: int64(maxSize),
		buckets: make([]atomic.Pointer[Entry], buckets),
		shards:  make([]shard, min(maxShards, buckets/perShard)),
	}
}

func (m *Map) shard(hash uint64) *shard { return &m.shards[hash%uint64(len(m.shards))] }

func (m *Map) bucket(hash uint64) *atomic.Pointer[Entry] {
	return &m.buckets[hash%uint64(len(m.buckets))]
}

// Get returns what is kept under key; nil: nothing is. It allocates nothing, and does not
// keep key.
func (m *Map) Get(key string) any {
	hash := maphash.String(seed, key)
	for e := m.bucket(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.key == key {
			if !e.asked.Load() { // or processors would contend for what is asked for most
				e.asked.Store(true)
			}
			return e.value
		}
	}
	return nil
}

// Set keeps value, in which e is embedded, under key, in place of what is there. What is
// larger than the bound by itself is not kept, and neither is what was there.
func (m *Map) Set(key string, value any, e *Entry, size int) {
	e.key, e.value, e.size, e.hash = key, value, int64(size), maphash.String(seed, key)
	s, b := m.shard(e.hash), m.bucket(e.hash)
	s.mu.Lock()
	old := b.Load()
	for old != nil && (old.hash != e.hash || old.key != key) {
		old = old.next.Load()
	}
	over := false
	if m.maxSize == 0 || e.size <= m.maxSize {
		if old != nil {
			e.asked.Store(old.asked.Load())
		}
		// The new one comes before the old one, so that a reader always finds one of them.
		e.next.Store(b.Load())
		b.Store(e)
		s.push(e)
		over = m.add(1, e.size)
	}
	if old != nil {
		m.remove(s, old)
	}
	s.mu.Unlock()
	first := int(e.hash % uint64(len(m.shards)))
	for i := 0; over && i < len(m.shards); i++ {
		over = m.makeRoom(&m.shards[(first+i)%len(m.shards)], e)
	}
}

// add counts entries, and reports whether there are too many.
func (m *Map) add(n, size int64) bool {
	entries, all := m.entries.Add(n), m.size.Add(size)
	return m.maxEntries > 0 && entries > m.maxEntries || m.maxSize > 0 && all > m.maxSize
}

// makeRoom removes entries of a shard, but not the one that has just come, for as long as
// there are too many in all, and reports whether there are still.
func (m *Map) makeRoom(s *shard, spared *Entry) (over bool) {
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
func (s *shard) choose(spared *Entry) *Entry {
	// In its second turn the hand finds no marks, unless entries are asked for meanwhile: then
	// the next one it comes to has to go.
	for turns := 0; ; {
		if s.hand == nil {
			if turns++; turns > 3 {
				return nil
			}
			s.hand = s.oldest
			continue
		}
		e := s.hand
		s.hand = e.newer
		if e != spared && (!e.asked.Swap(false) || turns > 2) {
			return e
		}
	}
}

// push puts e in front of the others. s.mu is held, as it is for remove.
func (s *shard) push(e *Entry) {
	if e.older = s.newest; e.older != nil {
		e.older.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (m *Map) remove(s *shard, e *Entry) {
	if s.hand == e {
		s.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	// A reader that is at e goes on from there.
	link := m.bucket(e.hash)
	for at := link.Load(); at != e; at = link.Load() {
		link = &at.next
	}
	link.Store(e.next.Load())
	m.add(-1, -e.size)
}

// Len returns how many entries there are.
func (m *Map) Len() int { return int(m.entries.Load()) }

// Size returns the sum of their sizes.
func (m *Map) Size() int { return int(m.size.Load()) }
