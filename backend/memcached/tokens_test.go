package memcached_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestOneServerOfFourIsDown: its own entries are lost and no others, Invalidate reaches
// the others and says which it could not reach, and Ping says so too.
func TestOneServerOfFourIsDown(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(testing.TB, *server){
		"dead":  func(_ testing.TB, s *server) { s.Kill() },
		"hangs": func(t testing.TB, s *server) { s.Stop(t); t.Cleanup(func() { s.Resume(t) }) },
	} {
		for down := range 4 { // one of them kept the only token there was
			t.Run(fmt.Sprint("server ", down, " ", name), func(t *testing.T) {
				t.Parallel()
				oneServerIsDown(t, append(startCluster(t), startServer(t)), down, lose)
			})
		}
	}
}

func oneServerIsDown(t *testing.T, servers []*server, down int, lose func(testing.TB, *server)) {
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, s.Addr())
	}
	b := open(t, "memcached://"+strings.Join(hosts, ",")+"?hash=ketama", nil)
	r := backendtest.Region(t, "shards", b, &dogpile.Options{Prefix: dogpile.NoPrefix, BackendTimeout: 2 * time.Second})
	c := dogpile.NewCache[string](r, nil)
	vals, all, lost := map[string]string{}, []string{}, map[string]bool{}
	for i := range 100 {
		key := fmt.Sprint("key", i)
		vals[key], all, lost[key] = "v", append(all, key), b.Shard(key) == hosts[down]
		if !lost[key] {
			delete(lost, key)
		}
	}
	ok(t, c.SetMulti(t.Context(), vals))
	ok(t, r.Ping(t.Context()))
	lose(t, servers[down])
	found, err := c.GetMulti(t.Context(), all)
	if len(found) != 100-len(lost) || !errors.Is(err, dogpile.ErrBackend) {
		t.Errorf("found %d of the %d that other servers keep; %v", len(found), 100-len(lost), err)
	}
	for _, key := range all {
		if v, err := c.GetOrCreate(t.Context(), key, made("anew")); err != nil || (v == "anew") != lost[key] {
			t.Errorf("%s, which is lost: %v: %q, %v", key, lost[key], v, err)
		}
	}
	if err := r.Ping(t.Context()); !errors.Is(err, dogpile.ErrBackend) || !strings.Contains(err.Error(), hosts[down]) {
		t.Errorf("Ping = %v, want an error that names %s", err, hosts[down])
	}
	for _, mode := range []dogpile.Mode{dogpile.Soft, dogpile.Hard} {
		began := time.Now()
		err := r.Invalidate(t.Context(), mode)
		if !errors.Is(err, dogpile.ErrBackend) || !strings.Contains(err.Error(), hosts[down]) || strings.Contains(err.Error(), hosts[(down+1)%4]) {
			t.Errorf("Invalidate(%v) = %v, want an error that names %s", mode, err, hosts[down])
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("Invalidate(%v) took %v", mode, took)
		}
		if found, _ := c.GetMulti(t.Context(), all); len(found) != 0 {
			t.Errorf("after Invalidate(%v) %d entries are fresh", mode, len(found))
		}
	}
}

// TestPing asks a server that is there, one that hangs, and one that is not there.
func TestPing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	r := backendtest.Region(t, "ping", open(t, s.URL(), nil), &dogpile.Options{BackendTimeout: 2 * time.Second})
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
