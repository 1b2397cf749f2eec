package redis

import (
	"context"
	"sync/atomic"
	"time"
)

// era is a deadline that calls share which begin at about the same time. A timer
// for each call costs a fifth of a hit.
type era struct {
	ctx  context.Context
	ends time.Time // calls that begin later need another
}

// eras makes the deadlines of callers whose own contexts never end.
type eras struct {
	timeout time.Duration
	now     atomic.Pointer[era]
}

// bound returns ctx with a deadline that is the timeout away, or up to an eighth
// more.
func (es *eras) bound(ctx context.Context) context.Context {
	e, now := es.now.Load(), time.Now()
	if e == nil || now.After(e.ends) {
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(es.timeout).Add(es.timeout/8))
		context.AfterFunc(ctx, cancel)
		e = &era{ctx, now.Add(es.timeout / 8)}
		es.now.Store(e)
	}
	return valued{e.ctx, ctx}
}

// valued ends with one context and has the values of another.
type valued struct {
	context.Context
	values context.Context
}

// Value implements context.Context by the values of the caller's.
func (v valued) Value(key any) any { return v.values.Value(key) }
