// Package redis keeps a cache in a Redis or Valkey server, a master that
// Sentinel watches, or a Cluster, by way of github.com/redis/rueidis. All
// processes that use the server share the entries and elect one creator among
// them.
//
// Give it a client that the program has already:
//
//	backend, err := redis.New(client, nil)
//
// or have it make one, with redis.Open, or by its URL schemes:
//
//	redis://user:password@host:6379/0      valkey:// is the same
//	rediss://host/0?ca_file=/etc/ca.pem    with TLS; valkeys:// is the same
//	redis+unix:///run/redis.sock?db=0      also valkey+unix:// and unix://
//	redis+sentinel://h1:26379,h2/mymaster/0
//	redis+cluster://h1:7000,h2:7000
//
// Entries and leases are those of Python's dogpile.cache; see
// docs/from-python.md.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

const (
	// DefaultTimeout is how long a call waits for the server unless
	// Options.Timeout says otherwise.
	DefaultTimeout = time.Second
	// DefaultLockPrefix precedes a key to make the key of its lease, unless
	// Options.LockPrefix says otherwise.
	DefaultLockPrefix = "_lock"
)

// Options says how a Backend uses the server. The zero value is ready to use.
// A Backend copies its Options. In a URL each field is the argument of the same
// name in snake case, as lock_prefix.
type Options struct {
	// Timeout bounds each call to the server, so that one that hangs costs no
	// more than that. 0: DefaultTimeout; -1: the caller's context alone.
	Timeout time.Duration

	// LockPrefix precedes a key to make the key of its lease. Programs that
	// share leases have to agree on it. Keys of entries must not begin with it.
	// "": DefaultLockPrefix. Braces are refused, because a Cluster reads them.
	LockPrefix string

	// Poll makes waiters ask from time to time whether a lease is free. By
	// default the server tells them, by client-side tracking on a connection of
	// its own, and they ask only where it cannot.
	Poll bool

	// Breaker spares callers a server that keeps failing: see proxy.Breaker.
	// nil: a breaker with the defaults; without one: &proxy.BreakerOptions{Off:
	// true}. In a URL: breaker=false, breaker_failures, breaker_cooldown.
	Breaker *proxy.BreakerOptions

	// Credentials says who the client is, for each connection that Open's client
	// makes, in place of what the URL says; it suits tokens that rotate. A user
	// of "" is the default one. nil: as the URL says. New refuses it. It has no
	// argument in a URL.
	Credentials func(ctx context.Context) (user, password string, err error)

	// TLS is how Open secures its connections, in place of what the URL says
	// about certificates. nil: as the URL says. New refuses it. It has no
	// argument in a URL.
	TLS *tls.Config
}

// check returns what is wrong with o.
func (o *Options) check() error {
	switch {
	case o.Timeout < 0 && o.Timeout != -1:
		return fmt.Errorf("option Timeout (timeout) is %v; it is positive, 0 or -1", o.Timeout)
	case strings.ContainsAny(o.LockPrefix, "{}"):
		return errors.New("option LockPrefix (lock_prefix) contains a brace")
	}
	return nil
}

// Backend keeps entries on a server. Its leases are held across processes, and
// its Set under a lease is fenced. It is safe for concurrent use. Reads go to
// the primary, whatever the client does with other reads. While a slot of a Cluster
// moves, calls on its keys are several steps to the same effect, and a Set under a
// lease that was taken before the slot began to move may be refused with an error.
type Backend struct {
	calls caller // core, behind its breaker if there is one
	core  *core
}

// caller is what a core is, and a proxy around one.
type caller interface {
	driver.Backend
	driver.Locker
	driver.Holders
}

var (
	_ driver.Backend   = (*Backend)(nil)
	_ driver.Locker    = (*Backend)(nil)
	_ driver.Sharder   = (*Backend)(nil)
	_ driver.Watcher   = (*Backend)(nil)
	_ driver.Holders   = (*Backend)(nil)
	_ driver.Scanner   = (*Backend)(nil)
	_ driver.Describer = (*Backend)(nil)
)

// New returns a Backend over a client, which may be used for other things as
// well and stays open when the Backend is closed. A nil o stands for the zero
// Options.
//
// New does not replace the client, so that what Open says about servers that are
// no longer the right ones does not hold: a call returns the server's error until
// the client makes other connections. ClientOption.ConnLifetime has it do that.
//
// The client's own timeouts and retries come on top: Options.Timeout cannot
// end a call that waits for ClientOption.Dialer to connect, and a client that
// retries gives up only when the Timeout has passed.
func New(client rueidis.Client, o *Options) (*Backend, error) {
	if o == nil {
		o = &Options{}
	}
	err := o.check()
	switch {
	case client == nil:
		err = errors.New("client is nil")
	case o.TLS != nil:
		err = errors.New("option TLS is for Open; the client of New has its own")
	case o.Credentials != nil:
		err = errors.New("option Credentials is for Open; the client of New has its own")
	}
	if err != nil {
		return nil, fmt.Errorf("dogpile: redis: %w", err)
	}
	return newBackend(newCore(o, client.Mode() == rueidis.ClientModeCluster, nil, client), o), nil
}

