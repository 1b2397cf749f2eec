//go:build unix

package backendtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// Call is one to be measured.
type Call struct {
	Name string
	Do   func() error
}

// BenchmarkHits compares a hit of a region over b with a Get of b, and with what
// clients do by themselves, raw, with the value under the key "raw".
func BenchmarkHits(b *testing.B, backend driver.Backend, raw ...Call) {
	value := strings.Repeat("v", 100)
	ctx := context.Background()
	OK(b, Set(ctx, backend, driver.Item{Key: "raw", Data: []byte(value)}))
	cached := func(lag time.Duration) func() error {
		r := Region(b, fmt.Sprint("bench", lag), backend, &dogpile.Options{Expiration: time.Hour, InvalidationLag: lag, Codec: dogpile.Bytes})
		c := dogpile.NewCache[[]byte](r, nil)
		OK(b, c.Set(ctx, "k", []byte(value)))
		create := func(context.Context) ([]byte, error) { return nil, context.Canceled }
		return func() error {
			_, err := c.GetOrCreate(ctx, "k", create)
			return err
		}
	}
	for _, what := range append(raw,
		Call{"backend", func() error { return backend.Get(ctx, []driver.Item{{Key: "raw"}}) }},
		Call{"region", cached(0)},
		Call{"region with lag", cached(time.Second)},
	) {
		for _, n := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d goroutines", what.Name, n), func(b *testing.B) {
				b.ReportAllocs()
				share(b, n, what.Do)
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
		OK(b, <-done)
	}
}
