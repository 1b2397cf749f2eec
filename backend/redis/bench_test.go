package redis_test

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func BenchmarkBackend(b *testing.B) {
	url := "redis://" + sharedServer(b).addr
	drivertest.Bench(b, func(b *testing.B) driver.Backend {
		backend, err := redis.Open(b.Context(), url, nil)
		ok(b, err)
		return backend
	})
}

func BenchmarkHit(b *testing.B) {
	s := startServer(b)
	backend, err := redis.Open(b.Context(), s.URL(), nil)
	ok(b, err)
	b.Cleanup(func() { backend.Close() })
	raw := newClient(b, rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true})
	do(b, raw, "SET", "token", strings.Repeat("v", 50))
	ctx := context.Background()
	backendtest.BenchmarkHits(b, backend,
		backendtest.Call{Name: "raw GET", Do: func() error { return raw.Do(ctx, raw.B().Get().Key("raw").Build()).Error() }},
		backendtest.Call{Name: "raw MGET of two", Do: func() error {
			return raw.Do(ctx, raw.B().Arbitrary("MGET").Keys("raw", "token").Build()).Error()
		}})
}
