package dogpile

import (
	"context"
	"time"
)

// Hooks are functions that are told what happens in a region, for logs, metrics
// and traces. Each may be nil, which costs a comparison. They run in the
// goroutine in which the thing happens, many at once, and should be quick.
//
// For each key that is asked for, one of Hit, Stale and Miss tells what was
// found. A caller that had to wait for a creation that it did not run itself is
// told to Wait after it; each run of a creator to Create, and each value that
// goes to the backend to Store.
type Hooks struct {
	Hit        func(ctx context.Context, e Event) // a fresh entry was returned
	Stale      func(ctx context.Context, e Event) // a stale entry was returned
	Miss       func(ctx context.Context, e Event) // there was no fresh entry, and none that could be returned
	Wait       func(ctx context.Context, e Event) // another's creation was waited for: Duration, and its Err
	Create     func(ctx context.Context, e Event) // a creator has run: Duration, Err
	Store      func(ctx context.Context, e Event) // a value was stored, or not: Err
	Delete     func(ctx context.Context, e Event) // a key was deleted, or not: Err
	Invalidate func(ctx context.Context, e Event) // the region was invalidated, or not: Err
	Error      func(ctx context.Context, e Event) // an error that no caller gets: of the backend, a codec, a creator in the background
}

// Event is something that happened in a region.
type Event struct {
	Region   string
	Op       string        // "get", "create", "set", …
	Key      string        // the user's key; empty where there is none
	Keys     []string      // of a creation of several keys: all of them, not to be changed
	Duration time.Duration // how long a creation or a wait took
	Err      error
}

func (s *state) event(ctx context.Context, hook func(context.Context, Event), e Event) {
	if hook != nil {
		e.Region = s.region.name
		hook(ctx, e)
	}
}
