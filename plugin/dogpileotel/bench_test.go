package dogpileotel_test

import (
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileotel"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
)

// observed returns hooks of each kind, over the real SDK.
func observed(t testing.TB) map[string]*dogpile.Hooks {
	otel := hooks(t, dogpileotel.Options{Meter: newMeter(), Tracer: newTracer()})
	return map[string]*dogpile.Hooks{
		"without": nil, "with": otel, "with both": dogpile.JoinHooks(otel, dogpileprom.NewCollector().Hooks()),
	}
}

// hot returns a cache with a fresh entry under "a key".
func hot(t testing.TB, hooks *dogpile.Hooks) *dogpile.Cache[int] {
	t.Helper()
	backend, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion("hot")
	if err := r.Configure(backend, &dogpile.Options{Expiration: time.Hour, Hooks: hooks}); err != nil {
		t.Fatal(err)
	}
	c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Name: "user"})
	if _, err := c.GetOrCreate(bg, "a key", create); err != nil {
		t.Fatal(err)
	}
	return c
}

// BenchmarkHit is a hit in memory: without hooks, with those of this package, and with those of
// dogpileprom too.
func BenchmarkHit(b *testing.B) {
	all := observed(b)
	for _, name := range []string{"without", "with", "with both"} {
		c := hot(b, all[name])
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.GetOrCreate(bg, "a key", create)
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = c.GetOrCreate(bg, "a key", create)
				}
			})
		})
	}
}
