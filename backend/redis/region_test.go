package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// two returns caches of two regions of one name, with clients of their own, as
// two processes have them.
func two(t *testing.T, url string, o *dogpile.Options) (a, b *dogpile.Cache[string], invalidate func(dogpile.Mode)) {
	t.Helper()
	name := unique(t)
	ra, rb := configured(t, name, open(t, url, nil), o), configured(t, name, open(t, url, nil), o)
	return dogpile.NewCache[string](ra, nil), dogpile.NewCache[string](rb, nil), func(m dogpile.Mode) {
		t.Helper()
		ok(t, ra.Invalidate(t.Context(), m))
	}
}

func made(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

func (w want) of(t *testing.T, c *dogpile.Cache[string], key string) {
	t.Helper()
	e, found, err := c.Peek(t.Context(), key)
	if err != nil || found != w.found || found && (e.Value != w.value || e.State != w.state) {
		t.Errorf("%s: found %v, %+v, %v; want %+v", key, found, e, err, w)
	}
}

type want struct {
	found bool
	value string
	state dogpile.State
}

func TestInvalidationReachesOtherProcesses(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"standalone": "redis://" + sharedServer(t).addr, "cluster": startCluster(t, nil).url()} {
		t.Run(name, func(t *testing.T) {
			a, b, invalidate := two(t, url, nil)
			ok(t, a.Set(t.Context(), "k", "old"))
			want{true, "old", dogpile.Fresh}.of(t, b, "k")
			invalidate(dogpile.Soft)
			want{true, "old", dogpile.Stale}.of(t, b, "k")
			invalidate(dogpile.Hard)
			want{true, "old", dogpile.Invalidated}.of(t, b, "k")
			if v, err := b.GetOrCreate(t.Context(), "k", made("new")); v != "new" || err != nil {
				t.Errorf("GetOrCreate after it = %q, %v", v, err)
			}
			want{true, "new", dogpile.Fresh}.of(t, a, "k")
		})
	}
}

func TestCreationUnderAnInvalidatedTokenIsNotServed(t *testing.T) {
	t.Parallel()
	// 1. A's creator begins.  2. B deletes the key, or invalidates the region.
	// 3. A stores, or tries to.  4. B reads: not what A has made.
	for name, forget := range map[string]func(*testing.T, *dogpile.Cache[string], func(dogpile.Mode)){
		"Delete": func(t *testing.T, c *dogpile.Cache[string], _ func(dogpile.Mode)) { ok(t, c.Delete(t.Context(), "k")) },
		"Set": func(t *testing.T, c *dogpile.Cache[string], _ func(dogpile.Mode)) {
			ok(t, c.Set(t.Context(), "k", "new"))
		},
		"Invalidate": func(_ *testing.T, _ *dogpile.Cache[string], invalidate func(dogpile.Mode)) { invalidate(dogpile.Hard) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, invalidate := two(t, "redis://"+sharedServer(t).addr, nil)
			began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				_, err := a.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { close(began); <-gate; return "old", nil })
				done <- err
			}()
			<-began
			forget(t, b, invalidate)
			close(gate)
			ok(t, <-done)
			if v, err := b.GetOrCreate(t.Context(), "k", made("new")); v != "new" || err != nil {
				t.Errorf("B reads %q, %v", v, err)
			}
		})
	}
}

func TestLostLeaseCancelsTheCreator(t *testing.T) {
	t.Parallel()
	a, b, _ := two(t, "redis://"+sharedServer(t).addr, &dogpile.Options{LockTTL: 300 * time.Millisecond})
	began, cause := make(chan struct{}), make(chan error, 10)
	go func() {
		_, _ = a.GetOrCreate(t.Context(), "k", func(ctx context.Context) (string, error) {
			if len(cause) == 0 {
				close(began)
				<-ctx.Done()
				cause <- context.Cause(ctx)
			}
			return "v", ctx.Err()
		})
	}()
	<-began
	ok(t, b.Delete(t.Context(), "k"))
	select {
	case err := <-cause:
		if err != dogpile.ErrLeaseLost {
			t.Errorf("cause %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the creator was not cancelled")
	}
}

func TestInvalidationLagSparesTheNodeOfTheToken(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	a, b, invalidate := two(t, c.url(), &dogpile.Options{InvalidationLag: 300 * time.Millisecond})
	ok(t, a.Set(t.Context(), "k", "old"))
	reads := func() (n int) {
		for _, s := range c {
			n += calls(t, s.client(t), "get")
		}
		return n
	}
	want{true, "old", dogpile.Fresh}.of(t, b, "k")
	start, before := time.Now(), reads()
	const rounds = 200
	for range rounds {
		want{true, "old", dogpile.Fresh}.of(t, b, "k")
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
	_, cache, _ := two(t, c.url(), nil)
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
	b := open(t, c.url(), &redis.Options{Timeout: 2 * time.Second})
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
	c[1].kill()
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
