package dogpile

import (
	"context"
	"errors"
	"fmt"
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
// backend. [JoinHooks] makes one of several.
type Hooks struct {
	// Creating is told before each run of a creator. What it returns, a context that comes
	// of ctx, is that of the creator, and of Create afterwards: so a span can be put
	// around what the creator does. nil stands for ctx.
	Creating func(ctx context.Context, e Event) context.Context

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

	// Backend is told of each call of the backend, also where a caller gets its error: Op is "get", "set",
	// "delete", "lock", "wait", "extend", "unlock", "locked", "holder" or "scan", and there are a Duration, an
	// Err, which may be that of one of several keys, and in Size the bytes that were read or
	// written, before proxies. A "lock" that finds that another has the lease is no error. A look into the
	// memory of this process for a fresh entry is no call, and neither is a Scan of a backend
	// that cannot list what it has. The Duration of a "scan" is without the time that the
	// caller's function takes.
	Backend func(ctx context.Context, e Event)
}

// Event is something that happened in a region.
type Event struct {
	Region   string
	Name     string        // of the cache or function; empty where there is none
	Op       string        // what was done: "get", "refresh", "set", "store", "delete", "invalidate"; for Error see there
	Key      string        // the user's key; empty where there is none; a tag where an invalidation of it is given up
	Keys     []string      // of a creation of several keys: all of them; of an invalidation of tags: the tags; not to be changed
	Backend  string        // the name of its kind, see [driver.Caps]
	Duration time.Duration // how long a creation, a wait or a call of the backend took
	Err      error

	// Reason tells why there was no fresh entry, for Miss and Stale. It is empty where none
	// was looked for, under [Renew] say, or the backend could not tell.
	Reason Reason
	// Age is that of the entry that was found, counted from the end of its creation; 0: there
	// was none.
	Age time.Duration
	// Size is how many bytes an entry that was read or stored has as the codec has written it,
	// with what the library adds, before proxies: one that compresses keeps less in the backend.
	// It is 0 where the backend keeps objects, and for what a copy in this process has answered.
	Size int

	// Background tells of a creation, and of its store and its error, that no caller
	// waits for: one ahead of the expiration, or of a stale entry by the Runner.
	Background bool
	// Near tells of a hit that a copy in this process has answered; see [Options.Near].
	Near bool
}

// Reason tells why there was no fresh entry.
type Reason string

const (
	// ReasonAbsent is that of a key under which there is nothing for the cache that has
	// asked; an entry of another [CacheOptions.Schema] is nothing.
	ReasonAbsent Reason = "absent"
	// ReasonExpired is that of an entry that is older than its expiration.
	ReasonExpired Reason = "expired"
	// ReasonInvalidated is that of an entry whose region was invalidated.
	ReasonInvalidated Reason = "invalidated"
	// ReasonTagged is that of an entry of which a tag was invalidated.
	ReasonTagged Reason = "tagged"
	// ReasonDamaged is that of an entry that cannot be decoded.
	ReasonDamaged Reason = "damaged"
)

// reason tells why l is no fresh entry; empty: it is one.
func (l *lookup[V]) reason() Reason {
	switch {
	case l.use == flight.Fresh:
		return ""
	case l.damaged:
		return ReasonDamaged
	case !l.found && !l.lapsed:
		return ReasonAbsent
	case l.tagged:
		return ReasonTagged
	case l.verdict != Fresh:
		return ReasonInvalidated
	}
	return ReasonExpired
}

// tells fills in what an event says of what was found. l may be nil: nothing was looked for.
func (l *lookup[V]) tells(e *Event) {
	if l == nil {
		return
	}
	e.Near, e.Reason, e.Size = l.near, l.reason(), l.size
	if l.found || l.lapsed {
		e.Age = l.age
	}
}

// JoinHooks returns hooks that tell all of hs, in that order: a context that Creating returns
// is given to the next. Any of hs may be nil; if all are, so is the result. One that panics
// does not keep the others from being told, nor the creator from getting their contexts.
func JoinHooks(hs ...*Hooks) *Hooks {
	var joined *Hooks
	for _, h := range hs {
		if h == nil {
			continue
		}
		if joined == nil {
			joined = new(Hooks)
		}
		joined.Creating = joinCreating(joined.Creating, h.Creating)
		into, from := joined.all(), h.all()
		for i := range into {
			*into[i] = joinHook(*into[i], *from[i])
		}
	}
	return joined
}

// all returns where the hooks are that return nothing.
func (h *Hooks) all() []*func(context.Context, Event) {
	return []*func(context.Context, Event){
		&h.Hit, &h.Stale, &h.Miss, &h.Wait, &h.Create, &h.Store, &h.Delete, &h.Invalidate, &h.Error, &h.Backend,
	}
}

func joinHook(first, then func(context.Context, Event)) func(context.Context, Event) {
	if first == nil || then == nil {
		if first == nil {
			return then
		}
		return first
	}
	return func(ctx context.Context, e Event) {
		told := false
		defer func() {
			if !told { // first has panicked
				then(ctx, e)
			}
		}()
		first(ctx, e)
		told = true
		then(ctx, e)
	}
}

func joinCreating(first, then func(context.Context, Event) context.Context) func(context.Context, Event) context.Context {
	if first == nil || then == nil {
		if first == nil {
			return then
		}
		return first
	}
	return func(ctx context.Context, e Event) (inner context.Context) {
		c := &contexts{inner: ctx}
		defer func() {
			c.panicked(recover())
			defer func() {
				c.panicked(recover())
				if len(c.panics) > 0 {
					panic(c)
				}
				inner = c.inner
			}()
			c.tell(then, e)
		}()
		c.tell(first, e)
		return nil // in the end it is c.inner
	}
}

// contexts is what comes of hooks Creating that are told one after the other. If one panics, so do
// they all together in the end, with the contexts of the others:
//
//  1. The first panics.  2. The second begins a span.  3. The creator runs, and Create is told of
//     it. In the context of 1 the span would never end.
type contexts struct {
	inner  context.Context
	panics []any
}

func (c *contexts) tell(hook func(context.Context, Event) context.Context, e Event) {
	if more := hook(c.inner, e); more != nil {
		c.inner = more
	}
}

// panicked notes what a hook has panicked with; nil: it has not.
func (c *contexts) panicked(p any) {
	if some, joined := p.(*contexts); joined {
		c.inner, c.panics = some.inner, append(c.panics, some.panics...)
	} else if p != nil {
		c.panics = append(c.panics, p)
	}
}

// Error shows the values of the panics, to one who calls joined hooks without a region.
func (c *contexts) Error() string { return fmt.Sprint(c.panics...) }

// creating tells Hooks.Creating that a creator is about to run, and returns the context for it.
func (s *state) creating(ctx context.Context, e Event) context.Context {
	if s.o.Hooks.Creating == nil {
		return ctx
	}
	c := &contexts{inner: ctx}
	s.event(ctx, func(_ context.Context, e Event) {
		defer func() {
			c.panicked(recover())
			for i, p := range c.panics {
				if i == len(c.panics)-1 {
					panic(p) // again, on the stack of the hook
				}
				func() {
					defer s.contain(ctx, "hook")
					panic(p)
				}()
			}
		}()
		c.tell(s.o.Hooks.Creating, e)
	}, e)
	return c.inner
}

// ErrAborted is what [Hooks].Create is told of a creator that did not return. Callers get a
// [PanicError] or another error in its place.
var ErrAborted = errors.New("creator panicked or called runtime.Goexit")

// observed runs a creator and tells the hooks and counters of it, however it ends.
func (s *state) observed(ctx context.Context, e Event, create func(context.Context) error) error {
	ctx = s.creating(ctx, e)
	began := now()
	e.Err = ErrAborted
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
	e.Err = create(ctx)
	return e.Err
}
