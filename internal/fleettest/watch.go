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

// watch is the proxy that notes what happens to the leases on the key that all
// readers ask for.
type watch struct {
	driver.Proxy
	w      *world
	p      *proc
	prefix string // of the keys that are watched

	had    atomic.Int64 // the latest version that was stored before the lease was taken, as far as known
	making atomic.Int64 // the version made last
}

// TryLock notes until when a lease that it gets will last at least, and the oldest
// version that a read under it may find.
func (x *watch) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	// The lease begins at some time between the question and the answer. Counted from
	// the question, it lasts at least as long as is noted.
	asked := time.Now()
	l, err := x.Proxy.TryLock(ctx, key, ttl)
	if l == nil || err != nil || !strings.HasPrefix(key, x.prefix) {
		return l, err
	}
	// No other holder stores while this one has the lease: what is stored now was
	// stored before the lease was taken, and the read under it must find it.
	had := x.w.stored.Load()
	if time.Since(asked) > ttl-tick {
		had = 0 // the lease may be lost already, and that version stored by another holder
	}
	x.had.Store(had)
	x.p.lease.Store(asked.Add(ttl).UnixNano())
	return &watched{l, x}, nil
}

// Get hands the backend its own leases.
func (x *watch) Get(ctx context.Context, items []driver.Item) error {
	defer bare(items)()
	return x.Proxy.Get(ctx, items)
}

// Set notes whether what it was to store under a lease was stored.
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

// watched is a lease that notes when it is extended.
type watched struct {
	driver.Lease
	x *watch
}

// Extend notes until when the lease now lasts at least.
func (l *watched) Extend(ctx context.Context, ttl time.Duration) error {
	asked := time.Now()
	err := l.Lease.Extend(ctx, ttl)
	l.x.p.renewals.Add(1)
	if err == nil {
		l.x.p.lease.Store(asked.Add(ttl).UnixNano())
	}
	return err
}
