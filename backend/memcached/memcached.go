// Package memcached keeps a cache in one or several memcached servers. All
// processes that use them share the entries and elect one creator among them.
//
//	backend, err := memcached.New([]string{"10.0.0.1:11211", "10.0.0.2:11211*2"}, nil)
//
// makes one; memcached.Open, or driver.Open after an import of this package, makes
// one of a URL. Neither connects: calls do.
//
//	memcached://host1:11211,host2*2/?hash=ketama   host2 has twice as many keys
//	memcacheds://host/?ca_file=/etc/ca.pem         with TLS
//	memcached+unix:///run/memcached.sock           a unix socket
//
// # Leases
//
// Over memcached's meta protocol, which servers have since 1.6, leases are
// fenced. The lease on a key is an item of its own, on the server that has the
// key. In the round trip that takes it the entry is read, and where there is
// none an empty item is put in its place. What is stored under the lease
// replaces exactly the item that was read then. If that is not there any more,
// nothing is stored.
//
// Python's dogpile.cache cannot read such empty items. A program that shares
// entries or leases with it sets Options.PythonLock, which makes leases as
// dogpile.cache has them. These are weaker, and Caps.Fenced is false. A value is
// stored in two steps: the program looks whether it still holds the lease, and
// then stores. Three things can go wrong:
//
//   - The key is deleted between the two steps. That is noticed if there was an
//     entry when the lease was taken. If there was none, the value is stored
//     although its creation began before the Delete.
//   - The program is stopped between the two steps until its lease has run out,
//     and another program takes the lease. When the first goes on it stores
//     without holding the lease, unless the other has stored by then.
//   - The creation takes longer than the server keeps the old entry. Its value is
//     not stored, because the entry may be gone by a Delete of Python's.
//
// With Options.Protocol "binary" leases are the same kind, and the first two are true.
//
// A server that has no room evicts leases and empty items like any other. Then
// two programs may create the same key at once; but only one of them stores.
package memcached

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendurl"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
	"github.com/dogpile-go/dogpile/proxy"
)

const (
	// DefaultTimeout is how long a call waits for an answer unless
	// Options.Timeout says otherwise, and how long for a connection unless
	// Options.ConnectTimeout does.
	DefaultTimeout = time.Second
	// DefaultLockPrefix precedes a key to make the name of its lease, unless
	// Options.LockPrefix says otherwise.
	DefaultLockPrefix = "_lock"
	// DefaultHash is how keys are spread unless Options.Hash says otherwise.
	DefaultHash = "ketama"
)

const (
	protocolMeta   = "meta"
	protocolBinary = "binary"
)

// Options says how a Backend uses the servers. The zero value is ready to use.
// A Backend copies its Options. In a URL each field is the argument of the same
// name in snake case, as connect_timeout.
type Options struct {
	// Hash says how keys are spread over several servers: "ketama" and
	// "ketama_weighted", as pylibmc and libmemcached do with behaviors of these
	// names; "modula", as they do without; "rendezvous", as pymemcache does;
	// "crc32", as python-memcached does. "": DefaultHash.
	Hash string

	// Timeout bounds the time in which a server answers. One that does not is
	// taken to be down, and is tried again soon. 0: DefaultTimeout; -1: none.
	Timeout time.Duration

	// ConnectTimeout bounds the time that it takes to connect. 0:
	// DefaultTimeout.
	ConnectTimeout time.Duration

	// LockPrefix precedes a key to make the name of its lease. Programs that
	// share leases have to agree on it. Keys of entries must not begin with it.
	// "": DefaultLockPrefix.
	LockPrefix string

	// PythonLock makes leases that dogpile.cache honours, and honours those of
	// dogpile.cache. They are weaker: see the package comment.
	PythonLock bool

	// Protocol is what is spoken: "meta", which servers have since 1.6, or "binary"
	// for servers that authenticate by SASL. Over the binary protocol leases are
	// as weak as with PythonLock. "": "meta".
	Protocol string

	// Username and Password are for servers that authenticate: those that were
	// started with -Y, or over the binary protocol those with -S. In a URL they may also come
	// before the hosts.
	Username, Password string

	// Credentials are for passwords that change: it returns the username and the
	// password for each connection that is made, in place of Username and Password.
	// It may be called for several connections at once, and returns when ctx is
	// done. nil: they stay the same. It has no argument in a URL, where
	// password_file has a file read for each connection.
	Credentials func(ctx context.Context) (user, password string, err error)

	// MaxValue is the size of the largest value that is sent, in bytes; larger
	// ones are errors of their items. 0: servers refuse what is too large for
	// them, by default more than 1 MiB, and drop what they have under the key.
	MaxValue int

	// Breaker spares callers a server that keeps failing: see proxy.Breaker. Each
	// server has its own: while it is open the calls for that server's keys fail,
	// with proxy.ErrOpen, and those for other keys do not. nil: a breaker with the
	// defaults; without one: &proxy.BreakerOptions{Off: true}. In a URL:
	// breaker=false, breaker_failures, breaker_cooldown.
	Breaker *proxy.BreakerOptions

	// TLS is how connections are secured, in place of what the URL says about
	// certificates. nil: New makes plain ones, and Open does as the URL says. It
	// has no argument in a URL.
	TLS *tls.Config
}

