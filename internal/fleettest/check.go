//go:build unix

package fleettest

import (
	"cmp"
	"fmt"
	"slices"
)

// past is about the changes of a key that had returned by some moment: the latest
// version among them, and the latest start.
type past struct{ end, version, start int64 }

// changes is what has happened to one thing.
type changes struct {
	ended []past          // in order of end
	sets  map[int64]event // by version
}

// stale returns what is wrong with the reads among events. Once a change has
// returned, no read that begins may find what a creator had got from the origin
// before that change began, nor what a Set had stored that returned before that.
// A change that has not returned promises nothing.
func stale(events []event) (faults []string) {
	of := sorted(events)
	wrong := 0
	for _, e := range events {
		if e.op != opRead || e.end == 0 || e.n == nothing {
			continue
		}
		why := of[e.thing].stale(e)
		if why == "" {
			continue
		}
		if wrong++; wrong <= maxFaults {
			what := called(e.entry)
			if e.thing != e.entry {
				what += ", as to the " + called(e.thing) + ","
			}
			faults = append(faults, fmt.Sprintf("a read of %s by process %d at %d found %s", what, e.proc, e.start, why))
		}
	}
	if wrong > len(faults) {
		faults = append(faults, fmt.Sprintf("%d reads found old values", wrong))
	}
	return faults
}

// sorted sorts events by thing, and the changes of each by their end.
func sorted(events []event) map[int64]*changes {
	of := make(map[int64]*changes)
	byEnd := slices.SortedFunc(slices.Values(events), func(a, b event) int { return cmp.Compare(a.end, b.end) })
	for _, e := range byEnd {
		c := of[e.thing]
		if c == nil {
			c = &changes{sets: make(map[int64]event)}
			of[e.thing] = c
		}
		if e.op == opSet || e.op == opSupply {
			c.sets[e.n] = e
		}
		// After a soft invalidation the old value may still be served.
		if e.op == opRead || e.op == opSupply || e.op == opSoften || e.end == 0 {
			continue
		}
		// Of two changes the one that ended first may have begun last, so the latest
		// version and the latest start are kept apart from the order.
		p := past{e.end, e.n, e.start}
		if len(c.ended) > 0 {
			before := c.ended[len(c.ended)-1]
			p.version, p.start = max(p.version, before.version), max(p.start, before.start)
		}
		c.ended = append(c.ended, p)
	}
	return of
}

// stale returns what is wrong with a read; "" if nothing is.
func (c *changes) stale(e event) string {
	version, set := e.n/2, e.n%2 == 1
	by, known := c.sets[version]
	if set && !known {
		return fmt.Sprintf("what no Set has stored: version %d", version)
	}
	i, _ := slices.BinarySearchFunc(c.ended, e.start, func(p past, start int64) int { return cmp.Compare(p.end, start) })
	if i == 0 {
		return ""
	}
	switch p := c.ended[i-1]; {
	case !set && version < p.version: // its creator asked the origin before the change
		return fmt.Sprintf("version %d of the origin, when a change at version %d had returned", version, p.version)
	case set && by.end != 0 && by.end < p.start: // else the two were at the same time, and either may win
		return fmt.Sprintf("what was Set from %d to %d, when a change that began at %d had returned", by.start, by.end, p.start)
	}
	return ""
}
