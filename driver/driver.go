// Package driver defines what a cache backend implements, [Backend], and what
// a proxy embeds, [Proxy]. Most code should use package dogpile; this one is for
// authors of backends and proxies. It depends on the standard library only.
//
// Errors of a backend carry no prefix "dogpile: ". A region puts it in front,
// with the operation and the key, and so does [Open].
package driver

import (
	"context"
	"errors"
	"io"
	"reflect"
	"time"
)

// Backend keeps entries under keys. Its methods are called from many
// goroutines at once, honour ctx, and work on batches: a batch of one is the
// common case and must cost no more than a single call. An empty batch does
// nothing and does no I/O.
//
// A method returns an error when nothing could be done; what concerns one item
// goes into that item's [Item.Err].
type Backend interface {
	// Get fills [Item.Data] or [Item.Object] of each item that is found and
	// leaves the others as they are. An item that could not be read gets an
	// [Item.Err]: [ErrCorrupt] when what is stored under its key is damaged, any
	// other error when the key could not be asked for. Keys and leases stay as
	// they are, and items keep their order.
	//
	// A Get that begins after a Set or Delete of the same key has returned sees
	// what that call did, whichever process made it.
	//
	// An item that carries a [Lease] is read by the holder of the lease on its
	// key. A backend whose TryLock has fetched the entry together with the lease
	// may answer such an item, once, without another round trip.
	Get(ctx context.Context, items []Item) error

	// Set stores Data or Object of each item. An item with a [Lease] is stored
	// only while that lease is held, and the lease is released in the same step;
	// once it is lost the item is not stored and gets [ErrLeaseLost]. An item
	// without one is stored in any case, and any lease on its key is revoked.
	//
	// Set writes to nothing that it is handed but Err, and keeps neither the
	// slice of items nor a pointer into it.
	Set(ctx context.Context, items []Item) error

	// Delete removes the entries under keys and revokes the leases on them. A
	// key that is absent is not an error, and the keys after it are removed all
	// the same.
	Delete(ctx context.Context, keys []string) error
}

// Item is one entry on its way to or from a backend.
type Item struct {
	// Key is what the entry is kept under, as the backend sees it.
	Key string
	// Data is the entry as bytes. Once handed over, in either direction,
	// neither side writes to it.
	Data []byte
	// Object is the entry as a Go value, for backends with [Caps.Objects].
	Object any
	// TTL is, in Set, the time after which the entry is dropped, rounded up to
	// [Caps.TTLUnit]. With 0 no time ends the entry: it stays until the backend
	// needs the room. In Get a backend that knows it sets TTL to what is left.
	TTL time.Duration
	// Lease is, in Set, the lease under which the entry is stored; nil stores it
	// unconditionally. In Get it tells that the caller holds that lease.
	Lease Lease
	// Once, in Set, is for what must not come back after another Set or Delete has
	// replaced it, as a version token. A backend that cannot tell whether it has been
	// stored, because the connection ended, says so in Err and does not try again.
	Once bool
	// Keep, in Get, says that the caller is going to keep a copy of the entry, for which it
	// wants a Mark; see [Watcher]. A Get under a lease gives none.
	Keep bool
	// Mark, in Get of an item with Keep, is what tells for how long the copy is right.
	Mark Mark
	// Err is what went wrong with this item alone; see [Backend].
	Err error
}

// Found reports whether the item has a value.
func (it *Item) Found() bool { return it.Data != nil || it.Object != nil }

// Describer is implemented by a backend that has something to say about
// itself. A backend that does not implement it has the zero [Caps].
type Describer interface{ Caps() Caps }

// Caps is what a backend can do and what it asks for. A region reads it once,
// when it is configured.
type Caps struct {
	Name      string        // "redis", for metrics and messages
	Objects   bool          // keeps Item.Object as it is: no codec runs
	Shared    bool          // other processes see what is stored
	Locks     bool          // implements Locker, and its methods work
	Fenced    bool          // Set under a Lease is atomic with the check that it is still held
	MaxKeyLen int           // bytes; 0: no limit
	MaxValue  int           // bytes; 0: no limit
	TTLUnit   time.Duration // granularity of TTL, which is rounded up

	// Mangle is what the backend would like done to keys, or nil.
	Mangle func(key string) string

	// InMemory says that Get answers from the memory of this process: it never
	// blocks, so that no timer is set for it, and it does not keep [Item.Key] once
	// it has returned, so that the caller may use the bytes of the key again.
	// [Proxy] turns it off; a proxy of which the same is true may turn it on
	// again.
	InMemory bool

	// Timeout is how long a call takes at most, other than Wait and Scan, whatever its
	// context: the backend sees to that itself, so that its callers need no timer
	// for it. 0: there is no such bound. [Proxy] turns it off like InMemory.
	Timeout time.Duration

	// Discards says that the backend keeps nothing. A region over it neither
	// looks up nor locks: every call runs its creator.
	Discards bool
}

