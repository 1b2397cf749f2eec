package dogpile

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// group is keys that have failed together, with one error.
type group struct {
	err error
	at  []int
	key string // the first
}

// groups is the failures of a call of several keys.
type groups struct{ all []group }

// add notes that the key at that position has failed.
func (gs *groups) add(at int, key string, err error) {
	for i := range gs.all {
		if g := &gs.all[i]; same(g.err, err) {
			g.at = append(g.at, at)
			return
		}
	}
	gs.all = append(gs.all, group{err, []int{at}, key})
}

// has reports whether a key has failed with err.
func (gs *groups) has(err error) bool {
	return slices.ContainsFunc(gs.all, func(g group) bool { return same(g.err, err) })
}

// same reports whether two errors are one: those of a creation are given to each of its
// keys.
func same(a, b error) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// err makes one error of all. A creator's own stays as it is if nothing else has failed.
func (gs *groups) err(r *Region, op string) error {
	if len(gs.all) == 1 {
		return r.wrap(op, gs.all[0].key, gs.all[0].err)
	}
	errs := make([]*OpError, len(gs.all))
	for i, g := range gs.all {
		err := r.wrap(op, g.key, g.err)
		oe, is := err.(*OpError)
		if _, own := g.err.(*creatorError); own || !is {
			oe = &OpError{r.name, op, g.key, err}
		}
		errs[i] = oe
	}
	return r.joined(op, errs)
}

// causeOf returns the error of a creation, also if that was an earlier one.
func causeOf(err error) error {
	if r, is := err.(*flight.Remembered); is {
		return r.Err
	}
	return err
}

// failFor returns for how long the error of a creation is the answer of later callers.
// What a creator says of its caller, of its lock or of the region is no answer for
// others.
func (cr *creation[V]) failFor(err error) time.Duration {
	switch e := err.(type) {
	case *flight.PanicError:
	case *creatorError:
		for _, other := range []error{ErrRecursive, ErrLeaseLost, ErrClosed, ErrNotConfigured} {
			if errors.Is(e.err, other) {
				return 0
			}
		}
		// A creator that uses its caller's context, in place of the one it is given, ends
		// when that caller leaves.
		if cr.caller.Err() != nil && (errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded)) {
			return 0
		}
	default:
		if err != flight.ErrGoexit && err != flight.ErrTimeout {
			return 0
		}
	}
	return cr.s.o.FailFor
}
