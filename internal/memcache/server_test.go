package memcache_test

import (
	"context"
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

type server = backendtest.Memcached

var (
	startServer = backendtest.StartMemcached
	eventually  = backendtest.Eventually
	pause       = backendtest.Pause
)

func TestMain(m *testing.M) { backendtest.Main(m) }

// shared is a server for all tests that only use keys of their own.
var shared struct {
	sync.Once
	*server
}

func sharedServer(t testing.TB) *server {
	t.Helper()
	shared.Do(func() { shared.server = startServer(backendtest.Outliving(t)) })
	return shared.server
}

// clientAddr returns the address of s as clients want it.
func clientAddr(s *server) string {
	if s.Network() == "unix" {
		return "unix:" + s.Addr()
	}
	return s.Addr()
}

// patient is how tests wait for a server on a machine that has other things to
// do.
const patient = 20 * time.Second

// newClient returns a client that is closed when the test ends. Timeouts that
// are not set are patient, and there are two connections.
func newClient(t testing.TB, addr string, o memcache.Options) *memcache.Client {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patient
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = patient
	}
	if o.Conns == 0 {
		o.Conns = 2
	}
	c := memcache.New(addr, &o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return c
}

// do carries out ops and fails the test if that fails.
func do(t testing.TB, c *memcache.Client, ops ...memcache.Op) []memcache.Op {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patient)
	defer cancel()
	if err := c.Do(ctx, ops); err != nil {
		t.Fatal(err)
	}
	return ops
}

// known are credentials that stay the same.
func known(user, password string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) { return user, password, nil }
}

// secured is a configuration that stays the same.
func secured(c *tls.Config) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return c, nil }
}
