//go:build unix

package dogpileprom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
	"github.com/dogpile-go/dogpile/plugin/internal/tallytest"
)

func openRegion(t *testing.T, url string, o dogpile.Options) *dogpile.Region {
	t.Helper()
	b, err := redis.Open(t.Context(), url, nil)
	backendtest.OK(t, err)
	t.Cleanup(func() { b.Close() })
	r := backendtest.Region(t, "users", b, &o)
	t.Cleanup(func() { _ = r.Close(bg) })
	return r
}

// TestRedis: hits of copies, leases that another process takes away, and a server that dies.
func TestRedis(t *testing.T) {
	t.Parallel()
	server, url := backendtest.StartRedis(t)
	c := dogpileprom.NewCollector()
	r := openRegion(t, url, dogpile.Options{Expiration: time.Hour, LockTTL: 600 * time.Millisecond, Near: &dogpile.Near{Lag: time.Minute}, Hooks: c.Hooks()})
	peer := openRegion(t, url, dogpile.Options{Expiration: time.Hour, LockTTL: 600 * time.Millisecond})
	cache := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Name: "user"})
	get := func(key string, create func(context.Context) (int, error)) error {
		_, err := cache.GetOrCreate(bg, tallytest.Secret+key, create)
		return err
	}
	one := func(context.Context) (int, error) { return 1, nil }
	backendtest.Eventually(t, "a hit of a copy", func() bool {
		backendtest.OK(t, get("k", one))
		return r.Stats().NearHits > 0
	})

	runs := 0
	backendtest.OK(t, get("l", func(ctx context.Context) (int, error) {
		if runs++; runs > 1 {
			return 2, nil
		}
		backendtest.OK(t, peer.Delete(bg, tallytest.Secret+"l"))
		<-ctx.Done() // the lease is found to be lost when it is renewed
		return 0, ctx.Err()
	}))
	backendtest.OK(t, get("m", func(ctx context.Context) (int, error) {
		return 1, peer.Delete(bg, tallytest.Secret+"m")
	}))

	server.Kill()
	backendtest.Eventually(t, "the server to be missed", func() bool {
		backendtest.OK(t, get("n", one))
		return r.Stats().Errors > 0
	})
	families := scrape(t, register(t, c))
	got, s := flat(families), r.Stats()
	for series, want := range map[string]any{
		"requests{name=user,region=users,result=near_hit}": s.NearHits,
		"requests{name=user,region=users,result=hit}":      s.Hits - s.NearHits,
		"requests{name=user,region=users,result=miss}":     s.Misses,
		"leases.lost{region=users}":                        s.LeasesLost,
		"stores{region=users}":                             s.Stores + peer.Stats().Stores,
	} {
		if got[series] != fmt.Sprint(want) || want == 0 {
			t.Errorf("%s = %q, want %v", series, got[series], want)
		}
	}
	errs := 0
	for series, value := range got {
		if strings.HasPrefix(series, "errors{op=") && strings.HasSuffix(series, ",region=users}") {
			n := 0
			fmt.Sscan(value, &n)
			errs += n
		}
	}
	if errs == 0 || int64(errs) != s.Errors {
		t.Errorf("%d errors, of %d", errs, s.Errors)
	}
	if s.LeasesLost == 0 {
		t.Error("no lease was lost")
	}
	for _, prefix := range []string{
		"creation.duration{name=user,outcome=lease_lost,", "backend.duration{backend=redis,op=get,outcome=error}",
		"backend.duration{backend=redis,op=lock,outcome=ok}",
	} {
		found := false
		for series := range got {
			found = found || strings.HasPrefix(series, prefix)
		}
		if !found {
			t.Errorf("there is no %s", prefix)
		}
	}
	for name, family := range families {
		if strings.Contains(family.String(), tallytest.Secret) {
			t.Errorf("%s has a key: %v", name, family)
		}
	}
}
