package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/breaker"
)

// ErrOpen is the error of a call that a [Breaker] did not let through.
var ErrOpen = errors.New("the circuit breaker is open: earlier calls of the backend failed")

// BreakerOptions says when a [Breaker] opens and for how long. The zero value is
// ready to use.
type BreakerOptions struct {
	// Failures is how many calls in a row have to fail; 0: 5. A negative number
	// counts as 1.
	Failures int

	// Cooldown is how long the breaker then stays open; 0: 5 s. A negative time
	// counts as 1 ns.
	Cooldown time.Duration

	// Off means that there is no breaker: all calls go through.
	Off bool
}

// Breaker returns a proxy that spares its callers a backend that keeps failing
// or keeps them waiting. After Failures calls in a row have returned an error,
// calls return [ErrOpen] at once, without reaching the backend. When Cooldown is
// over one call is let through: if it succeeds, all are again; if it fails,
// another Cooldown begins.
//
// A call that was ended by the deadline of its context has failed: that is what
// a server that hangs looks like. A call that its caller cancelled does not
// count, nor do the errors of single items, [driver.ErrLeaseLost] and what wraps
// [errors.ErrUnsupported]. Wait does not count, since it is meant to take long,
// and is let through only while all calls are. Leases that are held are not
// watched. Empty batches go through.
//
// A nil o stands for the zero BreakerOptions. Each backend that is wrapped has a
// breaker of its own. With Off, backends are returned as they are.
func Breaker(o *BreakerOptions) func(driver.Backend) driver.Backend {
	var own BreakerOptions
	if o != nil {
		own = *o
	}
	return func(b driver.Backend) driver.Backend {
		if own.Off {
			return b
		}
		return &breakerProxy{Proxy: driver.Proxy{Backend: b}, b: breaker.New(own.Failures, own.Cooldown, context.Canceled, errors.ErrUnsupported, driver.ErrLeaseLost)}
	}
}

type breakerProxy struct {
	driver.Proxy
	b *breaker.Breaker
}

// try makes a call if the breaker lets it through, and counts it.
func (p *breakerProxy) try(call func() error) error {
	through, err := p.b.Do(call)
	if !through {
		return ErrOpen
	}
	return err
}

// Get implements driver.Backend.
func (p *breakerProxy) Get(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return p.Proxy.Get(ctx, items)
	}
	return p.try(func() error { return p.Proxy.Get(ctx, items) })
}

// Set implements driver.Backend.
func (p *breakerProxy) Set(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return p.Proxy.Set(ctx, items)
	}
	return p.try(func() error { return p.Proxy.Set(ctx, items) })
}

// Delete implements driver.Backend.
func (p *breakerProxy) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return p.Proxy.Delete(ctx, keys)
	}
	return p.try(func() error { return p.Proxy.Delete(ctx, keys) })
}

// TryLock implements driver.Locker.
func (p *breakerProxy) TryLock(ctx context.Context, key string, ttl time.Duration) (l driver.Lease, err error) {
	err = p.try(func() (err error) {
		l, err = p.Proxy.TryLock(ctx, key, ttl)
		return err
	})
	return l, err
}

// Locked implements driver.Locker.
func (p *breakerProxy) Locked(ctx context.Context, key string) (locked bool, err error) {
	err = p.try(func() (err error) {
		locked, err = p.Proxy.Locked(ctx, key)
		return err
	})
	return locked, err
}

// Wait implements driver.Locker.
func (p *breakerProxy) Wait(ctx context.Context, key string) error {
	if !p.b.Closed() {
		return ErrOpen
	}
	return p.Proxy.Wait(ctx, key)
}
