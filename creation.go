package dogpile

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// errorBackoff is for how long a key is left alone after its creator failed and a
// stale value stood in for the new one.
const errorBackoff = time.Second

// creation is what a region hangs into the algorithm of package flight: how the keys
// of one call are read, locked, created and stored. One key is a creation of one.
type creation[V any] struct {
	c      *Cache[V]
	s      *state
	op     string
	create func(ctx context.Context, keys []string) (map[string]V, error)
	one    func(ctx context.Context) (V, error) // in place of create, for one key
	keys   []creationKey[V]

	caller context.Context
	called int64  // when the caller called, on the clock of the region's flights
	class  string // of flight.Call
	renew  bool

	apart   bool // it neither reads nor stores, and is shared with nobody
	noStale bool // what is stale is as good as missing
	ahead   bool // it renews what is fresh yet; see early
}

// creationKey is one key of a creation. Its fields belong to the caller, and to the
// goroutine of the flight while there is one; ran, behind and lease may be used by both.
type creationKey[V any] struct {
	key     string   // the caller's
	aliases []string // other keys of the caller's that are mangled alike
	mangled string

	last    *lookup[V] // what was read last; never nil
	lease   holding
	waits   time.Time   // since when it waits for others; zero: it has not
	waitLog bool        // the log has told of that
	hidden  bool        // what was under the key as the lease was taken is to be taken as missing
	offline bool        // the backend has failed: create without it
	err     error       // the backend has failed, and it has to be there
	ran     atomic.Bool // the creator was run here
	behind  atomic.Bool // and no caller waits for it

	began   int64       // when the creation began, on the clock of now
	endedAt int64       // and when it ended
	since   int64       // when it began, on the clock of the region's pending
	meta    stored.Meta // of the value that was created
	noStore bool
	size    int        // of what is stored, in bytes; 0: unknown
	known   []seenTag  // its tags as far as they are known beforehand, as read last; nil: not known
	made    *lookup[V] // what came of it; nil: nothing yet
}

var _ flight.Source[*lookup[int]] = (*creation[int])(nil)

// call returns the request that a caller makes of the algorithm.
func (cr *creation[V]) call() *flight.Call[*lookup[V]] {
	keys := make([]string, len(cr.keys))
	for i := range cr.keys {
		keys[i] = cr.keys[i].mangled
	}
	c := &flight.Call[*lookup[V]]{
		Table: cr.s.flights, Keys: keys, Source: cr,
		Called: cr.called, Runner: cr.s.o.Runner, Timeout: cr.s.o.CreateTimeout,
		Renew: cr.renew, Optional: cr.one == nil, Unshared: cr.apart, NoStale: cr.noStale, Class: cr.class,
		Space: cr.s.space, Fits: cr.fits,
	}
	if cr.ahead && c.Runner == nil {
		c.Runner = Background
	}
	if cr.s.o.FailFor > 0 {
		c.FailFor = cr.failFor
	}
	return c
}

// fits reports whether what came of another caller's flight is an entry for this one: its
// view of the region may have another schema, or know of no answer that there is no value.
func (cr *creation[V]) fits(l *lookup[V]) bool { return cr.c.reads(l.schema, l.notFound) }

// Read implements flight.Source.
func (cr *creation[V]) Read(ctx context.Context, at []int) ([]flight.Reading[*lookup[V]], error) {
	// What the backend has failed for is not asked for again in this call: the caller has
	// waited for one time-out, and that is enough.
	asked := at[:0:0]
	for _, i := range at {
		if !cr.keys[i].offline {
			asked = append(asked, i)
		}
	}
	if len(asked) > 0 {
		lookups, err := cr.readBatch(ctx, asked)
		if err := cr.note(ctx, asked, lookups, err); err != nil {
			return nil, err
		}
	}
	return cr.readings(at), nil
}

