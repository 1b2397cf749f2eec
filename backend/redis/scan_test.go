package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestHolders(t *testing.T) {
	t.Parallel()
	one, cluster := sharedServer(t).URL(), startCluster(t, nil).url()
	backendtest.Holders(t, map[string]string{
		"standalone":       one,
		"polling":          one + "?poll=true",
		"another prefix":   one + "?lock_prefix=l.&breaker=false",
		"cluster":          cluster,
		"cluster, polling": cluster + "?poll=true",
		"sentinel":         startSentinel(t, nil).url(),
	})
}

func TestCloseEndsAScan(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"standalone": startServer(t).URL(), "cluster": startCluster(t, nil).url()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backendtest.Scans(t, backendtest.Open(t, backendtest.Patient(url)))
		})
	}
}

// TestScanOfManyKeys: of 100,000 keys 1 in 50 is the region's. The server is asked for a
// few hundred at a time, and about the keys of others nothing but their names.
func TestScanOfManyKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.client(t)
	do(t, c, "EVAL", `for i = 1, 98000 do redis.call('SET', 'other:' .. i, 'v') end
for i = 1, 2000 do redis.call('SET', 'mine:' .. i, string.rep('v', 10), 'PX', 3600000) end`, "0")
	r := backendtest.Region(t, "mine", open(t, s.URL(), nil), nil)
	before := map[string]int{}
	asks := []string{"scan", "strlen", "pttl", "get", "keys", "mget", "type"}
	for _, command := range asks {
		before[command] = calls(t, c, command)
	}
	found := map[string]bool{}
	ok(t, r.Scan(t.Context(), func(f driver.Found) bool {
		found[f.Key] = true
		if f.Holder != nil || f.Size != 10 || f.TTL <= 50*time.Minute || f.TTL > time.Hour {
			t.Errorf("found %+v", f)
		}
		return true
	}))
	if len(found) != 2000 || !found["1"] || !found["2000"] {
		t.Errorf("%d of 2000 were found", len(found))
	}
	for command, most := range map[string]int{"scan": 400, "strlen": 2100, "pttl": 2100, "get": 0, "keys": 0, "mget": 0, "type": 0} {
		if n := calls(t, c, command) - before[command]; n > most {
			t.Errorf("%d calls of %s, want at most %d", n, command, most)
		}
	}
	// That is what keeps a call short: it looks at 500 keys, and few have more to tell.
	if n := calls(t, c, "scan") - before["scan"]; n < 150 {
		t.Errorf("100,000 keys in %d calls of SCAN: each holds up other clients", n)
	}
}

// TestScanLeavesOutWhatIsNoEntry: other programs keep other things in the database.
func TestScanLeavesOutWhatIsNoEntry(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.client(t)
	do(t, c, "RPUSH", "list", "v")
	do(t, c, "HSET", "hash", "k", "v")
	do(t, c, "SET", "entry", "v")
	do(t, c, "SET", "_lockpython", strings.Repeat("0123456789abcdef", 2), "PX", "60000")
	do(t, c, "RPUSH", "_locklist", "v")
	do(t, c, "SET", "_locknonsense", "dogpile-go.nonsense")
	b := open(t, s.URL(), nil)
	got := map[string]driver.Found{}
	ok(t, b.Scan(t.Context(), "", func(f driver.Found) bool { got[f.Key] = f; return true }))
	if f := got["entry"]; len(got) != 4 || f.Holder != nil || f.Size != 1 || f.TTL != 0 {
		t.Errorf("found %+v", got)
	}
	for key, want := range map[string]driver.Holder{"python": {Program: "python"}, "list": {}, "nonsense": {}} {
		f := got[key]
		if h, held, err := b.Holder(t.Context(), key); f.Holder == nil || *f.Holder != want || h != want || !held || err != nil {
			t.Errorf("%s: found %+v; Holder = %+v, %v, %v, want %+v", key, f.Holder, h, held, err, want)
		}
		if left := f.TTL; (left > 0) != (key == "python") || left > time.Minute {
			t.Errorf("%s: %v are left", key, left)
		}
	}
}

// TestScanOnAClusterAsksEachNode, and one that is not there is an error that names it.
func TestScanOnAClusterAsksEachNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	b := open(t, c.url(), &redis.Options{Timeout: 3 * time.Second, Breaker: off})
	r := backendtest.Region(t, "users", b, &dogpile.Options{Expiration: time.Hour})
	cache := dogpile.NewCache[string](r, nil)
	vals := map[string]string{}
	for i := range 3000 {
		vals[fmt.Sprint(i)] = "v"
	}
	ok(t, cache.SetMulti(t.Context(), vals))
	found, nodes := map[string]bool{}, map[string]int{}
	count := func(f driver.Found) bool {
		found[f.Key] = true
		nodes[b.Shard("users:"+f.Key)]++
		return true
	}
	ok(t, r.Scan(t.Context(), count))
	if len(found) != 3000 || len(nodes) != 3 {
		t.Errorf("%d of 3000 were found, on the nodes %v", len(found), nodes)
	}
	c[1].Kill()
	if err := r.Scan(t.Context(), count); err == nil || !strings.Contains(err.Error(), c[1].addr) || !errors.Is(err, dogpile.ErrBackend) {
		t.Errorf("Scan while %s is down = %v", c[1].addr, err)
	}
}

// TestScanOfAServerThatHangs ends with its context, or with the time-out of a round trip.
func TestScanOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, s.URL(), &redis.Options{Timeout: 2 * time.Second, Breaker: off})
	var items []driver.Item
	for i := range 3000 {
		items = append(items, driver.Item{Key: fmt.Sprint(i), Data: []byte("v")})
	}
	ok(t, b.Set(t.Context(), items))
	for name, limit := range map[string]time.Duration{"a context that ends": 200 * time.Millisecond, "the time-out": time.Hour} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		n := 0
		err := b.Scan(ctx, "", func(driver.Found) bool {
			if n++; n == 1 {
				s.Stop(t)
			}
			return true
		})
		if err == nil || n >= 3000 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %d were found, and Scan = %v", name, n, err)
		}
		cancel()
		s.Resume(t)
		eventually(t, "the server to answer", func() bool { return b.Get(t.Context(), []driver.Item{{Key: "1"}}) == nil })
	}
}

// TestScanGoesOnAfterConnectionsHaveEnded has the server close them in the middle.
func TestScanGoesOnAfterConnectionsHaveEnded(t *testing.T) {
	t.Parallel()
	s, c := startServer(t), startCluster(t, nil)
	for name, at := range map[string]struct {
		url     string
		servers []*server
	}{"standalone": {s.URL(), []*server{s}}, "cluster": {c.url(), c}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, at.url, &redis.Options{Breaker: off})
			items := make([]driver.Item, 3000)
			for i := range items {
				items[i] = driver.Item{Key: fmt.Sprint(i), Data: []byte("v")}
			}
			ok(t, b.Set(t.Context(), items))
			found := map[string]bool{}
			ok(t, b.Scan(t.Context(), "", func(f driver.Found) bool {
				if found[f.Key] = true; len(found) == 1 {
					for _, s := range at.servers {
						s.do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
					}
				}
				return true
			}))
			if len(found) != 3000 {
				t.Errorf("%d of 3000 were found", len(found))
			}
		})
	}
}
