//go:build unix

package fleettest

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// past is about the changes of a thing that had returned by some moment, which is that of
// one of them: the latest version among them, and the latest start.
type past struct{ end, returned, version, start int64 }

// changes is what has happened to one thing.
type changes struct {
	ended []past           // in order of end
	own   map[int64][]past // the same of the changes that each process has made
	sets  map[int64]event  // by version
}

// blur is what may lie between a moment and the time that is noted for it.
const blur = 5 * time.Millisecond

// old is a read that has found what it must not.
type old struct {
	event
	why string
}

func (o *old) String() string {
	what := called(o.entry)
	if o.thing != o.entry {
		what += ", as to the " + called(o.thing) + ","
	}
	return fmt.Sprintf("a read of %s by process %d at %d found %s", what, o.proc, o.start, o.why)
}

// stale returns the reads among events that have found what they must not. Once a change has
// returned, no read that begins may find what a creator had got from the origin
// before that change began, nor what a Set had stored that returned before that.
// A change that has not returned promises nothing.
//
// With a lag, reads of other processes may find it for as long as that. oldest is how long
// after a change a read began that has found something from before it, and may.
func stale(events []event, lag time.Duration) (all []old, oldest time.Duration) {
	of := sorted(events)
	for _, e := range events {
		if e.op != opRead || e.end == 0 || e.n == nothing {
			continue
		}
		why, age := of[e.thing].stale(e, lag)
		if why != "" {
			all = append(all, old{e, why})
		} else {
			oldest = max(oldest, age)
		}
	}
	return all, oldest
}

// sorted sorts events by thing, and the changes of each by their end.
func sorted(events []event) map[int64]*changes {
	of := make(map[int64]*changes)
	byEnd := slices.SortedFunc(slices.Values(events), func(a, b event) int { return cmp.Compare(a.end, b.end) })
	for _, e := range byEnd {
		c := of[e.thing]
		if c == nil {
			c = &changes{own: make(map[int64][]past), sets: make(map[int64]event)}
			of[e.thing] = c
		}
		if e.op == opSet || e.op == opSupply {
			c.sets[e.n] = e
		}
		// After a soft invalidation the old value may still be served.
		if e.op == opRead || e.op == opSupply || e.op == opSoften || e.end == 0 {
			continue
		}
		c.ended, c.own[e.proc] = joined(c.ended, e), joined(c.own[e.proc], e)
	}
	return of
}

// joined returns ended with another change.
func joined(ended []past, e event) []past {
	// Of two changes the one that ended first may have begun last, so the latest
	// version and the latest start are kept apart from the order.
	p := past{e.end, e.returned, e.n, e.start}
	if len(ended) > 0 {
		before := ended[len(ended)-1]
		p.version, p.start = max(p.version, before.version), max(p.start, before.start)
	}
	return append(ended, p)
}

// stale returns what is wrong with a read, "" if nothing is, and how long before it what it
// has found was replaced.
func (c *changes) stale(e event, lag time.Duration) (why string, age time.Duration) {
	version, set := e.n/2, e.n%2 == 1
	by, known := c.sets[version]
	if set && !known {
		return fmt.Sprintf("what no Set has stored: version %d", version), 0
	}
	replaces := func(p past) bool {
		if set {
			return by.end != 0 && by.end < p.start // else the two were at the same time, and either may win
		}
		return version < p.version // its creator asked the origin before the change
	}
	p := earliest(c.ended, e.start, replaces)
	if p == nil {
		return "", 0
	}
	age, who := time.Duration(e.began-p.returned), ""
	if lag > 0 {
		if own := earliest(c.own[e.proc], e.start, replaces); own != nil {
			p, who = own, " of its own process"
		} else if age <= lag+blur {
			return "", age
		}
	}
	what := fmt.Sprintf("version %d of the origin, when a change%s at version %d", version, who, p.version)
	if set {
		what = fmt.Sprintf("what was Set from %d to %d, when a change%s that began at %d", by.start, by.end, who, p.start)
	}
	return fmt.Sprintf("%s had returned %v before, at %d", what, time.Duration(e.began-p.returned).Round(10*time.Microsecond), p.end), age
}

// earliest returns the first change for which cond is true, as it is for all later ones then, if
// it had ended when something starts.
func earliest(ended []past, start int64, cond func(past) bool) *past {
	i := sort.Search(len(ended), func(i int) bool { return cond(ended[i]) })
	if i == len(ended) || ended[i].end >= start {
		return nil
	}
	return &ended[i]
}

// described returns what is to be told of reads that have found old values.
func (f *fleet) described(all []old) (faults []string) {
	for i := range all[:min(len(all), maxFaults)] {
		fault := all[i].String()
		if f.task.Near != nil {
			fault += "; the trouble: " + f.kindAt(all[i].start)
		}
		faults = append(faults, fault)
	}
	if len(all) > maxFaults {
		faults = append(faults, fmt.Sprintf("%d reads found old values", len(all)))
	}
	return faults
}
