package flight

import (
	"context"
	"errors"
	"time"
)

// Never, as a Timeout, means that there is none.
const Never time.Duration = -1

// DefaultTimeout is a Call's timeout where none is set.
const DefaultTimeout = 30 * time.Second

// maxLosses is how often callers start over after creators that lost their locks.
const maxLosses = 3

// State is what a value that was read is worth to the caller.
type State uint8

// Missing values have to be created. Stale ones may be returned while somebody
// creates the new value. Fresh ones are returned.
const (
	Missing State = iota
	Stale
	Fresh
)

// Reading is what was found under a key.
type Reading[V any] struct {
	Value V
	State State
	// Version is the same for all readings between two invalidations. Callers
	// share a flight if their readings have one version.
	Version string
	// Failed tells that the key could not be read, so that nobody knows the version.
	Failed bool
	// Err is why there is nothing to be had of the key. It ends a flight of it.
	Err error
}

// Result is what a Call returns for a key. OK tells whether there is a value: creators may
// leave values out, and with an error there is none.
type Result[V any] struct {
	Value V
	OK    bool
	Err   error
}

// Source is where the values of a Call are read, locked, created and stored. Keys
// are named by their positions in Call.Keys, and answers come in the same order.
// Methods may be called for different positions at the same time, and after the
// Call has returned.
type Source[V any] interface {
	// Read reads keys, those whose lock is held under that lock.
	Read(ctx context.Context, at []int) ([]Reading[V], error)
	// TryLock takes the lock on a key if it is free, and reports whether it did. It
	// may fetch in the same step what Read will be asked for next. An error ends all
	// flights of the Call that have got so far, unless it is a *KeyError.
	TryLock(ctx context.Context, at int) (held bool, err error)
	// Wait returns when the lock on a key may be free, or has been taken, or with
	// ctx's error.
	Wait(ctx context.Context, at int) (held bool, err error)
	// Unlock gives the lock on a key back, within a time of its own. It is called
	// once for each time that the lock was taken.
	Unlock(at int)
	// Create makes values anew. A creator may leave some out.
	Create(ctx context.Context, at []int) ([]Result[V], error)
	// Store stores values under their locks, and reports for each whether its lock
	// was held until then. Only late callers need to know that, and late tells which
	// values there may be some for, nil that there are none: nobody joins any more.
	Store(ctx context.Context, at []int, values []Result[V], late []bool) (held []bool)
	// Enter takes a slot among the creators. If there is none it waits, or returns nil
	// if it may not. leave is called once. [Table.Nested] tells of ctx whether the
	// creation is inside another one.
	Enter(ctx context.Context, wait bool) (leave func(), err error)
	// Backoff returns for how long this process should not try again for the lock
	// on a key, which another one holds while it renews a stale value.
	Backoff(at int) time.Duration
	// Name returns what the user calls a key, for messages.
	Name(at int) string
	// Unseen is told of an error of flights that no caller waits for.
	Unseen(ctx context.Context, at []int, err error)
}

// Call is one caller's request for the values of some keys.
type Call[V any] struct {
	Table  *Table
	Keys   []string // no two are the same
	Source Source[V]

	// Called is when the caller called, before it read: what [Table.Now] returned then.
	Called int64
	// Runner is handed the creations of stale values, which the caller then gets at
	// once. nil: the caller waits for the new values.
	Runner func(task func())
	// Timeout is how long a flight may wait, for others or for the Runner, and how long its
	// creation may take. 0: DefaultTimeout; Never: there is no limit.
	Timeout time.Duration
	// Renew creates the values even while they are fresh.
	Renew bool
	// Optional tells that the caller can do without values that the creators of other
	// callers leave out. Those that its own creator leaves out it does without anyway.
	Optional bool
	// Unshared lets nobody share the creation, nor wait for it.
	Unshared bool
	// Space is what the Source's locks are kept in: where two Calls have equal spaces,
	// also with different Tables, equal keys have one lock. It is comparable. nil: the
	// locks are those of this Table alone.
	Space any
	// NoStale tells that the caller takes no stale value. Its Source reads stale values
	// as missing.
	NoStale bool
	// FailFor returns for how long the error of a creation is the answer of later callers
	// that have no value, in place of a creation: a *[Remembered]. nil: no error is.
	// Renewers neither leave such errors nor get them.
	FailFor func(err error) time.Duration
	// Fits reports whether a value that another caller's flight has come to is one for
	// this caller, which otherwise starts over. nil: every value of type V is.
	Fits func(V) bool
	// Class keeps callers apart: those of different classes share no flights they wait
	// for.
	Class string
}

