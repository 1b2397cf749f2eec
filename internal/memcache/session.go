package memcache

import (
	"context"
	"errors"
)

// ErrGone is the error of a Session whose connection has ended before the call.
// Nothing was sent.
var ErrGone = errors.New("the connection is gone")

// Session is one connection of a Client. All that is done over it reaches one
// process of the server, or nothing: it never reaches one that was started again
// and counts CAS from the beginning. It needs no closing. Sessions that are equal
// are the same connection.
type Session struct {
	c    *Client
	conn *conn
}

// Session returns a connection, after making one if need be. An error means
// that there is none.
func (c *Client) Session(ctx context.Context) (Session, error) {
	if err := ctx.Err(); err != nil {
		return Session{}, err
	}
	conn, err := c.pick(ctx)
	if err != nil {
		return Session{}, c.Failed(ctx, err)
	}
	return Session{c, conn}, nil
}

// Do is Client.Do over this connection alone.
func (s Session) Do(ctx context.Context, ops []Op) error {
	sent, err := s.c.prepare(ops)
	if err != nil || sent == 0 {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.conn.broken.Load() {
		return s.c.Failed(ctx, ErrGone)
	}
	return s.c.do(ctx, s.conn, ops, sent)
}
