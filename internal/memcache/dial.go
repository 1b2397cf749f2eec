package memcache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

const (
	minBackOff = 50 * time.Millisecond
	maxBackOff = 2 * time.Second
)

// dial is an attempt to connect.
type dial struct {
	done chan struct{} // closed once the rest is set
	conn *conn
	err  error
}

// health is what is known of a server.
type health struct {
	err      error     // why it is down; nil: it is not known to be
	failures int       // in a row
	retry    time.Time // when it is down: not to be tried before
}

// failed notes an attempt that came to nothing.
func (h *health) failed(err error) {
	pause := min(minBackOff<<min(h.failures, 10), maxBackOff)
	h.err = err
	h.failures++
	h.retry = time.Now().Add(pause/2 + rand.N(pause/2))
}

// connect starts to connect s unless that is under way. While the server is
// known to be down it is for one caller from time to time to find out whether
// it still is; the others get the reason why it is down.
func (c *Client) connect(s *slot) (*dial, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	switch conn := s.conn.Load(); {
	case conn == nil:
	case conn.broken.Load():
		c.lost(conn)
	default: // since the caller has looked
		d := &dial{done: make(chan struct{}), conn: conn}
		close(d.done)
		return d, nil
	}
	h := &c.health
	switch {
	case h.err != nil && (s.dial != nil || time.Now().Before(h.retry)):
		return nil, h.err
	case s.dial == nil:
		d := &dial{done: make(chan struct{})}
		s.dial = d
		c.tasks.Go(func() { c.run(s, d) })
	}
	return s.dial, nil
}

// run connects s and stays with the connection until that fails.
func (c *Client) run(s *slot, d *dial) {
	d.conn, d.err = c.dial()
	c.mu.Lock()
	if d.err == nil && c.closed {
		d.conn.nc.Close()
		d.err = ErrClosed
	}
	if d.err == nil {
		c.health.err = nil
		s.conn.Store(d.conn)
	} else {
		c.health.failed(d.err)
	}
	s.dial = nil
	c.mu.Unlock()
	close(d.done)
	if d.err == nil {
		d.conn.run()
		c.mu.Lock()
		c.lost(d.conn)
		c.mu.Unlock()
	}
}

// lost notes what the end of a connection says about the server, once for each.
// c.mu is held.
func (c *Client) lost(conn *conn) {
	if conn.noted {
		return
	}
	conn.noted = true
	var late *timeoutError
	switch {
	case conn.wasted:
		c.health.failed(conn.err)
	case errors.As(conn.err, &late):
		c.health = health{err: conn.err}
	default:
		c.health = health{}
	}
}

// dial returns a connection that has been greeted.
func (c *Client) dial() (*conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.o.ConnectTimeout)
	defer cancel()
	conn, err := c.dialContext(ctx)
	switch {
	case err == nil:
		return conn, nil
	case c.ctx.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, &timeoutError{c.o.ConnectTimeout}
	}
	return nil, err
}

func (c *Client) dialContext(ctx context.Context) (*conn, error) {
	connect := c.o.Dial
	if connect == nil {
		connect = (&net.Dialer{KeepAlive: c.o.KeepAlive}).DialContext
	}
	nc, err := connect(ctx, c.network, c.addr)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		nc.Close()
	})
	conn, err := c.greet(ctx, nc)
	if !release() {
		<-interrupted
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return conn, nil
}

// greet makes of a connection to a server one to a memcached that listens to
// this client.
func (c *Client) greet(ctx context.Context, nc net.Conn) (*conn, error) {
	if tcp, ok := nc.(*net.TCPConn); ok && c.o.Nagle {
		if err := tcp.SetNoDelay(false); err != nil {
			return nil, err
		}
	}
	if c.o.TLS != nil {
		config := c.o.TLS.Clone()
		config.DynamicRecordSizingDisabled = true // a write of maxRecord is one record
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(c.addr)
		}
		secured := tls.Client(nc, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = secured
	}
	conn := newConn(nc, &c.o)
	return conn, conn.greet(c.o.Username, c.o.Password)
}

func (c *conn) greet(username, password string) error {
	var b []byte
	login := username != "" || password != ""
	if login {
		// A server that does not ask for it takes this for an item to store,
		// hence a key that nobody uses and a time that is over.
		b = fmt.Appendf(b, "set dogpile:login 0 -1 %d\r\n%s %s\r\n", len(username)+1+len(password), username, password)
	}
	if _, err := c.nc.Write(append(b, "mn\r\n"...)); err != nil {
		return err
	}
	if login {
		if err := c.expect("STORED", password); err != nil {
			return fmt.Errorf("authentication: %w", err)
		}
	}
	return c.expect("MN", password)
}

// expect reads the line that is wanted. Its error does not show the secret.
func (c *conn) expect(want, secret string) error {
	b, err := c.peekLine()
	if err != nil {
		return lost(err)
	}
	line := string(b[:len(b)-2])
	if line == want {
		c.in.Discard(len(b))
		return nil
	}
	if secret != "" {
		line = strings.ReplaceAll(line, secret, "…")
	}
	return unexpected([]byte(line))
}
