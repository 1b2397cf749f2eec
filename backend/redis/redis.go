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
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

const (
	// DefaultTimeout is how long a call waits for the server unless
	// Options.Timeout says otherwise.
	DefaultTimeout = time.Second
	// DefaultLockPrefix is what precedes a key to make the key of its lease.
	DefaultLockPrefix = "_lock"
)

// Options says how a Backend uses the server. The zero value is ready to use.
// A Backend copies its Options.
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

	// Breaker, if not nil, spares callers a server that keeps failing; see
	// proxy.Breaker. With nil, Open and the URL schemes have one with its
	// defaults, New has none.
	Breaker *proxy.BreakerOptions

	// NoBreaker keeps Open from having a breaker.
	NoBreaker bool

	// TLS is how Open secures its connections, in place of what the URL says
	// about certificates; nil: as the URL says. New refuses it.
	TLS *tls.Config
}

// Backend keeps entries on a server. Its leases are held across processes, and
// its Set under a lease is fenced. It is safe for concurrent use. Reads go to
// the primary, whatever the client does with other reads.
type Backend struct {
	driver.Proxy // breaker, if there is one, around core
	core         *core
}

// core is a Backend without its breaker.
type core struct {
	client     rueidis.Client
	owned      bool // Close closes client
	cluster    bool
	timeout    time.Duration // 0: none
	eras       eras
	lockPrefix string
	feeds      feeds

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

	errClosed = errors.New("dogpile: the redis backend is closed")
)

// New returns a Backend over a client, which may be used for other things as
// well and stays open when the Backend is closed. A nil o stands for the zero
// Options.
//
// The client's own timeouts and retries come on top: Options.Timeout cannot
// end a call that waits for ClientOption.Dialer to connect, and a client that
// retries gives up only when the Timeout has passed.
func New(client rueidis.Client, o *Options) (*Backend, error) {
	if client == nil {
		return nil, errors.New("dogpile: redis: client is nil")
	}
	if o != nil && o.TLS != nil {
		return nil, errors.New("dogpile: redis: TLS is for Open; the client of New has its own")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return newBackend(client, o, false), nil
}

func newBackend(client rueidis.Client, o *Options, owned bool) *Backend {
	if o == nil {
		o = &Options{}
	}
	c := &core{
		client:     client,
		owned:      owned,
		cluster:    client.Mode() == rueidis.ClientModeCluster,
		timeout:    max(o.Timeout, 0),
		lockPrefix: o.LockPrefix,
	}
	if o.Timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.lockPrefix == "" {
		c.lockPrefix = DefaultLockPrefix
	}
	c.eras.timeout = c.timeout
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.feeds.core = c
	c.feeds.off.Store(o.Poll)
	b := &Backend{core: c, Proxy: driver.Proxy{Backend: c}}
	if !o.NoBreaker && (owned || o.Breaker != nil) {
		b.Backend = proxy.Breaker(o.Breaker)(c)
	}
	return b
}

func (o *Options) check() error {
	switch {
	case o == nil:
	case o.Timeout < 0 && o.Timeout != -1:
		return fmt.Errorf("dogpile: redis: Timeout (timeout) is %v; it is positive, 0 or -1", o.Timeout)
	case strings.ContainsAny(o.LockPrefix, "{}"):
		return errors.New("dogpile: redis: LockPrefix (lock_prefix) contains a brace")
	case o.NoBreaker && o.Breaker != nil:
		return errors.New("dogpile: redis: Breaker is set together with NoBreaker")
	}
	return nil
}

// Client returns the client that b uses, for looking at the server or for
// commands of the program's own.
func (b *Backend) Client() rueidis.Client { return b.core.client }

// Unwrap returns nil: there is nothing to look for inside.
func (b *Backend) Unwrap() driver.Backend { return nil }

// Caps implements driver.Describer.
func (b *Backend) Caps() driver.Caps { return b.core.Caps() } // a breaker does not block

// Caps implements driver.Describer.
func (c *core) Caps() driver.Caps {
	return driver.Caps{Name: "redis", Shared: true, Locks: true, Fenced: true, TTLUnit: time.Millisecond, Timeout: c.timeout}
}

// Close ends what runs in the background and closes a client that Open made.
// Calls made afterwards return an error. It may be repeated.
func (c *core) Close() error {
	c.mu.Lock()
	first := !c.closed.Swap(true)
	c.mu.Unlock()
	if !first {
		return nil
	}
	c.stop()
	c.tasks.Wait()
	if c.owned {
		c.client.Close()
	}
	return nil
}

// background runs task in a goroutine that Close waits for; false once closed.
func (c *core) background(task func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return false
	}
	c.tasks.Go(task)
	return true
}

// bound limits ctx by the backend's timeout.
func (c *core) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.timeout == 0 {
		return ctx, func() {}
	}
	if ctx.Done() == nil {
		return c.eras.bound(ctx), func() {}
	}
	if d, ok := ctx.Deadline(); ok && time.Until(d) <= c.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// begin is where every call to the server starts.
func (c *core) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if c.closed.Load() {
		return nil, nil, errClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := c.bound(ctx)
	return ctx, cancel, nil
}

// failed says what went wrong in a call. It does not name keys: those who know
// what the user calls them do.
func failed(op string, err error) error {
	return fmt.Errorf("redis %s: %w", op, err)
}
