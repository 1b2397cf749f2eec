package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/dogpile-go/dogpile/driver"
)

// ErrOpen is the error of a call that a Breaker did not let through.
var ErrOpen = errors.New("dogpile: the backend is left alone after failures")

// BreakerOptions says when a Breaker opens and for how long. The zero value is
// ready to use.
type BreakerOptions struct {
	// Failures is how many calls in a row have to fail; 0: 5. A negative number
	// counts as 1.
	Failures int

	// Rest is how long the backend is then left alone; 0: 5 s. A negative time
	// counts as 1 ns.
	Rest time.Duration
}

// Breaker returns a proxy that spares its callers a backend that keeps failing
// or keeps them waiting. After Failures calls in a row have returned an error,
// calls return ErrOpen at once, without reaching the backend. When Rest is over
// one call is let through: if it succeeds, all are again; if it fails, another
// Rest begins.
//
// A call that its context's deadline ended has failed: that is what a server
// that hangs looks like. One whose caller cancelled it does not count, nor do
// the errors of single items, ErrLeaseLost and what wraps
// errors.ErrUnsupported. Wait does not count, since it is meant to take long,
// and is let through only while all calls are. Leases that are held are not
// watched. Empty batches go through.
//
// A nil o stands for the zero BreakerOptions. Each backend that is wrapped is
// watched by itself.
func Breaker(o *BreakerOptions) func(driver.Backend) driver.Backend {
	failures, rest := uint32(5), 5*time.Second
	if o != nil && o.Failures != 0 {
		failures = uint32(max(o.Failures, 1))
	}
	if o != nil && o.Rest != 0 {
		rest = max(o.Rest, 1)
	}
	return func(b driver.Backend) driver.Backend {
		return &breaker{
			Proxy: driver.Proxy{Backend: b},
			cb: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
				MaxRequests: 1,
				Timeout:     rest,
				ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failures },
				IsExcluded:  uncounted,
			}),
		}
	}
}

type breaker struct {
	driver.Proxy
	cb *gobreaker.TwoStepCircuitBreaker[struct{}]
	// ailing is set by a failure and cleared by a success. While it is not set
	// another success changes nothing, and costs nothing.
	ailing atomic.Bool
	mu     sync.Mutex // orders what cb and ailing are told
}

func uncounted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, driver.ErrLeaseLost)
}

var errPanic = errors.New("the backend panicked")

// try makes a call if the backend is not left alone, and counts it.
func (b *breaker) try(call func() error) error {
	var done func(error)
	if b.ailing.Load() {
		var err error
		if done, err = b.cb.Allow(); err != nil {
			return ErrOpen
		}
	}
	result := errPanic
	defer func() { b.count(done, result) }()
	result = call()
	return result
}

// count counts a call; done is nil if the breaker was not asked for leave.
func (b *breaker) count(done func(error), result error) {
	if done == nil && (result == nil || uncounted(result)) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if done == nil {
		var err error
		if done, err = b.cb.Allow(); err != nil {
			return
		}
	}
	done(result)
	b.ailing.Store(result != nil || b.cb.State() != gobreaker.StateClosed)
}

// Get implements driver.Backend.
func (b *breaker) Get(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return b.Proxy.Get(ctx, items)
	}
	return b.try(func() error { return b.Proxy.Get(ctx, items) })
}

// Set implements driver.Backend.
func (b *breaker) Set(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return b.Proxy.Set(ctx, items)
	}
	return b.try(func() error { return b.Proxy.Set(ctx, items) })
}

// Delete implements driver.Backend.
func (b *breaker) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return b.Proxy.Delete(ctx, keys)
	}
	return b.try(func() error { return b.Proxy.Delete(ctx, keys) })
}

// TryLock implements driver.Locker.
func (b *breaker) TryLock(ctx context.Context, key string, ttl time.Duration) (l driver.Lease, err error) {
	err = b.try(func() (err error) {
		l, err = b.Proxy.TryLock(ctx, key, ttl)
		return err
	})
	return l, err
}

// Locked implements driver.Locker.
func (b *breaker) Locked(ctx context.Context, key string) (locked bool, err error) {
	err = b.try(func() (err error) {
		locked, err = b.Proxy.Locked(ctx, key)
		return err
	})
	return locked, err
}

// Wait implements driver.Locker.
func (b *breaker) Wait(ctx context.Context, key string) error {
	if b.cb.State() != gobreaker.StateClosed {
		return ErrOpen
	}
	return b.Proxy.Wait(ctx, key)
}
