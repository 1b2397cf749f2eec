package memcached_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
)

// two returns caches of two regions of one name, with backends of their own, as
// two processes have them.
func two(t *testing.T, url string, bo *memcached.Options, o *dogpile.Options) (a, b *dogpile.Cache[string], invalidate func(dogpile.Mode)) {
	t.Helper()
	name := unique(t)
	ra, rb := configured(t, name, open(t, url, bo), o), configured(t, name, open(t, url, bo), o)
	return dogpile.NewCache[string](ra, nil), dogpile.NewCache[string](rb, nil), func(m dogpile.Mode) {
		t.Helper()
		ok(t, ra.Invalidate(t.Context(), m))
	}
}

func made(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

type want struct {
	found bool
	value string
	state dogpile.State
}

func (w want) of(t *testing.T, c *dogpile.Cache[string], key string) {
	t.Helper()
	e, found, err := c.Peek(t.Context(), key)
	if err != nil || found != w.found || found && (e.Value != w.value || e.State != w.state) {
		t.Errorf("%s: found %v, %+v, %v; want %+v", key, found, e, err, w)
	}
}

// everywhere runs f with each way of keeping leases, over one server and three.
func everywhere(t *testing.T, f func(t *testing.T, url string, o *memcached.Options)) {
	t.Helper()
	for name, url := range map[string]string{"one server": "memcached://" + sharedServer(t).addr, "three servers": startCluster(t).url()} {
		for mode, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Binary: true}} {
			t.Run(name+" "+mode, func(t *testing.T) {
				t.Parallel()
				f(t, url, o)
			})
		}
	}
}

func TestInvalidationReachesOtherProcesses(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, url string, o *memcached.Options) {
		a, b, invalidate := two(t, url, o, nil)
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

func TestCreationFromBeforeIsNotServed(t *testing.T) {
	t.Parallel()
	// 1. A's creator begins, over nothing or over an entry that is stale.  2. B
	// deletes or sets the key, or invalidates the region.  3. A stores, or tries to.
	// 4. B reads: not what A has made.
	everywhere(t, func(t *testing.T, url string, o *memcached.Options) {
		for name, forget := range map[string]func(*dogpile.Cache[string], func(dogpile.Mode)){
			"Delete":     func(c *dogpile.Cache[string], _ func(dogpile.Mode)) { ok(t, c.Delete(t.Context(), "k")) },
			"Set":        func(c *dogpile.Cache[string], _ func(dogpile.Mode)) { ok(t, c.Set(t.Context(), "k", "new")) },
			"Invalidate": func(_ *dogpile.Cache[string], invalidate func(dogpile.Mode)) { invalidate(dogpile.Hard) },
		} {
			for _, stale := range []bool{false, true} {
				a, b, invalidate := two(t, url, o, nil)
				if stale {
					ok(t, b.Set(t.Context(), "k", "stale"))
					invalidate(dogpile.Soft)
				}
				began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				go func() {
					_, err := a.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { close(began); <-gate; return "old", nil })
					done <- err
				}()
				<-began
				forget(b, invalidate)
				close(gate)
				ok(t, <-done)
				if v, err := b.GetOrCreate(t.Context(), "k", made("new")); v != "new" || err != nil {
					t.Errorf("%s, stale before %v: B reads %q, %v", name, stale, v, err)
				}
			}
		}
	})
}

func TestLostLeaseCancelsTheCreator(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, url string, o *memcached.Options) {
		a, b, _ := two(t, url, o, &dogpile.Options{LockTTL: 300 * time.Millisecond})
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
		case <-time.After(30 * time.Second):
			t.Error("the creator was not cancelled")
		}
	})
}

func TestSlowCreationIsStoredThoughTheEntryRunsOut(t *testing.T) {
	t.Parallel()
	// 1. An entry of a second is stale.  2. A creates anew, and takes longer than
	// the server would have kept the old one.  3. What A has made is stored.
	for name, o := range map[string]*memcached.Options{"meta": {}, "binary": {Binary: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, "memcached://"+sharedServer(t).addr, o)
			stored := make(chan error, 10)
			c := dogpile.NewCache[string](configured(t, unique(t), b, &dogpile.Options{
				Expiration: time.Second, StaleFor: time.Millisecond,
				Hooks: &dogpile.Hooks{Store: func(_ context.Context, e dogpile.Event) { stored <- e.Err }},
			}), nil)
			ok(t, c.Set(t.Context(), "k", "old"))
			ok(t, <-stored)
			eventually(t, "the entry to expire", func() bool {
				_, found, err := c.Get(t.Context(), "k")
				return err == nil && !found
			})
			v, err := c.GetOrCreate(t.Context(), "k", func(context.Context) (string, error) { pause(3 * time.Second); return "new", nil })
			if v != "new" || err != nil {
				t.Errorf("GetOrCreate = %q, %v", v, err)
			}
			ok(t, <-stored)
		})
	}
}