// renewing is the version of flights that were started by renewers, unread the one
// of flights that were started by callers that could not read. No reading has them.
const (
	renewing = "\x00renewing"
	unread   = "\x00unread"
)

// want is a key that the caller has no value of yet.
type want[V any] struct {
	at      int
	reading Reading[V]
	flight  *flight
	own     bool // this caller has started the flight
}

// Do returns the values, for a caller that has just read them; with Renew the
// readings are not looked at. The error of a creator goes to all that waited for it,
// unchanged. A panic becomes a *PanicError. Waiting ends with ctx. A key that fails takes
// no other one with it: the results tell of each. The error is that of the first key
// that has one.
func (c *Call[V]) Do(ctx context.Context, readings []Reading[V]) ([]Result[V], error) {
	results := make([]Result[V], len(c.Keys))
	wants := make([]want[V], len(c.Keys))
	for i := range wants {
		if wants[i].at = i; !c.Renew {
			wants[i].reading = readings[i]
		}
	}
	// A key comes back into wants when its flight ended without a value for this caller.
	// Each time a flight is met that began later, so that this has an end: see "Late
	// callers". A lost lock is the exception, and is counted.
	for losses := 0; len(wants) > 0; {
		waiting := c.start(ctx, wants, results)
		var lost bool
		wants, lost = c.collect(ctx, waiting, results, losses < maxLosses)
		if lost {
			losses++ // starting over for another reason has an end of its own
		}
		wants = c.readAgain(ctx, wants, results)
	}
	for i := range results {
		if err := results[i].Err; err != nil {
			return results, err
		}
	}
	return results, nil
}

// settle returns the keys that need a flight, after noting the results of all others.
// What can go wrong for this caller alone does so here, before it has started a flight
// that others may have joined: then all keys that need one have failed.
func (c *Call[V]) settle(ctx context.Context, wants []want[V], results []Result[V]) (rest []want[V]) {
	rest = wants[:0]
	var err error
	for _, w := range wants {
		key, stale := c.Keys[w.at], w.reading.State == Stale
		switch {
		case w.reading.Err != nil:
			results[w.at].Err = w.reading.Err
		case w.reading.State == Fresh:
			results[w.at] = Result[V]{Value: w.reading.Value, OK: true}
		case c.Table.Recursive(ctx, key):
			// Not even with a stale value at hand: this caller waits for itself.
			results[w.at].Err, err = ErrRecursive, ErrRecursive
		case stale && c.Table.Busy(key):
			results[w.at] = Result[V]{Value: w.reading.Value, OK: true}
		case ctx.Err() != nil:
			results[w.at].Err, err = ctx.Err(), ctx.Err()
		default:
			rest = append(rest, w)
		}
	}
	if err == nil {
		return rest
	}
	for _, w := range rest {
		results[w.at].Err = err
	}
	return nil
}

// start sees to it that there is a flight for every key that needs one, and returns the
// keys that have to be waited for.
func (c *Call[V]) start(ctx context.Context, wants []want[V], results []Result[V]) (waiting []want[V]) {
	rest := c.settle(ctx, wants, results)
	if len(rest) == 0 {
		return nil
	}
	now := newBatch(ctx, c)
	later := now // what the Runner gets
	if c.Runner != nil {
		later = newBatch(apartFrom(ctx), c)
	}
	waiting = c.joinAll(rest, now, later, results)
	now.launch(nil)
	if later != now {
		defer c.handing(ctx, later).end()
		later.launch(c.Runner)
	}
	return waiting
}

