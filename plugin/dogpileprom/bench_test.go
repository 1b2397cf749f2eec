package dogpileprom_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
)

// BenchmarkHit is a hit in memory, with the hooks and without.
func BenchmarkHit(b *testing.B) {
	for _, row := range []struct {
		name  string
		hooks *dogpile.Hooks
	}{{"without", nil}, {"with", dogpileprom.NewCollector().Hooks()}} {
		backend, err := memory.New(nil)
		if err != nil {
			b.Fatal(err)
		}
		r := dogpile.NewRegion("bench")
		if err := r.Configure(backend, &dogpile.Options{Expiration: time.Hour, Hooks: row.hooks}); err != nil {
			b.Fatal(err)
		}
		c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Name: "user"})
		create := func(context.Context) (int, error) { return 1, nil }
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.GetOrCreate(bg, "a key", create)
			}
		})
	}
}
