package memcached

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

const (
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// watch is what a waiter knows of a lease that another holds.
//
// memcached keeps the item of a lease for up to three seconds longer than its ttl,
// since its clock has whole seconds: see slack. A waiter need not wait for that. The
// item says its ttl, and each Extend gives it another CAS:
//
//  1. H takes or extends the lease. H counts the ttl from before that.
//  2. W reads the item, and looks at its own clock.
//  3. When the ttl has passed since 2, W reads the item with the same CAS.
//
// Then H has not extended the lease, and the ttl has passed by H's clock too. So
// the lease is over. W deletes its item, by that CAS: an Extend that arrives first
// is left alone, and one that comes later is refused. The two clocks are not
// compared, but have to go equally fast, give or take a thousandth.
type watch struct {
	token string
	cas   uint64
	ends  time.Time // the lease is over then, unless it is extended
}

// look takes note of the item of a lease, as it was read at the latest now. It
// reports whether the lease is over, or else when to look again.
func (w *watch) look(got *memcache.Op, now time.Time) (over bool, pause time.Duration) {
	token, ttl := splitLock(got.Value)
	if ttl == 0 {
		return false, lastPause // that of dogpile.cache, which does not say
	}
	ends := now.Add(ttl + ttl/1000 - age(got, ttl))
	if got.CAS != w.cas || token != w.token || ends.Before(w.ends) {
		w.token, w.cas, w.ends = token, got.CAS, ends
	}
	left := w.ends.Sub(now)
	return left <= 0, min(left, lastPause)
}

// age returns how long ago the lease was taken or extended, at least. The server
// was told the slack more than the ttl, and has counted the seconds that are not
// left any more; as many as the slack of them may not have passed.
func age(got *memcache.Op, ttl time.Duration) time.Duration {
	if got.Left <= 0 || ceil(ttl)+slack > maxRelative {
		return 0 // it was not told, or a date
	}
	return time.Duration(max(ceil(ttl)-got.Left, 0)) * time.Second
}

// wait asks again and again whether somebody holds the lease, and ends one that is
// over.
func (c *core) wait(ctx context.Context, key string) error {
	s, lock := c.lockAt(key)
	var w watch
	return c.life.Poll(ctx, firstPause, lastPause, func() (time.Duration, error) {
		left, err := c.await(ctx, s, key, lock, &w)
		switch {
		case err != nil && ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil:
			return 0, failed(err)
		}
		return left, nil
	})
}

// await returns how long to wait before the lease is looked at again; 0: it is
// free.
func (c *core) await(ctx context.Context, s *server, key, lock string, w *watch) (time.Duration, error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	if err := c.check(key); err != nil {
		return 0, err
	}
	got, err := do1(ctx, s, memcache.Op{Kind: memcache.Get, Key: lock, AskLeft: true})
	if err != nil || got.Status != memcache.Done {
		return 0, err
	}
	over, pause := w.look(&got, time.Now())
	if !over {
		return pause, nil
	}
	freed, err := do1(ctx, s, memcache.Op{Kind: memcache.Delete, Key: lock, CAS: got.CAS})
	if err == nil && freed.Status == memcache.Changed {
		return firstPause, nil // it was extended
	}
	return 0, err
}
