package dogpile

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// Hooks are functions that are told what happens in a region, for logs, metrics
// and traces. Each may be nil, which costs a comparison. They run in the
// goroutine in which the thing happens, many at once, and should be quick. One that
// panics changes nothing else: the panic is counted in [Stats].Errors and logged.
//
// For each key that is asked for, one of Hit, Stale and Miss tells what was found.
// Wait is called after a caller has waited for a creation that it did not run itself, or
// was given the error of an earlier one (see [Options.FailFor]),
// Create after each run of a creator, and Store for each value that goes to the
// backend.
type Hooks struct {
	Hit        func(ctx context.Context, e Event) // a fresh entry was returned
	Stale      func(ctx context.Context, e Event) // a stale entry was returned
	Miss       func(ctx context.Context, e Event) // there was no fresh entry, and none that could be returned
	Wait       func(ctx context.Context, e Event) // another's creation was waited for: Duration, and its Err
	Create     func(ctx context.Context, e Event) // a creator has run: Duration, Err
	Store      func(ctx context.Context, e Event) // a value was stored, or not: Err
	Delete     func(ctx context.Context, e Event) // a key was deleted, or not: Err
	Invalidate func(ctx context.Context, e Event) // the region was invalidated, or tags were: Keys; or not: Err

	// Error is told of an error that no caller gets. Op is the step that failed: "get",
	// the reading of an entry; "decode", what was read; "version", the reading or writing
	// of the region's version or of a tag's; "lock", "extend" and "unlock", a lease; "create", a creator
	// in the background; "store", the storing of its value; "delete" and "invalidate", what
	// [Options.RetryDeletes] tries again or gives up; "close", a backend that was opened
	// from settings and is replaced.
	Error func(ctx context.Context, e Event)
}

// Event is something that happened in a region.
type Event struct {
	Region   string
	Name     string        // of the cache or function; empty where there is none
	Op       string        // what was done: "get", "refresh", "set", "store", "delete", "invalidate"; for Error see there
	Key      string        // the user's key; empty where there is none; a tag where an invalidation of it is given up
	Keys     []string      // of a creation of several keys: all of them; of an invalidation of tags: the tags; not to be changed
	Duration time.Duration // how long a creation or a wait took
	Err      error

	// Background tells of a creation, and of its store and its error, that no caller
	// waits for: one ahead of the expiration, or of a stale entry by the Runner.
	Background bool
	// Near tells of a hit that a copy in this process has answered; see [Options.Near].
	Near bool
}

// errAborted stands, in events, for what ended a creator that did not return.
var errAborted = errors.New("creator panicked or called runtime.Goexit")

// observed runs a creator and tells the hooks and counters of it, however it ends.
func (s *state) observed(ctx context.Context, e Event, create func() error) error {
	began := now()
	e.Err = errAborted
	defer func() {
		if context.Cause(ctx) == flight.ErrTimeout {
			e.Err = ErrCreateTimeout // whatever came of it came too late
		}
		n := countCreations
		if e.Err != nil {
			n = countFailures
		}
		e.Duration = time.Duration(now() - began)
		s.region.stats.add(n, 1)
		s.event(ctx, s.o.Hooks.Create, e)
	}()
	e.Err = create()
	return e.Err
}
