package redis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

// TestTimeoutsNameTheServer: an error that says no more than "context deadline
// exceeded" is of no use to a reader who has ten servers.
func TestTimeoutsNameTheServer(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (s *server, url string){
		"connected": func(t *testing.T) (*server, string) {
			s := startServer(t)
			return s, s.URL()
		},
		"Sentinel": func(t *testing.T) (*server, string) {
			w := startSentinel(t, nil)
			return w.servers[0], w.url()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, url := start(t)
			b := open(t, url, &redis.Options{Breaker: off})
			ok(t, b.Delete(t.Context(), []string{"k"}))
			wantNamed(t, s, b)
		})
	}
	t.Run("not connected", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		wantNamed(t, s, open(t, s.URL(), &redis.Options{Breaker: off}))
	})
}

func wantNamed(t *testing.T, s *server, b *redis.Backend) {
	t.Helper()
	s.Stop(t)
	defer s.Resume(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var late net.Error
	err := b.Delete(ctx, []string{"k1", "k2"})
	if !strings.Contains(err.Error(), s.addr) || !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("Delete = %v, want a time-out that names %s", err, s.addr)
	}
}

// TestErrorsOfAClusterNameTheNodeOnce: one node of three is down, as Invalidate, Ping
// and Delete tell before and after its breaker opens.
func TestErrorsOfAClusterNameTheNodeOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	for _, s := range c {
		do(t, s.client(t), "CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	b := open(t, c.url(), nil)
	r := backendtest.Region(t, unique(t), b, nil)
	ok(t, r.Ping(t.Context()))
	c[1].Kill()
	key := keysOf(c, 1)[1][0]
	opened := func() bool { return errors.Is(b.Delete(t.Context(), []string{key}), proxy.ErrOpen) }
	for range 2 {
		for what, err := range map[string]error{
			"Invalidate": r.Invalidate(t.Context(), dogpile.Hard),
			"soft":       r.Invalidate(t.Context(), dogpile.Soft),
			"Ping":       r.Ping(t.Context()),
			"Delete":     b.Delete(t.Context(), []string{key, key + "{" + key + "}"}),
		} {
			if err == nil || strings.Count(err.Error(), c[1].addr) != 1 || strings.Contains(err.Error(), "_inv:") {
				t.Errorf("%s = %v, want %s once and no key of the library's own", what, err, c[1].addr)
			}
		}
		eventually(t, "the breaker to open", opened)
	}
}
