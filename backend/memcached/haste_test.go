package memcached_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

func TestHasteOfCallersDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, startServer(t).URL(), o)
			all := operations(b)
			ok(t, all["Get"](t.Context(), "k"))
			for limit, of := range map[string]time.Duration{"past": -time.Second, "10us": 10 * time.Microsecond, "1ms": time.Millisecond} {
				for call, do := range all {
					for i := range 20 {
						ctx, cancel := context.WithTimeout(t.Context(), of)
						_ = do(ctx, fmt.Sprint("hasty-", limit, call, "-", i))
						cancel()
					}
					for other, do := range all {
						if err := do(t.Context(), fmt.Sprint("patient-", limit, call, other)); err != nil {
							t.Errorf("%s, after 20 of %s with a deadline that is %s: %v", other, call, limit, err)
						}
					}
				}
			}
		})
	}
}

func TestShortOutage(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			o.Breaker = &proxy.BreakerOptions{Cooldown: 10 * time.Minute} // nobody would live to see its end
			b := open(t, s.URL(), o)
			cache := dogpile.NewCache[string](configured(t, "r", b, &dogpile.Options{Expiration: time.Hour}), nil)
			for range 5 {
				ok(t, cache.Set(t.Context(), "k", "v"))
				s.Kill()
				for down := time.Now(); time.Since(down) < 50*time.Millisecond; {
					if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err == nil {
						t.Error("an answer without a server")
					}
				}
				s.Start(t)
				up := time.Now()
				eventually(t, "the cache to be back", func() bool { return cache.Set(t.Context(), "k", "v") == nil })
				// A quarter of a second; the rest is for a machine that has other things
				// to do.
				if took := time.Since(up); took > 20*time.Second {
					t.Errorf("the cache was back %v after the server", took)
				}
			}
		})
	}
}