func newBackend(c *core, o *Options) *Backend {
	// With the breaker off the proxy is c itself; both are callers.
	return &Backend{core: c, calls: proxy.Breaker(o.Breaker)(c).(caller)}
}

// Client returns the client that b uses now, for looking at the server or for
// commands of the program's own. It is nil until a Backend that Open has made has
// connected for the first time. Such a Backend may replace its client, and then
// closes the old one, so that what Client returns should not be kept.
func (b *Backend) Client() rueidis.Client {
	if c := b.core.link.now.Load(); c != nil {
		return c.Client
	}
	return nil
}

// Get fills the Data of each item that the server has. It is one round trip; on
// a Cluster, one to each node that has any of the keys, at the same time. The
// first Get under a lease is answered from what TryLock has read, without a
// round trip. What is not a string to Redis is driver.ErrCorrupt in its item.
func (b *Backend) Get(ctx context.Context, items []driver.Item) error {
	return b.calls.Get(ctx, items)
}

// Set stores the Data of each item, with its TTL in milliseconds, in as many
// round trips as Get. An item with a lease is stored, and its lease released, in
// one atomic step if the lease is held, and else has driver.ErrLeaseLost. One
// without revokes the lease on its key, unless dogpile.cache holds it. A value
// over 512 MiB, which no server takes, is an error of its item and is not sent.
func (b *Backend) Set(ctx context.Context, items []driver.Item) error {
	return b.calls.Set(ctx, items)
}

// Delete removes each key and revokes the lease on it, unless dogpile.cache
// holds that, in one atomic step for each key and in as many round trips as
// Get. It removes those that it can. An error means that at least one of the keys
// may still be there, and names these; of more than five, the first ones.
func (b *Backend) Delete(ctx context.Context, keys []string) error {
	return b.calls.Delete(ctx, keys)
}

// TryLock takes the lease on key for ttl, in milliseconds, and returns nil if
// another holds it, be that Python's dogpile.cache. It is one round trip, in
// which the entry is read for the Get that follows. If the answer does not come
// in time, a lease that was granted all the same is given back in the
// background.
func (b *Backend) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	return b.calls.TryLock(ctx, key, ttl)
}

// Wait returns when the lease on key was released or revoked or has run out,
// or with the error of ctx. It may return early. The server announces the end of
// a lease; where it cannot, and with Options.Poll, Wait asks for it, at first
// after 10 ms and in the end every 250 ms.
func (b *Backend) Wait(ctx context.Context, key string) error {
	return b.calls.Wait(ctx, key)
}

// Locked reports whether anybody holds the lease on key, Python included.
func (b *Backend) Locked(ctx context.Context, key string) (bool, error) {
	return b.calls.Locked(ctx, key)
}

// Holder tells who holds the lease on key, in one round trip: what the process wrote that took
// it, by its own clock, or dogpile.cache in Python, which writes nothing of itself.
func (b *Backend) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	return b.calls.Holder(ctx, key)
}

// Scan finds entries and leases by SCAN, on each primary of a Cluster. It makes two round trips
// for about 500 keys of the database, whatever they begin with, and the server runs other
// commands in between. Keys that are no strings are left out. On a Cluster keys may be
// missed whose slots move meanwhile, and a node that cannot be reached is an error. Scan
// goes past the breaker. Options.Timeout bounds each round trip.
func (b *Backend) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	return b.core.scan(ctx, prefix, found)
}

// Caps says that entries and leases are shared and fenced, that a TTL has
// milliseconds, and that no call but Wait and Scan takes longer than Options.Timeout.
func (b *Backend) Caps() driver.Caps { return b.core.Caps() }

// Shard names the primary of a Cluster that keeps key, as host:port. It is "cluster"
// for all keys until it is known which there are, "nobody" for keys that no node
// keeps, and "" where there is no Cluster. What it says is at most a few seconds
// old after a node was lost, and half a minute after slots have moved.
func (b *Backend) Shard(key string) string { return b.core.Shard(key) }

// Watch has each Get of an item with Keep give it a mark; see driver.Watcher. Such items
// are read over a connection of their own, on which the server announces changes, as it
// does for those who wait for leases. It is asked every fourth of the least lag. Where the
// server does not announce anything, to RESP2 clients or with Options.Poll, nobody vouches
// for the marks, and the same while that connection is made. Set and Delete of b change the
// marks of their keys before they return. atOnce is false. Servers do not announce SWAPDB:
// marks stay right after it.
func (b *Backend) Watch(lag time.Duration) (stop func(), atOnce bool) {
	return b.core.watch.Watch(lag)
}

// Close ends what runs in the background and closes a client that Open made.
// Calls that wait, and those made afterwards, return an error. It may be
// repeated, and returns nil.
func (b *Backend) Close() error {
	err := driver.Close(b.calls) // of a breaker that asks the server in the background
	b.core.close()
	return err
}
