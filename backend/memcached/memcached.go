// Package memcached keeps a cache in one or several memcached servers. All
// processes that use them share the entries and elect one creator among them.
//
//	backend, err := memcached.New([]string{"10.0.0.1:11211", "10.0.0.2:11211*2"}, nil)
//
// makes one without connecting; memcached.Open, or driver.Open after an import
// of this package, makes one of a URL and connects:
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
// none an empty item is put in its place; what is stored under the lease
// replaces exactly what was read then, or nothing.
//
// Python's dogpile.cache cannot read such empty items. A program that shares
// entries or leases with it sets Options.PythonLock. Leases are then what
// dogpile.cache's are, and that is weaker. A value is stored in two steps,
// after a look at whether the lease is held: what happens between the two is
// noticed if it changes an entry that was there when the lease was taken. If
// nothing was there, a value whose creation began before a Delete may be stored
// just after it. And a holder that stops between the two steps, for as long as
// its lease lasts, may store beside the next one. The same is true with
// Options.Binary. Caps.Fenced is false for both. With PythonLock, what is created
// for longer than the server keeps the old entry is not stored.
//
// A server that has no room evicts leases and empty items like any other. Then
// two may create the same key at once; but only one of them stores.
package memcached

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
	"github.com/dogpile-go/dogpile/proxy"
)

const (
	// DefaultTimeout is how long a call waits for an answer unless
	// Options.Timeout says otherwise, and how long for a connection unless
	// Options.ConnectTimeout does.
	DefaultTimeout = time.Second
	// DefaultLockPrefix is what precedes a key to make the name of its lease.
	DefaultLockPrefix = "_lock"
	// DefaultHash is how keys are spread unless Options.Hash says otherwise.
	DefaultHash = "ketama"
)

// Options says how a Backend uses the servers. The zero value is ready to use.
// A Backend copies its Options.
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

	// PythonLock makes leases that dogpile.cache honours, and honours its own.
	// They are weaker: see the package comment.
	PythonLock bool

	// Binary is for servers that authenticate by SASL: it has the binary protocol
	// spoken in place of the meta one. Leases are then as with PythonLock.
	Binary bool

	// Username and Password are for servers that authenticate: those that were
	// started with -Y, or with Binary those with -S.
	Username, Password string

	// TLS is how connections are secured. With nil, New makes plain ones, and
	// Open does as the URL says.
	TLS *tls.Config

	// MaxValue is the size of the largest value that is sent, in bytes; larger
	// ones are errors of their items. 0: servers refuse what is too large for
	// them, by default more than 1 MiB, and drop what they have under the key.
	MaxValue int

	// Conns is the number of connections to each server. 0: 2, which all calls
	// share; with Binary, where each call has one to itself, up to 8.
	Conns int

	// Nagle turns Nagle's algorithm on.
	Nagle bool

	// KeepAlive is the time between probes of an idle connection. 0: 15 s; -1:
	// there are none.
	KeepAlive time.Duration

	// Breaker, if not nil, spares callers a server that keeps failing. Each
	// server has its own: while it is open the calls for that server's keys
	// fail, with proxy.ErrOpen, and those for other keys do not. With nil, Open
	// and the URL schemes have one with its defaults, New has none.
	Breaker *proxy.BreakerOptions

	// NoBreaker keeps Open from having a breaker.
	NoBreaker bool
}

// Backend keeps entries on servers. Its leases are held across processes. It is
// safe for concurrent use.
//
// A key has one server. When that is down, calls for its keys are errors, and
// no other server is asked in its place: what that stored would be found again
// later, when it is old.
type Backend struct {
	driver.Proxy // fenced or plain
	core         *core
}

// core is what a Backend does in the same way whatever its leases are.
type core struct {
	servers    []*server
	ring       *ring.Ring
	limit      time.Duration // of what takes several round trips; 0: none
	lockPrefix string
	maxValue   int
	apart      bool          // a lease is where its own name belongs, and not with the key
	python     bool          // Options.PythonLock
	parts      sync.Pool     // of *parts
	inDoubt    chan struct{} // one for each lease that is being given back in the background

	closed atomic.Bool
	ctx    context.Context // done once closed
	stop   context.CancelFunc
	tasks  sync.WaitGroup // what runs in the background
	mu     sync.Mutex     // orders tasks.Add and closing
}