// readBatch reads keys in one call of the backend.
func (cr *creation[V]) readBatch(ctx context.Context, at []int) ([]*lookup[V], error) {
	if len(at) == 1 {
		k := &cr.keys[at[0]]
		l, err := cr.c.read(ctx, cr.s, cr.op, k.key, k.mangled, k.lease.current(), cr.tokenUnderLease(at[0]))
		return []*lookup[V]{l}, err
	}
	keys, items, known := make([]string, len(at)), make([]driver.Item, len(at)+1), make([]*token, len(at))
	for n, i := range at {
		k := &cr.keys[i]
		keys[n], items[n].Key, items[n].Lease = k.key, k.mangled, k.lease.current()
		known[n] = cr.tokenUnderLease(i)
	}
	return cr.c.readMany(ctx, cr.s, cr.op, keys, items, known)
}

// tokenUnderLease returns the token for a reading under a lease: the token of the
// reading before. Where the backend has fetched the entry with the lease, nothing is
// left to ask for. That token may have been replaced since:
//
//  1. Every caller of this flight has read token T since it called.
//  2. Somebody invalidates, and T is replaced.
//  3. The value is created, and stored under T: it is invalid, as it has to be.
//
// A renewer has not read before: what an earlier flight of its own has left may be from
// before an invalidation that made it start over.
func (cr *creation[V]) tokenUnderLease(at int) *token {
	k := &cr.keys[at]
	if cr.renew || k.lease.current() == nil {
		return nil
	}
	return k.last.token
}

// note takes note of what was read. An error of the backend makes the creation go on without
// it, unless the region is strict or the caller has left.
func (cr *creation[V]) note(ctx context.Context, at []int, lookups []*lookup[V], err error) error {
	strict := cr.strict()
	if err != nil {
		if strict || gaveUp(ctx, err) {
			return cr.fails(ctx, cr.keys[at[0]].key, err)
		}
		cr.disconnect(ctx, "get", err, at...)
		return nil
	}
	var without []int // a version
	for n, i := range at {
		k, l := &cr.keys[i], lookups[n]
		if l.err != nil {
			if strict {
				k.err = cr.fails(ctx, k.key, l.err)
			} else {
				cr.disconnect(ctx, "get", cr.s.region.backendError(ctx, cr.op, k.key, l.err), i)
			}
			continue
		}
		before := k.last
		// Nobody knows whether it was invalidated by a tag.
		doubtful := l.unjudged && (!before.found || before.state == Invalidated || !slices.EqualFunc(before.tags, l.tags, sameTag))
		if doubtful || k.hidden && k.lease.current() != nil {
			// Nobody is shown it.
			l.state, l.use, l.ifError, l.early = Invalidated, flight.Missing, false, false
		}
		k.last, k.err = l, nil
		if known := l.knownTags(); known != nil {
			k.known = known
		}
		// Those that create together have to know of the same version, so there has
		// to be one. What is fresh needs none.
		if l.version == "" && l.use != flight.Fresh {
			without = append(without, i)
		}
	}
	return cr.share(ctx, without)
}

// share gives each of the keys the version of its history, or its error: what one key
// finds out is right for all that have the same.
func (cr *creation[V]) share(ctx context.Context, at []int) error {
	var shared sharedVersions
	for _, i := range at {
		shared.add(cr.keys[i].last.history)
	}
	shared.ask(ctx)
	for _, v := range shared {
		var keys []int
		for _, i := range at {
			if l := cr.keys[i].last; l.history == v.history {
				keys = append(keys, i)
				l.version = v.version
			}
		}
		switch {
		case v.err == nil:
		case gaveUp(ctx, v.err):
			return cr.s.region.backendError(ctx, cr.op, cr.keys[keys[0]].key, v.err)
		case cr.s.o.Strict:
			for _, i := range keys {
				cr.keys[i].err = cr.s.region.backendError(ctx, cr.op, cr.keys[i].key, v.err)
			}
		default:
			cr.disconnect(ctx, "version", v.err, keys...)
		}
	}
	return nil
}

