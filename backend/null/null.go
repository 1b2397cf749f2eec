// Package null is the backend that keeps nothing: over it every call of a region
// runs its creator. It turns caching off without touching the code that uses it.
//
// Its URL is null://
package null

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Backend keeps nothing. Every Get finds nothing, every Set and Delete succeeds,
// and every TryLock gets a lease, which excludes no other. Its methods do not look
// at their contexts and never fail. The zero value is ready.
type Backend struct{}

func init() { driver.Register("null", open) }

func open(_ context.Context, args *driver.Args) (driver.Backend, error) {
	if err := args.Err(); err != nil {
		return nil, err
	}
	if len(args.Hosts) > 0 || args.User != "" || args.Path != "" && args.Path != "/" {
		return nil, errors.New("a null URL has no host, user or path")
	}
	return New(), nil
}

// New returns a Backend.
func New() *Backend { return &Backend{} }

// Caps implements [driver.Describer]. Discards is true.
func (*Backend) Caps() driver.Caps {
	return driver.Caps{
		Name:     "null",
		Objects:  true,
		Locks:    true,
		TTLUnit:  time.Nanosecond,
		InMemory: true,
		Discards: true,
	}
}

// Get implements [driver.Backend]. It finds nothing.
func (*Backend) Get(context.Context, []driver.Item) error { return nil }

// Set implements [driver.Backend]. It stores nothing.
func (*Backend) Set(context.Context, []driver.Item) error { return nil }

// Delete implements [driver.Backend]. It has nothing to remove.
func (*Backend) Delete(context.Context, []string) error { return nil }

// TryLock implements [driver.Locker]. It always returns a lease.
func (*Backend) TryLock(context.Context, string, time.Duration) (driver.Lease, error) {
	return lease{}, nil
}

// Wait implements [driver.Locker]. It returns at once.
func (*Backend) Wait(context.Context, string) error { return nil }

// Locked implements [driver.Locker]. It reports false.
func (*Backend) Locked(context.Context, string) (bool, error) { return false, nil }

// lease is a lease that excludes no other and cannot be lost.
type lease struct{}

func (lease) Extend(context.Context, time.Duration) error { return nil }

func (lease) Release(context.Context) error { return nil }
