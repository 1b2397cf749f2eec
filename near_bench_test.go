package dogpile_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// nearSeat returns a shared backend all of whose copies are proved for ever.
func nearSeat(b *testing.B) *seat {
	b.Helper()
	shared, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		b.Fatal(err)
	}
	s := new(fleet).sit(shared)
	s.prompt = true
	s.proof.Renew(math.MaxInt64)
	return s
}

// BenchmarkNearHit compares a hit on a copy with one on the bounded backend in memory.
func BenchmarkNearHit(b *testing.B) {
	type user [100]byte
	bounded, err := memory.New(&memory.Options{MaxEntries: 20_000})
	if err != nil {
		b.Fatal(err)
	}
	regions := []*dogpile.Region{dogpile.NewRegion("memory"), dogpile.NewRegion("near")}
	for i, err := range []error{
		regions[0].Configure(bounded, &dogpile.Options{Expiration: time.Hour}),
		regions[1].Configure(nearSeat(b), &dogpile.Options{Expiration: time.Hour, Near: &dogpile.Near{MaxEntries: 20_000}}),
	} {
		if err != nil {
			b.Fatal(i, err)
		}
	}
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("user:", i)
	}
	create := func(context.Context) (user, error) { return user{}, nil }
	for _, r := range regions {
		c := dogpile.NewCache[user](r, nil)
		for range 2 { // the second time makes the copies
			for _, key := range keys {
				if _, err := c.GetOrCreate(bg, key, create); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(r.Name(), func(b *testing.B) {
			b.ReportAllocs()
			before := r.Stats()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					_, _ = c.GetOrCreate(bg, keys[i*7919%len(keys)], create)
				}
			})
			if after := r.Stats(); after.Hits-before.Hits < int64(b.N) {
				b.Errorf("%d hits of %d", after.Hits-before.Hits, b.N)
			}
		})
	}
}

// BenchmarkNearEntrySize reports what a copy takes beyond key and value.
func BenchmarkNearEntrySize(b *testing.B) {
	type value [64]byte
	const n = 100_000
	for b.Loop() {
		seat, r := nearSeat(b), dogpile.NewRegion("r")
		if err := r.Configure(seat, &dogpile.Options{Near: &dogpile.Near{MaxEntries: n}}); err != nil {
			b.Fatal(err)
		}
		c := dogpile.NewCache[value](r, nil)
		key := func(i int) string { return fmt.Sprintf("key-%010d", i) }
		for i := range n {
			if err := c.Set(bg, key(i), value{}); err != nil {
				b.Fatal(err)
			}
		}
		seat.gets = nil
		before := heap()
		for i := range n {
			if _, ok, err := c.Get(bg, key(i)); !ok || err != nil {
				b.Fatal(ok, err)
			}
			seat.gets = nil
		}
		b.ReportMetric(float64(heap()-before)/n-64-16, "overhead-B/copy")
		runtime.KeepAlive(r)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
