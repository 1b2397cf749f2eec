package memcached_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

// TestErrorsNameTheServerOnce: one of three servers is down, as Invalidate, Ping and
// Delete tell before and after its breaker opens.
func TestErrorsNameTheServerOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	var hosts []string
	for _, s := range c {
		hosts = append(hosts, s.Addr())
	}
	b := open(t, "memcached://"+strings.Join(hosts, ","), nil)
	r := backendtest.Region(t, unique(t), b, nil)
	ok(t, r.Ping(t.Context()))
	c[1].Kill()
	key := unique(t)
	for b.Shard(key) != hosts[1] {
		key = unique(t)
	}
	for range 2 {
		for what, err := range map[string]error{
			"Invalidate": r.Invalidate(t.Context(), dogpile.Hard),
			"soft":       r.Invalidate(t.Context(), dogpile.Soft),
			"Ping":       r.Ping(t.Context()),
			"Delete":     b.Delete(t.Context(), []string{key}),
		} {
			if err == nil || strings.Count(err.Error(), hosts[1]) != 1 {
				t.Errorf("%s = %v, want %s once", what, err, hosts[1])
			}
		}
		eventually(t, "the breaker to open", func() bool {
			return errors.Is(b.Delete(t.Context(), []string{key}), proxy.ErrOpen)
		})
	}
}
