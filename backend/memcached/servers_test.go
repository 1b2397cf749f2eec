package memcached_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
	"github.com/dogpile-go/dogpile/proxy"
)

// cluster is three servers.
type cluster []*server

func startCluster(t testing.TB) cluster {
	t.Helper()
	return cluster{startServer(t), startServer(t), startServer(t)}
}

func (c cluster) hosts() []string { return []string{c[0].Addr(), c[1].Addr(), c[2].Addr()} }
func (c cluster) url() string     { return "memcached://" + strings.Join(c.hosts(), ",") }

// keys returns one for each server that has its lease as well, whatever kind of
// lease that is, as the default hash spreads them.
func (c cluster) keys(t testing.TB) (keys [3]string) {
	t.Helper()
	r, err := ring.New(memcached.DefaultHash, []ring.Server{{Addr: c[0].Addr(), Weight: 1}, {Addr: c[1].Addr(), Weight: 1}, {Addr: c[2].Addr(), Weight: 1}})
	ok(t, err)
	for i := 0; keys[0] == "" || keys[1] == "" || keys[2] == ""; i++ {
		key := fmt.Sprint("k", i)
		if at := r.Pick(key); r.Pick("_lock"+key) == at {
			keys[at] = key
		}
	}
	return keys
}

func TestKeysAreWhereTheHashSays(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	var raw []*line
	for _, s := range c {
		raw = append(raw, s.dial(t))
	}
	for hash, weights := range map[string][3]int{
		"ketama": {1, 1, 1}, "ketama_weighted": {1, 5, 2}, "rendezvous": {1, 1, 1}, "crc32": {3, 1, 1}, "modula": {1, 1, 1}, "": {1, 2, 1},
	} {
		var list []ring.Server
		var hosts []string
		for i, s := range c {
			list = append(list, ring.Server{Addr: s.Addr(), Weight: weights[i]})
			hosts = append(hosts, fmt.Sprintf("%s*%d", s.Addr(), weights[i]))
		}
		name := hash
		if hash == "" {
			name = memcached.DefaultHash
		}
		r, err := ring.New(name, list)
		ok(t, err)
		b := open(t, "memcached://"+strings.Join(hosts, ",")+"/", &memcached.Options{Hash: hash})
		python := open(t, "memcached://"+strings.Join(hosts, ",")+"?python_lock=true&hash="+name, nil)
		var items []driver.Item
		space := unique(t)
		for i := range 100 {
			items = append(items, driver.Item{Key: fmt.Sprint(space, i), Data: []byte(hash)})
		}
		ok(t, b.Set(t.Context(), items))
		count := [3]int{}
		for i, it := range items {
			at := r.Pick(it.Key)
			count[at]++
			lease, leaseOf := b, "with the entry"
			lockAt := at
			if i%2 == 1 {
				lease, leaseOf = python, "where its name belongs"
				lockAt = r.Pick("_lock" + it.Key)
			}
			l := hold(t, lease, it.Key, time.Minute)
			for n := range c {
				if raw[n].has(it.Key) != (n == at) {
					t.Errorf("%s: server %d has %s: %v", name, n, it.Key, n != at)
				}
				if raw[n].has("_lock"+it.Key) != (n == lockAt) {
					t.Errorf("%s: server %d has the lease on %s: %v; it belongs %s", name, n, it.Key, n != lockAt, leaseOf)
				}
			}
			ok(t, l.Release(t.Context()))
		}
		if count[0] == 0 || count[1] == 0 || count[2] == 0 {
			t.Errorf("%s: keys are spread %v", name, count)
		}
	}
}

