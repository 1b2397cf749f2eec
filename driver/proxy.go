package driver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Proxy forwards everything to the backend inside it. Embed it in a type and
// override what should differ:
//
//	type counting struct {
//		driver.Proxy
//		gets atomic.Int64
//	}
//
//	func (c *counting) Get(ctx context.Context, items []driver.Item) error {
//		c.gets.Add(1)
//		return c.Proxy.Get(ctx, items)
//	}
//
// A proxy may change values, errors and timing, never keys. One that looks at
// or changes [Item.Data] overrides Caps and turns [Caps.Objects] off there;
// values then reach it, and every backend below it, as bytes.
//
// A proxy must not answer Get from copies of its own, nor from a Get that was
// under way before, and must not put off a Set or Delete. For keys of every
// kind, a Get that begins once a Set or Delete has returned sees what that did,
// also where the two went through proxies in two processes: that is how one
// process tells the others that a value is no longer true. A region keeps a
// version token under a key that contains "_inv:", or several where the backend is
// a [Sharder], and two for each tag under keys that begin with "_tag:". To invalidate is to
// replace or delete these tokens. To a proxy that keeps a copy of one nothing has
// happened: its process goes on serving what was invalidated, and no call fails. For the
// same reason a proxy must not remember which leases are held, and must not hold a lease
// back that its caller has released.
type Proxy struct{ Backend }

// Unwrap returns the backend that p forwards to, for [As].
func (p Proxy) Unwrap() Backend { return p.Backend }

// Caps returns what the backend inside can do, without [Caps.InMemory] and
// [Caps.Timeout]: a proxy may block and may keep keys unless its author says
// that it does not.
func (p Proxy) Caps() Caps {
	c := CapsOf(p.Backend)
	c.InMemory, c.Timeout = false, 0
	return c
}

// TryLock forwards to the backend inside. Over a backend without leases it
// returns an error that wraps [errors.ErrUnsupported]; [Caps.Locks] tells
// beforehand.
func (p Proxy) TryLock(ctx context.Context, key string, ttl time.Duration) (Lease, error) {
	l, err := p.locker()
	if err != nil {
		return nil, err
	}
	return l.TryLock(ctx, key, ttl)
}

// Wait forwards to the backend inside; see [Proxy.TryLock].
func (p Proxy) Wait(ctx context.Context, key string) error {
	l, err := p.locker()
	if err != nil {
		return err
	}
	return l.Wait(ctx, key)
}

// Locked forwards to the backend inside; see [Proxy.TryLock].
func (p Proxy) Locked(ctx context.Context, key string) (bool, error) {
	l, err := p.locker()
	if err != nil {
		return false, err
	}
	return l.Locked(ctx, key)
}

// Holder forwards to the backend inside. Over one with leases that is none of [Holders] it
// reports what Locked does, and tells nothing of the holder; see [Proxy.TryLock].
func (p Proxy) Holder(ctx context.Context, key string) (h Holder, held bool, err error) {
	if hs, ok := p.Backend.(Holders); ok {
		return hs.Holder(ctx, key)
	}
	held, err = p.Locked(ctx, key)
	return Holder{}, held, err
}

// Scan forwards to the backend inside. Over one that is no [Scanner] it returns an error that
// wraps [errors.ErrUnsupported].
func (p Proxy) Scan(ctx context.Context, prefix string, found func(Found) bool) error {
	if s, ok := p.Backend.(Scanner); ok {
		return s.Scan(ctx, prefix, found)
	}
	return fmt.Errorf("backend %T lists nothing: %w", p.Backend, errors.ErrUnsupported)
}

// Shard forwards to the backend inside. It is "" over a backend that is no [Sharder].
func (p Proxy) Shard(key string) string {
	if s, ok := p.Backend.(Sharder); ok {
		return s.Shard(key)
	}
	return ""
}

// Watch forwards to the backend inside. stop is nil over a backend that is no [Watcher].
func (p Proxy) Watch(lag time.Duration) (stop func(), atOnce bool) {
	if w, ok := p.Backend.(Watcher); ok {
		return w.Watch(lag)
	}
	return nil, false
}

// Close closes the backend inside if it can be closed.
func (p Proxy) Close() error { return Close(p.Backend) }

func (p Proxy) locker() (Locker, error) {
	if l, ok := p.Backend.(Locker); ok {
		return l, nil
	}
	return nil, fmt.Errorf("backend %T has no leases: %w", p.Backend, errors.ErrUnsupported)
}

// As looks down a chain of proxies, from the outside in, for the first backend
// that is a T, and reports whether there is one. The chain ends where [IsNil]
// is true. As is for looking at a backend: data that goes past the proxies goes
// past what they do to it.
func As[T any](b Backend) (T, bool) {
	for !IsNil(b) {
		if t, ok := b.(T); ok {
			return t, true
		}
		u, ok := b.(interface{ Unwrap() Backend })
		if !ok {
			break
		}
		b = u.Unwrap()
	}
	var zero T
	return zero, false
}
