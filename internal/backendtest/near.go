//go:build unix

package backendtest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// reader counts how often a key is read, but not under a lease.
type reader struct {
	driver.Proxy
	key   atomic.Pointer[string]
	reads atomic.Int64
}

func (r *reader) Get(ctx context.Context, items []driver.Item) error {
	if key := r.key.Load(); key != nil && slices.ContainsFunc(items, func(it driver.Item) bool { return it.Key == *key && it.Lease == nil }) {
		r.reads.Add(1)
	}
	return r.Proxy.Get(ctx, items)
}

// nearOne is a process that keeps copies.
type nearOne struct {
	region *dogpile.Region
	cache  *dogpile.Cache[string]
	reader *reader
}

// near returns n processes that keep copies.
func near(t *testing.T, open func(testing.TB) driver.Backend, n int, o dogpile.Near) []nearOne {
	t.Helper()
	name, all := Unique(t), make([]nearOne, n)
	for i := range all {
		one := &all[i]
		one.reader = &reader{Proxy: driver.Proxy{Backend: open(t)}}
		one.region = Region(t, name, one.reader, &dogpile.Options{Prefix: dogpile.NoPrefix, Near: &o})
		one.cache = dogpile.NewCache[string](one.region, nil)
	}
	return all
}

// hits reads key until a copy answers.
func (n nearOne) hits(t *testing.T, key, want string) {
	t.Helper()
	for before := n.region.Stats().NearHits; n.region.Stats().NearHits == before; {
		if v, err := n.cache.GetOrCreate(t.Context(), key, Made(want)); v != want || err != nil {
			t.Fatalf("GetOrCreate of %s = %q, %v; want %q", key, v, err, want)
		}
	}
}

// nearChanges checks that a change is seen at once in the process that makes it, and soon, or
// with Exact at once, in others.
func nearChanges(exact bool) func(*testing.T, func(testing.TB) driver.Backend) {
	return func(t *testing.T, open func(testing.TB) driver.Backend) {
		const lag = 200 * time.Millisecond
		if exact && !driver.CapsOf(open(t)).Fenced {
			err := dogpile.NewRegion(Unique(t)).Configure(open(t), &dogpile.Options{Near: &dogpile.Near{Exact: true}})
			if err == nil || !strings.Contains(err.Error(), "Near.Exact: needs leases") {
				t.Errorf("over leases that are not fenced: Configure = %v", err)
			}
			return
		}
		ps := near(t, open, 2, dogpile.Near{Lag: lag, Exact: exact})
		tag := Unique(t)
		for name, change := range map[string]func(key string) error{
			"Set":            func(key string) error { return ps[0].cache.Set(t.Context(), key, "new") },
			"Delete":         func(key string) error { return ps[0].region.Delete(t.Context(), key) },
			"Invalidate":     func(string) error { return ps[0].region.Invalidate(t.Context(), dogpile.Hard) },
			"InvalidateTags": func(string) error { return ps[0].region.InvalidateTags(t.Context(), dogpile.Hard, tag) },
		} {
			for range 5 {
				key := Unique(t)
				if _, err := ps[0].cache.GetOrCreate(t.Context(), key, func(ctx context.Context) (string, error) {
					dogpile.Creation(ctx).Tag(ctx, tag)
					return "old", nil
				}); err != nil {
					t.Fatal(err)
				}
				for _, p := range ps {
					p.hits(t, key, "old")
				}
				OK(t, change(key))
				returned := time.Now()
				for i, p := range ps {
					for {
						began := time.Now()
						v, err := p.cache.GetOrCreate(t.Context(), key, Made("new"))
						if v == "new" && err == nil {
							break
						}
						if i == 0 || exact || began.Sub(returned) > lag+lag/10 {
							t.Fatalf("%s: %v after it process %d gets %q, %v", name, began.Sub(returned), i, v, err)
						}
					}
				}
			}
		}
	}
}

// nearStampede checks that many readers of a changed key read it once in each process.
func nearStampede(t *testing.T, open func(testing.TB) driver.Backend) {
	p := near(t, open, 1, dogpile.Near{Lag: 10 * time.Second})[0]
	for range 20 {
		key := Unique(t)
		OK(t, p.cache.Set(t.Context(), key, "v"))
		p.reader.reads.Store(0)
		p.reader.key.Store(&key)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if v, err := p.cache.GetOrCreate(t.Context(), key, Made("made")); v != "v" || err != nil {
					t.Errorf("GetOrCreate = %q, %v", v, err)
				}
			})
		}
		all.Wait()
		// A connection on which changes are announced may have been lost or made meanwhile.
		if n := p.reader.reads.Load(); n > 2 {
			t.Errorf("the key was read %d times, want once", n)
		}
	}
}
