//go:build !race

package dogpile_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// TestHitAllocatesNothing: nor does Func.Call with an argument of a built-in
// type. The race detector allocates, so this runs without it.
func TestHitAllocatesNothing(t *testing.T) {
	type user [100]byte
	for name, o := range map[string]*memory.Options{"unbounded": nil, "bounded": {MaxEntries: 1000}} {
		t.Run(name, func(t *testing.T) {
			b, err := memory.New(o)
			if err != nil {
				t.Fatal(err)
			}
			r := dogpile.NewRegion("users")
			if err := r.Configure(b, &dogpile.Options{Expiration: time.Hour, Jitter: 0.1}); err != nil {
				t.Fatal(err)
			}
			c := dogpile.NewCache[user](r, nil)
			create := func(context.Context) (user, error) { return user{}, nil }
			f := dogpile.NewFunc(r, "user", func(context.Context, int) (user, error) { return user{}, nil }, nil)
			if _, err := c.GetOrCreate(bg, "a key", create); err != nil {
				t.Fatal(err)
			}
			for what, hit := range map[string]func() error{
				"GetOrCreate": func() error { _, err := c.GetOrCreate(bg, "a key", create); return err },
				"Get":         func() error { _, _, err := c.Get(bg, "a key"); return err },
				"Func.Call":   func() error { _, err := f.Call(bg, 4211); return err },
			} {
				if n := testing.AllocsPerRun(1000, func() { err = hit() }); n != 0 || err != nil {
					t.Errorf("%s: %v allocations, %v", what, n, err)
				}
			}
			if s := r.Stats(); s.Creations != 2 || s.Hits < 3000 {
				t.Errorf("%d creations and %d hits: these were no hits", s.Creations, s.Hits)
			}
		})
	}
}
