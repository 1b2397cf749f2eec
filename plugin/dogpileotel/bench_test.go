package dogpileotel_test

import (
	"math"
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
	prom := dogpileprom.NewCollector().Hooks()
	return map[string]*dogpile.Hooks{"without": nil, "otel": otel, "prom": prom, "both": dogpile.JoinHooks(otel, prom)}
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

// BenchmarkHit tells what a hit in memory costs without hooks, and what hooks add. All take turns,
// and the best turn of each counts, so that what else the machine does matters little.
func BenchmarkHit(b *testing.B) {
	const turn = 2000
	caches, best := make(map[string]*dogpile.Cache[int]), make(map[string]float64)
	for name, hooks := range observed(b) {
		caches[name], best[name] = hot(b, hooks), math.Inf(1)
	}
	for b.Loop() {
		for name, c := range caches {
			began := time.Now()
			for range turn {
				_, _ = c.GetOrCreate(bg, "a key", create)
			}
			best[name] = min(best[name], float64(time.Since(began).Nanoseconds())/turn)
		}
	}
	for name, ns := range best {
		if name != "without" {
			name, ns = "+"+name, ns-best["without"]
		}
		b.ReportMetric(ns, "ns-"+name)
	}
	b.ReportMetric(0, "ns/op")
}
