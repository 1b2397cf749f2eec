//go:build !race

package memcache_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// The race detector allocates, so this runs without it.
func TestHitAllocatesTheValueAlone(t *testing.T) {
	c := newClient(t, sharedServer(t).Addr(), memcache.Options{})
	do(t, c, memcache.Op{Kind: set, Key: "allocations", Value: make([]byte, 100)})
	ops := make([]memcache.Op, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": ctx} {
		n := testing.AllocsPerRun(500, func() {
			ops[0] = memcache.Op{Key: "allocations"}
			if err := c.Do(ctx, ops); err != nil || len(ops[0].Value) != 100 {
				t.Fatal(err, ops[0])
			}
		})
		if n > 1 {
			t.Errorf("%s: a hit allocates %v times", name, n)
		}
	}
}
