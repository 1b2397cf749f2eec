package tally

import (
	"sync"
	"time"
	"weak"

	"github.com/dogpile-go/dogpile"
)

// Regions reads what regions count themselves. Those of one name are one: a label is all that
// tells them apart. It may be used by many goroutines.
type Regions struct {
	given []*dogpile.Region // nil: those that are configured at the time

	mu     sync.Mutex
	seen   map[weak.Pointer[dogpile.Region]]Counts // what each had counted when it was read last
	totals map[string]*Counts                      // by names
}

// NewRegions returns one that reads regions, or without any those that [dogpile.Regions] returns
// at the time.
func NewRegions(regions []*dogpile.Region) *Regions {
	return &Regions{
		given: regions, seen: make(map[weak.Pointer[dogpile.Region]]Counts), totals: make(map[string]*Counts),
	}
}

// Counts is what only grows.
type Counts struct{ LeasesLost, Early, Stores, Deletes, Invalidations int64 }

// add adds what is in now and was not before.
func (c *Counts) add(now, before Counts) {
	c.LeasesLost += now.LeasesLost - before.LeasesLost
	c.Early += now.Early - before.Early
	c.Stores += now.Stores - before.Stores
	c.Deletes += now.Deletes - before.Deletes
	c.Invalidations += now.Invalidations - before.Invalidations
}

// Reading is what regions of one name say of themselves. Counts includes what those had counted
// that are no more, when they were read last.
type Reading struct {
	Counts
	Now *Now // nil: there is no region of the name
}

// Now is what goes on in regions.
type Now struct {
	Flights, Pending, Creators, Waiters int64
	Oldest                              time.Duration // for how long the first creator has run; 0: there is none
}

// Read returns the readings by names, which are valid UTF-8. A name that was read once remains, as
// what was counted would be counted once more, or seem to be less, when the name comes back.
func (rs *Regions) Read() map[string]Reading {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	regions := rs.given
	if len(regions) == 0 {
		regions = dogpile.Regions()
	}
	now := make(map[string]*Now)
	listed := make(map[*dogpile.Region]bool)
	for _, r := range regions {
		if listed[r] {
			continue
		}
		listed[r] = true
		rs.count(r)
		name := Label(r.Name())
		if now[name] == nil {
			now[name] = new(Now)
		}
		now[name].add(r)
	}
	for p := range rs.seen {
		if r := p.Value(); r == nil {
			delete(rs.seen, p)
		} else if !listed[r] {
			rs.count(r) // it is closed, and has counted until then
		}
	}
	all := make(map[string]Reading, len(rs.totals))
	for name, counts := range rs.totals {
		all[name] = Reading{*counts, now[name]}
	}
	return all
}

// count adds what a region has counted since it was read last. rs.mu is held.
func (rs *Regions) count(r *dogpile.Region) {
	s, p, name := r.Stats(), weak.Make(r), Label(r.Name())
	counts := Counts{s.LeasesLost, s.Early, s.Stores, s.Deletes, s.Invalidations}
	if rs.totals[name] == nil {
		rs.totals[name] = new(Counts)
	}
	rs.totals[name].add(counts, rs.seen[p])
	rs.seen[p] = counts
}

// add adds what goes on in a region.
func (n *Now) add(r *dogpile.Region) {
	s := r.Stats()
	n.Flights += s.Running
	n.Pending += s.Pending
	for _, c := range r.Creating() {
		n.Creators++
		n.Waiters += int64(c.Waiters)
		n.Oldest = max(n.Oldest, time.Since(c.Since))
	}
}
