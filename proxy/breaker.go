package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/breaker"
)

// ErrOpen is what errors.Is finds in the error of a call that a [Breaker] did not
// let through. That error wraps and names what the call that was let through last
// has failed with: "the circuit breaker is open for 3s because: …".
var ErrOpen = breaker.ErrOpen

// BreakerOptions says when a [Breaker] opens and for how long. The zero value is
// ready to use.
type BreakerOptions struct {
	// Failures is how many calls in a row have to fail; 0: 5. A negative number
	// counts as 1.
	Failures int

	// Cooldown is the longest pause between two probes of an open breaker; 0: 1 s. A
	// negative time counts as 1 ns. The first pause is 50 ms, and each probe that fails
	// doubles it. So once the server is well again, calls are refused for
	// no longer than Cooldown, and after a short outage for about as long again as
	// it was.
	Cooldown time.Duration

	// Off means that there is no breaker: all calls go through.
	Off bool
}

// Breaker returns a proxy that spares its callers a backend that keeps failing
// or keeps them waiting. After Failures calls in a row have failed it is open:
// calls return [ErrOpen] at once, without reaching the backend. When a pause is
// over one call is let through, the probe: if it succeeds, all are again; if it
// fails, a longer pause begins, up to Cooldown.
//
// Over a [driver.Sharder] there is a breaker for each server. Of a batch, items of
// open servers get [ErrOpen] as their Err, and the others go on; if there are no
// others, the call returns it. Delete removes the keys of the other servers and
// then returns the error; while any of its servers fails it makes a call for each
// of these, all at the same time.
//
// What counts as a failure:
//   - an error of a call whose keys are all on one server;
//   - an error of an item, for its server, if it is a time-out or an error of the
//     network, or if the call has failed as well;
//   - an error, of either kind, that has a method Unavailable() bool, if that
//     returns true. If it returns false the server has answered, and the
//     error is none of those above.
//
// Not counted are [driver.ErrLeaseLost], what wraps [errors.ErrUnsupported], Wait,
// which is meant to take long and is let through only while all calls are,
// leases that are held, and Scan and empty batches, which go through.
//
// A call whose own context ended it, be it cancelled or past its deadline, says
// nothing about the backend, and one whose context had ended before does not
// reach it. Only when the cause is [driver.ErrTimeout] has the backend been
// too slow. An error of a call whose keys are on several servers, without errors of
// its items, says nothing either: it does not tell which server has failed. After
// Failures such calls without an answer, and after a probe that is one, a Get of the
// key asks the backend in the background, and counts: it has as long as [driver.Caps].Timeout, or 2 s where that is 0. There is one
// such Get at a time for each server, and Close ends it.
//
// A nil o stands for the zero BreakerOptions. Each backend that is wrapped has
// breakers of its own. With Off, backends are returned as they are.
func Breaker(o *BreakerOptions) func(driver.Backend) driver.Backend {
	var own BreakerOptions
	if o != nil {
		own = *o
	}
	return func(b driver.Backend) driver.Backend {
		if own.Off {
			return b
		}
		return &breakerProxy{Proxy: driver.Proxy{Backend: b}, b: breaker.New(breaker.Options{
			Failures: own.Failures, Cooldown: own.Cooldown, Patience: driver.CapsOf(b).Timeout,
			Uncounted: []error{errors.ErrUnsupported, driver.ErrLeaseLost},
			Check:     func(ctx context.Context, _, key string) error { return check(ctx, b, key) },
		})}
	}
}

// check asks a backend for a key.
func check(ctx context.Context, b driver.Backend, key string) error {
	items := [1]driver.Item{{Key: key}}
	if err := b.Get(ctx, items[:]); err != nil {
		return err
	}
	if err := items[0].Err; breaker.Down(err) {
		return err
	}
	return nil
}

type breakerProxy struct {
	driver.Proxy
	b *breaker.Breaker
}

// Get implements driver.Backend.
func (p *breakerProxy) Get(ctx context.Context, items []driver.Item) error {
	return p.batch(ctx, items, true)
}

// Set implements driver.Backend.
func (p *breakerProxy) Set(ctx context.Context, items []driver.Item) error {
	return p.batch(ctx, items, false)
}

// TryLock implements driver.Locker.
func (p *breakerProxy) TryLock(ctx context.Context, key string, ttl time.Duration) (l driver.Lease, err error) {
	err = p.b.Do(ctx, p.Shard(key), key, func() (err error) {
		l, err = p.Proxy.TryLock(ctx, key, ttl)
		return err
	})
	return l, err
}

// Locked implements driver.Locker.
func (p *breakerProxy) Locked(ctx context.Context, key string) (locked bool, err error) {
	err = p.b.Do(ctx, p.Shard(key), key, func() (err error) {
		locked, err = p.Proxy.Locked(ctx, key)
		return err
	})
	return locked, err
}

// Holder implements driver.Holders.
func (p *breakerProxy) Holder(ctx context.Context, key string) (h driver.Holder, held bool, err error) {
	err = p.b.Do(ctx, p.Shard(key), key, func() (err error) {
		h, held, err = p.Proxy.Holder(ctx, key)
		return err
	})
	return h, held, err
}

// Wait implements driver.Locker.
func (p *breakerProxy) Wait(ctx context.Context, key string) error {
	if err := p.b.Refused(p.Shard(key)); err != nil {
		return err
	}
	return p.Proxy.Wait(ctx, key)
}

// Close ends a Get in the background and closes the backend.
func (p *breakerProxy) Close() error {
	p.b.Close()
	return p.Proxy.Close()
}
