package memcached_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
	"github.com/dogpile-go/dogpile/proxy"
)

func TestShardIsTheServerThatHasTheKey(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	for _, hash := range []string{"ketama", "ketama_weighted", "rendezvous", "crc32", "modula"} {
		b := open(t, c.url()+"?hash="+hash, nil)
		seen := map[string]bool{}
		for i := range 50 {
			key := fmt.Sprint(hash, i)
			ok(t, try(t.Context(), b, driver.Item{Key: key, Data: []byte("v")}))
			shard := b.Shard(key)
			seen[shard] = true
			for _, s := range c {
				if s.dial(t).has(key) != (s.Addr() == shard) {
					t.Errorf("%s: %s is at %s: %v, and its shard is %s", hash, key, s.Addr(), s.Addr() != shard, shard)
				}
			}
		}
		if len(seen) != len(c) {
			t.Errorf("%s: 50 keys have the shards %v", hash, seen)
		}
	}
	if shard := open(t, c[0].URL(), nil).Shard("k"); shard != "" {
		t.Errorf("the shard of the only server is %q", shard)
	}
}

// One of four servers is gone and one stands still: their items alone fail, and
// calls take no longer than Timeout.
func TestTwoOfFourServersFail(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := append(startCluster(t), startServer(t))
			var hosts []string
			var list []ring.Server
			for _, s := range c {
				hosts = append(hosts, s.Addr())
				list = append(list, ring.Server{Addr: s.Addr(), Weight: 1})
			}
			const timeout = 4 * time.Second
			o.Timeout, o.ConnectTimeout = timeout, timeout
			o.Breaker = &proxy.BreakerOptions{Off: true}
			b := open(t, "memcached://"+strings.Join(hosts, ","), o)
			r, err := ring.New(memcached.DefaultHash, list)
			ok(t, err)
			var items []driver.Item
			for i := 0; len(items) < 100; i++ {
				// With its lease on the same server, whatever kind of lease that is.
				if key := fmt.Sprint("k", i); r.Pick(key) == r.Pick("_lock"+key) {
					items = append(items, driver.Item{Key: key, Data: []byte("v")})
				}
			}
			ok(t, b.Set(t.Context(), items))
			c[1].Kill()
			c[2].Stop(t)
			defer c[2].Resume(t)
			lost := func(key string) bool { return r.Pick(key) == 1 || r.Pick(key) == 2 }
			for what, call := range map[string]func([]driver.Item) error{
				"Get": func(items []driver.Item) error { return b.Get(t.Context(), items) },
				"Set": func(items []driver.Item) error { return b.Set(t.Context(), items) },
			} {
				batch := make([]driver.Item, len(items))
				for i := range items {
					batch[i].Key = items[i].Key
					if what == "Set" {
						batch[i].Data = []byte("new")
					}
				}
				began := time.Now()
				ok(t, call(batch))
				// The rest is for a machine that has other things to do.
				if took := time.Since(began); took > 5*timeout {
					t.Errorf("%s took %v, with a time-out of %v", what, took, timeout)
				}
				for _, it := range batch {
					if (it.Err != nil) != lost(it.Key) || it.Err == nil && !it.Found() {
						t.Errorf("%s of %s, at server %d: %q, %v", what, it.Key, r.Pick(it.Key), it.Data, it.Err)
					}
				}
			}
			var keys []string
			gone := 0
			for _, it := range items {
				keys = append(keys, it.Key)
				if lost(it.Key) {
					gone++
				}
			}
			if err := b.Delete(t.Context(), keys); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("for %d of 100 keys", gone)) {
				t.Errorf("Delete = %v, want an error for %d of 100 keys", err, gone)
			}
			for _, n := range []int{0, 3} {
				raw := c[n].dial(t)
				for _, key := range keys {
					if r.Pick(key) == n && raw.has(key) {
						t.Errorf("%s is still at server %d", key, n)
					}
				}
			}
		})
	}
}
