package file_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

var flavours = map[string]*file.Options{"plain": nil, "bounded": {MaxBytes: 64 << 20}}

func BenchmarkBackend(b *testing.B) {
	for name, o := range flavours {
		b.Run(name, func(b *testing.B) {
			drivertest.Bench(b, func(b *testing.B) driver.Backend { return open(b, place(b), o) })
		})
	}
}

// BenchmarkEntries handles entries of 1 KB, 10000 keys in turn.
func BenchmarkEntries(b *testing.B) {
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("user:", i)
	}
	value := []byte(noise(1000, 1))
	for name, o := range flavours {
		backend := open(b, place(b), o)
		ctx := context.Background()
		items := make([]driver.Item, 100)
		next := 0
		fill := func(n int, data []byte) []driver.Item {
			for i := range n {
				items[i] = driver.Item{Key: keys[next%len(keys)], Data: data}
				next++
			}
			return items[:n]
		}
		for range len(keys) / 100 {
			ok(b, backend.Set(ctx, fill(100, value)))
		}
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/get %d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					ok(b, backend.Get(ctx, fill(n, nil)))
				}
			})
			b.Run(fmt.Sprintf("%s/set %d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					ok(b, backend.Set(ctx, fill(n, value)))
				}
			})
		}
		b.Run(name+"/get in parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				items := make([]driver.Item, 1)
				for i := 0; pb.Next(); i++ {
					items[0] = driver.Item{Key: keys[i%len(keys)]}
					if err := backend.Get(ctx, items); err != nil || !items[0].Found() {
						b.Error(err, items[0].Found())
						return
					}
				}
			})
		})
	}
}

// BenchmarkWake measures how long after a release a waiter is awake, with the
// Backend that releases and with another one.
func BenchmarkWake(b *testing.B) {
	path := filepath.Join(b.TempDir(), "app.db")
	one, two := open(b, path, nil), open(b, path, nil)
	for name, waiter := range map[string]*file.Backend{"same": one, "another": two} {
		b.Run(name, func(b *testing.B) {
			var sum, most time.Duration
			for b.Loop() {
				l := hold(b, one, "k", time.Hour)
				awake := make(chan time.Time, 1)
				go func() {
					if err := waiter.Wait(context.Background(), "k"); err != nil {
						b.Error(err)
					}
					awake <- time.Now()
				}()
				timer := time.NewTimer(20 * time.Millisecond)
				<-timer.C
				start := time.Now()
				ok(b, l.Release(context.Background()))
				took := (<-awake).Sub(start)
				sum, most = sum+took, max(most, took)
			}
			b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "µs/wake")
			b.ReportMetric(float64(most.Microseconds()), "µs/wake-most")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	path := place(b)
	open(b, path, nil)
	for b.Loop() {
		backend, err := file.Open(b.Context(), path, nil)
		ok(b, err)
		ok(b, backend.Close())
	}
}
