package memcached

import (
	"context"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// plainLease is a lease as dogpile.cache has it: an item of its own name, on
// the server where that belongs. It has a token by which it is told from those
// of others, of which Python's value is "1".
type plainLease struct {
	reading
	c           *core
	s           *server
	lock, token string

	mu    sync.Mutex // of one call at a time; guards what follows
	over  bool       // released, or used up
	cas   uint64     // of the entry, as it was read; 0: there was none
	until time.Time  // by this clock, the lease runs out
}

// take tries to take the lease and reads the entry.
func (l *plainLease) take(ctx context.Context, ttl time.Duration) (bool, error) {
	began := time.Now()
	ops := append(make([]memcache.Op, 0, 2),
		memcache.Op{Kind: memcache.Set, Key: l.lock, Value: []byte(l.token), TTL: seconds(ttl), Mode: memcache.Add})
	entry, s := memcache.Op{Kind: memcache.Get, Key: l.key}, l.c.at(l.key)
	if s == l.s {
		ops = append(ops, entry)
	}
	err := l.s.Do(ctx, ops)
	switch {
	case ops[0].Status == memcache.Refused:
		return false, nil
	case err != nil:
		return false, err
	case ops[0].Err != nil:
		return false, ops[0].Err
	case ops[0].CAS == 0:
		return false, errNoCAS
	case s == l.s:
		entry, err = ops[1], ops[1].Err
	default:
		entry, err = do1(ctx, s, entry)
	}
	if err != nil {
		return false, err
	}
	l.cas, l.until = entry.CAS, began.Add(whole(ttl))
	l.keep(&entry)
	return true, nil
}

func (l *plainLease) held() bool { return !l.over && time.Now().Before(l.until) }

// use marks the lease as used up. It reports whether it was held until then.
func (l *plainLease) use() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held()
	l.over = true
	return held
}

// Extend implements driver.Lease.
func (l *plainLease) Extend(ctx context.Context, ttl time.Duration) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	if err := l.c.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := l.c.bound(ctx)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held() {
		return driver.ErrLeaseLost
	}
	cas, held, err := lockItem(ctx, l.s, l.lock, l.token)
	if err == nil && held {
		until := time.Now().Add(whole(ttl))
		var set memcache.Op
		set, err = do1(ctx, l.s, memcache.Op{Kind: memcache.Set, Key: l.lock, Value: []byte(l.token), TTL: seconds(ttl), CAS: cas})
		held = set.Status == memcache.Done
		l.until = until
	}
	switch {
	case err != nil:
		return failed("extend", err)
	case !held:
		return driver.ErrLeaseLost
	}
	return nil
}

// Release implements driver.Lease. It does its work under a ctx that is done as
// well, within what a call may take.
func (l *plainLease) Release(ctx context.Context) error {
	if l.c.closed.Load() {
		return errClosed
	}
	ctx, cancel := l.c.bound(context.WithoutCancel(ctx))
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := freeLock(ctx, l.s, l.lock, l.token); err != nil {
		return failed("release", err)
	}
	l.over = true
	return nil
}
