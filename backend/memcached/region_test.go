package memcached_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
)

func TestSlowCreationIsStoredThoughTheEntryRunsOut(t *testing.T) {
	t.Parallel()
	// 1. An entry of a second is stale.  2. A creates anew, and takes longer than
	// the server would have kept the old one.  3. What A has made is stored.
	for name, o := range map[string]*memcached.Options{"meta": {}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, "memcached://"+sharedServer(t).Addr(), o)
			stored := make(chan error, 10)
			c := dogpile.NewCache[string](configured(t, unique(t), b, &dogpile.Options{
				Expiration: time.Second, StaleFor: time.Millisecond,
				Hooks: &dogpile.Hooks{Store: func(_ context.Context, e dogpile.Event) { stored <- e.Err }},
			}), nil)
			ok(t, c.Set(t.Context(), "k", "old"))
			ok(t, <-stored)
			eventually(t, "the entry to expire", func() bool {
				_, found, err := c.Get(t.Context(), "k")
				return err == nil && !found
			})
			v, err := c.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { pause(3 * time.Second); return "new", nil })
			if v != "new" || err != nil {
				t.Errorf("GetOrCreate = %q, %v", v, err)
			}
			ok(t, <-stored)
		})
	}
}
