package proxy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// named configures a region over b with proxies from settings.
func named(t *testing.T, name string, b driver.Backend, proxies string) *dogpile.Region {
	t.Helper()
	r := dogpile.NewRegion(name)
	err := dogpile.Setup{
		Settings: map[string]string{name + ".backend": "@main", name + ".proxies": proxies, name + ".strict": "true"},
		Backends: map[string]driver.Backend{"main": b},
	}.Configure(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func inMemory(t *testing.T) *memory.Backend {
	t.Helper()
	b, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCompressInSettings(t *testing.T) {
	t.Parallel()
	b := inMemory(t)
	c := dogpile.NewCache[string](named(t, "users", b, "breaker, compress"), nil)
	page := strings.Repeat("all work and no play ", 1000)
	if err := c.Set(t.Context(), "page", page); err != nil {
		t.Fatal(err)
	}
	items := []driver.Item{{Key: "users:page"}}
	if err := b.Get(t.Context(), items); err != nil || len(items[0].Data) == 0 || len(items[0].Data) > len(page)/4 {
		t.Errorf("%d bytes are stored of %d, %v", len(items[0].Data), len(page), err)
	}
	if v, ok, err := c.Get(t.Context(), "page"); v != page || !ok || err != nil {
		t.Errorf("Get = %d bytes, %v, %v", len(v), ok, err)
	}
}

// TestEachRegionHasABreakerOfItsOwn: a proxy that settings name is wrapped around a
// shared backend once for each region.
func TestEachRegionHasABreakerOfItsOwn(t *testing.T) {
	t.Parallel()
	sick := proxy.Chaos(&proxy.ChaosOptions{Ops: proxy.OpGet, Error: 1})(inMemory(t))
	a := dogpile.NewCache[string](named(t, "a", sick, "breaker"), nil)
	b := dogpile.NewCache[string](named(t, "b", sick, "breaker"), nil)
	open := 0 // of these calls some may be probes
	for range 100 {
		if _, _, err := a.Get(t.Context(), "k"); errors.Is(err, proxy.ErrOpen) {
			open++
		}
	}
	if open == 0 {
		t.Error("a's breaker is not open")
	}
	if _, _, err := b.Get(t.Context(), "k"); !errors.Is(err, proxy.ErrChaos) {
		t.Errorf("b's call = %v, want it to reach the backend", err)
	}
}

func TestLogAndChaosInSettings(t *testing.T) {
	t.Parallel()
	c := dogpile.NewCache[string](named(t, "a", inMemory(t), "log, chaos"), nil)
	failed := 0
	for end := time.Now().Add(time.Minute); failed == 0 && time.Now().Before(end); {
		if _, _, err := c.Get(t.Context(), "k"); errors.Is(err, proxy.ErrChaos) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Error("chaos disturbs nothing")
	}
}
