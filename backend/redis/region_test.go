package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestInvalidationLagSparesTheNodeOfTheToken(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	a, b, invalidate := backendtest.Two(t, opens(c.url()), &dogpile.Options{InvalidationLag: 300 * time.Millisecond})
	ok(t, a.Set(t.Context(), "k", "old"))
	reads := func() (n int) {
		for _, s := range c {
			n += calls(t, s.client(t), "get")
		}
		return n
	}
	backendtest.WantEntry(t, b, "k", "old", dogpile.Fresh)
	start, before := time.Now(), reads()
	const rounds = 200
	for range rounds {
		backendtest.WantEntry(t, b, "k", "old", dogpile.Fresh)
	}
	// Each read asks for the entry, and once in a lag for the token as well.
	if n, most := reads()-before, rounds+1+int(time.Since(start)/(300*time.Millisecond)); n > most {
		t.Errorf("%d GETs for %d reads, want at most %d", n, rounds, most)
	}
	invalidate(dogpile.Hard)
	eventually(t, "the invalidation to be noticed", func() bool {
		_, found, err := b.Get(t.Context(), "k")
		return err == nil && !found
	})
}

func TestBatchesAcrossTheSlotsOfACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	_, cache, _ := backendtest.Two(t, opens(c.url()), nil)
	vals, keys := map[string]string{}, []string{}
	for i := range 300 {
		key := fmt.Sprint("k", i)
		keys = append(keys, key)
		vals[key] = "v" + key
	}
	ok(t, cache.SetMulti(t.Context(), vals))
	got, err := cache.GetMulti(t.Context(), keys)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(vals) {
		t.Errorf("GetMulti found %d of %d, %v", len(got), len(vals), err)
	}
	ok(t, cache.Delete(t.Context(), keys[:200]...))
	created := 0
	got, err = cache.GetOrCreateMulti(t.Context(), keys, func(_ context.Context, keys []string) (map[string]string, error) {
		made := map[string]string{}
		for _, key := range keys {
			made[key] = "v" + key
		}
		created += len(keys)
		return made, nil
	})
	if err != nil || created != 200 || fmt.Sprint(got) != fmt.Sprint(vals) {
		t.Errorf("GetOrCreateMulti created %d of 200, %v", created, err)
	}
	for _, s := range c {
		if n, err := do(t, s.client(t), "DBSIZE").AsInt64(); n < 50 || err != nil {
			t.Errorf("a node has %d of the keys, %v", n, err)
		}
	}
}

func TestLostNodeOfAClusterFailsItsKeysAlone(t *testing.T) {
	t.Parallel()
	// 1. One of three nodes is gone.  2. Keys of the others are found.  3. Those of
	// the lost one are created, in one flight.  4. Deleting them is an error.
	c := startCluster(t, nil)
	for _, s := range c {
		do(t, s.client(t), "CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	name, lag := unique(t), &dogpile.Options{InvalidationLag: time.Hour}
	b := open(t, c.url(), nil)
	cache := dogpile.NewCache[string](configured(t, name, b, lag), nil)
	keys := map[int]string{} // one for each node
	for i := 0; len(keys) < 3; i++ {
		key := fmt.Sprint("k", i)
		keys[redis.Slot(name+":"+key)*3/16384] = key
	}
	for _, key := range keys {
		if v, err := cache.GetOrCreate(t.Context(), key, made("v")); v != "v" || err != nil {
			t.Fatalf("GetOrCreate = %q, %v", v, err)
		}
	}
	c[1].Kill()
	for node, key := range keys {
		v, err := cache.GetOrCreate(t.Context(), key, made("again"))
		if want := map[bool]string{true: "again", false: "v"}[node == 1]; v != want || err != nil {
			t.Errorf("key of node %d: %q, %v, want %q", node, v, err, want)
		}
		if err := cache.Delete(t.Context(), key); (err != nil) != (node == 1) {
			t.Errorf("Delete of a key of node %d = %v", node, err)
		}
	}
}

func TestValueThatNoServerTakes(t *testing.T) {
	t.Parallel()
	b, key := open(t, "redis://"+sharedServer(t).addr, nil), unique(t)
	items := []driver.Item{{Key: key + "1", Data: make([]byte, 512<<20+1)}, {Key: key + "2", Data: []byte("v")}}
	ok(t, b.Set(t.Context(), items))
	if items[0].Err == nil || items[1].Err != nil {
		t.Errorf("Errs %v, %v, want one for the first item alone", items[0].Err, items[1].Err)
	}
	items[0], items[1] = driver.Item{Key: key + "1"}, driver.Item{Key: key + "2"}
	ok(t, b.Get(t.Context(), items))
	if items[0].Found() || string(items[1].Data) != "v" {
		t.Errorf("found %v, %q", items[0].Found(), items[1].Data)
	}
}
