package memcache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultConns is what Options.Conns is unless it is set.
	DefaultConns = 2
	// DefaultTimeout is what Options.Timeout and Options.ConnectTimeout are
	// unless they are set.
	DefaultTimeout = time.Second
	// DefaultMaxValue is what Options.MaxValue is unless it is set.
	DefaultMaxValue = 128 << 20
)

// Options says how a Client uses its server. The zero value is ready to use. A
// Client copies its Options.
type Options struct {
	// Conns is how many connections there are at most. All callers share them;
	// the second is made when the first is busy. 0: DefaultConns.
	Conns int

	// Timeout is how long the server may take to answer. A connection on which
	// an answer is late is closed, and every call that waits for it fails.
	// 0: DefaultTimeout; -1: calls wait until their context is done.
	Timeout time.Duration

	// ConnectTimeout is how long it may take to connect, which includes TLS,
	// authentication and the server's first answer. 0: DefaultTimeout.
	ConnectTimeout time.Duration

	// MaxValue is how many bytes a value may have, in both directions. 0:
	// DefaultMaxValue. A server has a limit of its own, which is 1 MiB unless it
	// was told otherwise.
	MaxValue int

	// TLS secures the connections; nil: nothing does. Without a ServerName the
	// host of the address has to be in the server's certificate.
	TLS *tls.Config

	// Username and Password authenticate to a server that asks for it on the
	// text protocol, as memcached does with -Y. "": nothing is sent.
	Username, Password string

	// Nagle leaves Nagle's algorithm on: TCP_NODELAY is not set.
	Nagle bool

	// KeepAlive is the time between the kernel's probes of an idle connection.
	// 0: 15 s; -1: there are none.
	KeepAlive time.Duration

	// Dial makes a connection in place of a net.Dialer; nil: a net.Dialer does.
	// It returns when ctx is done. The connection takes some 16 KiB without
	// anybody reading at the other end, as sockets do.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	network, addr string
	o             Options
	calls         sync.Pool // of *call
	slots         []slot

	ctx   context.Context // done once closed
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu     sync.Mutex
	closed bool
	health health
}

// slot is the place of one connection.
type slot struct {
	conn atomic.Pointer[conn] // the last one; nil: there was none yet
	dial *dial                // under way; guarded by Client.mu
}

// New returns a Client of the server at addr, "host:port" or "unix:/path". It
// does no I/O: connections are made when they are needed. A nil o stands for
// the zero Options.
func New(addr string, o *Options) *Client {
	c := &Client{network: "tcp", addr: addr}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		c.network, c.addr = "unix", path
	}
	if o != nil {
		c.o = *o
	}
	orDefault(&c.o.Conns, DefaultConns)
	orDefault(&c.o.Timeout, DefaultTimeout)
	orDefault(&c.o.ConnectTimeout, DefaultTimeout)
	orDefault(&c.o.MaxValue, DefaultMaxValue)
	c.o.MaxValue = min(c.o.MaxValue, maxSize)
	c.slots = make([]slot, c.o.Conns)
	c.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Do has the server carry out ops, in order and in one round trip, and puts the
// answers into them. After an error, ops that no answer is known of are
// Unanswered; whether they were or will be carried out is not known. What the
// server says against a single op is that op's Err and no error of Do.
//
// A key that is not legal is an error that wraps ErrKey, and nothing is sent.
// While the server is known to be down Do fails at once with the reason. When
// ctx is done Do returns its error within a few milliseconds.
func (c *Client) Do(ctx context.Context, ops []Op) error {
	sent, err := c.prepare(ops)
	if err != nil || sent == 0 {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := c.pick(ctx)
	if err != nil {
		return c.failed(ctx, err)
	}
	return c.do(ctx, conn, ops, sent)
}

func (c *Client) do(ctx context.Context, conn *conn, ops []Op, sent int) error {
	cl := c.calls.Get().(*call)
	cl.ops, cl.left, cl.err = ops, sent, nil
	if err := conn.do(ctx, cl); err != nil {
		return c.failed(ctx, err) // cl may be in use still
	}
	c.calls.Put(cl)
	return nil
}

// prepare checks and resets ops and returns how many are to be sent.
func (c *Client) prepare(ops []Op) (sent int, err error) {
	for i := range ops {
		op := &ops[i]
		op.Status, op.Won, op.Sent, op.Stale, op.Err = Unanswered, false, false, false, nil
		if err := checkKey(op.Key); err != nil {
			return 0, err
		}
		switch {
		case op.Kind == Get:
			op.Value, op.Flags, op.CAS = nil, 0, 0
		case op.Kind == Set && len(op.Value) > c.o.MaxValue:
			op.Err = ErrTooLarge
			continue
		}
		sent++
	}
	return sent, nil
}

// failed says which server err is about.
func (c *Client) failed(ctx context.Context, err error) error {
	if err == ctx.Err() || errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("memcached at %s: %w", c.addr, err)
}

// pick returns a connection, which may fail at any moment: the first that is
// not busy, so that calls have much company there.
func (c *Client) pick(ctx context.Context) (*conn, error) {
	var best *conn
	var least int64
	var vacant *slot
	for i := range c.slots {
		s := &c.slots[i]
		conn := s.conn.Load()
		if conn == nil || conn.broken.Load() {
			if vacant == nil {
				vacant = s
			}
			continue
		}
		load := conn.load.Load()
		if load <= busy {
			return conn, nil
		}
		if best == nil || load < least {
			best, least = conn, load
		}
	}
	if vacant == nil {
		return best, nil
	}
	d, err := c.connect(vacant)
	if best != nil {
		return best, nil // until there is another
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close closes the connections. Calls that wait for an answer fail with
// ErrClosed, as do calls made afterwards. When it returns, no goroutine of the
// Client is left. It may be repeated, and returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	for i := range c.slots {
		if conn := c.slots[i].conn.Load(); conn != nil {
			conn.fail(ErrClosed)
		}
	}
	c.tasks.Wait()
	return nil
}
