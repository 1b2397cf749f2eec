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

// Guard is a [driver.Locker] for the callers of one process. Embedded in a
// backend it makes that a driver.Locker; the backend's Set and Delete call
// [Guard.Set] and [Guard.Delete], which makes it Fenced as [driver.Caps] has it.
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
	keys map[string]keyState // keys that are neither leased nor being written are not in it
	_    [48]byte            // a cache line each
}

// keyState is the state of a key that is leased, being written, or both.
type keyState struct {
	lease   *held
	writing bool
	waiters *waiters // nil: nothing has waited for the key
}

type waiters struct {
	free  chan struct{}   // closed once the key is neither leased nor written; nil: no call of Wait uses it
	queue []chan struct{} // writers in order of arrival; closing one hands it the key
}

func (g *Guard) shard(key string) *shard {
	return &g.shards[maphash.String(seed, key)%uint64(len(g.shards))]
}

// TryLock implements [driver.Locker]. A key that is being written counts as
// held. A ttl that is not positive is an error.
func (g *Guard) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, ttlError(ttl)
	}
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	// A write in progress refuses a lease even where none is held:
	//  1. S begins to Set k without a lease, and revokes the leases on k.
	//  2. C takes the lease on k, and its creator reads the origin.
	//  3. S stores its value and returns.
	//  4. C stores under a lease that is not revoked: over the newer value of S.
	// Refused at 2, C takes its lease after 3 and then finds the value of S.
	if e.writing || e.lease.live() {
		return nil, nil
	}
	l := &held{shard: s, key: key, since: time.Since(base), deadline: after(ttl)}
	l.timer = time.AfterFunc(ttl, l.expire)
	e.endLease() // one that has run out, and whose timer has yet to say so
	e.lease = l
	s.save(key, e)
	return l, nil
}

// Wait implements [driver.Locker]. It wakes when the lease has been released or
// revoked or has run out and no write of key is in progress.
func (g *Guard) Wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	free := g.shard(key).free(key)
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

// Locked implements [driver.Locker].
func (g *Guard) Locked(ctx context.Context, key string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[key].lease.live(), nil
}

// Set does what [driver.Backend] says of leases in Set and leaves the storing to
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
	var one [1]string // keeps the common batch of one off the heap
	keys := slices.Grow(one[:0], len(items))
	for i := range items {
		keys = append(keys, items[i].Key)
	}
	keys = ordered(keys)
	leased, err := g.beginWrite(ctx, keys)
	if err != nil {
		return err
	}
	defer g.endWrite(keys)
	rest, from := g.checkLeases(items, leased)
	if len(rest) == 0 {
		return nil
	}
	err = store(rest)
	for i, at := range from {
		items[at].Err = rest[i].Err
	}
	if err == nil && leased {
		releaseStored(rest)
	}
	return err
}

// Delete does what [driver.Backend] says of leases in Delete: it revokes the
// leases on keys and calls del with keys, in its turn like [Guard.Set]. The
// leases stay revoked when del fails. No keys: del is not called.
func (g *Guard) Delete(ctx context.Context, keys []string, del func([]string) error) error {
	if len(keys) == 0 {
		return nil
	}
	var one [1]string
	sorted := ordered(append(one[:0], keys...))
	leased, err := g.beginWrite(ctx, sorted)
	if err != nil {
		return err
	}
	defer g.endWrite(sorted)
	// The leases are revoked first, since del may fail and yet have deleted:
	//  1. C holds the lease on k, and creates.
	//  2. D calls del, which removes the entry and then times out.
	//  3. D returns the error.  If the lease on k still held now,
	//  4. C would store under it what it began to create before D.
	if leased {
		for _, key := range sorted {
			g.revoke(key)
		}
	}
	return del(keys)
}

// ordered sorts keys in place and drops repeats. In one order, because two
// batches in different orders could wait for each other for ever:
//  1. A has the turn for k1 and waits for k2.
//  2. B has the turn for k2 and waits for k1.
//
// Without repeats, because a batch would wait for itself.
func ordered(keys []string) []string {
	if len(keys) < 2 {
		return keys
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// beginWrite waits for the turn to write each of keys and reports whether any
// is leased. No key can become leased until endWrite.
func (g *Guard) beginWrite(ctx context.Context, keys []string) (leased bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for i, key := range keys {
		l, err := g.shard(key).beginWrite(ctx, key)
		if err != nil {
			g.endWrite(keys[:i])
			return false, err
		}
		leased = leased || l
	}
	return leased, nil
}

func (g *Guard) endWrite(keys []string) {
	for _, key := range keys {
		g.shard(key).endWrite(key)
	}
}

// checkLeases revokes the leases on the keys of items without one, and leaves
// out the items whose lease does not hold. from tells where in items those of
// rest came from; nil: rest is items.
func (g *Guard) checkLeases(items []driver.Item, leased bool) (rest []driver.Item, from []int) {
	lost := 0
	for i := range items {
		it := &items[i]
		switch {
		case it.Lease == nil && leased:
			g.revoke(it.Key)
		case it.Lease != nil && !(leased && g.reserve(it)):
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

// reserve reports whether it.Lease holds on it.Key, and keeps it for this item:
// a lease is good for one item of a batch.
func (g *Guard) reserve(it *driver.Item) bool {
	s := g.shard(it.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.keys[it.Key].lease
	if l == nil || it.Lease != driver.Lease(l) || l.reserved || !l.live() {
		return false
	}
	l.reserved = true
	return true
}

func (g *Guard) revoke(key string) {
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	e.endLease()
	s.save(key, e)
}

// releaseStored releases the leases of the items that were stored. It comes
// before endWrite, so that no other call sees a key that is stored and leased.
func releaseStored(items []driver.Item) {
	for i := range items {
		if l, ok := items[i].Lease.(*held); ok && items[i].Err == nil {
			l.release()
		}
	}
}

func ttlError(ttl time.Duration) error {
	return fmt.Errorf("a ttl of %v is not positive", ttl)
}