// complete returns a copy of o without what stands for a default, or what is
// wrong with it.
func (o *Options) complete() (*Options, error) {
	c := Options{}
	if o != nil {
		c = *o
	}
	setDefault(&c.Hash, DefaultHash)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.ConnectTimeout, DefaultTimeout)
	setDefault(&c.LockPrefix, DefaultLockPrefix)
	setDefault(&c.Protocol, protocolMeta)
	if c.Breaker == nil {
		c.Breaker = &proxy.BreakerOptions{}
	}
	switch {
	case c.Timeout < -1:
		return nil, fmt.Errorf("option Timeout (timeout) is %v; it is positive, 0 or -1", c.Timeout)
	case c.ConnectTimeout < 0:
		return nil, fmt.Errorf("option ConnectTimeout (connect_timeout) is %v; it is positive or 0", c.ConnectTimeout)
	case !fits(c.LockPrefix, 100):
		return nil, errors.New("option LockPrefix (lock_prefix) is longer than 100 bytes, or has a space or control byte")
	case c.Protocol != protocolMeta && c.Protocol != protocolBinary:
		return nil, fmt.Errorf("option Protocol (protocol) is %q; there are meta and binary", c.Protocol)
	case c.MaxValue < 0:
		return nil, fmt.Errorf("option MaxValue (max_value) is %d; it is positive or 0", c.MaxValue)
	case c.Password != "" && c.Username == "":
		return nil, errors.New("option Password (password) goes with a Username")
	}
	return &c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Backend keeps entries on servers. Its leases are held across processes. It is
// safe for concurrent use.
//
// A key has one server. When that is down, calls for its keys are errors, and
// no other server is asked in its place: what that stored would be found again
// later, when it is old.
type Backend struct {
	core   *core
	leases leases
	own    own
}

// leases is what depends on the kind of leases: fenced or plain.
type leases interface {
	Set(ctx context.Context, items []driver.Item) error
	Delete(ctx context.Context, keys []string) error
	TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error)
}

var (
	_ driver.Backend   = (*Backend)(nil)
	_ driver.Locker    = (*Backend)(nil)
	_ driver.Describer = (*Backend)(nil)
	_ driver.Sharder   = (*Backend)(nil)
	_ driver.Watcher   = (*Backend)(nil)
	_ driver.Holders   = (*Backend)(nil)
)

// New returns a Backend over servers, each "host", "host:port", "[IPv6]:port" or
// "unix:/path", and after that "*n" for one that is to have n times as many
// keys. The order of the list matters to some hashes. It does not connect: a
// server that cannot be reached fails the calls that need it. A nil o stands
// for the zero Options.
func New(servers []string, o *Options) (*Backend, error) {
	var secure backendurl.TLSConfig
	if o != nil && o.TLS != nil {
		own := o.TLS
		secure = func() (*tls.Config, error) { return own, nil }
	}
	b, err := newBackend(servers, o, secure)
	if err != nil {
		return nil, fmt.Errorf("dogpile: memcached: %w", err)
	}
	return b, nil
}