// readings returns what was read last, as the algorithm sees it.
func (cr *creation[V]) readings(at []int) []flight.Reading[*lookup[V]] {
	out := make([]flight.Reading[*lookup[V]], len(at))
	for n, i := range at {
		k := &cr.keys[i]
		out[n] = flight.Reading[*lookup[V]]{Value: k.last, Version: k.last.version, Err: k.err}
		r := &out[n]
		switch {
		case k.offline:
			r.Failed = true
		case cr.noStale && k.last.use != flight.Fresh:
			r.State = flight.Missing
		case cr.ahead && k.last.early:
			r.State = flight.Stale
		case k.last.ifError && cr.s.flights.BackingOff(k.mangled):
			// The creator has just failed: what stands in for it is as good as stale.
			r.State = flight.Stale
		default:
			r.State = k.last.use
		}
	}
	return out
}

// disconnect makes keys go on without the backend, which has failed with err.
func (cr *creation[V]) disconnect(ctx context.Context, op string, err error, at ...int) {
	cr.c.failed(ctx, cr.s, op, cr.keys[at[0]].key, err)
	for _, i := range at {
		cr.keys[i].offline = true
	}
}

// Enter implements flight.Source.
func (cr *creation[V]) Enter(ctx context.Context, wait bool) (leave func(), err error) {
	if cr.s.flights.Nested(ctx) {
		return func() {}, nil // the creator around it has a slot
	}
	return cr.s.creators.acquire(ctx, wait)
}

// TryLock implements flight.Source.
func (cr *creation[V]) TryLock(ctx context.Context, at int) (bool, error) {
	k := &cr.keys[at]
	if k.offline {
		return true, nil // among the callers of this process there is a lock already
	}
	// A backend may read the entry as it gives the lease, so that the reading begins here:
	// 1. The old entry is read with the lease.  2. A delete that had failed is done at last,
	// and no longer kept.  3. Read answers with 1.
	hidden := cr.s.pending.keeps(k.mangled)
	l, err := cr.s.tryLock(ctx, k.mangled)
	switch {
	case err != nil && (cr.strict() || gaveUp(ctx, err)):
		err = cr.fails(ctx, k.key, err)
		if cr.s.sharder != nil {
			err = &flight.KeyError{Err: err} // the other servers may be there
		}
		return false, err
	case err != nil:
		cr.disconnect(ctx, "lock", err, at)
		return true, nil
	case l == nil:
		return false, nil
	}
	// From here on the lease is given back once, by Unlock: also if the flight has timed
	// out while the backend was asked.
	k.lease.take(l)
	k.hidden = hidden
	return true, nil
}

// Wait implements flight.Source.
func (cr *creation[V]) Wait(ctx context.Context, at int) (held bool, err error) {
	k := &cr.keys[at]
	defer cr.watch(ctx, k)()
	err = cr.s.wait(ctx, k.mangled)
	switch {
	case err == nil || gaveUp(ctx, err):
		return false, err
	case cr.strict():
		return false, cr.s.region.backendError(ctx, cr.op, k.key, err)
	}
	cr.disconnect(ctx, "lock", err, at)
	return false, nil
}

// Unlock implements flight.Source. A lease that a store has used up, or that was lost,
// is not given back.
func (cr *creation[V]) Unlock(at int) {
	if l := cr.keys[at].lease.give(); l != nil {
		cr.s.release(l, Event{Op: "unlock", Name: cr.c.o.Name, Key: cr.keys[at].key})
	}
}

// Name implements flight.Source.
func (cr *creation[V]) Name(at int) string {
	name := strconv.Quote(cr.keys[at].key)
	if region := cr.s.region.name; region != "" {
		name = region + " " + name // the same key of another region is another key
	}
	return name
}

// Backoff implements flight.Source. While another process renews a stale value, this
// one serves it. How long the last creation took tells how long this one will take: with
// that and up to half of it more, drawn so that the processes of a fleet do not try at the
// same moment, a process tries for the lease twice in each creation, at the most. It
// tries once a second at least, to follow a creator that has died. That is also about
// what it does where nobody knows how long a creation takes, after a Set for one.
func (cr *creation[V]) Backoff(at int) time.Duration {
	took := cr.keys[at].last.took
	switch {
	case took <= 0:
		took = maxBackoff / 2
	case took > maxBackoff:
		took = maxBackoff * 3 / 4
	}
	return max(minBackoff, min(took+rand.N(took/2+1), maxBackoff))
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = time.Second
)
