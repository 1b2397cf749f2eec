// Package binary is a client of memcached's binary protocol, in which alone a
// server that is run with -S authenticates, by SASL. It does what package
// memcache does, but a connection serves one call at a time.
//
// The frames are those of github.com/couchbase/gomemcached.
package binary

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	*memcache.Endpoint
	places chan struct{} // one for each connection that a call has or makes

	ctx   context.Context // done once closed
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu     sync.Mutex
	open   map[*conn]bool
	idle   []*conn // last used last
	health memcache.Health
}

// New returns a Client of the server at addr, "host:port" or "unix:/path". It
// does no I/O: connections are made when they are needed. A nil o stands for
// the zero Options.
//
// Conns bounds the connections that are open at a time. A call waits for one
// that is free. Credentials are for SASL PLAIN; a server without SASL is content
// with any.
func New(addr string, o *memcache.Options) *Client {
	c := &Client{Endpoint: memcache.NewEndpoint(addr, o), open: make(map[*conn]bool)}
	c.places = make(chan struct{}, c.Conns)
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Do has the server carry out ops, in order and in one round trip, and puts the
// answers into them. It returns an error when it does not know all answers:
// those it knows are in their ops, the others are Unanswered, and whether they
// were carried out is not known. What the server says against a single op is
// that op's Err and not an error of Do.
//
// A Get with Vivify is not sent; its Err wraps errors.ErrUnsupported. A Get with
// NoValue fetches the value and drops it.
//
// A key that is not legal is a memcache.ErrKey of Do, before anything is sent.
// While the server is known to be down Do does not wait for it. When ctx ends
// during a call its connection is closed.
func (c *Client) Do(ctx context.Context, ops []memcache.Op) error {
	send, err := c.prepare(ops)
	if err != nil || !send {
		return err
	}
	conn, err := c.take(ctx)
	if err == nil {
		err = conn.do(ctx, ops, c.Timeout)
		c.give(conn)
	}
	return c.Failed(ctx, err)
}

// prepare checks and resets ops and reports whether any is to be sent.
func (c *Client) prepare(ops []memcache.Op) (send bool, err error) {
	for i := range ops {
		op := &ops[i]
		op.Status, op.Won, op.Stale, op.Err = memcache.Unanswered, false, false, nil
		if err := memcache.CheckKey(op.Key); err != nil {
			return false, err
		}
		if op.Kind == memcache.Get {
			op.Value, op.Flags, op.CAS = nil, 0, 0
		}
		switch {
		case op.Kind == memcache.Get && op.Vivify != 0:
			op.Err = fmt.Errorf("vivify over memcached's binary protocol: %w", errors.ErrUnsupported)
		case op.Kind == memcache.Set && len(op.Value) > c.MaxValue:
			op.Err = memcache.ErrTooLarge
		default:
			send = true
		}
	}
	return send, nil
}

// take returns a connection that nobody else uses; give takes it back.
func (c *Client) take(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, memcache.ErrClosed
	}
	conn, err := c.idleConn()
	if err != nil {
		c.give(nil)
		return nil, err
	}
	if conn != nil {
		return conn, nil
	}
	return c.connect(ctx)
}

// idleConn returns a connection that waits for work, or nil if one is to be
// made, or why that would be of no use.
func (c *Client) idleConn() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, memcache.ErrClosed
	}
	for n := len(c.idle); n > 0; n-- {
		conn := c.idle[n-1]
		c.idle[n-1], c.idle = nil, c.idle[:n-1]
		if conn.works() && !conn.ended() {
			return conn, nil
		}
	}
	return nil, c.health.Try(c.ConnectTimeout)
}

// give gives the caller's place to the next one, and keeps conn for it unless that
// is nil or broken.
func (c *Client) give(conn *conn) {
	if conn != nil && conn.works() {
		c.mu.Lock()
		conn.used = time.Now()
		c.idle = append(c.idle, conn)
		c.mu.Unlock()
	}
	<-c.places
}

// connect makes a connection in the place that the caller has. It goes on when
// the caller leaves: else callers that can wait for less than it takes to connect
// would each begin anew, and never reach the server.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	type result struct {
		conn *conn
		err  error
	}
	made := make(chan result)
	started := c.start(func() {
		conn, err := memcache.Dial(c.ctx, c.Endpoint, func(stream, raw net.Conn, user, password string) (*conn, error) {
			conn := newConn(stream, raw, c.MaxValue)
			return conn, conn.greet(user, password)
		})
		if err != nil && c.ctx.Err() != nil {
			err = memcache.ErrClosed
		}
		c.dialed(conn, err)
		if err != nil {
			c.give(nil)
		}
		select {
		case made <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				c.give(conn)
			}
		}
		if err == nil {
			c.ended(conn, conn.read())
		}
	})
	if !started {
		c.give(nil)
		return nil, memcache.ErrClosed
	}
	select {
	case r := <-made:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start runs task in a goroutine that Close waits for, unless c is closed.
func (c *Client) start(task func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.tasks.Go(task)
	return true
}

// dialed notes how an attempt to connect has ended.
func (c *Client) dialed(conn *conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.health.Failed(err)
		return
	}
	c.health.Reached()
	c.open[conn] = true
	if c.ctx.Err() != nil { // Close was called, and has not found it
		conn.fail(memcache.ErrClosed)
	}
}

// ended notes why a connection has failed.
func (c *Client) ended(conn *conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
	if !errors.Is(err, errLeft) { // which says nothing about the server
		c.health.Lost(err, !conn.worked)
	}
}

// Close closes the connections. Calls that wait for an answer fail with
// memcache.ErrClosed, and so do calls made afterwards. When it returns, no
// goroutine of the Client is left. It may be repeated.
func (c *Client) Close() error {
	c.mu.Lock()
	c.stop()
	for conn := range c.open {
		conn.fail(memcache.ErrClosed)
	}
	c.mu.Unlock()
	c.tasks.Wait()
	return nil
}
