package dogpile

import (
	"sync/atomic"
)

// Stats counts what a region has done since it was made. Hits, Stale and Misses
// count keys, not calls, and add up to the keys that were asked for.
type Stats struct {
	Hits          int64 // fresh entries returned
	NearHits      int64 // those of the hits that a copy in this process has answered, see Options.Near
	Stale         int64 // stale entries returned
	Misses        int64 // keys without an entry that could be returned at once
	Waits         int64 // callers that waited for another's creation
	Creations     int64 // creators that have returned a value
	Failures      int64 // creators that have failed
	Early         int64 // creators that were run ahead of the expiration, whatever came of it
	Stores        int64 // values stored
	LeasesLost    int64 // values not stored because their lease was lost
	Deletes       int64 // keys deleted
	Invalidations int64 // of the region and of tags: calls, and what RetryDeletes has done at last
	Errors        int64 // errors that no caller got, see Hooks.Error
	Running       int64 // flights of creations in progress now
	Pending       int64 // deletes and invalidations that have failed and are tried again, see Options.RetryDeletes
	Copies        int64 // copies in this process now, see Options.Near
}

type counter int

const (
	countHits counter = iota
	countStale
	countMisses
	countWaits
	countCreations
	countFailures
	countEarly
	countStores
	countLost
	countDeletes
	countInvalidations
	countErrors
	counted
)

// stripes spreads what is counted on the hit path over cache lines, so that
// processors do not fight for one.
const stripes = 16

// counters counts hits in stripes and everything rarer in one place.
type counters struct {
	hits [stripes]struct {
		all, near atomic.Int64 // hits that are near are not in all
		_         [112]byte
	}
	rest [counted]atomic.Int64
}

func (c *counters) add(n counter, d int) { c.rest[n].Add(int64(d)) }

func (c *counters) hit(stripe int) { c.hits[stripe].all.Add(1) }

func (c *counters) nearHits(stripe, n int) { c.hits[stripe].near.Add(int64(n)) }

// Stats returns the region's counters. They are read one after the other while
// the region goes on working.
func (r *Region) Stats() Stats {
	c := &r.stats
	hits, near := c.rest[countHits].Load(), int64(0)
	for i := range c.hits {
		hits += c.hits[i].all.Load()
		near += c.hits[i].near.Load()
	}
	r.mu.Lock()
	running, pending, copies := int64(0), int64(0), int64(0)
	for _, s := range r.states {
		running += int64(s.flights.Running())
		pending += s.pending.len()
	}
	r.mu.Unlock()
	if s := r.current.Load(); s != nil && s.near != nil {
		copies = int64(s.near.copies.Len())
	}
	return Stats{
		Hits:          hits + near,
		NearHits:      near,
		Stale:         c.rest[countStale].Load(),
		Misses:        c.rest[countMisses].Load(),
		Waits:         c.rest[countWaits].Load(),
		Creations:     c.rest[countCreations].Load(),
		Failures:      c.rest[countFailures].Load(),
		Early:         c.rest[countEarly].Load(),
		Stores:        c.rest[countStores].Load(),
		LeasesLost:    c.rest[countLost].Load(),
		Deletes:       c.rest[countDeletes].Load(),
		Invalidations: c.rest[countInvalidations].Load(),
		Errors:        c.rest[countErrors].Load(),
		Running:       running,
		Pending:       pending,
		Copies:        copies,
	}
}
