package memcache

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how a Client uses its server. The zero value is ready to use. A
// Client copies its Options.
type Options struct {
	// Conns is how many connections there are at most; 0: 1. All callers share
	// them, and the second is made when the first is busy.
	Conns int

	// Timeout is how long the server may take to answer. A connection on which
	// an answer is late is closed, and every call that waits for it fails.
	// 0: 1 s; -1: calls wait until their context is done.
	Timeout time.Duration

	// ConnectTimeout is how long it may take to connect, which includes TLS,
	// authentication and the server's first answer. 0: 1 s.
	ConnectTimeout time.Duration

	// MaxValue is how many bytes a value may have, in both directions. 0: 128 MiB.
	// A server has a limit of its own, which is 1 MiB unless it was told otherwise.
	MaxValue int

	// TLS returns how the next connection is secured; nil: nothing secures them.
	// Without a ServerName the host of the address has to be in the server's
	// certificate.
	TLS func() (*tls.Config, error)

	// Credentials authenticate the next connection to a server that asks for it,
	// as memcached does on the text protocol with -Y. nil, "" and "": nothing is
	// sent.
	Credentials func(ctx context.Context) (user, password string, err error)

	// Dial makes a connection in place of a net.Dialer; nil: a net.Dialer does.
	// It returns when ctx is done. The connection takes some 16 KiB without
	// anybody reading at the other end, as sockets do.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	*Endpoint
	calls sync.Pool // of *call
	slots []slot

	ctx   context.Context // done once closed
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu     sync.Mutex
	closed bool
	health Health
}

// slot is the place of one connection.
type slot struct {
	conn atomic.Pointer[conn] // the last one; nil: there was none yet
	dial *attempt             // under way; guarded by Client.mu
}

// New returns a Client of the server at addr, "host:port" or "unix:/path". It
// does no I/O: connections are made when they are needed. A nil o stands for
// the zero Options.
func New(addr string, o *Options) *Client {
	c := &Client{Endpoint: NewEndpoint(addr, o)}
	c.slots = make([]slot, c.Conns)
	c.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
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
		return c.Failed(ctx, err)
	}
	return c.do(ctx, conn, ops, sent)
}

func (c *Client) do(ctx context.Context, conn *conn, ops []Op, sent int) error {
	cl := c.calls.Get().(*call)
	cl.ops, cl.left, cl.err = ops, sent, nil
	if err := conn.do(ctx, cl); err != nil {
		return c.Failed(ctx, err) // the connection may still use cl
	}
	c.calls.Put(cl)
	return nil
}

// prepare checks and resets ops and returns how many are to be sent.
func (c *Client) prepare(ops []Op) (sent int, err error) {
	for i := range ops {
		op := &ops[i]
		op.Status, op.Won, op.Stale, op.Err = Unanswered, false, false, nil
		if err := CheckKey(op.Key); err != nil {
			return 0, err
		}
		switch {
		case op.Kind == Get:
			op.Value, op.Flags, op.CAS = nil, 0, 0
		case op.Kind == Set && len(op.Value) > c.MaxValue:
			op.Err = ErrTooLarge
			continue
		}
		sent++
	}
	return sent, nil
}

// pick returns a connection, which may fail at any moment: the first that is not
// busy, since the more calls share a connection the fewer writes they take. It
// makes the next one only when all are busy.
func (c *Client) pick(ctx context.Context) (*conn, error) {
	var best *conn
	var least int64
	var vacant *slot
	for i := range c.slots {
		s := &c.slots[i]
		conn := s.conn.Load()
		if conn == nil || conn.broken.Load() || conn.ended() {
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
		// Its calls are slow at worst. Another connection is on its way.
		return best, nil
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
