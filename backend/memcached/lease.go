package memcached

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/proxy"
)

// mark begins every token of ours. The lock of dogpile.cache is "1".
const mark = "dogpile-go."

func newToken() string { return mark + rand.Text() }

func ours(token []byte) bool { return strings.HasPrefix(string(token), mark) }

// reading is what TryLock has read, for the Get that follows. It is part of
// every lease.
type reading struct {
	key  string
	read atomic.Pointer[driver.Item] // nil once used
}

// reader is a lease with a reading.
type reader interface{ answer(*driver.Item) bool }

// keep keeps what was found for answer.
func (r *reading) keep(found *memcache.Op) {
	it := new(driver.Item)
	fill(it, found)
	r.read.Store(it)
}

// answer answers a Get under the lease, if it still has what TryLock has read.
func (r *reading) answer(it *driver.Item) bool {
	if it.Key != r.key {
		return false
	}
	found := r.read.Swap(nil)
	if found == nil {
		return false
	}
	if found.Data != nil {
		it.Data = found.Data
	}
	if found.Err != nil {
		it.Err = found.Err
	}
	return true
}

func (c *core) lockable(key string, ttl time.Duration) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	if err := c.check(key); err != nil {
		return failed("lock", err)
	}
	return nil
}

func ttlError(ttl time.Duration) error {
	return failed("lock", fmt.Errorf("a ttl of %v is not positive", ttl))
}

// do1 sends one op and returns it, or why it has no answer.
func do1(ctx context.Context, to doer, op memcache.Op) (memcache.Op, error) {
	ops := [1]memcache.Op{op}
	if err := to.Do(ctx, ops[:]); err != nil {
		return op, err
	}
	return ops[0], ops[0].Err
}

// lockItem reads the item of a lease and reports whether it has token, and its
// CAS.
func lockItem(ctx context.Context, to doer, lock, token string) (cas uint64, held bool, err error) {
	got, err := do1(ctx, to, memcache.Op{Kind: memcache.Get, Key: lock})
	return got.CAS, got.Status == memcache.Done && string(got.Value) == token, err
}

// freeLock deletes the item of a lease if it has token, and reports whether it
// did.
func freeLock(ctx context.Context, to doer, lock, token string) (freed bool, err error) {
	cas, held, err := lockItem(ctx, to, lock, token)
	if err != nil || !held {
		return false, err
	}
	got, err := do1(ctx, to, memcache.Op{Kind: memcache.Delete, Key: lock, CAS: cas})
	return got.Status == memcache.Done, err
}

// giveUp gives back a lease of which err leaves open whether it was granted, or
// will be: the command may still be on its way, and another connection may
// overtake it. Otherwise nobody would have the lease until it runs out. If very
// many are in doubt, some of them do that.
func (c *core) giveUp(s doer, lock, token string, ttl time.Duration, err error) {
	if errors.Is(err, proxy.ErrOpen) {
		return
	}
	select {
	case c.inDoubt <- struct{}{}:
	default:
		return
	}
	c.background(func() {
		defer func() { <-c.inDoubt }()
		ctx, cancel := context.WithTimeout(c.ctx, ttl)
		defer cancel()
		for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			if freed, err := freeLock(ctx, s, lock, token); freed && err == nil {
				return
			}
			if c.sleep(ctx, pause) != nil {
				return
			}
		}
	})
}

// Locked implements driver.Locker.
func (c *core) Locked(ctx context.Context, key string) (bool, error) {
	locked, err := c.locked(ctx, key)
	if err != nil {
		return false, failed("locked", err)
	}
	return locked, nil
}

func (c *core) locked(ctx context.Context, key string) (bool, error) {
	if err := errors.Join(c.begin(ctx), c.check(key)); err != nil {
		return false, err
	}
	s, lock := c.lockAt(key)
	got, err := do1(ctx, s, memcache.Op{Kind: memcache.Get, Key: lock, NoValue: true})
	return got.Status == memcache.Done, err
}
