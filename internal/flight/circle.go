package flight

import (
	"context"
	"sync"
	"time"
)

// circles is who waits for whom among the creations of this process, whatever their
// Tables. It holds what the callers inside creators wait for, and what flights wait for
// that were refused a lock. Callers that are not inside a creator are no part of it:
// nothing waits for them. Its mutex is held for a search and never while waiting.
var circles = circleGraph{
	waits: make(map[*group]map[*nested]struct{}),
	locks: make(map[lockID]*flight),
}

type circleGraph struct {
	mu     sync.Mutex
	waits  map[*group]map[*nested]struct{} // by the creation that the callers are inside of
	handed int                             // callers in waits that wait for Runners
	locks  map[lockID]*flight              // of the creations in waits, by whose flight they are held
}

// lockID names a lock of a Source.
type lockID struct {
	space any // Call.Space
	key   string
}

// nested is a caller inside a creator, for as long as it waits for flights.
type nested struct {
	inside  *group // the innermost creation that the caller is inside of
	locks   []*flight
	flights []*flight
	name    func(i int) string // what the user calls the key of flights[i]
	handed  bool               // it waits for a Runner to return, and may not wait for the flights
	failed  chan struct{}      // closed when err is set
	err     error
	doubt   *time.Timer // looks again; nil: there is no circle in sight
}

// blocker is what a flight waits for whose lock was refused.
type blocker struct {
	holder *holder // the lock within the process; nil: the Source's
	lock   lockID
}

// mayBeHanded is for how long a Runner may take to return before it is taken for one
// that runs the task itself.
const mayBeHanded = 50 * time.Millisecond

// innermost returns the creation that a creator with the context ctx belongs to, nil if
// there is none.
func innermost(ctx context.Context) *group {
	if h, _ := ctx.Value(heldKey{}).(*held); h != nil {
		return h.group
	}
	return nil
}

// nestedIn returns a caller inside the creation g that waits for flights.
func nestedIn(g *group, flights []*flight, name func(i int) string) *nested {
	n := &nested{inside: g, flights: flights, name: name, failed: make(chan struct{})}
	if g.space != nil {
		g.mu.Lock()
		n.locks = g.flights[:len(g.flights):len(g.flights)]
		g.mu.Unlock()
	}
	return n
}

// begin notes that n waits. If that closes a circle n has failed.
func (n *nested) begin() {
	c := &circles
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.waits[n.inside]
	if of == nil {
		of = make(map[*nested]struct{})
		c.waits[n.inside] = of
		for _, f := range n.locks {
			if f.holdsLock() {
				c.locks[f.lockID()] = f
			}
		}
	}
	if n.handed {
		c.handed++
	}
	of[n] = struct{}{}
	for _, f := range n.flights {
		f.nested = append(f.nested, n)
	}
	c.check(n)
}

// end notes that n does not wait any longer.
func (n *nested) end() {
	if n == nil {
		return
	}
	c := &circles
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.doubt != nil {
		n.doubt.Stop()
	}
	if n.handed {
		c.handed--
	}
	for _, f := range n.flights {
		for i, other := range f.nested {
			if other == n {
				f.nested = append(f.nested[:i], f.nested[i+1:]...)
				break
			}
		}
	}
	of := c.waits[n.inside]
	if delete(of, n); len(of) > 0 {
		return
	}
	delete(c.waits, n.inside)
	for _, f := range n.locks {
		if id := f.lockID(); c.locks[id] == f {
			delete(c.locks, id)
		}
	}
}

// block notes that f waits for a lock. Callers inside creators that are in a circle by
// that have failed.
func (f *flight) block(on *blocker) {
	c := &circles
	c.mu.Lock()
	defer c.mu.Unlock()
	f.blocker = on
	for _, n := range f.nested {
		c.check(n)
	}
}

// unblock notes that f does not wait for a lock any longer.
func (f *flight) unblock() {
	circles.mu.Lock()
	defer circles.mu.Unlock()
	f.blocker = nil
}

// blocked reports whether f waits for a lock.
func (f *flight) blocked() bool {
	circles.mu.Lock()
	defer circles.mu.Unlock()
	return f.blocker != nil
}

func (f *flight) lockID() lockID { return lockID{f.group.space, f.key} }

