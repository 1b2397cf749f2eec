package memcache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/internal/neterr"
)

const (
	defaultTimeout  = time.Second
	defaultMaxValue = 128 << 20
)

// Endpoint is a server and how it is reached: what the clients of both protocols
// have in common.
type Endpoint struct {
	network, addr string
	Options
}

// NewEndpoint returns that of the server at addr, "host:port" or "unix:/path". It
// does no I/O. A nil o stands for the zero Options.
func NewEndpoint(addr string, o *Options) *Endpoint {
	e := &Endpoint{network: "tcp", addr: addr}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		e.network, e.addr = "unix", path
	}
	if o != nil {
		e.Options = *o
	}
	e.Conns = max(e.Conns, 1)
	orDefault(&e.Timeout, defaultTimeout)
	orDefault(&e.ConnectTimeout, defaultTimeout)
	orDefault(&e.MaxValue, defaultMaxValue)
	e.MaxValue = min(e.MaxValue, MaxSize)
	return e
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// ServerError is an error that one server is the cause of. It names the server,
// and names it once.
type ServerError struct {
	Addr string
	Err  error
}

// Error returns "memcached", the address, and why.
func (e *ServerError) Error() string {
	return "memcached " + e.Addr + ": " + neterr.WithoutAddr(e.Err).Error()
}

// Unwrap returns why.
func (e *ServerError) Unwrap() error { return e.Err }

// Failed returns err as the error of a call. It is the server's, unless it is
// ctx's or the client is closed.
func (e *Endpoint) Failed(ctx context.Context, err error) error {
	if err == nil || err == ctx.Err() || errors.Is(err, ErrClosed) {
		return err
	}
	return &ServerError{e.addr, err}
}

// TimeoutError is why a connection is closed that does not answer.
type TimeoutError struct{ After time.Duration }

// Error says for how long there was no answer.
func (e *TimeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.After) }

// Unwrap returns os.ErrDeadlineExceeded.
func (e *TimeoutError) Unwrap() error { return os.ErrDeadlineExceeded }

// ReadError returns err, or for an end of the input what that means here.
func ReadError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errEnded
	}
	return err
}

// Greet makes a connection of the client's own kind of stream, which the server
// has to answer, and authenticates it unless user and password are "". Closing
// raw, which carries TLS if there is TLS, ends both.
type Greet[C any] func(stream, raw net.Conn, user, password string) (C, error)

// Dial connects to a server and greets it, within ConnectTimeout. When ctx is done it
// returns the error of that.
func Dial[C any](ctx context.Context, e *Endpoint, greet Greet[C]) (conn C, err error) {
	limited, cancel := context.WithTimeout(ctx, e.ConnectTimeout)
	defer cancel()
	conn, err = dial(limited, e, greet)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited.Err() != nil:
		err = &TimeoutError{e.ConnectTimeout}
	}
	return conn, err
}

func dial[C any](ctx context.Context, e *Endpoint, greet Greet[C]) (conn C, err error) {
	connect := e.Options.Dial
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	var user, password string
	if e.Credentials != nil {
		if user, password, err = e.Credentials(ctx); err != nil {
			return conn, fmt.Errorf("credentials: %w", err)
		}
	}
	raw, err := connect(ctx, e.network, e.addr)
	if err != nil {
		return conn, err
	}
	// The greeting reads and writes without deadlines: what ends it is that the
	// connection is closed under it.
	interrupted := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		raw.Close()
	})
	stream, err := e.secure(ctx, raw)
	if err == nil {
		conn, err = greet(stream, raw, user, password)
	}
	if !release() {
		// 1. The greeting succeeds.  2. ctx is done, and raw is being closed.
		// 3. The connection must not be used, though nothing failed.
		<-interrupted
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
	}
	return conn, err
}

// secure returns raw with TLS if there is to be any.
func (e *Endpoint) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if e.TLS == nil {
		return raw, nil
	}
	config, err := e.TLS()
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true // a write of maxRecord is one record
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(e.addr)
	}
	stream := tls.Client(raw, config)
	if err := stream.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return stream, nil
}

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
)

// Health is what a client knows of its server, so that calls fail at once while
// that is down. The client guards it by a lock.
type Health struct {
	err      error     // why the server is down; nil: it is not known to be
	failures int       // in a row
	retry    time.Time // when down: not to be tried before
}

// Try returns why the server is down, or nil if it may be tried. While it is
// down that is for one caller from time to time, which has until probe is over
// to find out whether it still is; the others get the error meanwhile.
func (h *Health) Try(probe time.Duration) error {
	now := time.Now()
	switch {
	case h.err == nil:
		return nil
	case now.Before(h.retry):
		return h.err
	}
	h.retry = now.Add(probe)
	return nil
}

// Reached notes that a connection was made.
func (h *Health) Reached() { h.err = nil }

// Failed notes an attempt that came to nothing. Each in a row doubles the pause
// before the next, up to half a second. The jitter keeps many clients from coming back at
// the same moment.
func (h *Health) Failed(err error) {
	pause := min(minBackoff<<min(h.failures, 10), maxBackoff)
	h.err = err
	h.failures++
	h.retry = time.Now().Add(pause/2 + rand.N(pause/2))
}

// Lost notes that a connection has ended with err. It was of no use if it ended
// before it had answered a call.
func (h *Health) Lost(err error, useless bool) {
	var late *TimeoutError
	switch {
	case useless:
		// A server that accepts and closes at once is down as well.
		h.Failed(err)
	case errors.As(err, &late):
		// It hangs: down, but to be tried at once, since it may go on at any time.
		*h = Health{err: err}
	default:
		*h = Health{}
	}
}
