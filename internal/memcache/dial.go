package memcache

import (
	"fmt"
	"net"
	"strings"
)

// attempt is an attempt to connect.
type attempt struct {
	done chan struct{} // closed once the rest is set
	conn *conn
	err  error
}

// connect starts to connect s unless that is under way, or returns why the
// server is down.
func (c *Client) connect(s *slot) (*attempt, error) {
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
		d := &attempt{done: make(chan struct{}), conn: conn}
		close(d.done)
		return d, nil
	}
	if err := c.health.Try(c.ConnectTimeout); err != nil {
		return nil, err
	}
	if s.dial == nil {
		d := &attempt{done: make(chan struct{})}
		s.dial = d
		c.tasks.Go(func() { c.run(s, d) })
	}
	return s.dial, nil
}

// run connects s, and then serves the connection until that fails.
func (c *Client) run(s *slot, d *attempt) {
	d.conn, d.err = Dial(c.ctx, c.Endpoint, func(stream, raw net.Conn, user, password string) (*conn, error) {
		conn := newConn(stream, raw, &c.Options)
		return conn, conn.greet(user, password)
	})
	c.mu.Lock()
	if c.closed {
		// 1. Dial succeeds.  2. Close looks for connections to close, and does not
		// find this one.  3. It would stay open.
		if d.err == nil {
			d.conn.raw.Close()
		}
		d.err = ErrClosed
	}
	if d.err == nil {
		c.health.Reached()
		s.conn.Store(d.conn)
	} else {
		c.health.Failed(d.err)
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

// lost notes what the end of a connection says about the server. A caller may
// notice it before run does; it counts once. c.mu is held.
func (c *Client) lost(conn *conn) {
	if conn.noted {
		return
	}
	conn.noted = true
	c.health.Lost(conn.err, conn.wasted)
}

// greet makes sure that the server is a memcached that listens to this client.
func (c *conn) greet(username, password string) error {
	var b []byte
	login := username != "" || password != ""
	if login {
		// A server that does not ask for a password takes this for an item to
		// store. So the key is one that nobody uses, and the item has run out when
		// it is stored.
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

// expect reads a line, which has to be want. Its error does not show the secret,
// which a server may send back.
func (c *conn) expect(want, secret string) error {
	b, err := c.peekLine()
	if err != nil {
		return ReadError(err)
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
