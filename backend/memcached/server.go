package memcached

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/dogpile-go/dogpile/internal/breaker"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
	"github.com/dogpile-go/dogpile/proxy"
)

// server is one of the servers, with its breaker.
type server struct {
	client  client
	breaker *breaker.Breaker // nil: none
}

// doer is a server, or one connection to it.
type doer interface {
	Do(ctx context.Context, ops []memcache.Op) error
}

func newServer(addr string, o *Options) *server {
	co := &memcache.Options{
		Conns: o.Conns, Timeout: o.Timeout, ConnectTimeout: o.ConnectTimeout, TLS: o.TLS,
		Username: o.Username, Password: o.Password, Nagle: o.Nagle, KeepAlive: o.KeepAlive,
	}
	s := new(server)
	if o.Binary {
		s.client = binary.New(dialed(addr), co)
	} else {
		s.client = memcache.New(dialed(addr), co)
	}
	if o.Breaker != nil {
		s.breaker = breaker.New(o.Breaker.Failures, o.Breaker.Rest, context.Canceled, memcache.ErrGone)
	}
	return s
}

// Do sends ops to the server, unless that is left alone.
func (s *server) Do(ctx context.Context, ops []memcache.Op) error {
	return s.guard(func() error { return s.client.Do(ctx, ops) })
}

// guard makes a call, unless the server is left alone.
func (s *server) guard(call func() error) error {
	through, err := s.breaker.Do(call)
	if !through {
		return proxy.ErrOpen
	}
	return err
}

// session is one connection to a server.
type session struct {
	s *server
	memcache.Session
}

func (s *server) session(ctx context.Context) (session, error) {
	if !s.breaker.Closed() {
		// That there is a connection does not tell that the server answers.
		if err := s.Do(ctx, []memcache.Op{{Kind: memcache.Get, Key: "dogpile", NoValue: true}}); err != nil {
			return session{}, err
		}
	}
	ms, err := s.client.(*memcache.Client).Session(ctx)
	if err != nil {
		err = s.guard(func() error { return err })
	}
	return session{s, ms}, err
}

// Do sends ops over the connection, or nothing if that is gone.
func (s session) Do(ctx context.Context, ops []memcache.Op) error {
	return s.s.guard(func() error { return s.Session.Do(ctx, ops) })
}

// parseServers takes "address*weight" apart.
func parseServers(servers []string) ([]ring.Server, error) {
	list := make([]ring.Server, len(servers))
	for i, s := range servers {
		addr, weight, weighted := strings.Cut(s, "*")
		list[i] = ring.Server{Addr: strings.TrimSpace(addr), Weight: 1}
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

// dialed returns addr, which a ring has taken, as clients dial it.
func dialed(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return addr + ":" + strconv.Itoa(ring.DefaultPort)
	}
	return addr
}
