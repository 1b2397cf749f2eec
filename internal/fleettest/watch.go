//go:build unix

package fleettest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// watch is the proxy that notes what happens to the leases on the key that
// everybody asks for.
type watch struct {
	driver.Proxy
	w      *world
	p      *proc
	prefix string // of the keys that it is about

	had    atomic.Int64 // the latest version that was stored before the lease was taken, as far as known
	making atomic.Int64 // the version made last
}

// TryLock notes until when a lease that it gets will last at least, and what the
// reading under it has to find.
func (x *watch) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	asked := time.Now()
	l, err := x.Proxy.TryLock(ctx, key, ttl)
	if l == nil || err != nil || !strings.HasPrefix(key, x.prefix) {
		return l, err
	}
	had := x.w.stored.Load()
	if time.Since(asked) > ttl-tick {
		had = 0 // it may be lost, and another may have stored that
	}
	x.had.Store(had)
	x.p.lease.Store(asked.Add(ttl).UnixNano())
	return &watched{l, x}, nil
}

// Get hands the backend's own leases down.
func (x *watch) Get(ctx context.Context, items []driver.Item) error {
	defer bare(items)()
	return x.Proxy.Get(ctx, items)
}

// Set notes what became of what it was to store under a lease.
func (x *watch) Set(ctx context.Context, items []driver.Item) error {
	back := bare(items)
	err := x.Proxy.Set(ctx, items)
	back()
	for i := range items {
		if _, ours := items[i].Lease.(*watched); !ours {
			continue
		}
		version := x.making.Load()
		switch c := x.w.creation(version); {
		case errors.Is(items[i].Err, driver.ErrLeaseLost):
			c.outcome.Store(isLost)
		case err == nil && items[i].Err == nil:
			c.outcome.Store(isStored)
			raise(&x.w.stored, version)
		}
	}
	return err
}

// bare puts the backend's leases in the place of watched ones until back is
// called.
func bare(items []driver.Item) (back func()) {
	var ours []*watched // by position; nil until there is one
	for i := range items {
		if l, ok := items[i].Lease.(*watched); ok {
			if ours == nil {
				ours = make([]*watched, len(items))
			}
			ours[i], items[i].Lease = l, l.Lease
		}
	}
	return func() {
		for i, l := range ours {
			if l != nil {
				items[i].Lease = l
			}
		}
	}
}

// watched is a lease that is being watched.
type watched struct {
	driver.Lease
	x *watch
}

// Extend notes until when the lease will last at least now.
func (l *watched) Extend(ctx context.Context, ttl time.Duration) error {
	asked := time.Now()
	err := l.Lease.Extend(ctx, ttl)
	l.x.p.renewals.Add(1)
	if err == nil {
		l.x.p.lease.Store(asked.Add(ttl).UnixNano())
	}
	return err
}
