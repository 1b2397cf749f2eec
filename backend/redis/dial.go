package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/internal/backendurl"
)

// What the first contact with a server of another kind says.
var (
	errNode      = errors.New("the server is a node of a Cluster; write redis+cluster://host:port")
	errNoNodeOf  = errors.New("the server is no node of a Cluster; write redis://host:port")
	errSentinel  = errors.New("the server is a Sentinel; write redis+sentinel://host:port/name-of-the-master")
	errNotOne    = errors.New("the server is no Sentinel; write redis://host:port")
	errPlain     = errors.New("the server does not speak TLS; write redis:// in place of rediss://")
	errEncrypted = errors.New("the server speaks TLS; write rediss:// in place of redis://")
)

// dialer makes clients, and connections for them.
type dialer struct {
	kind    kind
	option  rueidis.ClientOption
	timeout time.Duration // of a connection

	// Both are asked for each connection.
	credentials backendurl.Credentials // nil: nobody's
	secure      backendurl.TLSConfig   // nil: no TLS
}

// client makes a client that has connected.
func (d *dialer) client(c *core) (rueidis.Client, error) {
	o := d.option
	if d.secure != nil {
		o.TLSConfig = new(tls.Config) // says that there is TLS
	}
	if c.timeout > 0 {
		// Calls wait for each other's greetings, however much time they have left. The
		// network itself has d.timeout.
		o.Dialer.Timeout = min(d.timeout, c.timeout)
	}
	o.Sentinel.Dialer = net.Dialer{Timeout: d.timeout, Resolver: ofSentinel}
	o.DialCtxFn = func(ctx context.Context, addr string, by *net.Dialer, _ *tls.Config) (net.Conn, error) {
		return d.dial(ctx, c.life.Context(), addr, by.Resolver == ofSentinel)
	}
	o.AuthCredentialsFn = func(to rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		return d.login(c.life.Context(), to.Address)
	}
	client, err := rueidis.NewClient(o)
	if err == nil {
		err = d.check(c, client)
	}
	if err == nil {
		return client, nil
	}
	if client != nil {
		client.Close()
	}
	return nil, d.explain(c.life.Context(), err)
}

// check returns an error if the server is of another kind than the URL says, and
// has the topology of a Cluster read, so that Shard knows it from the first call
// on.
func (d *dialer) check(c *core, client rueidis.Client) error {
	ctx, cancel := context.WithTimeout(c.life.Context(), d.timeout)
	defer cancel()
	switch {
	case d.kind.where == "cluster" && client.Mode() != rueidis.ClientModeCluster:
		return errNoNodeOf
	case d.kind.where == "cluster":
		c.topology.read(ctx, client)
		return nil
	case d.kind.where == "sentinel":
		return nil
	}
	// A server that does not know HELLO or does not allow it is of no such kind.
	hello, err := client.Do(ctx, client.B().Arbitrary("HELLO").Build()).AsMap()
	if err != nil {
		return nil
	}
	mode := hello["mode"]
	switch text, _ := mode.ToString(); text {
	case "cluster":
		return errNode
	case "sentinel":
		return errSentinel
	}
	return nil
}

// explain returns an error that says what to write, if it can be found out why a
// client could not be made.
func (d *dialer) explain(life context.Context, err error) error {
	var reply *rueidis.RedisError
	var op *net.OpError
	switch {
	case errors.Is(err, errNode), errors.Is(err, errNoNodeOf), errors.Is(err, errSentinel): // it is found out
	case errors.As(err, &reply):
		switch text := strings.ToUpper(reply.Error()); {
		case d.kind.where == "sentinel" && strings.Contains(text, "UNKNOWN COMMAND"):
			err = fmt.Errorf("%w (%w)", errNotOne, err)
		case d.kind.where == "cluster" && strings.Contains(text, "CLUSTER SUPPORT DISABLED"):
			err = fmt.Errorf("%w (%w)", errNoNodeOf, err)
		}
	case errors.As(err, &op) && op.Op == "dial":
		return err // it names the server
	case d.secure == nil && d.kind.where != "unix":
		ctx, cancel := context.WithTimeout(life, d.timeout/2)
		defer cancel()
		if encrypted(ctx, d.option.InitAddress[0]) {
			err = errEncrypted
		}
	}
	return fmt.Errorf("connect to %s: %w", d.hosts(), err)
}

