package memcached

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
	"github.com/dogpile-go/dogpile/proxy"
)

// server is one of the servers, with its breaker.
type server struct {
	client  client
	breaker *breaker // nil: none
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
		s.breaker = newBreaker(o.Breaker)
	}
	return s
}

// Do sends ops to the server, unless that is left alone.
func (s *server) Do(ctx context.Context, ops []memcache.Op) error {
	if !s.breaker.allow() {
		return proxy.ErrOpen
	}
	err := s.client.Do(ctx, ops)
	s.breaker.done(err)
	return err
}

// session is one connection to a server.
type session struct {
	s *server
	memcache.Session
}

func (s *server) session(ctx context.Context) (session, error) {
	if s.breaker.resting() {
		return session{}, proxy.ErrOpen
	}
	ms, err := s.client.(*memcache.Client).Session(ctx)
	if err != nil {
		s.breaker.done(err)
	}
	return session{s, ms}, err
}

// Do sends ops over the connection, or nothing if that is gone.
func (s session) Do(ctx context.Context, ops []memcache.Op) error {
	if !s.s.breaker.allow() {
		return proxy.ErrOpen
	}
	err := s.Session.Do(ctx, ops)
	s.s.breaker.done(err)
	return err
}

// breaker is a proxy.Breaker for one server, which costs no lock. A nil one lets
// everything through.
type breaker struct {
	limit int64         // of failures in a row
	rest  time.Duration // for which the server is left alone then

	failures atomic.Int64
	until    atomic.Int64 // on the clock of now, the end of the rest; 0: the breaker is closed
}

var base = time.Now()

func now() int64 { return int64(time.Since(base)) }

func newBreaker(o *proxy.BreakerOptions) *breaker {
	b := &breaker{limit: int64(o.Failures), rest: o.Rest}
	setDefault(&b.limit, 5)
	setDefault(&b.rest, 5*time.Second)
	b.rest = max(b.rest, 1)
	return b
}

func (b *breaker) resting() bool { return b != nil && b.until.Load() > now() }

// allow reports whether a call may be made, of which done is told the outcome.
// When a rest is over that is one call, and others have to wait for what comes
// of it.
func (b *breaker) allow() bool {
	if b == nil {
		return true
	}
	until := b.until.Load()
	return until == 0 || until <= now() && b.until.CompareAndSwap(until, now()+int64(b.rest))
}

func (b *breaker) done(err error) {
	switch {
	case b == nil, errors.Is(err, context.Canceled), errors.Is(err, memcache.ErrGone):
	case err == nil:
		if b.failures.Load() != 0 {
			b.failures.Store(0)
			b.until.Store(0)
		}
	case b.failures.Add(1) >= b.limit:
		b.until.Store(now() + int64(b.rest))
	}
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
