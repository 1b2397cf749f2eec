package drivertest

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/lease"
	"github.com/dogpile-go/dogpile/internal/scan"
)

// reference is a backend that keeps the whole contract as plainly as can be:
// what RunProxy puts below a proxy, and what this package's own tests break.
type reference struct {
	leases lease.Guard
	caps   driver.Caps

	changes  *driver.Changes
	proof    driver.Proof
	watching atomic.Int64

	mu      sync.Mutex
	entries map[string]stored
	closed  int
}

type stored struct {
	data     []byte
	object   any
	deadline time.Time // zero: none
}

func newReference() *reference {
	r := &reference{
		entries: map[string]stored{},
		changes: driver.ChangesIn(make([]atomic.Uint64, 1<<10)),
		caps: driver.Caps{
			Name: "reference", Objects: true, Locks: true, Fenced: true, TTLUnit: time.Nanosecond, InMemory: true,
		},
	}
	r.proof.Renew(math.MaxInt64) // there are no other processes
	return r
}

// Watch implements driver.Watcher.
func (r *reference) Watch(time.Duration) (stop func(), atOnce bool) {
	r.watching.Add(1)
	return sync.OnceFunc(func() { r.watching.Add(-1) }), true
}

func (r *reference) Caps() driver.Caps { return r.caps }

func (r *reference) Get(ctx context.Context, items []driver.Item) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range items {
		if it := &items[i]; it.Keep && it.Lease == nil && r.watching.Load() > 0 {
			it.Mark = r.changes.Mark(it.Key, &r.proof)
		}
		e, ok := r.entries[items[i].Key]
		left := time.Until(e.deadline)
		if !ok || !e.deadline.IsZero() && left <= 0 {
			continue
		}
		items[i].Data, items[i].Object = e.data, e.object
		if !e.deadline.IsZero() {
			items[i].TTL = left
		}
	}
	return nil
}

func (r *reference) Set(ctx context.Context, items []driver.Item) error {
	return r.leases.Set(ctx, items, r.store)
}

func (r *reference) store(items []driver.Item) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range items {
		it := &items[i]
		e := stored{data: it.Data, object: it.Object}
		if it.TTL > 0 {
			e.deadline = time.Now().Add(it.TTL)
		}
		r.entries[it.Key] = e
		r.changes.Note(it.Key)
	}
	return nil
}

func (r *reference) Delete(ctx context.Context, keys []string) error {
	return r.leases.Delete(ctx, keys, r.remove)
}

func (r *reference) remove(keys []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		delete(r.entries, key)
		r.changes.Note(key)
	}
	return nil
}

func (r *reference) Drop(drop func(it *driver.Item) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, e := range r.entries {
		if drop(&driver.Item{Key: key, Data: e.data, Object: e.object}) {
			delete(r.entries, key)
		}
	}
}

func (r *reference) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	return r.leases.TryLock(ctx, key, ttl)
}

func (r *reference) Wait(ctx context.Context, key string) error { return r.leases.Wait(ctx, key) }

func (r *reference) Locked(ctx context.Context, key string) (bool, error) {
	return r.leases.Locked(ctx, key)
}

func (r *reference) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	return r.leases.Holder(ctx, key)
}

// Scan looks at a copy of all entries, as one may that has few.
func (r *reference) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	return scan.Each(ctx, r.over, func(yield func([]driver.Found, error) bool) {
		if !yield(r.list(prefix), nil) {
			return
		}
		for page := range r.leases.Leases(prefix) {
			if !yield(page, nil) {
				return
			}
		}
	}, found)
}

func (r *reference) over() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed > 0 {
		return errors.New("the backend is closed")
	}
	return nil
}

func (r *reference) list(prefix string) (page []driver.Found) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, e := range r.entries {
		f := driver.Found{Key: key, Size: len(e.data)}
		if !e.deadline.IsZero() {
			f.TTL = time.Until(e.deadline)
		}
		if strings.HasPrefix(key, prefix) && (f.TTL > 0 || e.deadline.IsZero()) {
			page = append(page, f)
		}
	}
	return page
}

func (r *reference) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed++
	return nil
}

// bare has the three methods of a backend and no others.
type bare struct{ driver.Backend }