func TestLostServerFailsItsKeysAlone(t *testing.T) {
	t.Parallel()
	// 1. One of three servers is gone.  2. Keys of the others are found.  3. Those of
	// the lost one have errors, and no other server is given them.  4. It is back,
	// and empty: so are its keys.
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t)
			keys := c.keys(t)
			o.Breaker = &proxy.BreakerOptions{Failures: 3, Cooldown: 200 * time.Millisecond}
			b, ctx := open(t, c.url(), o), t.Context()
			batch := func(data string) []driver.Item {
				var items []driver.Item
				for _, key := range keys {
					items = append(items, driver.Item{Key: key})
					if data != "" {
						items[len(items)-1].Data = []byte(data)
					}
				}
				return items
			}
			all := batch("v")
			ok(t, b.Set(ctx, all))
			c[1].Kill()
			for range 20 { // the breaker opens in between, and that of no other server
				for _, items := range [][]driver.Item{batch(""), batch("new")} {
					op := b.Get
					if items[0].Data != nil {
						op = b.Set
					}
					if err := op(ctx, items); err != nil || items[0].Err != nil || items[1].Err == nil || items[2].Err != nil {
						t.Fatalf("one of three keys has no server: %v, %+v", err, items)
					}
				}
				if err := b.Delete(ctx, []string{keys[0], keys[1]}); err == nil || !strings.Contains(err.Error(), "1 of 2 keys") {
					t.Fatalf("Delete of two keys, one of which has no server = %v", err)
				}
				wantValue(t, b, keys[0], "(none)")
				wantValue(t, b, keys[2], "new")
			}
			if err := b.Delete(ctx, []string{keys[1], keys[1] + ".2", keys[1]}); err == nil || !strings.Contains(err.Error(), " of 3 keys") || strings.Contains(err.Error(), "4 of 3") {
				t.Errorf("Delete of three keys = %v", err)
			}
			if l, err := b.TryLock(ctx, keys[1], time.Minute); err == nil || l != nil {
				t.Errorf("TryLock without a server = %v, %v", l, err)
			}
			c[1].Start(t)
			eventually(t, "the server to be tried again", func() bool { return b.Get(ctx, []driver.Item{{Key: keys[1]}}) == nil })
			wantValue(t, b, keys[1], "(none)")
			ok(t, b.Set(ctx, batch("back")))
			wantValue(t, b, keys[1], "back")
		})
	}
}

func TestRegionGoesOnWithoutAServer(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	b := open(t, c.url(), &memcached.Options{Timeout: 300 * time.Millisecond})
	// The region's token is on one of the servers as well.
	cache := dogpile.NewCache[string](configured(t, "r", b, &dogpile.Options{Expiration: time.Hour}), nil)
	made := func(v string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return v, nil }
	}
	for down := range c {
		for i := range 30 {
			key := fmt.Sprint(down, ".", i)
			if v, err := cache.GetOrCreate(t.Context(), key, made("v")); v != "v" || err != nil {
				t.Errorf("GetOrCreate = %q, %v", v, err)
			}
		}
		c[down].Kill()
		for i := range 30 {
			key := fmt.Sprint(down, ".", i)
			if v, err := cache.GetOrCreate(t.Context(), key, made("v")); v != "v" || err != nil {
				t.Errorf("GetOrCreate without server %d = %q, %v", down, v, err)
			}
		}
		c[down].Start(t)
		eventually(t, "all servers to be used again", func() bool {
			_, errGet := cache.GetMulti(t.Context(), []string{fmt.Sprint(down, ".0"), fmt.Sprint(down, ".1"), fmt.Sprint(down, ".2")})
			return errGet == nil && cache.Delete(t.Context(), fmt.Sprint(down, ".0"), fmt.Sprint(down, ".1"), fmt.Sprint(down, ".2"), fmt.Sprint(down, ".3"), fmt.Sprint(down, ".4")) == nil
		})
	}
}

func TestThereIsABreakerUnlessItIsOff(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := backendtest.NewNetwork(t, s.Addr())
	for _, tt := range []struct {
		name string
		o    *memcached.Options
		want bool
	}{
		{"nil Options", nil, true},
		{"zero Options", &memcached.Options{}, true},
		{"Breaker", &memcached.Options{Breaker: &proxy.BreakerOptions{Failures: 1, Cooldown: time.Hour}}, true},
		{"Off", &memcached.Options{Breaker: off}, false},
	} {
		n.Mend()
		opened := open(t, "memcached://"+n.Addr, tt.o)
		n.Cut()
		backendtest.WantBreaker(t, "Open with "+tt.name, opened, tt.want)
		made, err := memcached.New([]string{nobody}, tt.o)
		ok(t, err)
		backendtest.WantBreaker(t, "New with "+tt.name, made, tt.want)
		ok(t, made.Close())
	}
}
