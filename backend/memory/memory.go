// Package memory keeps a cache in the memory of the process: like a plain map,
// or bounded by entries or by bytes.
//
// Import it for its URL scheme too:
//
//	memory://                        unbounded
//	memory://?max_entries=100000
//	memory://?max_bytes=64MiB
//	memory://?copy=true
package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/lease"
)

// Options says how much a Backend keeps, and as what.
type Options struct {
	// MaxEntries bounds the number of entries; 0: no bound. Once it is reached,
	// entries that are not likely to be asked for again make room for others.
	MaxEntries int

	// MaxBytes bounds the memory that the entries take, in bytes: the lengths of
	// key and value, and 128 for keeping them. 0: no bound. An entry that is
	// larger by itself is not kept. Since only bytes have a known size, MaxBytes
	// implies Copy. It cannot be given together with MaxEntries.
	MaxBytes int

	// Copy keeps values as the bytes that a codec makes of them, so that every
	// reader gets a value of its own and none can change what is cached. Otherwise
	// values are kept as they are, and readers share them.
	Copy bool
}

// Stats describes a Backend at one moment.
type Stats struct {
	Entries   int   // those past their TTL count until they are dropped
	Bytes     int64 // as MaxBytes counts them; 0 without MaxBytes
	Evictions int64 // entries dropped so far to stay within the bound
}

// Backend keeps entries in memory and is safe for concurrent use. It has
// leases, and its Set under a lease is fenced.
//
// What is stored is kept as it was given, not copied. A Get takes no memory. An
// entry past its TTL is never returned. Without a bound it is dropped within about
// 10 s, or within a hundred times what looking at all entries takes if that is more;
// earlier if it is asked for, or if as many Sets have been made since as there are
// entries. With a bound it is dropped when it is asked for or has to make room.
//
// A Backend has no goroutine that waits. One that is no longer used goes like any
// other value, also without Close.
type Backend struct {
	leases lease.Guard
	table  table
	lru    *lru // nil: table is used
	caps   driver.Caps
	closed atomic.Bool
	store  func([]driver.Item) error // the methods of these names, bound once
	remove func([]string) error
}

// record is what is kept of an entry.
type record struct {
	obj      any           // an encoded, or the Object that was given
	deadline time.Duration // since base; 0: none
}

// encoded is Item.Data; as a type of its own it differs from an Object that is
// a []byte.
type encoded []byte

var (
	base = time.Now()

	errClosed = errors.New("the memory backend is closed")
	errObject = errors.New("a memory backend with Copy or MaxBytes keeps bytes, not Go values")
)

func init() { driver.Register("memory", open) }

func open(_ context.Context, args *driver.Args) (driver.Backend, error) {
	o := &Options{
		MaxEntries: args.Int("max_entries", 0),
		MaxBytes:   args.Int("max_bytes", 0),
		Copy:       args.Bool("copy", false),
	}
	if err := args.Err(); err != nil {
		return nil, err
	}
	if len(args.Hosts) > 0 || args.User != "" || args.Path != "" && args.Path != "/" {
		return nil, errors.New("a memory URL has no host, user or path")
	}
	return New(o)
}

// New returns an empty Backend. A nil o stands for the zero Options. Bounds
// that are negative, and MaxEntries together with MaxBytes, are errors.
func New(o *Options) (*Backend, error) {
	if o == nil {
		o = &Options{}
	}
	switch {
	case o.MaxEntries < 0:
		return nil, fmt.Errorf("dogpile: memory: MaxEntries (max_entries) is %d; it must not be negative", o.MaxEntries)
	case o.MaxBytes < 0:
		return nil, fmt.Errorf("dogpile: memory: MaxBytes (max_bytes) is %d; it must not be negative", o.MaxBytes)
	case o.MaxEntries > 0 && o.MaxBytes > 0:
		return nil, errors.New("dogpile: memory: MaxEntries (max_entries) and MaxBytes (max_bytes) exclude each other")
	}
	b := &Backend{caps: driver.Caps{
		Name:     "memory",
		Objects:  !o.Copy && o.MaxBytes == 0,
		Locks:    true,
		Fenced:   true,
		TTLUnit:  time.Nanosecond,
		InMemory: true,
	}}
	if o.MaxEntries > 0 || o.MaxBytes > 0 {
		b.lru = newLRU(o)
	}
	b.table.rested.Store(math.MinInt64) // base may be in the future, in a synctest bubble
	b.store, b.remove = b.storeItems, b.removeKeys
	return b, nil
}

// Caps implements driver.Describer.
func (b *Backend) Caps() driver.Caps { return b.caps }

