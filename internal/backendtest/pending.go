//go:build unix

package backendtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// RetriesDeletes checks that a delete and an invalidation that an outage has swallowed are
// carried out after it, and that the process that has made them returns nothing old from
// the moment on at which it was told that they failed. After they are done no process does.
func RetriesDeletes(t *testing.T, k Kind) {
	outages := map[string]func(t *testing.T) (s Server, via string, begin, end func()){
		"the network is cut": func(t *testing.T) (Server, string, func(), func()) {
			s := k.Start(t)
			n := NewNetwork(t, s.Addr())
			return s, via(s, n), n.Cut, n.Mend
		},
		"the server hangs": func(t *testing.T) (Server, string, func(), func()) {
			s := k.Start(t)
			return s, s.URL(), func() { s.Stop(t) }, func() { s.Resume(t) }
		},
		"the server is killed": func(t *testing.T) (Server, string, func(), func()) {
			s := k.Start(t) // it comes back empty, or with what it has on its disk
			return s, s.URL(), s.Kill, func() { s.Start(t) }
		},
	}
	calls := map[string]func(ctx context.Context, r *dogpile.Region, keys []string) error{
		"Delete":     func(ctx context.Context, r *dogpile.Region, keys []string) error { return r.Delete(ctx, keys...) },
		"Invalidate": func(ctx context.Context, r *dogpile.Region, _ []string) error { return r.Invalidate(ctx, dogpile.Hard) },
	}
	for name, outage := range outages {
		for what, call := range calls {
			t.Run(what+", while "+name, func(t *testing.T) {
				t.Parallel()
				s, via, begin, end := outage(t)
				swallowed(t, k, s.URL(), via, begin, end, call)
			})
		}
	}
}

func swallowed(t *testing.T, k Kind, url, via string, begin, end func(), call func(context.Context, *dogpile.Region, []string) error) {
	name := Unique(t)
	r := Region(t, name, Open(t, k.URL(via, Hasty...)), &dogpile.Options{RetryDeletes: 10})
	here := dogpile.NewCache[string](r, nil)
	elsewhere := dogpile.NewCache[string](Region(t, name, Open(t, Patient(k.URL(url))), nil), nil)
	ctx := t.Context()
	keys := []string{"a", "b", "c"}
	for _, key := range keys {
		OK(t, elsewhere.Set(ctx, key, "old"))
		Eventually(t, "an answer in time", func() bool {
			v, _, err := here.Get(ctx, key)
			return err == nil && v == "old"
		})
	}
	begin()
	if err := call(ctx, r, keys); !errors.Is(err, dogpile.ErrPending) || !errors.Is(err, dogpile.ErrBackend) {
		t.Errorf("during the outage: %v", err)
	}
	// Callers of this process, of whom no one gets what is old from now on: not while the
	// server is away, and not while it comes back.
	var readers sync.WaitGroup
	var over atomic.Bool
	for range 4 {
		readers.Go(func() {
			for !over.Load() {
				if v, found, err := here.Get(ctx, "a"); found && err == nil && v == "old" {
					t.Error("Get returned what is old")
					return
				}
				if v, err := here.GetOrCreate(ctx, "b", Made("new")); err != nil || v != "new" {
					t.Errorf("GetOrCreate = %q, %v", v, err)
					return
				}
				if vals, _ := here.GetMulti(ctx, keys); vals["a"] == "old" || vals["b"] == "old" || vals["c"] == "old" {
					t.Errorf("GetMulti = %v", vals)
					return
				}
			}
		})
	}
	Pause(500 * time.Millisecond)
	end()
	Eventually(t, "nothing to be pending", func() bool { return r.Stats().Pending == 0 })
	for _, key := range keys {
		Eventually(t, "an answer elsewhere", func() bool {
			v, _, err := elsewhere.Get(ctx, key)
			if v == "old" {
				t.Errorf("elsewhere %s is old", key)
			}
			return err == nil
		})
	}
	over.Store(true)
	readers.Wait()
	OK(t, r.Close(ctx))
}
