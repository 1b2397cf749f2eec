package file_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// two returns caches of two regions of one name, with Backends of their own, as
// two processes have them.
func two(t *testing.T) (a, b *dogpile.Cache[string], invalidate func(dogpile.Mode)) {
	t.Helper()
	path := place(t)
	var regions []*dogpile.Region
	for range 2 {
		r := dogpile.NewRegion("r")
		ok(t, r.Configure(open(t, path, nil), &dogpile.Options{BackendTimeout: slow}))
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), slow)
			defer cancel()
			ok(t, r.Close(ctx))
		})
		regions = append(regions, r)
	}
	return dogpile.NewCache[string](regions[0], nil), dogpile.NewCache[string](regions[1], nil), func(m dogpile.Mode) {
		t.Helper()
		ok(t, regions[0].Invalidate(t.Context(), m))
	}
}

func made(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

func TestOneCreatorAmongAll(t *testing.T) {
	t.Parallel()
	a, b, _ := two(t)
	var created atomic.Int64
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			cache := map[bool]*dogpile.Cache[string]{false: a, true: b}[i%2 == 0]
			for k := range 5 {
				key := fmt.Sprint("k", k)
				v, err := cache.GetOrCreate(t.Context(), key, func(context.Context) (string, error) {
					created.Add(1)
					<-time.After(10 * time.Millisecond)
					return "v" + key, nil
				})
				if v != "v"+key || err != nil {
					t.Errorf("GetOrCreate = %q, %v", v, err)
				}
			}
		})
	}
	all.Wait()
	if n := created.Load(); n != 5 {
		t.Errorf("5 keys were created %d times", n)
	}
}

func TestInvalidationReachesOtherProcesses(t *testing.T) {
	t.Parallel()
	a, b, invalidate := two(t)
	peek := func(want dogpile.State) {
		t.Helper()
		if e, found, err := b.Peek(t.Context(), "k"); !found || e.Value != "old" || e.State != want || err != nil {
			t.Errorf("Peek = %+v, %v, %v", e, found, err)
		}
	}
	ok(t, a.Set(t.Context(), "k", "old"))
	peek(dogpile.Fresh)
	invalidate(dogpile.Soft)
	peek(dogpile.Stale)
	invalidate(dogpile.Hard)
	peek(dogpile.Invalidated)
	if v, err := b.GetOrCreate(t.Context(), "k", made("new")); v != "new" || err != nil {
		t.Errorf("GetOrCreate after it = %q, %v", v, err)
	}
	if v, found, err := a.Get(t.Context(), "k"); v != "new" || !found || err != nil {
		t.Errorf("Get = %q, %v, %v", v, found, err)
	}
}

func TestDeleteRefusesWhatWasBegunBefore(t *testing.T) {
	t.Parallel()
	// 1. A's creator begins.  2. B deletes the key.  3. A stores: refused.
	// 4. B finds nothing.
	a, b, _ := two(t)
	began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := a.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { close(began); <-gate; return "old", nil })
		done <- err
	}()
	<-began
	ok(t, b.Delete(t.Context(), "k"))
	close(gate)
	ok(t, <-done)
	if v, found, err := b.Get(t.Context(), "k"); found || err != nil {
		t.Errorf("B finds %q, %v", v, err)
	}
}

func TestRegionFromSettings(t *testing.T) {
	t.Parallel()
	path := place(t)
	r := dogpile.NewRegion("users")
	ok(t, r.ConfigureFrom(t.Context(), map[string]string{
		"cache.backend":             "file",
		"cache.arguments.path":      path,
		"cache.arguments.max_bytes": "64MiB",
		"cache.expiration":          "1h",
	}, "cache."))
	cache := dogpile.NewCache[[]string](r, nil)
	v, err := cache.GetOrCreate(t.Context(), "k", func(context.Context) ([]string, error) { return []string{"a", "b"}, nil })
	if len(v) != 2 || err != nil {
		t.Errorf("GetOrCreate = %v, %v", v, err)
	}
	ok(t, r.Close(t.Context()))
	b := open(t, path, nil)
	if got := get(t, b, "users:k"); got == "" {
		t.Error("the entry is not in the file")
	}
}

func TestFileThatIsGoneCostsNoValue(t *testing.T) {
	t.Parallel()
	// The cache may fail, the application not: neither a file that is removed nor
	// one that is damaged is an error of GetOrCreate.
	path := place(t)
	r := dogpile.NewRegion("r")
	ok(t, r.Configure(open(t, path, &file.Options{Reset: true}), &dogpile.Options{
		Proxies: []func(b driver.Backend) driver.Backend{proxy.Compress(nil)},
	}))
	cache := dogpile.NewCache[string](r, nil)
	for i := range 30 {
		switch i % 3 {
		case 1:
			remove(t, path, "")
		case 2:
			edit(t, path, func(data []byte) []byte { return data[:len(data)/2] })
		}
		if v, err := cache.GetOrCreate(t.Context(), "k", made("v")); v != "v" || err != nil {
			t.Errorf("GetOrCreate = %q, %v", v, err)
		}
	}
}
