package memcached

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendurl"
	"github.com/dogpile-go/dogpile/internal/breaker"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
)

// client is a memcache.Client or a binary.Client.
type client interface {
	doer
	Close() error
}

// server is one of the servers, with its breaker.
type server struct {
	addr    string
	client  client
	breaker *breaker.Breaker // nil: none
	limit   time.Duration    // of a call that is made again; 0: none
}

const (
	sharedConns = 2 // to a server, which all calls share
	binaryConns = 8 // each call has one of these to itself
)

// doer is a server, or one connection to it.
type doer interface {
	Do(ctx context.Context, ops []memcache.Op) error
}

// newServer does not connect: the client does when it is used.
func newServer(addr string, o *Options, secure backendurl.TLSConfig, limit time.Duration) *server {
	co := &memcache.Options{
		Conns: sharedConns, Timeout: o.Timeout, ConnectTimeout: o.ConnectTimeout, TLS: secure, Credentials: o.Credentials,
	}
	if co.Credentials == nil && o.Username != "" {
		user, password := o.Username, o.Password
		co.Credentials = func(context.Context) (string, string, error) { return user, password, nil }
	}
	s := &server{addr: dialed(addr), limit: limit}
	if o.Protocol == protocolBinary {
		co.Conns = binaryConns
		s.client = binary.New(s.addr, co)
	} else {
		s.client = memcache.New(s.addr, co)
	}
	if !o.Breaker.Off {
		// That a connection has ended says nothing about the server.
		s.breaker = breaker.New(breaker.Options{
			Failures: o.Breaker.Failures, Cooldown: o.Breaker.Cooldown, Patience: max(o.Timeout, 0), Uncounted: []error{memcache.ErrGone},
			Check: func(ctx context.Context, _, _ string) error { return s.client.Do(ctx, ask()) },
		})
	}
	return s
}

// Do sends ops to the server, unless its breaker is open.
func (s *server) Do(ctx context.Context, ops []memcache.Op) error {
	return s.guard(ctx, func() error { return s.try(ctx, ops) })
}

// ask returns the ops of a question that any server answers quickly.
func ask() []memcache.Op { return []memcache.Op{{Kind: memcache.Get, Key: "dogpile", NoValue: true}} }

// guard makes a call, unless the breaker is open.
func (s *server) guard(ctx context.Context, call func() error) error {
	return s.breaker.Do(ctx, s.addr, "", call)
}

// close ends a check of the breaker's and closes the client.
func (s *server) close() error {
	s.breaker.Close()
	return s.client.Close()
}

// session is one connection to a server. All that is done over it reaches one
// process of the server, or nothing.
type session struct {
	s *server
	memcache.Session
}

// session returns a connection, and makes one if there is none.
func (s *server) session(ctx context.Context) (session, error) {
	if s.breaker.Refused(s.addr) != nil {
		// A connection of an open breaker proves nothing: the server may hang. A
		// command that it answers does, and closes the breaker.
		if err := s.Do(ctx, ask()); err != nil {
			return session{}, err
		}
	}
	ms, err := s.client.(*memcache.Client).Session(ctx)
	if err != nil {
		err = s.guard(ctx, func() error { return err }) // so that the breaker counts it
	}
	return session{s, ms}, err
}

// Do sends ops over the connection, or nothing if that is gone.
func (s session) Do(ctx context.Context, ops []memcache.Op) error {
	return s.s.guard(ctx, func() error { return s.Session.Do(ctx, ops) })
}

// parseServers takes "address*weight" apart.
func parseServers(servers []string) ([]ring.Server, error) {
	list := make([]ring.Server, len(servers))
	for i, s := range servers {
		addr, weight, weighted := s, "", false
		if at := strings.LastIndexByte(s, '*'); at >= 0 {
			addr, weight, weighted = s[:at], s[at+1:], true
		}
		if !strings.HasPrefix(addr, unix) { // a path may end in a space
			addr = strings.TrimSpace(addr)
		}
		list[i] = ring.Server{Addr: addr, Weight: 1}
		if !weighted {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(weight))
		if err != nil {
			return nil, fmt.Errorf("server %q: what follows * is no number", s)
		}
		list[i].Weight = n
	}
	return list, nil
}

// unix precedes the path of a socket.
const unix = "unix:"

// dialed returns addr with a port, as it is dialled. A ring has checked it.
func dialed(addr string) string {
	if strings.HasPrefix(addr, unix) {
		return addr
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return addr + ":" + strconv.Itoa(ring.DefaultPort)
	}
	return addr
}
