package memcached

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
	"github.com/dogpile-go/dogpile/internal/breaker"
	"github.com/dogpile-go/dogpile/internal/lifetime"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
)

// core is what a Backend does in the same way whatever its leases are.
type core struct {
	servers    []*server
	ring       *ring.Ring
	limit      time.Duration // of what takes several round trips; 0: none
	lockPrefix string
	maxValue   int
	lockByName bool      // the server of a lease is that of its own name, not that of the key
	python     bool      // Options.PythonLock
	parts      sync.Pool // of *parts
	life       *lifetime.Lifetime
}

var errClosed = errors.New("memcached: the backend is closed")

func newCore(r *ring.Ring, list []ring.Server, o *Options, secure backendurl.TLSConfig) *core {
	c := &core{
		ring:       r,
		lockPrefix: o.LockPrefix,
		maxValue:   o.MaxValue,
		lockByName: o.PythonLock || o.Protocol == protocolBinary,
		python:     o.PythonLock,
		life:       lifetime.New(errClosed),
	}
	if o.Timeout > 0 {
		c.limit = o.Timeout + o.ConnectTimeout
	}
	c.parts.New = func() any { return &parts{} }
	for _, s := range list {
		c.servers = append(c.servers, newServer(s.Addr, o, secure, c.limit))
	}
	return c
}

func (c *core) close() error {
	if !c.life.End() {
		return nil
	}
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// bound limits ctx to what a call may take. Calls of one round trip need not be
// limited, since a client answers in time by itself.
func (c *core) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return boundSince(ctx, time.Now(), c.limit)
}

// boundSince limits ctx to what is left of limit; 0: to nothing. Its cause tells
// breakers that it was not the caller who had no time.
func boundSince(ctx context.Context, began time.Time, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, began.Add(limit), driver.ErrTimeout)
}

// begin is where every call starts.
func (c *core) begin(ctx context.Context) error {
	if err := c.life.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

// at returns the server that has key.
func (c *core) at(key string) *server { return c.servers[c.ring.Pick(key)] }

// lockAt returns the server that has the lease on key, and its name there.
func (c *core) lockAt(key string) (*server, string) {
	lock := c.lockPrefix + key
	if c.lockByName {
		return c.at(lock), lock
	}
	// With the key, so that both are reached in one round trip.
	return c.at(key), lock
}

// failed says where a call failed. A memcache.ServerError does that itself, and so
// does the error of a breaker. The caller adds which call it was and for which key.
func failed(err error) error {
	var of *memcache.ServerError
	switch {
	case errors.As(err, &of), errors.Is(err, errClosed), errors.Is(err, breaker.ErrOpen):
		return err
	case errors.Is(err, memcache.ErrClosed):
		// The call had begun before close.
		return errClosed
	}
	return fmt.Errorf("memcached: %w", err)
}
