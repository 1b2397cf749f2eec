package memory_test

import (
	"context"
	"fmt"
	"math/rand"
	"runtime"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

func BenchmarkBackend(b *testing.B) {
	for name, o := range flavours {
		b.Run(name, func(b *testing.B) {
			drivertest.Bench(b, func(b *testing.B) driver.Backend { return open(b, o) })
		})
	}
}

// BenchmarkGet reads one of 100000 keys at a time, zipf-distributed.
func BenchmarkGet(b *testing.B) {
	const n = 100_000
	zipf := rand.NewZipf(rand.New(rand.NewSource(1)), 1.01, 1, n-1)
	seq := make([]string, 1<<20)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("user:", i)
	}
	for i := range seq {
		seq[i] = keys[zipf.Uint64()]
	}
	for name, o := range map[string]*memory.Options{"plain": nil, "MaxEntries": {MaxEntries: 2 * n}} {
		for _, ttl := range []time.Duration{0, time.Hour} {
			be := open(b, o)
			for _, key := range keys {
				set(b, be, key, driver.Item{Object: new([100]byte), TTL: ttl})
			}
			b.Run(fmt.Sprintf("%s/ttl=%v", name, ttl), func(b *testing.B) { readAll(b, be, seq) })
		}
	}
}

func readAll(b *testing.B, be driver.Backend, seq []string) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		items := make([]driver.Item, 1)
		for i := rand.Intn(len(seq)); pb.Next(); i++ {
			items[0] = driver.Item{Key: seq[i%len(seq)]}
			if err := be.Get(context.Background(), items); err != nil || !items[0].Found() {
				b.Fatal(err, items[0].Found())
			}
		}
	})
}

// BenchmarkEntrySize reports what an entry takes beyond key and value.
func BenchmarkEntrySize(b *testing.B) {
	for name, o := range map[string]*memory.Options{
		"plain": nil, "MaxEntries": {MaxEntries: 1 << 20}, "MaxBytes": {MaxBytes: 1 << 30},
	} {
		b.Run(name, func(b *testing.B) {
			const n, size = 100_000, 64
			for b.Loop() {
				be := open(b, o)
				before := heap()
				for i := range n {
					set(b, be, fmt.Sprintf("key-%012d", i), driver.Item{Data: make([]byte, size)})
				}
				be.Len()
				b.ReportMetric(float64(heap()-before)/n-size-16, "overhead-B/entry")
				runtime.KeepAlive(be)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
