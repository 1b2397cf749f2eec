package dogpile_test

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/maypok86/otter/v2"
)

type val struct{ b [100]byte }

func BenchmarkZZ(b *testing.B) {
	const n = 100_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%08d", i)
	}
	z := rand.NewZipf(rand.New(rand.NewSource(1)), 1.01, 1, n-1)
	idx := make([]uint32, 1<<20)
	for i := range idx {
		idx[i] = uint32(z.Uint64())
	}
	ctx := context.Background()
	oc := otter.Must(&otter.Options[string, val]{MaximumSize: 2 * n, ExpiryCalculator: otter.ExpiryWriting[string, val](time.Hour)})
	oc0 := otter.Must(&otter.Options[string, val]{MaximumSize: 2 * n})
	for _, k := range keys {
		oc.Set(k, val{})
		oc0.Set(k, val{})
	}
	mk := func(o *memory.Options) *dogpile.Cache[val] {
		m, _ := memory.New(o)
		r := dogpile.NewRegion("r")
		if err := r.Configure(m, &dogpile.Options{Expiration: time.Hour}); err != nil {
			b.Fatal(err)
		}
		c := dogpile.NewCache[val](r, nil)
		for _, k := range keys {
			c.Set(ctx, k, val{})
		}
		return c
	}
	run := func(name string, f func(k string)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := rand.Intn(len(idx))
				for pb.Next() {
					i = (i + 1) & (len(idx) - 1)
					f(keys[idx[i]])
				}
			})
		})
	}
	cb, cu := mk(&memory.Options{MaxEntries: 2 * n}), mk(nil)
	create := func(context.Context) (val, error) { panic("miss") }
	loader := otter.LoaderFunc[string, val](func(ctx context.Context, key string) (val, error) { panic("miss") })
	run("otter-get", func(k string) { oc.Get(ctx, k, loader) })
	run("otter-get-noexp", func(k string) { oc0.Get(ctx, k, loader) })
	run("bounded", func(k string) { cb.GetOrCreate(ctx, k, create) })
	run("unbounded", func(k string) { cu.GetOrCreate(ctx, k, create) })
}