// newBackend takes how connections are secured from secure, in place of o.TLS.
func newBackend(servers []string, o *Options, secure backendurl.TLSConfig) (*Backend, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	list, err := parseServers(servers)
	if err != nil {
		return nil, err
	}
	r, err := ring.New(o.Hash, list)
	if err != nil {
		return nil, err
	}
	c := newCore(r, list, o, secure)
	if c.lockByName {
		return &Backend{core: c, leases: plain{c}}, nil
	}
	return &Backend{core: c, leases: fenced{c}}, nil
}

// Get fills the Data of each item that its server has. It is one round trip to
// each server that has any of the keys, at the same time. The first Get under a
// lease is answered from what TryLock has read, without a round trip. An item
// that another program has stored in a way of its own, as a pickle, is
// driver.ErrCorrupt.
func (b *Backend) Get(ctx context.Context, items []driver.Item) error {
	b.own.mark(items)
	return b.core.get(ctx, items)
}

// Set stores the Data of each item, with its TTL in seconds. An item with a
// lease is stored, and its lease released, if the lease is held, and else has
// driver.ErrLeaseLost. One without revokes the lease on its key; with PythonLock
// or the binary protocol, a lock that dogpile.cache holds is left alone. It is one round trip
// to each server that has any of the keys, at the same time; with PythonLock or
// the binary protocol two, or three if there is a lease to release or revoke.
func (b *Backend) Set(ctx context.Context, items []driver.Item) error {
	defer b.own.noted(len(items), func(i int) string { return items[i].Key })
	return b.leases.Set(ctx, items)
}

// Delete removes each key and revokes the lease on it; with PythonLock or
// Binary, a lock that dogpile.cache holds is left alone. It takes as many round
// trips as Set. An error means that at least one of the keys may still be there.
func (b *Backend) Delete(ctx context.Context, keys []string) error {
	defer b.own.noted(len(keys), func(i int) string { return keys[i] })
	return b.leases.Delete(ctx, keys)
}

// TryLock takes the lease on key for ttl, in seconds, and returns nil if another
// holds it. In the same round trip the entry is read for the Get that follows. It
// is another round trip if there is an entry, or with PythonLock or the binary protocol if
// that is on another server than the lease. If the answer does not come in
// time, a lease that was granted all the same is given back in the background.
func (b *Backend) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	return b.leases.TryLock(ctx, key, ttl)
}

// Wait returns when the lease on key was released or revoked or has run out,
// or with the error of ctx. memcached announces nothing, so Wait asks: at first
// after 5 ms, then ever less often, but at least every 100 ms. The server keeps a
// lease for longer than its ttl, by up to three seconds; Wait ends one that nobody
// has extended while it looked on for the ttl, and never one of dogpile.cache.
func (b *Backend) Wait(ctx context.Context, key string) error { return b.core.wait(ctx, key) }

// Locked reports whether anybody holds the lease on key; with PythonLock that
// includes dogpile.cache.
func (b *Backend) Locked(ctx context.Context, key string) (bool, error) {
	locked, err := b.core.locked(ctx, key)
	if err != nil {
		return false, failed(err)
	}
	return locked, nil
}

// Holder tells who holds the lease on key, in one round trip: what the process wrote that took
// it, by its own clock, or dogpile.cache in Python, which writes nothing of itself. Like Locked
// it tells of a lease for up to three seconds after that has run out.
func (b *Backend) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	h, held, err := b.core.holder(ctx, key)
	if err != nil {
		return driver.Holder{}, false, failed(err)
	}
	return h, held, nil
}

// Caps says that entries and leases are shared, and fenced unless PythonLock or
// the binary protocol is used; that a TTL has seconds; that a key has at most 250 bytes
// together with LockPrefix; and that no call but Wait takes longer than Timeout
// and ConnectTimeout together. Its Mangle keeps keys that memcached can have, and
// hashes others.
func (b *Backend) Caps() driver.Caps {
	c := b.core
	longest := maxKey - len(c.lockPrefix)
	return driver.Caps{
		Name: "memcached", Shared: true, Locks: true, Fenced: !c.lockByName,
		MaxKeyLen: longest, MaxValue: c.maxValue, TTLUnit: time.Second,
		Mangle: mangler(longest), Timeout: c.limit,
	}
}

// Close closes the connections and ends what runs in the background. Calls
// that wait, and those made afterwards, return an error. It may be repeated.
func (b *Backend) Close() error { return b.core.close() }