var (
	_ driver.Backend   = (*Backend)(nil)
	_ driver.Locker    = (*Backend)(nil)
	_ driver.Describer = (*Backend)(nil)

	errClosed = errors.New("dogpile: the memcached backend is closed")
)

// New returns a Backend over servers, each "host", "host:port", "[IPv6]:port" or
// "unix:/path", and after that "*n" for one that is to have n times as many
// keys. The order of the list matters to some hashes. It does not connect: a
// server that cannot be reached fails the calls that need it. A nil o stands
// for the zero Options.
func New(servers []string, o *Options) (*Backend, error) {
	b, err := newBackend(servers, o)
	if err != nil {
		return nil, fmt.Errorf("dogpile: memcached: %w", err)
	}
	return b, nil
}

func newBackend(servers []string, o *Options) (*Backend, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	list, err := parseServers(servers)
	if err != nil {
		return nil, err
	}
	c := &core{lockPrefix: o.LockPrefix, maxValue: o.MaxValue, python: o.PythonLock}
	if c.ring, err = ring.New(o.Hash, list); err != nil {
		return nil, err
	}
	if o.Timeout > 0 {
		c.limit = o.Timeout + o.ConnectTimeout
	}
	c.inDoubt = make(chan struct{}, 64)
	c.parts.New = func() any { return &parts{} }
	c.ctx, c.stop = context.WithCancel(context.Background())
	for _, s := range list {
		c.servers = append(c.servers, newServer(s.Addr, o))
	}
	if o.PythonLock || o.Binary {
		c.apart = true
		return &Backend{driver.Proxy{Backend: plain{c}}, c}, nil
	}
	return &Backend{driver.Proxy{Backend: fenced{c}}, c}, nil
}

// client is a memcache.Client or a binary.Client.
type client interface {
	Do(ctx context.Context, ops []memcache.Op) error
	Close() error
}

var (
	_ client = (*memcache.Client)(nil)
	_ client = (*binary.Client)(nil)
)

// Unwrap returns nil: there is nothing to look for inside.
func (b *Backend) Unwrap() driver.Backend { return nil }

// Caps implements driver.Describer.
func (b *Backend) Caps() driver.Caps { return driver.CapsOf(b.Backend) }

func (c *core) caps(fenced bool) driver.Caps {
	longest := maxKey - len(c.lockPrefix)
	return driver.Caps{
		Name: "memcached", Shared: true, Locks: true, Fenced: fenced,
		MaxKeyLen: longest, MaxValue: c.maxValue, TTLUnit: time.Second,
		Mangle: mangler(longest), Timeout: c.limit,
	}
}

// Close closes the connections and ends what runs in the background. Calls
// made afterwards return an error. It may be repeated.
func (c *core) Close() error {
	c.mu.Lock()
	first := !c.closed.Swap(true)
	c.mu.Unlock()
	if !first {
		return nil
	}
	c.stop()
	c.tasks.Wait()
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.client.Close())
	}
	return errors.Join(errs...)
}

// background runs task in a goroutine that Close waits for, unless that has
// begun.
func (c *core) background(task func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed.Load() {
		c.tasks.Go(task)
	}
}

// bound limits ctx to what a call may take. Calls of one round trip need not be
// limited, since a client answers in time by itself.
func (c *core) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.boundSince(ctx, time.Now())
}

func (c *core) boundSince(ctx context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if c.limit == 0 {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, began.Add(c.limit))
}

// begin is where every call starts.
func (c *core) begin(ctx context.Context) error {
	if c.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// at returns the server that has key.
func (c *core) at(key string) *server { return c.servers[c.ring.Pick(key)] }

// lockAt returns the server that has the lease on key, and its name there.
func (c *core) lockAt(key string) (*server, string) {
	lock := c.lockPrefix + key
	if c.apart {
		return c.at(lock), lock
	}
	return c.at(key), lock
}

// failed says what went wrong in a call. It does not name keys: those who know
// what the user calls them do.
func failed(op string, err error) error {
	return fmt.Errorf("memcached %s: %w", op, err)
}
