package dogpile

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// early reports whether a fresh entry of that age is to be renewed ahead of its expiration.
func (s *state) early(age, exp time.Duration) bool {
	return s.o.RefreshAhead > 0 && exp > 0 && float64(age) >= s.o.RefreshAhead*float64(exp)
}

// renewEarly has an entry renewed in the background that a caller has just read, unless
// this process does so already or leaves it alone for a while.
func (c *Cache[V]) renewEarly(ctx context.Context, s *state, called int64, key, mangled string, l *lookup[V], create func(context.Context) (V, error)) {
	if !s.mayRenewEarly(ctx, mangled) {
		return
	}
	cr := c.creation(ctx, s, "get", called, []creationKey[V]{{key: key, mangled: mangled}})
	cr.one = create
	cr.early([]*lookup[V]{l}).begin(ctx)
}

// renewAllEarly is renewEarly for what a caller of several keys has read. list may be nil.
func (c *Cache[V]) renewAllEarly(ctx context.Context, s *state, called int64, list *keyList[V], create func(context.Context, []string) (map[string]V, error)) {
	if list == nil {
		return
	}
	cr := c.creation(ctx, s, "get", called, list.keys)
	cr.create = create
	cr.early(list.read).begin(ctx)
}

// mayRenewEarly reports whether an entry that is to be renewed early is free for it.
func (s *state) mayRenewEarly(ctx context.Context, mangled string) bool {
	return !s.flights.Busy(mangled) && !s.flights.Recursive(ctx, mangled)
}

// early makes the creation one of fresh entries, which have been read. To the algorithm
// they are stale, and there is a Runner: the callers have their values, one flight in
// this process tries for the lease once, and has nothing to do if what it reads under the
// lease has been renewed meanwhile. Nothing is made that could not be stored: without the
// backend nobody needs it yet.
func (cr *creation[V]) early(read []*lookup[V]) *creation[V] {
	cr.ahead = true
	for i := range cr.keys {
		cr.keys[i].last, cr.keys[i].known = read[i], read[i].knownTags()
	}
	return cr
}

// begin hands the creation to the Runner. What goes wrong is told of by the flights: the
// caller has a fresh value.
func (cr *creation[V]) begin(ctx context.Context) {
	_, _ = cr.call().Do(ctx, cr.readings(cr.all()))
}

// leaveAlone lets this process not try again soon, after a renewal ahead of expiration
// whose value could not be made or was not to be stored.
func (cr *creation[V]) leaveAlone(at ...int) {
	if !cr.ahead {
		return
	}
	for _, i := range at {
		cr.s.flights.BackOff(cr.keys[i].mangled, errorBackoff)
	}
}

// strict reports whether errors of the backend end the creation.
func (cr *creation[V]) strict() bool { return cr.s.o.Strict || cr.ahead }

// fails returns the error of a creation that the backend has ended.
func (cr *creation[V]) fails(ctx context.Context, key string, err error) error {
	oe := cr.s.region.backendError(ctx, cr.op, key, err)
	if cr.ahead && !cr.s.o.Strict {
		return &OpError{oe.Region, oe.Op, oe.Key, &unneeded{oe.Err}}
	}
	return oe
}

// unneeded is the error of a renewal ahead of expiration that was given up, as nobody
// needed its value yet. To a caller that needs it by then it is a lost lock: that caller
// starts over, and creates without the backend.
//
//  1. A renews ahead, and asks for the lease.  2. The entry expires.  3. B finds nothing,
//     and joins A's flight.  4. The backend fails A.
type unneeded struct{ error }

// Is reports whether target is flight.ErrLost.
func (e *unneeded) Is(target error) bool { return target == flight.ErrLost }

// Unwrap returns the error of the backend.
func (e *unneeded) Unwrap() error { return e.error }

// background reports whether no caller waits for the creation of k, which has been read
// under the lock.
func (cr *creation[V]) background(k *creationKey[V]) bool {
	runs := cr.s.o.Runner != nil && !cr.renew && !cr.noStale && k.last.use == flight.Stale
	return cr.ahead || runs
}

// addEarly adds a key that is to be renewed early to a list that may be nil as yet.
func addEarly[V any](ctx context.Context, s *state, list *keyList[V], key, mangled string, l *lookup[V]) *keyList[V] {
	if !l.early || !s.mayRenewEarly(ctx, mangled) {
		return list
	}
	if list == nil {
		list = newKeyList[V](s)
	}
	list.add(key, mangled, l)
	return list
}
