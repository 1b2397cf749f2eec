package binary

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/couchbase/gomemcached"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

var errAuth = errors.New("authentication: the server refuses the username and password")

// dial returns a connection over which the server has answered.
func (c *Client) dial() (*conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.o.ConnectTimeout)
	defer cancel()
	conn, err := c.dialContext(ctx)
	switch {
	case err == nil:
		return conn, nil
	case c.ctx.Err() != nil:
		return nil, memcache.ErrClosed
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
	stream := nc
	if c.o.TLS != nil {
		config := c.o.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(c.addr)
		}
		secured := tls.Client(nc, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		stream = secured
	}
	conn := newConn(nc, stream, c.o.MaxValue)
	return conn, conn.greet(c.o.Username, c.o.Password)
}

// greet authenticates and sees whether the server speaks the protocol.
func (c *conn) greet(username, password string) error {
	if username != "" || password != "" {
		if strings.Contains(username+password, "\x00") {
			return errors.New("authentication: username or password has a zero byte")
		}
		res, err := c.exchange(gomemcached.SASL_AUTH, "PLAIN", "\x00"+username+"\x00"+password)
		switch {
		case err != nil:
			return fmt.Errorf("authentication: %w", err)
		case res.Status == gomemcached.AUTH_ERROR, res.Status == gomemcached.AUTH_CONTINUE:
			return errAuth
		case res.Status != gomemcached.SUCCESS && res.Status != gomemcached.UNKNOWN_COMMAND:
			// Not with the server's words, which might have the password in them.
			return fmt.Errorf("authentication: server error %s", res.Status)
		}
	}
	res, err := c.exchange(gomemcached.NOOP, "", "")
	switch {
	case err != nil:
		return err
	case res.Status == gomemcached.AUTH_ERROR:
		return errors.New("authentication: the server asks for a username and a password")
	case res.Status != gomemcached.SUCCESS:
		return serverError(res)
	}
	return nil
}

// exchange sends a command and waits for the reply.
func (c *conn) exchange(opcode gomemcached.CommandCode, key, body string) (*gomemcached.MCResponse, error) {
	c.req.Opcode, c.req.Key, c.req.Body = opcode, []byte(key), []byte(body)
	opaque := c.req.Opaque
	if err := c.transmit(); err != nil {
		return nil, err
	}
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	h, err := c.peek()
	if err != nil {
		return nil, err
	}
	res, err := c.receive(h, opcode, opaque)
	if res == nil && err == nil {
		err = errors.New("reply that is too large")
	}
	return res, err
}
