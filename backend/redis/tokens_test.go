package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestOneNodeOfAClusterIsDown: its own entries are lost and no others, Invalidate
// reaches the others and says which it could not reach, and Ping says so too.
func TestOneNodeOfAClusterIsDown(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(testing.TB, *server){
		"dead":  func(_ testing.TB, s *server) { s.Kill() },
		"hangs": func(t testing.TB, s *server) { s.Stop(t); t.Cleanup(func() { s.Resume(t) }) },
	} {
		for down := range 3 { // one of them kept the only token there was
			t.Run(fmt.Sprint("node ", down, " ", name), func(t *testing.T) {
				c := startCluster(t, nil)
				for _, s := range c {
					do(t, s.client(t), "CONFIG", "SET", "cluster-require-full-coverage", "no")
				}
				oneNodeIsDown(t, c, down, lose)
			})
		}
	}
}

func oneNodeIsDown(t *testing.T, c cluster, down int, lose func(testing.TB, *server)) {
	b := open(t, c.url(), &redis.Options{Timeout: 2 * time.Second})
	r := backendtest.Region(t, "shards", b, &dogpile.Options{Prefix: dogpile.NoPrefix})
	cache := dogpile.NewCache[string](r, nil)
	keys, vals, all := keysOf(c, 30), map[string]string{}, []string{}
	for _, own := range keys {
		for _, key := range own {
			vals[key], all = "v", append(all, key)
		}
	}
	ok(t, cache.SetMulti(t.Context(), vals))
	ok(t, r.Ping(t.Context()))
	lose(t, c[down])
	found, err := cache.GetMulti(t.Context(), all)
	if len(found) != 60 || !errors.Is(err, dogpile.ErrBackend) {
		t.Errorf("found %d of the 60 that other nodes keep; %v", len(found), err)
	}
	created := 0
	for node, own := range keys {
		if node == down {
			continue
		}
		for _, key := range own {
			v, err := cache.GetOrCreate(t.Context(), key, made("anew"))
			if ok(t, err); v == "anew" {
				created++
			}
		}
	}
	if created > 0 {
		t.Errorf("%d of 60 were created anew", created)
	}
	if v, err := cache.GetOrCreate(t.Context(), keys[down][0], made("anew")); v != "anew" || err != nil {
		t.Errorf("a lost entry: %q, %v", v, err)
	}
	if err := r.Ping(t.Context()); !errors.Is(err, dogpile.ErrBackend) || !strings.Contains(err.Error(), c[down].addr) {
		t.Errorf("Ping = %v, want an error that names %s", err, c[down].addr)
	}
	for _, mode := range []dogpile.Mode{dogpile.Soft, dogpile.Hard} {
		began := time.Now()
		err := r.Invalidate(t.Context(), mode)
		if !errors.Is(err, dogpile.ErrBackend) || !strings.Contains(err.Error(), c[down].addr) || strings.Contains(err.Error(), c[(down+1)%3].addr) {
			t.Errorf("Invalidate(%v) = %v, want an error that names %s", mode, err, c[down].addr)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("Invalidate(%v) took %v", mode, took)
		}
		for node, own := range keys {
			if node == down {
				continue
			}
			if vals, err := cache.GetMulti(t.Context(), own); len(vals) != 0 || err != nil {
				t.Errorf("after Invalidate(%v) %d entries of node %d are fresh; %v", mode, len(vals), node, err)
			}
		}
	}
}

// TestInvalidateOnACluster reaches the entries of all nodes, in another process, and one
// that has just started finds what the others have stored.
func TestInvalidateOnACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	process := func() (*dogpile.Region, *dogpile.Cache[string]) {
		r := backendtest.Region(t, "shards", open(t, c.url(), nil), &dogpile.Options{Prefix: dogpile.NoPrefix})
		return r, dogpile.NewCache[string](r, nil)
	}
	r, cache := process()
	keys := keysOf(c, 10)
	for _, mode := range []dogpile.Mode{dogpile.Hard, dogpile.Soft, dogpile.Hard} {
		for _, own := range keys {
			for _, key := range own {
				ok(t, cache.Set(t.Context(), key, "v"))
			}
		}
		for _, own := range keys {
			_, started := process() // whose first call this is
			if vals, err := started.GetMulti(t.Context(), own); len(vals) != 10 || err != nil {
				t.Errorf("a process that has just started finds %d of 10; %v", len(vals), err)
			}
		}
		ok(t, r.Invalidate(t.Context(), mode))
		_, other := process()
		for _, own := range keys {
			if vals, err := other.GetMulti(t.Context(), own); len(vals) != 0 || err != nil {
				t.Errorf("after Invalidate(%v): %d are fresh; %v", mode, len(vals), err)
			}
		}
	}
}

// TestPing asks a server that is there, one that is not, and one that hangs.
func TestPing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	r := backendtest.Region(t, "ping", open(t, s.URL(), &redis.Options{Timeout: 2 * time.Second}), nil)
	ok(t, r.Ping(t.Context()))
	s.Stop(t)
	began := time.Now()
	if err := r.Ping(t.Context()); !errors.Is(err, dogpile.ErrBackend) || time.Since(began) > 30*time.Second {
		t.Errorf("Ping of a server that hangs = %v after %v", err, time.Since(began))
	}
	s.Resume(t)
	eventually(t, "Ping to find the server again", func() bool { return r.Ping(t.Context()) == nil })
	s.Kill()
	eventually(t, "Ping to miss the server", func() bool { return errors.Is(r.Ping(t.Context()), dogpile.ErrBackend) })
	s.Start(t)
	eventually(t, "Ping to find the server that was started again", func() bool { return r.Ping(t.Context()) == nil })
}
