package flight

import (
	"context"
	"slices"
)

// kind tells where the value of a flight comes from.
type kind uint8

const (
	created    kind = iota // its creator made it
	found                  // it was read: another creator had made it
	foundStale             // it was read, and is stale
	keptStale              // it is the stale value that the first caller had
	omitted                // there is none: the creator left it out
	unsettled              // there is none: everybody has to start over
)

// outcome is what came of a flight without an error.
type outcome[V any] struct {
	value V
	kind  kind
	lost  bool // the lock was lost before the value was stored, or nobody knows
}

// mayUse reports whether a caller may use what came of the flight that it waited
// for. See "Late callers" in the package comment.
func (c *Call[V]) mayUse(out *outcome[V], w want[V]) bool {
	late := w.flight.late(c.Called)
	valued := out.kind != omitted && out.kind != unsettled
	if valued && c.Fits != nil && !c.Fits(out.value) {
		return false
	}
	switch out.kind {
	case found:
		return !late
	case foundStale:
		// It is enough for callers that joined. The caller whose flight it was finds it
		// when it reads again, and is the one to renew it.
		return !late && !w.own && !c.NoStale
	case keptStale:
		// Nobody has read it since the first caller did. Only callers that have a
		// stale value themselves know that it is not deleted.
		return w.reading.State == Stale
	case omitted:
		// Another creator may have more to give, and the creator of a late caller may
		// find something by now.
		return w.own || c.Optional && !late
	case unsettled:
		return false
	}
	// 1. A's creator reads the origin.  2. The key is deleted, which revokes A's lock.
	// 3. B calls, and joins.  4. A's store is refused: lost. B starts over.
	// Or 2. nothing is deleted.  4. A's store succeeds. What B has joined late is what a
	// reading after 4 would find.
	return !late || !out.lost
}

// held is a list, in the context of a creator, of what it and the creators around
// it are creating.
type held struct {
	table *Table
	group *group
	keys  []string
	up    *held
}

type heldKey struct{}

// apartFrom returns a context for creations that the creator of ctx does not wait for.
func apartFrom(ctx context.Context) context.Context {
	return context.WithValue(ctx, heldKey{}, (*held)(nil))
}

// holding returns a context for the creator of keys, whose flights are in g.
func holding(ctx context.Context, g *group, keys []string) context.Context {
	up, _ := ctx.Value(heldKey{}).(*held)
	return context.WithValue(ctx, heldKey{}, &held{g.table, g, keys, up})
}

// Creating reports whether ctx belongs to a creator of any key of t.
func (t *Table) Creating(ctx context.Context) bool {
	h, _ := ctx.Value(heldKey{}).(*held)
	for ; h != nil; h = h.up {
		if h.table == t {
			return true
		}
	}
	return false
}

// Waiters returns what tells how many callers wait for a creation now: for the key at a position
// of the [Call] whose creator ctx was given to. Those of other flights of the key are not
// among them:
//
//  1. A's creator runs.  2. The key is forgotten: A waits on.  3. B calls, and a flight of its own
//     begins. Each has one caller.
func Waiters(ctx context.Context) func(at int) int {
	g := innermost(ctx)
	return func(at int) (n int) {
		g.mu.Lock()
		flights := g.flights[:len(g.flights):len(g.flights)]
		g.mu.Unlock() // a shard's mu comes first where both are held
		for _, f := range flights {
			if f.at == at {
				n += f.waiting()
			}
		}
		return n
	}
}

// Nested reports whether ctx, which [Source.Enter] was given, belongs to a creation
// inside another one of t.
func (t *Table) Nested(ctx context.Context) bool {
	h, _ := ctx.Value(heldKey{}).(*held) // the creation itself
	for h = h.up; h != nil; h = h.up {
		if h.table == t {
			return true
		}
	}
	return false
}

// Recursive reports whether ctx belongs to a creator of key, which would wait for
// itself if it asked for key.
func (t *Table) Recursive(ctx context.Context, key string) bool {
	h, _ := ctx.Value(heldKey{}).(*held)
	for ; h != nil; h = h.up {
		if h.table == t && slices.Contains(h.keys, key) {
			return true
		}
	}
	return false
}
