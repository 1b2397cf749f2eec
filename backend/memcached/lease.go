package memcached

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/proxy"
)

// mark begins every token of ours. The lock of dogpile.cache is "1".
const mark = holder.Mark

func ours(token []byte) bool { return strings.HasPrefix(string(token), mark) }

// lockValue is what the item of a lease holds: the token, and the ttl in
// milliseconds for those who wait.
func lockValue(token string, ttl time.Duration) []byte {
	return strconv.AppendInt(append([]byte(token), '.'), int64((ttl-1)/time.Millisecond)+1, 10)
}

// splitLock takes a lockValue apart. The ttl of another value is 0.
func splitLock(value []byte) (token string, ttl time.Duration) {
	token = string(value)
	at := strings.LastIndexByte(token, '.')
	if !ours(value) || at < len(mark) {
		return token, 0
	}
	ms, err := strconv.ParseInt(token[at+1:], 10, 64)
	if err != nil || ms <= 0 || ms > math.MaxInt64/int64(2*time.Millisecond) {
		return token[:at], 0
	}
	return token[:at], time.Duration(ms) * time.Millisecond
}

// reading is what TryLock has read, for the Get that follows. Every lease has
// one.
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

// answer answers a Get under the lease from what TryLock has read, once, and
// reports whether it could. Later Gets under the lease ask the server.
func (r *reading) answer(it *driver.Item) bool {
	if it.Key != r.key {
		return false
	}
	// Once only: the entry may be deleted while the lease is held.
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

// extend has a lease, which mu guards, extended by ttl.
func (c *core) extend(ctx context.Context, ttl time.Duration, mu *sync.Mutex, extend func(context.Context) error) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	mu.Lock()
	defer mu.Unlock()
	err := extend(ctx)
	if err != nil && err != driver.ErrLeaseLost {
		err = failed(err)
	}
	return err
}

// release has a lease, which mu guards, given up. It does so under a ctx that is
// done as well, within what a call may take: a caller that was cancelled must not
// leave its lease behind.
func (c *core) release(ctx context.Context, mu *sync.Mutex, release func(context.Context) error) error {
	if err := c.life.Err(); err != nil {
		return err
	}
	ctx, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	mu.Lock()
	defer mu.Unlock()
	if err := release(ctx); err != nil {
		return failed(err)
	}
	return nil
}

// lockable returns why there can be no such lease.
func (c *core) lockable(key string, ttl time.Duration) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	if err := c.check(key); err != nil {
		return failed(err)
	}
	return nil
}

func ttlError(ttl time.Duration) error {
	return fmt.Errorf("memcached: the ttl of a lease is %v; it has to be positive", ttl)
}

// do1 sends one op and returns it with its answer, or why there is none.
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
	found, _ := splitLock(got.Value)
	return got.CAS, got.Status == memcache.Done && found == token, err
}

// freeLock deletes the item of a lease if it has token, and reports whether it
// did. It names the CAS that it has read with the token:
//
//  1. The token is read.  2. The lease runs out.  3. N takes it.
//  4. The delete finds another CAS, and leaves N's lease alone.
func freeLock(ctx context.Context, to doer, lock, token string) (freed bool, err error) {
	cas, held, err := lockItem(ctx, to, lock, token)
	if err != nil || !held {
		return false, err
	}
	got, err := do1(ctx, to, memcache.Op{Kind: memcache.Delete, Key: lock, CAS: cas})
	return got.Status == memcache.Done, err
}

// giveUp gives back, in the background, a lease that may have been granted
// without anybody knowing, when its TryLock has ended with err:
//
//  1. TryLock sends its commands, and gives up before the answer comes.
//  2. giveUp looks for the token, over another connection, and finds none.
//  3. The commands arrive, and take the lease.
//
// So it looks until it has freed something, or the lease has run out in any
// case. Without it nobody could take the lease until then. Nothing was sent
// while the breaker was open.
func (c *core) giveUp(s doer, lock, token string, ttl time.Duration, err error) {
	if errors.Is(err, proxy.ErrOpen) {
		return
	}
	c.life.Retry(ttl, func(ctx context.Context) bool {
		freed, err := freeLock(ctx, s, lock, token)
		return freed && err == nil
	})
}

// locked reports whether there is an item under the name of the lease, whatever
// it holds.
func (c *core) locked(ctx context.Context, key string) (bool, error) {
	if err := errors.Join(c.begin(ctx), c.check(key)); err != nil {
		return false, err
	}
	s, lock := c.lockAt(key)
	got, err := do1(ctx, s, memcache.Op{Kind: memcache.Get, Key: lock, NoValue: true})
	return got.Status == memcache.Done, err
}

// holder reads what the holder has written into the item of the lease.
func (c *core) holder(ctx context.Context, key string) (h driver.Holder, held bool, err error) {
	if err := errors.Join(c.begin(ctx), c.check(key)); err != nil {
		return h, false, err
	}
	s, lock := c.lockAt(key)
	got, err := do1(ctx, s, memcache.Op{Kind: memcache.Get, Key: lock})
	if err != nil || got.Status != memcache.Done {
		return h, false, err
	}
	token, _ := splitLock(got.Value)
	return holder.Of(token), true, nil
}