// Get implements driver.Backend. Since it does not wait, it ignores its
// context.
func (b *Backend) Get(_ context.Context, items []driver.Item) error {
	if b.closed.Load() {
		return errClosed
	}
	var now time.Duration
	for i := range items {
		it := &items[i]
		rec, ok := b.load(it.Key)
		if !ok {
			continue
		}
		if rec.deadline != 0 {
			if now == 0 {
				now = time.Since(base) // once for all, and not at all where nothing has a TTL
			}
			if now >= rec.deadline {
				b.expire(it.Key) // by now there may be another, which the next Get finds
				continue
			}
			it.TTL = rec.deadline - now
		}
		it.Data, it.Object = rec.value()
	}
	return nil
}

// value returns what was stored, as Item.Data or as Item.Object.
func (rec *record) value() (data []byte, object any) {
	if data, ok := rec.obj.(encoded); ok {
		return data, nil
	}
	return nil, rec.obj
}

func (b *Backend) load(key string) (record, bool) {
	if b.lru != nil {
		return b.lru.cache.GetIfPresent(key)
	}
	return b.table.load(key)
}

func (b *Backend) expire(key string) {
	if b.lru != nil {
		b.lru.expire(key)
	} else {
		b.table.expire(key)
	}
}

// Set implements driver.Backend.
func (b *Backend) Set(ctx context.Context, items []driver.Item) error {
	if b.closed.Load() {
		return errClosed
	}
	return b.leases.Set(ctx, items, b.store)
}

func (b *Backend) storeItems(items []driver.Item) error {
	for i := range items {
		it := &items[i]
		var rec record
		switch {
		case it.Data != nil:
			rec.obj = encoded(it.Data)
		case it.Object != nil && !b.caps.Objects:
			it.Err = errObject
			continue
		default:
			rec.obj = it.Object
		}
		if it.TTL > 0 {
			rec.deadline = after(it.TTL)
		}
		if b.lru != nil {
			b.lru.cache.Set(it.Key, rec)
		} else {
			b.table.store(it.Key, rec)
		}
	}
	return nil
}

// after is when something that lasts for ttl ends. It is not 0, which stands
// for never.
func after(ttl time.Duration) time.Duration {
	// In a synctest bubble, where it is the year 2000, now is negative.
	now := time.Since(base)
	if now+ttl < now { // it overflows
		return math.MaxInt64
	}
	if now+ttl == 0 {
		return 1
	}
	return now + ttl
}

// Delete implements driver.Backend.
func (b *Backend) Delete(ctx context.Context, keys []string) error {
	if b.closed.Load() {
		return errClosed
	}
	return b.leases.Delete(ctx, keys, b.remove)
}

func (b *Backend) removeKeys(keys []string) error {
	for _, key := range keys {
		if b.lru != nil {
			b.lru.cache.Invalidate(key)
		} else {
			b.table.remove(key)
		}
	}
	return nil
}

// Drop implements driver.Dropper. Entries past their TTL are not offered to drop.
func (b *Backend) Drop(drop func(it *driver.Item) bool) {
	if b.closed.Load() {
		return
	}
	now := time.Since(base)
	match := func(key string, rec record) bool {
		if rec.deadline != 0 && now >= rec.deadline {
			return true
		}
		// A copy: drop must not be able to change what is kept.
		it := driver.Item{Key: key}
		it.Data, it.Object = rec.value()
		return drop(&it)
	}
	if b.lru != nil {
		b.lru.drop(match)
	} else {
		b.table.drop(match)
	}
}

// TryLock implements driver.Locker. A ttl that is not positive is an error.
func (b *Backend) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if b.closed.Load() {
		return nil, errClosed
	}
	return b.leases.TryLock(ctx, key, ttl)
}

// Wait implements driver.Locker.
func (b *Backend) Wait(ctx context.Context, key string) error {
	if b.closed.Load() {
		return errClosed
	}
	return b.leases.Wait(ctx, key)
}

// Locked implements driver.Locker.
func (b *Backend) Locked(ctx context.Context, key string) (bool, error) {
	if b.closed.Load() {
		return false, errClosed
	}
	return b.leases.Locked(ctx, key)
}

// Holder implements driver.Holders. It is always this process.
func (b *Backend) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	if b.closed.Load() {
		return driver.Holder{}, false, errClosed
	}
	return b.leases.Holder(ctx, key)
}

// Len returns the number of entries, including those past their TTL that have
// not been dropped yet.
func (b *Backend) Len() int {
	if b.lru != nil {
		return b.lru.len()
	}
	return b.table.len()
}

// Stats returns how much b keeps now.
func (b *Backend) Stats() Stats {
	s := Stats{Entries: b.Len()}
	if b.lru != nil {
		s.Bytes = int64(b.lru.cache.WeightedSize())
		s.Evictions = b.lru.evictions.Load()
	}
	return s
}

// Close empties b. Everything but Len and Stats is an error afterwards; a
// second Close is not.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	// A Set that has found b open may store once more after this. Nobody reads it, and it
	// goes with b.
	if b.lru != nil {
		b.lru.close()
	} else {
		b.table.clear()
	}
	return nil
}