// check fails n if what it waits for waits for n. mu is held.
func (c *circleGraph) check(n *nested) {
	if n.handed || n.err != nil {
		return // a Runner cannot be called back: of its circle another caller fails
	}
	if names := c.circle(n, false); names != nil {
		n.fail(names)
		return
	}
	if n.doubt != nil || c.handed == 0 || c.circle(n, true) == nil {
		return
	}
	// 1. The creator of A asks for B, which is stale: A's caller hands it to a Runner.
	// 2. B's creator asks for A.  If the Runner has only started a goroutine it returns in
	// a moment, and all is well. If it runs B itself, A's creator waits for that.
	n.doubt = time.AfterFunc(mayBeHanded, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, waits := c.waits[n.inside][n]; !waits || n.err != nil {
			return
		}
		if names := c.circle(n, true); names != nil {
			n.fail(names)
		} else {
			n.doubt = nil
		}
	})
}

func (n *nested) fail(names []string) {
	n.err = &circleError{names}
	close(n.failed)
}

// circle returns the names of the keys on the way from n to itself, the last of which
// comes first as well, or nil if n is in no circle. handed tells whether one counts that
// leads through callers of Runners. mu is held.
func (c *circleGraph) circle(n *nested, handed bool) (names []string) {
	seen := make(map[*flight]bool)
	var from func(n *nested, to *group) []string // in the opposite order
	from = func(n *nested, to *group) []string {
		for i, f := range n.flights {
			if seen[f] {
				continue
			}
			seen[f] = true
			on := c.waitsFor(f)
			switch {
			case on == nil:
				continue
			case on == to:
				return []string{n.name(i)}
			}
			for next := range c.waits[on] {
				if next.handed && !handed {
					continue
				}
				if names := from(next, to); names != nil {
					return append(names, n.name(i))
				}
			}
		}
		return nil
	}
	back := from(n, n.inside)
	if back == nil {
		return nil
	}
	names = append(names, back[0])
	for i := len(back) - 1; i >= 0; i-- {
		names = append(names, back[i])
	}
	return names
}

// waitsFor returns the creation that f cannot end without: its own, or the one that has
// the lock that f waits for. nil: none, or none that waits for anything. mu is held.
func (c *circleGraph) waitsFor(f *flight) *group {
	select {
	case <-f.done:
		return nil
	default:
	}
	b := f.blocker
	switch {
	case b == nil:
		return f.group
	case b.holder == nil:
		// What was registered may have been given back since.
		if by := c.locks[b.lock]; by != nil && by.holdsLock() {
			return by.group
		}
		return nil
	}
	select {
	case <-b.holder.free:
		return nil
	default:
		return b.holder.flight.group
	}
}

// wait waits for a flight, for the caller's context to end, or for the caller to be found
// in a circle. A nil n is a caller that is not inside a creator.
func (n *nested) wait(ctx context.Context, f *flight) error {
	var failed <-chan struct{}
	if n != nil {
		failed = n.failed
	}
	select {
	case <-f.done:
		return nil // whether or not ctx has ended
	default:
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-failed:
		return n.err
	}
}

// nest notes that the caller waits, until end is called of n. n is nil if the caller is not
// inside a creator.
func (c *Call[V]) nest(ctx context.Context, waiting []want[V]) (n *nested) {
	g := innermost(ctx)
	if g == nil || len(waiting) == 0 {
		return nil
	}
	flights, at := make([]*flight, len(waiting)), make([]int, len(waiting))
	for i, w := range waiting {
		flights[i], at[i] = w.flight, w.at
	}
	n = nestedIn(g, flights, func(i int) string { return c.Source.Name(at[i]) })
	n.begin()
	return n
}

// handing notes that the caller waits for a Runner that is handed a batch, if the caller
// is inside a creator. end is called when the Runner has returned.
func (c *Call[V]) handing(ctx context.Context, b *batch[V]) (n *nested) {
	g := innermost(ctx)
	if g == nil || len(b.tasks) == 0 {
		return nil
	}
	at := positions(b.tasks)
	n = nestedIn(g, flightsOf(b.tasks), func(i int) string { return c.Source.Name(at[i]) })
	n.handed = true
	n.begin()
	return n
}

// part leaves a flight that the caller has waited for. err is why.
func (c *Call[V]) part(w want[V], err error) {
	w.flight.leave()
	// What this caller has started and nobody waits for would only wait for the creation
	// around the caller, to create then what nobody has asked for. A caller that joins it
	// meanwhile starts over.
	if _, circle := err.(*circleError); circle && w.own && w.flight.group.stuck() {
		w.flight.group.abandon(ErrLost)
	}
}

// stuck reports whether all of the group's flights wait for locks, and nobody for them.
func (g *group) stuck() bool {
	g.mu.Lock()
	flights := g.flights
	g.mu.Unlock()
	for _, f := range flights {
		select {
		case <-f.done:
			continue
		default:
		}
		if f.wanted() || !f.blocked() {
			return false
		}
	}
	return true
}
