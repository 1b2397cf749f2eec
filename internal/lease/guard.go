// Package lease gives a backend that has no locks of its own leases within
// this process, and makes its writes respect them.
package lease

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Guard is a driver.Locker for the callers of one process. Embedded in a
// backend it makes that a driver.Locker; the backend's Set and Delete call
// Guard.Set and Guard.Delete, which makes it Caps.Fenced too.
//
// The zero value is ready. A Guard must not be copied. It keeps memory only
// for keys that are leased or being written, and no goroutine.
type Guard struct {
	shards [64]shard
}

var (
	seed = maphash.MakeSeed()
	base = time.Now()
)

// A shard's mutex is held for a few map operations and never while waiting.
type shard struct {
	mu   sync.Mutex
	keys map[string]slot
	_    [48]byte // a cache line each
}

// slot is the state of a key that is leased, being written, or both.
type slot struct {
	lease   *held
	writing bool
	wait    *waiting // nil: nobody has waited
}

type waiting struct {
	free  chan struct{}   // closed once the key is neither leased nor written; nil: nobody is in Wait
	turns []chan struct{} // writers in order of arrival; closing one hands it the key
}

func (g *Guard) shard(key string) *shard {
	return &g.shards[maphash.String(seed, key)%uint64(len(g.shards))]
}

// TryLock implements driver.Locker. A key that is being written counts as
// held. A ttl that is not positive is an error.
func (g *Guard) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, ttlError(key, ttl)
	}
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if e.writing || e.lease.live() {
		return nil, nil
	}
	l := &held{shard: s, key: key, deadline: after(ttl)}
	l.timer = time.AfterFunc(ttl, l.expire)
	e.drop()
	e.lease = l
	s.put(key, e)
	return l, nil
}

// Wait implements driver.Locker. It wakes when the lease has been released or
// revoked or has run out and no write of key is in progress.
func (g *Guard) Wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	free := g.shard(key).freed(key)
	if free == nil {
		return nil
	}
	select {
	case <-free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Locked implements driver.Locker.
func (g *Guard) Locked(ctx context.Context, key string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[key].lease.live(), nil
}

// Set does what driver.Backend says of leases in Set and leaves the storing to
// store. It waits its turn for every key of the batch, gives ErrLeaseLost to
// the items whose lease does not hold, revokes the leases on the keys of items
// without one, calls store once with the items that remain, unless none does,
// and releases the leases of those that store left without an Err. An error of
// store is returned as it is, and releases nothing.
//
// No other Set, Delete or TryLock of these keys comes between: writers queue in
// order of arrival, and TryLock is refused. Other keys are not held up. When
// ctx ends in the queue, its error is returned and nothing has been done.
// store may be handed another slice than items; it must not keep it.
func (g *Guard) Set(ctx context.Context, items []driver.Item, store func([]driver.Item) error) error {
	var one [1]string
	keys := slices.Grow(one[:0], len(items))
	for i := range items {
		keys = append(keys, items[i].Key)
	}
	keys = ordered(keys)
	leased, err := g.begin(ctx, keys)
	if err != nil {
		return err
	}
	defer g.end(keys)
	rest, from := g.admit(items, leased)
	if len(rest) == 0 {
		return nil
	}
	err = store(rest)
	for i, at := range from {
		items[at].Err = rest[i].Err
	}
	if err == nil && leased {
		g.settle(rest)
	}
	return err
}

// Delete does what driver.Backend says of leases in Delete: it revokes the
// leases on keys and calls del with keys, in its turn like Set. The leases stay
// revoked when del fails. No keys: del is not called.
func (g *Guard) Delete(ctx context.Context, keys []string, del func([]string) error) error {
	if len(keys) == 0 {
		return nil
	}
	var one [1]string
	sorted := ordered(append(one[:0], keys...))
	leased, err := g.begin(ctx, sorted)
	if err != nil {
		return err
	}
	defer g.end(sorted)
	if leased {
		for _, key := range sorted {
			g.revoke(key)
		}
	}
	return del(keys)
}

// ordered sorts keys in place and drops repeats: all writers take their keys in
// one order, so that no two batches wait for each other.
func ordered(keys []string) []string {
	if len(keys) < 2 {
		return keys
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// begin waits for the turn to write each of keys and reports whether any is
// leased. No key can become leased until end.
func (g *Guard) begin(ctx context.Context, keys []string) (leased bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for i, key := range keys {
		l, err := g.shard(key).begin(ctx, key)
		if err != nil {
			g.end(keys[:i])
			return false, err
		}
		leased = leased || l
	}
	return leased, nil
}

func (g *Guard) end(keys []string) {
	for _, key := range keys {
		g.shard(key).end(key)
	}
}

// admit sorts out the items whose lease does not hold. from tells where in
// items those of rest came from; nil: rest is items.
func (g *Guard) admit(items []driver.Item, leased bool) (rest []driver.Item, from []int) {
	lost := 0
	for i := range items {
		it := &items[i]
		switch {
		case it.Lease == nil && leased:
			g.revoke(it.Key)
		case it.Lease != nil && !(leased && g.use(it)):
			if lost == 0 {
				from = upTo(i)
			}
			it.Err = driver.ErrLeaseLost
			lost++
			continue
		}
		if lost > 0 {
			from = append(from, i)
		}
	}
	if lost == 0 {
		return items, nil
	}
	rest = make([]driver.Item, len(from))
	for i, at := range from {
		rest[i] = items[at]
	}
	return rest, from
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// use reports whether it.Lease holds on it.Key, and reserves it for this item.
func (g *Guard) use(it *driver.Item) bool {
	s := g.shard(it.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.keys[it.Key].lease
	if l == nil || it.Lease != driver.Lease(l) || l.used || !l.live() {
		return false
	}
	l.used = true
	return true
}

func (g *Guard) revoke(key string) {
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	e.drop()
	s.put(key, e)
}

// settle releases the leases of the items that were stored.
func (g *Guard) settle(stored []driver.Item) {
	for i := range stored {
		if l, ok := stored[i].Lease.(*held); ok && stored[i].Err == nil {
			l.release()
		}
	}
}

func ttlError(key string, ttl time.Duration) error {
	return fmt.Errorf("dogpile: lease on %q: a ttl of %v is not positive", key, ttl)
}
