package memcached

import (
	"context"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// plainLease is a lease like that of dogpile.cache: an item of its own name, on
// the server to which that name belongs. Its value is a token, by which it is told
// from those of other programs. The value of dogpile.cache's is "1".
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

// take tries to take the lease and reads the entry, in the same round trip if
// both are on one server. The second time it may find that it has taken the lease
// the first time.
func (l *plainLease) take(ctx context.Context, ttl time.Duration, second bool) (bool, error) {
	if !second {
		// The end is counted from before the command was sent: the holder gives up
		// before the server lets another have the lease.
		l.until = time.Now().Add(ttl)
	}
	ops := append(make([]memcache.Op, 0, 2),
		memcache.Op{Kind: memcache.Set, Key: l.lock, Value: lockValue(l.token, ttl), TTL: seconds(ttl), Add: true})
	entry, s := memcache.Op{Kind: memcache.Get, Key: l.key}, l.c.at(l.key)
	if s == l.s {
		ops = append(ops, entry)
	}
	err := l.s.Do(ctx, ops)
	switch {
	case ops[0].Status == memcache.Refused && !second:
		// An answer, even if the connection ended before the next one.
		return false, nil
	case err != nil:
		return false, err
	case ops[0].Status == memcache.Refused:
		if _, mine, err := lockItem(ctx, l.s, l.lock, l.token); !mine || err != nil {
			return false, err
		}
	case ops[0].Err != nil:
		return false, ops[0].Err
	case ops[0].CAS == 0:
		return false, errNoCAS
	}
	if s == l.s {
		entry, err = ops[1], ops[1].Err
	} else {
		entry, err = do1(ctx, s, entry)
	}
	if err != nil {
		return false, err
	}
	l.cas = entry.CAS
	l.keep(&entry)
	return true, nil
}

// held reports whether the lease may be held, without asking. l.mu is held.
func (l *plainLease) held() bool { return !l.over && time.Now().Before(l.until) }

// use marks the lease as used up, and reports whether it was held until then.
func (l *plainLease) use() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held()
	l.over = true
	return held
}

// Extend makes the lease last for ttl from now, if it is still held.
func (l *plainLease) Extend(ctx context.Context, ttl time.Duration) error {
	return l.c.extend(ctx, ttl, &l.mu, func(ctx context.Context) error {
		return twice(ctx, func() error { return l.extend(ctx, ttl) })
	})
}

func (l *plainLease) extend(ctx context.Context, ttl time.Duration) error {
	if !l.held() {
		return driver.ErrLeaseLost
	}
	cas, held, err := lockItem(ctx, l.s, l.lock, l.token)
	switch {
	case err != nil:
		return err
	case !held:
		return driver.ErrLeaseLost
	}
	until := time.Now().Add(ttl)
	set, err := do1(ctx, l.s, memcache.Op{Kind: memcache.Set, Key: l.lock, Value: lockValue(l.token, ttl), TTL: seconds(ttl), CAS: cas})
	switch {
	case err != nil:
		// It may have been extended or not. The end that is known is the earlier
		// one, and safe.
		return err
	case set.Status != memcache.Done:
		// 1. The token is read.  2. The lease is revoked, or runs out.
		return driver.ErrLeaseLost
	}
	l.until = until
	return nil
}

// Release gives the lease up if it is still held.
func (l *plainLease) Release(ctx context.Context) error {
	return l.c.release(ctx, &l.mu, func(ctx context.Context) error {
		err := twice(ctx, func() error {
			_, err := freeLock(ctx, l.s, l.lock, l.token)
			return err
		})
		l.over = l.over || err == nil
		return err
	})
}
