package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// keysOf returns n keys for each node of c, which share the slots evenly.
func keysOf(c cluster, n int) [][]string {
	keys := make([][]string, len(c))
	for i, found := 0, 0; found < n*len(c); i++ {
		key := fmt.Sprint("k", i)
		if node := redis.Slot(key) * len(c) / 16384; len(keys[node]) < n {
			keys[node] = append(keys[node], key)
			found++
		}
	}
	return keys
}

func TestShardIsTheNodeOfTheKey(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	b := open(t, c.url(), nil)
	if got := b.Shard("k"); got != "cluster" {
		t.Errorf("before there is a connection: %q", got)
	}
	ok(t, b.Get(t.Context(), []driver.Item{{Key: "k"}}))
	own, err := redis.New(b.Client(), nil)
	ok(t, err)
	defer own.Close()
	eventually(t, "a backend of New to know the Cluster", func() bool { return own.Shard("k") != "cluster" })
	for node, keys := range keysOf(c, 20) {
		for _, key := range keys {
			if got := []string{b.Shard(key), own.Shard(key)}; got[0] != c[node].addr || got[1] != c[node].addr {
				t.Errorf("shards of %q are %q, want %q", key, got, c[node].addr)
			}
		}
	}
	var _ driver.Sharder = b
	for _, url := range []string{sharedServer(t).URL(), "redis://127.0.0.1:1"} {
		if got := open(t, url, nil).Shard("k"); got != "" {
			t.Errorf("where there is no Cluster: %q", got)
		}
	}
}

func TestShardFollowsSlotsThatHaveMoved(t *testing.T) {
	t.Parallel()
	// 1. A node is lost, and its slots are given to another.  2. Calls of its keys
	// fail, and find it.  3. Shard knows.
	c := startCluster(t, nil)
	b := open(t, c.url()+"?breaker=false", nil)
	keys := keysOf(c, 1)
	key := keys[0][0]
	ok(t, b.Get(t.Context(), []driver.Item{{Key: key}}))
	if got := b.Shard(key); got != c[0].addr {
		t.Fatalf("shard %q", got)
	}
	c[0].Kill()
	id, err := do(t, c[1].client(t), "CLUSTER", "MYID").ToString()
	ok(t, err)
	for _, s := range c[1:] {
		do(t, s.client(t), "CLUSTER", "SETSLOT", fmt.Sprint(redis.Slot(key)), "NODE", id)
	}
	eventually(t, "Shard to know the new node", func() bool {
		_ = b.Get(t.Context(), []driver.Item{{Key: key}})
		return b.Shard(key) == c[1].addr
	})
}

// TestBatchOfAClusterWithALostNode has a node that is dead, one that hangs, and
// slots that nobody has.
func TestBatchOfAClusterWithALostNode(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, cluster){
		"dead":  func(_ *testing.T, c cluster) { c[1].Kill() },
		"hangs": func(t *testing.T, c cluster) { c[1].Stop(t); t.Cleanup(func() { c[1].Resume(t) }) },
		"nobody's": func(t *testing.T, c cluster) {
			for _, s := range c {
				do(t, s.client(t), "CLUSTER", "DELSLOTSRANGE", fmt.Sprint(16384/3), fmt.Sprint(2*16384/3-1))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, nil)
			for _, s := range c {
				do(t, s.client(t), "CONFIG", "SET", "cluster-require-full-coverage", "no")
			}
			checkLostNode(t, c, lose)
		})
	}
}

func checkLostNode(t *testing.T, c cluster, lose func(*testing.T, cluster)) {
	b := open(t, c.url(), &redis.Options{Timeout: 3 * time.Second, Breaker: off})
	var all []string
	lost := map[string]bool{}
	for node, keys := range keysOf(c, 10) {
		for _, key := range keys {
			all, lost[key] = append(all, key), node == 1
		}
	}
	items := func(data []byte) (items []driver.Item) {
		for _, key := range all {
			items = append(items, driver.Item{Key: key, Data: data})
		}
		return items
	}
	want := func(what string, items []driver.Item, err error) {
		t.Helper()
		ok(t, err)
		for i := range items {
			if it := &items[i]; (it.Err != nil) != lost[it.Key] || string(it.Data) != "v" && !lost[it.Key] {
				t.Errorf("%s of %s: %q, %v; its node is lost: %v", what, it.Key, it.Data, it.Err, lost[it.Key])
			}
		}
	}
	ok(t, b.Set(t.Context(), items([]byte("v"))))
	lose(t, c)
	read := items(nil)
	err := b.Get(t.Context(), read)
	want("Get", read, err)
	set := items([]byte("v"))
	err = b.Set(t.Context(), set)
	want("Set", set, err)
	err = b.Delete(t.Context(), all)
	if err == nil || !strings.Contains(err.Error(), "for 10 of 30 keys") || !strings.Contains(err.Error(), "5 more") {
		t.Errorf("Delete = %v", err)
	}
	for _, key := range all {
		if !lost[key] && value(t, b, key) != "" {
			t.Errorf("%s is still there", key)
		}
	}
}

func TestShardThatHangsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	b := open(t, c.url(), &redis.Options{Timeout: 2 * time.Minute, Breaker: off})
	keys := keysOf(c, 3)
	ok(t, errors.Join(
		b.Set(t.Context(), []driver.Item{{Key: keys[0][0], Data: []byte("v")}}),
		b.Set(t.Context(), []driver.Item{{Key: keys[1][0], Data: []byte("v")}}),
		b.Set(t.Context(), []driver.Item{{Key: keys[2][0], Data: []byte("v")}}),
	))
	c[1].Stop(t)
	defer c[1].Resume(t)
	hung := make(chan error, 8)
	for range cap(hung) {
		go func() { hung <- b.Get(t.Context(), []driver.Item{{Key: keys[1][0]}}) }()
	}
	// All of this happens while those hang.
	for range 100 {
		for _, key := range []string{keys[0][1], keys[2][1]} {
			l, err := b.TryLock(t.Context(), key, time.Minute)
			if l == nil || err != nil {
				t.Fatalf("TryLock = %v, %v", l, err)
			}
			items := []driver.Item{{Key: key, Data: []byte("v"), Lease: l}}
			ok(t, errors.Join(b.Set(t.Context(), items), items[0].Err, b.Get(t.Context(), []driver.Item{{Key: key}}), b.Delete(t.Context(), []string{key})))
			b.Shard(keys[1][0])
		}
	}
	select {
	case err := <-hung:
		t.Errorf("a call of the node that hangs has returned %v: the others have taken that long", err)
	default:
	}
}

func TestShardThatHangsCostsNothingAfterAWhile(t *testing.T) {
	t.Parallel()
	// Each node has a breaker of its own, also for its keys in batches.
	c := startCluster(t, nil)
	b := open(t, c.url()+"?timeout=2s&breaker_failures=2&breaker_cooldown=1m", nil)
	keys := keysOf(c, 1)
	batch := func() (items []driver.Item) {
		for _, of := range keys {
			items = append(items, driver.Item{Key: of[0], Data: []byte("v")})
		}
		return items
	}
	ok(t, b.Set(t.Context(), batch()))
	c[1].Stop(t)
	defer c[1].Resume(t)
	open := func(err error) bool { return errors.Is(err, proxy.ErrOpen) }
	eventually(t, "the breaker of the node to open", func() bool { return open(b.Get(t.Context(), []driver.Item{{Key: keys[1][0]}})) })
	probes := 0 // calls that were let through
	refused := func(what string, others, err error) {
		t.Helper()
		if others != nil || err == nil {
			t.Fatalf("%s: %v, and for the node that hangs %v", what, others, err)
		}
		if !open(err) {
			probes++
		}
	}
	for range 50 {
		items := batch()
		ok(t, b.Get(t.Context(), items))
		refused("Get", errors.Join(items[0].Err, items[2].Err), items[1].Err)
		items = batch()
		ok(t, b.Set(t.Context(), items))
		refused("Set", errors.Join(items[0].Err, items[2].Err), items[1].Err)
		refused("Delete", nil, b.Delete(t.Context(), []string{keys[0][0], keys[1][0], keys[2][0]}))
	}
	if probes > 15 {
		t.Errorf("%d of 150 calls have waited for the node that hangs", probes)
	}
}

func BenchmarkShard(b *testing.B) {
	backend := open(b, startCluster(b, nil).url(), nil)
	ok(b, backend.Get(b.Context(), []driver.Item{{Key: "k"}}))
	b.ReportAllocs()
	for b.Loop() {
		backend.Shard("users:12345678")
	}
}
