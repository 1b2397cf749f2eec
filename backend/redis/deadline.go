package redis

import (
	"context"
	"sync/atomic"
	"time"
)

// deadlines makes the deadlines of callers whose own contexts never end. Calls
// that begin at about the same time share one, because a timer for each call
// costs a fifth of a hit.
type deadlines struct {
	timeout time.Duration
	last    atomic.Pointer[shared]
}

// shared is a context with a deadline.
type shared struct {
	ctx    context.Context
	closes time.Time // calls that begin later need another
}

// bound returns ctx with a deadline that is the timeout away, or up to an eighth
// more.
func (ds *deadlines) bound(ctx context.Context) context.Context {
	s, now := ds.last.Load(), time.Now()
	if s == nil || now.After(s.closes) {
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(ds.timeout).Add(ds.timeout/8))
		context.AfterFunc(ctx, cancel)
		// Two callers may come here at once: each has a deadline that is right,
		// and later calls share one of the two.
		s = &shared{ctx, now.Add(ds.timeout / 8)}
		ds.last.Store(s)
	}
	return valued{s.ctx, ctx}
}

// valued ends with one context and has the values of another.
type valued struct {
	context.Context
	values context.Context
}

// Value looks the key up in the caller's context.
func (v valued) Value(key any) any { return v.values.Value(key) }
