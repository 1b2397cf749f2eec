package memcached_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

func BenchmarkBackend(b *testing.B) {
	for name, o := range map[string]*memcached.Options{"meta": nil, "python_lock": {PythonLock: true}, "binary": {Binary: true}} {
		b.Run(name, func(b *testing.B) {
			drivertest.Bench(b, func(b *testing.B) driver.Backend {
				backend, err := memcached.Open(b.Context(), "memcached://"+sharedServer(b).addr, o)
				ok(b, err)
				return backend
			})
		})
	}
}

// BenchmarkHit compares a hit of a region with what the client does by itself.
func BenchmarkHit(b *testing.B) {
	s := startServer(b)
	value := strings.Repeat("v", 100)
	backend, err := memcached.Open(b.Context(), "memcached://"+s.addr, nil)
	ok(b, err)
	b.Cleanup(func() { backend.Close() })
	client := memcache.New(s.addr, nil)
	b.Cleanup(func() { client.Close() })
	ctx := context.Background()
	ok(b, try(ctx, backend, driver.Item{Key: "raw", Data: []byte(value)}))
	cached := func(lag time.Duration) func() error {
		r := configured(b, fmt.Sprint("bench", lag), backend, &dogpile.Options{Expiration: time.Hour, InvalidationLag: lag, Codec: dogpile.Bytes})
		c := dogpile.NewCache[[]byte](r, nil)
		ok(b, c.Set(ctx, "k", []byte(value)))
		create := func(context.Context) ([]byte, error) { return nil, context.Canceled }
		return func() error {
			_, err := c.GetOrCreate(ctx, "k", create)
			return err
		}
	}
	for _, what := range []struct {
		name string
		call func() error
	}{
		{"client", func() error { return client.Do(ctx, []memcache.Op{{Kind: memcache.Get, Key: "raw"}}) }},
		{"backend", func() error { return backend.Get(ctx, []driver.Item{{Key: "raw"}}) }},
		{"region", cached(0)},
		{"region with lag", cached(time.Second)},
	} {
		for _, n := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d goroutines", what.name, n), func(b *testing.B) {
				b.ReportAllocs()
				share(b, n, what.call)
			})
		}
	}
}

// share has n goroutines make b.N calls.
func share(b *testing.B, n int, call func() error) {
	todo := make(chan int, n)
	done := make(chan error, n)
	for range n {
		go func() {
			var err error
			for k := range todo {
				for range k {
					if e := call(); e != nil {
						err = e
					}
				}
			}
			done <- err
		}()
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= 64 {
		todo <- min(left, 64)
	}
	close(todo)
	for range n {
		ok(b, <-done)
	}
}
