package memcached_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestOneOfThreeServersIsLost(t *testing.T) {
	kinds(t, func(t *testing.T, k backendtest.Kind) {
		c := startCluster(t)
		l := backendtest.StartLoad(t, backendtest.Open(t, k.URL(c.url(), backendtest.Hasty...)), 30, "")
		for i, s := range c {
			if i == 1 {
				s.Stop(t)
			} else {
				s.Kill()
			}
			l.GoesOn("without a server")
			if i == 1 {
				pause(time.Second)
				s.Resume(t)
			} else {
				s.Start(t)
			}
			l.GoesOn("afterwards")
		}
		l.Healed()
	})
}

func TestServerThatEvicts(t *testing.T) {
	// Entries, leases and placeholders do not fit: 1000 values of 5000 bytes in a
	// megabyte. The time-outs are for whatever else this machine does.
	kinds(t, func(t *testing.T, k backendtest.Kind) {
		s := startServer(t, "-m", "1", "-I", "256k", "-o", "slab_chunk_max=128")
		b := backendtest.Open(t, k.URL(s.URL(), "timeout=10s", "connect_timeout=10s", "breaker_failures=3", "breaker_cooldown=300ms"))
		l := backendtest.StartLoad(t, b, 1000, strings.Repeat("x", 5000))
		raw := s.dial(t)
		for range 20 {
			l.GoesOn("while things are evicted")
		}
		if n := raw.stat("evictions"); n < 1000 {
			t.Errorf("%d evictions: this proves little", n)
		}
		l.WantCreatorsAtOnce(1)
		t.Logf("%d evictions", raw.stat("evictions"))
	})
}