// hosts returns what is connected to, as the URL says.
func (d *dialer) hosts() string { return strings.Join(d.option.InitAddress, ",") }

// dial makes a connection, which is closed when life ends: what waits for an
// answer need not hold up Close.
func (d *dialer) dial(ctx, life context.Context, addr string, sentinel bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	network := "tcp"
	if d.kind.where == "unix" {
		network = "unix"
	}
	made, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if d.secure != nil {
		if made, err = d.encrypt(ctx, made, addr); err != nil {
			return nil, err
		}
	}
	return &conn{made, sentinel, context.AfterFunc(life, func() { made.Close() })}, nil
}

// ofSentinel tells connections to Sentinels from those to servers: the client asks
// for the former through a net.Dialer of their own, and all of them log in by one
// function, which is told the address alone.
var ofSentinel = new(net.Resolver)

// sentinelAddr is the address of a Sentinel.
type sentinelAddr struct{ net.Addr }

// login returns who the client is to the server at addr.
func (d *dialer) login(life context.Context, addr net.Addr) (a rueidis.AuthCredentials, err error) {
	if _, ok := addr.(sentinelAddr); ok {
		a.Username, a.Password = d.option.Sentinel.Username, d.option.Sentinel.Password
		return a, nil
	}
	if d.credentials == nil {
		return a, nil
	}
	ctx, cancel := context.WithTimeout(life, d.timeout)
	defer cancel()
	type answer struct {
		rueidis.AuthCredentials
		err error
	}
	done := make(chan answer, 1)
	go func() { // since it may not keep to ctx, which would hold up Close
		var a answer
		a.Username, a.Password, a.err = d.credentials(ctx)
		done <- a
	}()
	select {
	case got := <-done:
		a, err = got.AuthCredentials, got.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return a, fmt.Errorf("credentials: %w", err)
	}
	return a, nil
}

// conn is a connection that ends with its backend.
type conn struct {
	net.Conn
	sentinel bool
	forget   func() bool
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr {
	if c.sentinel {
		return sentinelAddr{c.Conn.RemoteAddr()}
	}
	return c.Conn.RemoteAddr()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// encrypt shakes hands over raw, or closes it. A server that does not speak TLS
// waits for the end of what it takes for a command. So if nothing comes for a
// while it is asked, over another connection, whether it answers a plain one.
func (d *dialer) encrypt(ctx context.Context, raw net.Conn, addr string) (net.Conn, error) {
	config, err := d.secure()
	if err != nil {
		raw.Close()
		return nil, err
	}
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	probe := time.AfterFunc(d.timeout/4, func() {
		if plain(ctx, addr) {
			cancel(errPlain)
		}
	})
	defer probe.Stop()
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		raw.Close()
		if errors.As(err, new(tls.RecordHeaderError)) || errors.Is(context.Cause(ctx), errPlain) {
			return nil, errPlain // and not that this has cancelled the handshake
		}
		return nil, err
	}
	return secured, nil
}

// plain reports whether the server at addr answers a command without TLS.
func plain(ctx context.Context, addr string) bool {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	var answer [1]byte
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	_, err = c.Read(answer[:])
	return err == nil && (answer[0] == '+' || answer[0] == '-')
}

// encrypted reports whether the server at addr answers a TLS handshake, with
// whatever certificate. Nothing is sent to it but the handshake.
func encrypted(ctx context.Context, addr string) bool {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer raw.Close()
	err = tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	return err == nil || errors.As(err, new(tls.AlertError))
}
