// Package tally is what the plugins for metrics have in common: it counts requests for each
// cache, of which it tells a bounded number apart, and tells how things have ended.
package tally

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dogpile-go/dogpile"
)

// DefaultNames is how many names of caches are told apart where nothing else is said.
const DefaultNames = 100

// Other is the name that stands for all beyond those.
const Other = "other"

// Results are the ways in which a request ends, in the order of Cache.Results.
var Results = [...]string{"hit", "near_hit", "stale", "miss"}

const (
	hit = iota
	nearHit
	stale
	miss
)

// Unknown is the reason of a miss for which no entry was looked for, or of which the backend
// could not tell.
const Unknown = "unknown"

// Reasons are those of misses, in the order of Cache.Misses.
var Reasons = [...]string{
	string(dogpile.ReasonAbsent), string(dogpile.ReasonExpired), string(dogpile.ReasonInvalidated),
	string(dogpile.ReasonTagged), string(dogpile.ReasonDamaged), Unknown,
}

// Cache counts the requests of the caches of one name in one region. Both are valid UTF-8.
type Cache struct {
	Region, Name string
	Results      [len(Results)]atomic.Int64
	Misses       [len(Reasons)]atomic.Int64
}

// Table is the caches that were seen. The zero value is ready to use. It may be used by many
// goroutines.
type Table struct {
	// Names is how many names are told apart; 0: DefaultNames. It is not to be changed once
	// the Table is in use.
	Names int

	recent [64]atomic.Pointer[Cache] // one for each slot, so that most hits need not look further

	mu   sync.Mutex // held while seen is replaced
	seen atomic.Pointer[seen]
}

// slot returns where in recent a cache is. It need not tell all apart, but has to be quick.
func slot(region, name string) int {
	n := len(region) + 5*len(name)
	if region != "" {
		n += 7 * int(region[len(region)-1])
	}
	if name != "" {
		n += 11*int(name[len(name)-1]) + 13*int(name[len(name)/2])
	}
	return n
}

type cacheKey struct{ region, name string }

// seen never changes, so that a hit needs no lock.
type seen struct {
	caches map[cacheKey]*Cache
	names  map[string]bool // those that are told apart
}

var none seen

func (t *Table) now() *seen {
	if s := t.seen.Load(); s != nil {
		return s
	}
	return &none
}

// Count adds to h the hooks that count requests. They are no methods, whose values would copy
// the event once more.
func (t *Table) Count(h *dogpile.Hooks) {
	h.Hit = func(_ context.Context, e dogpile.Event) {
		result := hit
		if e.Near {
			result = nearHit
		}
		t.Of(e.Region, e.Name).Results[result].Add(1)
	}
	h.Stale = func(_ context.Context, e dogpile.Event) {
		t.Of(e.Region, e.Name).Results[stale].Add(1)
	}
	h.Miss = func(_ context.Context, e dogpile.Event) {
		reason := slices.Index(Reasons[:], string(e.Reason))
		if reason < 0 {
			reason = len(Reasons) - 1
		}
		c := t.Of(e.Region, e.Name)
		c.Results[miss].Add(1)
		c.Misses[reason].Add(1)
	}
}

// Of returns what counts for a cache of that name in that region.
func (t *Table) Of(region, name string) *Cache {
	recent := &t.recent[slot(region, name)%len(t.recent)]
	if c := recent.Load(); c != nil && c.Name == name && c.Region == region {
		return c
	}
	if c := t.now().caches[cacheKey{region, name}]; c != nil {
		recent.Store(c)
		return c
	}
	key := cacheKey{Label(region), Label(name)}
	if c := t.now().find(&key, t.limit()); c != nil {
		return c
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// 1. Two goroutines with new names find that there is room for one more.  2. One of them
	// takes the lock, and the room.  3. The name of the other is Other now.
	old := t.now()
	if c := old.find(&key, t.limit()); c != nil {
		return c
	}
	c := &Cache{Region: key.region, Name: key.name}
	next := &seen{maps.Clone(old.caches), maps.Clone(old.names)}
	if next.caches == nil {
		next.caches, next.names = make(map[cacheKey]*Cache), make(map[string]bool)
	}
	next.caches[key] = c
	if key.name != Other {
		next.names[key.name] = true
	}
	t.seen.Store(next)
	return c
}

// find returns the cache of key, whose name becomes Other if there is no room for it.
func (s *seen) find(key *cacheKey, limit int) *Cache {
	if !s.names[key.name] && len(s.names) >= limit {
		key.name = Other
	}
	return s.caches[*key]
}

func (t *Table) limit() int {
	if t.Names > 0 {
		return t.Names
	}
	return DefaultNames
}

// All returns all caches that were seen, in no order.
func (t *Table) All() []*Cache { return slices.Collect(maps.Values(t.now().caches)) }

// Label returns s as the value of a label, which has to be UTF-8.
func Label(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