// Locker is implemented by backends that can elect one holder for a key among
// all their clients. [Caps.Locks] says whether it can be used, so that a type
// which forwards may implement it always.
//
// Leases carry no values: these travel in Get and Set alone.
type Locker interface {
	// TryLock takes the lease on key for ttl and returns it, or (nil, nil)
	// when it is held already, which then lasts as long as it would have. It does
	// not wait. A TryLock whose ctx ends before it returns holds nothing
	// afterwards, or nothing that outlives ttl. Neither the lease nor its end
	// removes or changes the entry under key.
	TryLock(ctx context.Context, key string, ttl time.Duration) (Lease, error)

	// Wait returns nil when the lease on key may be free, or ctx's error. It may
	// return early, though not so often that a caller spins; it must return soon
	// after the lease was released, revoked, or has run out. Leases on other keys
	// do not hold it up.
	Wait(ctx context.Context, key string) error

	// Locked reports whether the lease on key is held, by this client or another.
	Locked(ctx context.Context, key string) (bool, error)
}

// Sharder is implemented by backends that spread their keys over several
// servers, each of which may be down while the others answer. A region then
// keeps a version token on every server, so that a server that is down takes its
// own entries and no others.
type Sharder interface {
	// Shard names the server that keeps key now: keys of one server have the same
	// name. It is "" for every key where there is one server only. Shard asks
	// nobody and is quick; what it says may be out of date, which costs the entries
	// of a server that is down and never makes an invalid one valid.
	Shard(key string) string
}

// Dropper is implemented by backends that keep entries in the memory of this process
// and can look through them. A region has it drop what a hard invalidation has made
// invalid, which would take up memory until somebody asks for it. [As] finds it below
// proxies, so that what a proxy has changed is offered as the backend keeps it.
type Dropper interface {
	// Drop removes the entries for which drop returns true. drop is given what Get would
	// return, and must not keep the Item or change what it points to; it is quick and
	// calls nothing of the backend. An entry that is stored meanwhile may be offered or
	// not; one that takes the place of another that was offered is not removed for it.
	// Leases stay as they are.
	Drop(drop func(it *Item) bool)
}

// Lease is a lock held for a limited time. Its methods may be called from any
// goroutine.
type Lease interface {
	// Extend makes the lease last for ttl from now. Once the lease has been lost,
	// that is released, revoked, used up by a Set or run out, Extend returns
	// [ErrLeaseLost] and takes nothing.
	Extend(ctx context.Context, ttl time.Duration) error

	// Release gives the lease up if it is still held, and never that of another
	// holder. A lease that was lost or released before is not an error.
	Release(ctx context.Context) error
}

// ErrLeaseLost is the error of a call under a lease that holds no longer: it
// has run out, was released or revoked, or was used up by a Set.
var ErrLeaseLost = errors.New("lease lost")

// ErrCorrupt is the error of an item whose stored bytes cannot be what was
// once stored. To a region such an entry is missing.
var ErrCorrupt = errors.New("stored data is corrupt")

// ErrTimeout is the [context.Cause] of a context that ended because a backend took
// longer than its region allows, not because of the caller's own deadline. It
// tells the two apart for a proxy that judges the backend. ctx.Err is
// [context.DeadlineExceeded] in both cases.
var ErrTimeout = errors.New("the backend took too long")

// IsNil reports whether b is nil or has a nil pointer in it, which no method
// can be called on.
func IsNil(b Backend) bool {
	if b == nil {
		return true
	}
	v := reflect.ValueOf(b)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// CapsOf returns what b says about itself. It is the zero [Caps] for a backend
// that says nothing and for one of which [IsNil] is true. Locks and Fenced are
// false for a backend that does not implement [Locker], whatever it says.
func CapsOf(b Backend) Caps {
	d, ok := b.(Describer)
	if !ok || IsNil(b) {
		return Caps{}
	}
	c := d.Caps()
	if _, ok := b.(Locker); !ok || !c.Locks {
		c.Locks, c.Fenced = false, false
	}
	return c
}

// Close closes b if it can be closed. A backend that is no io.Closer has
// nothing to close, nor has one of which [IsNil] is true.
func Close(b Backend) error {
	if c, ok := b.(io.Closer); ok && !IsNil(b) {
		return c.Close()
	}
	return nil
}
