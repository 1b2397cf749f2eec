package memcached_test

import (
	"context"
	"testing"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

func BenchmarkBackend(b *testing.B) {
	for name, o := range map[string]*memcached.Options{"meta": nil, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		b.Run(name, func(b *testing.B) {
			drivertest.Bench(b, func(b *testing.B) driver.Backend {
				backend, err := memcached.Open(b.Context(), "memcached://"+sharedServer(b).Addr(), o)
				ok(b, err)
				return backend
			})
		})
	}
}

func BenchmarkHit(b *testing.B) {
	s := startServer(b)
	backend, err := memcached.Open(b.Context(), s.URL(), nil)
	ok(b, err)
	b.Cleanup(func() { backend.Close() })
	client := memcache.New(s.Addr(), &memcache.Options{Conns: 2})
	b.Cleanup(func() { client.Close() })
	ctx := context.Background()
	backendtest.BenchmarkHits(b, backend, backendtest.Call{Name: "client", Do: func() error {
		return client.Do(ctx, []memcache.Op{{Kind: memcache.Get, Key: "raw"}})
	}})
}
