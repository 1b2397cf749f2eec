package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// fill makes a Redis that evicts nothing full: it refuses all that needs memory.
func (s *server) fill(t testing.TB) {
	t.Helper()
	c := s.client(t)
	do(t, c, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	do(t, c, "CONFIG", "SET", "maxmemory", "1")
	if err := c.Do(t.Context(), c.B().Set().Key("one").Value("more").Build()).Error(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Fatalf("SET on a full Redis: %v, want OOM", err)
	}
}

// room ends what fill began.
func (s *server) room(t testing.TB) {
	t.Helper()
	do(t, s.client(t), "CONFIG", "SET", "maxmemory", "0")
}

// TestInvalidateOnAFullRedis: a token cannot be written there, but deleted.
func TestInvalidateOnAFullRedis(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var regions []*dogpile.Region
	var caches []*dogpile.Cache[string]
	for range 2 { // processes
		r := backendtest.Region(t, "full", backendtest.Open(t, backendtest.Patient(s.URL())), nil)
		regions, caches = append(regions, r), append(caches, dogpile.NewCache[string](r, nil))
	}
	ok(t, caches[0].Set(t.Context(), "k", "old"))
	// What dogpile.cache has written carries no version.
	python := fmt.Sprintf(`{"ct": %d, "v": 2}|"python's"`, time.Now().Unix())
	do(t, s.client(t), "SET", "full:python", python)
	for _, key := range []string{"k", "python"} {
		if _, found, err := caches[1].Get(t.Context(), key); !found || err != nil {
			t.Fatalf("%s before: %v, %v", key, found, err)
		}
	}
	s.fill(t)

	if err := regions[0].Invalidate(t.Context(), dogpile.Soft); err == nil {
		t.Error("Invalidate(Soft) = nil")
	}
	if _, found, err := caches[1].Get(t.Context(), "k"); !found || err != nil {
		t.Errorf("after an Invalidate(Soft) that failed: %v, %v", found, err)
	}
	ok(t, regions[0].Invalidate(t.Context(), dogpile.Hard))
	gone := func(when string) {
		t.Helper()
		for i, c := range caches {
			for _, key := range []string{"k", "python"} {
				if v, found, err := c.Get(t.Context(), key); found || err != nil {
					t.Errorf("%s process %d finds %s: %q, %v", when, i, key, v, err)
				}
			}
		}
	}
	gone("while it is full,")
	// Callers get their values, though nothing can be stored, and do not wait for it.
	began := time.Now()
	for range 30 {
		for _, c := range caches {
			if v, err := c.GetOrCreate(t.Context(), "k", made("new")); v != "new" || err != nil {
				t.Errorf("GetOrCreate on a full Redis: %q, %v", v, err)
			}
		}
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("60 creations took %v", took)
	}
	gone("after creations that could not be stored,")
	s.room(t)
	gone("once there is room,")
	if v, err := caches[0].GetOrCreate(t.Context(), "other", made("v")); v != "v" || err != nil {
		t.Errorf("GetOrCreate: %q, %v", v, err)
	}
	gone("once there is a token,")
	if v, found, err := caches[1].Get(t.Context(), "other"); v != "v" || !found || err != nil {
		t.Errorf("it was not stored: %q, %v, %v", v, found, err)
	}
}

// TestCreationOnAFullRedisTells: that a value could not be stored is an Error event, and
// its caller gets it.
func TestCreationOnAFullRedisTells(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var mu sync.Mutex
	told := map[string]error{}
	r := backendtest.Region(t, "full", backendtest.Open(t, backendtest.Patient(s.URL())), &dogpile.Options{Hooks: &dogpile.Hooks{
		Error: func(_ context.Context, e dogpile.Event) {
			mu.Lock()
			defer mu.Unlock()
			told[e.Op] = e.Err
		},
	}})
	c := dogpile.NewCache[string](r, nil)
	// It fills up while the creator runs: the lease is held, and the store fails.
	v, err := c.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) {
		s.fill(t)
		return "v", nil
	})
	if v != "v" || err != nil {
		t.Errorf("GetOrCreate = %q, %v", v, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if err := told["store"]; err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("told %v, want the store's OOM", told)
	}
	if locked, err := r.Locked(t.Context(), "k"); locked || err != nil {
		t.Errorf("the lock is left: %v, %v", locked, err)
	}
}