// joinAll joins the flights of the keys that need one, makes those that there are not in now,
// or in later what the Runner gets, and returns the keys that have to be waited for.
func (c *Call[V]) joinAll(rest []want[V], now, later *batch[V], results []Result[V]) (waiting []want[V]) {
	if len(rest) > 1 {
		// 1. A starts a flight of k1.  2. B joins it, and starts one of k2.  3. A joins that.
		// What one creation would have made takes two.
		c.Table.several.Lock()
		defer c.Table.several.Unlock()
	}
	waiting = rest[:0]
	for _, w := range rest {
		b, stale := now, w.reading.State == Stale
		if stale {
			b = later
		}
		var err error
		if w.flight, w.own, err = c.join(w, b.group); err != nil {
			results[w.at].Err = err
			continue
		}
		if w.own {
			b.tasks = append(b.tasks, task[V]{at: w.at, reading: w.reading, flight: w.flight})
		}
		switch {
		case stale && (!w.own || c.Runner != nil):
			// Not its own: since the loop above another caller has started to create it.
			results[w.at] = Result[V]{Value: w.reading.Value, OK: true}
		case !w.own:
			// It may be in the hands of a Runner that has more urgent things to do. This
			// caller has nothing to return.
			w.flight.hasten()
			fallthrough
		default:
			waiting = append(waiting, w)
		}
	}
	return waiting
}

// join returns the flight for w: one that is there, or one that was made in g.
func (c *Call[V]) join(w want[V], g *group) (f *flight, made bool, err error) {
	key, stale := c.Keys[w.at], w.reading.State == Stale
	on := terms{version: w.reading.Version, called: c.Called, stale: stale, waits: !stale || c.Runner == nil}
	on.fails = !stale && !c.Renew && c.FailFor != nil
	switch {
	case c.Unshared:
		f, err = c.Table.unshared(key, w.at, g)
		return f, true, err
	case c.Renew:
		on.version, on.inTime = renewing, true
	case w.reading.Failed:
		// 1. A creates, or is about to: it has read under one version.  2. Another
		// process invalidates.  3. This caller cannot read, so it does not see the new
		// version. It must not join A, which goes by the old one.
		on.version, on.inTime = unread, true
	}
	on.reading = on.version
	if on.waits {
		// What a Runner creates nobody of a class waits for, at first.
		on.version += c.Class
	}
	return c.Table.join(key, w.at, on, g)
}

// collect waits for flights, and returns the keys for which this caller has to
// start over. lost tells that it is because a creator lost its lock, which may
// happen only if again is true.
func (c *Call[V]) collect(ctx context.Context, waiting []want[V], results []Result[V], again bool) (wants []want[V], lost bool) {
	n := c.nest(ctx, waiting)
	defer n.end()
	wants = waiting[:0]
	for _, w := range waiting {
		if err := n.wait(ctx, w.flight); err != nil {
			c.part(w, err)
			results[w.at].Err = err
			continue
		}
		// A flight of the same key may be one of values of another type.
		out, same := w.flight.result.(*outcome[V])
		switch {
		case again && errors.Is(w.flight.err, ErrLost):
			lost = true
			wants = append(wants, w)
		case w.flight.err != nil:
			results[w.at].Err = w.flight.err
		case !same || !c.mayUse(out, w):
			wants = append(wants, w)
		case out.kind != omitted:
			results[w.at] = Result[V]{Value: out.value, OK: true}
		}
	}
	return wants, lost
}

// readAgain reads the keys for which this caller starts over.
func (c *Call[V]) readAgain(ctx context.Context, wants []want[V], results []Result[V]) []want[V] {
	if len(wants) == 0 || c.Renew {
		return wants // renewers do not take what others have made in the meantime
	}
	at := make([]int, len(wants))
	for i, w := range wants {
		at[i] = w.at
	}
	readings, err := c.Source.Read(ctx, at)
	if err != nil {
		for _, i := range at {
			results[i].Err = err
		}
		return nil
	}
	for i := range wants {
		wants[i].reading = readings[i]
	}
	return wants
}

func (c *Call[V]) timeout() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return c.Timeout
}
