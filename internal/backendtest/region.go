//go:build unix

package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// Regions checks that regions over one server share what they should. open opens
// a backend over it; each region has one of its own, as in a process of its own.
func Regions(t *testing.T, open func(t testing.TB) driver.Backend) {
	for name, test := range map[string]func(*testing.T, func(testing.TB) driver.Backend){
		"an invalidation reaches other processes": invalidationReachesOthers,
		"a creation from before is not served":    creationFromBefore,
		"a lost lease cancels the creator":        lostLeaseCancels,
		"not found holds in all processes":        notFoundHolds,
		"schemas are apart":                       schemasAreApart,
		"one renewal ahead among all":             oneRenewalAhead,
		"tags reach other processes":              tagsReachOthers,
		"a tag of a creation is invalidated":      tagOfACreation,
		"tags are inherited across clients":       tagsAreInherited,
		"tokens of tags go":                       tokensGo,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
		t.Run(name+" with copies", func(t *testing.T) {
			t.Parallel()
			test(t, func(t testing.TB) driver.Backend { return copying{driver.Proxy{Backend: open(t)}} })
		})
	}
	for name, test := range map[string]func(*testing.T, func(testing.TB) driver.Backend){
		"copies hear of changes": nearChanges(false),
		"exact copies are right": nearChanges(true),
		"copies and a stampede":  nearStampede,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

// copying is a backend over which Region keeps exact copies.
type copying struct{ driver.Proxy }

// Two returns caches of two regions of one name, each over a backend of its own,
// and what invalidates the first region.
func Two(t testing.TB, open func(t testing.TB) driver.Backend, o *dogpile.Options) (a, b *dogpile.Cache[string], invalidate func(dogpile.Mode)) {
	t.Helper()
	name := Unique(t)
	ra, rb := Region(t, name, open(t), o), Region(t, name, open(t), o)
	return dogpile.NewCache[string](ra, nil), dogpile.NewCache[string](rb, nil), func(m dogpile.Mode) {
		t.Helper()
		OK(t, ra.Invalidate(t.Context(), m))
	}
}

// Made returns a creator of v.
func Made(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

// WantEntry fails the test unless c has such an entry.
func WantEntry(t testing.TB, c *dogpile.Cache[string], key, value string, state dogpile.State) {
	t.Helper()
	e, found, err := c.Peek(t.Context(), key)
	if err != nil || !found || e.Value != value || e.State != state {
		t.Errorf("%s: found %v, %+v, %v; want %q, %v", key, found, e, err, value, state)
	}
}

func invalidationReachesOthers(t *testing.T, open func(testing.TB) driver.Backend) {
	a, b, invalidate := Two(t, open, nil)
	OK(t, a.Set(t.Context(), "k", "old"))
	WantEntry(t, b, "k", "old", dogpile.Fresh)
	invalidate(dogpile.Soft)
	WantEntry(t, b, "k", "old", dogpile.Stale)
	invalidate(dogpile.Hard)
	WantEntry(t, b, "k", "old", dogpile.Invalidated)
	if v, err := b.GetOrCreate(t.Context(), "k", Made("new")); v != "new" || err != nil {
		t.Errorf("GetOrCreate after it = %q, %v", v, err)
	}
	WantEntry(t, a, "k", "new", dogpile.Fresh)
}

// 1. A's creator begins, over nothing or over an entry that is stale.  2. B
// deletes or sets the key, or invalidates the region.  3. A stores, or tries to.
// 4. B reads: not what A has made.
func creationFromBefore(t *testing.T, open func(testing.TB) driver.Backend) {
	for name, forget := range map[string]func(*dogpile.Cache[string], func(dogpile.Mode)){
		"Delete":     func(c *dogpile.Cache[string], _ func(dogpile.Mode)) { OK(t, c.Delete(t.Context(), "k")) },
		"Set":        func(c *dogpile.Cache[string], _ func(dogpile.Mode)) { OK(t, c.Set(t.Context(), "k", "new")) },
		"Invalidate": func(_ *dogpile.Cache[string], invalidate func(dogpile.Mode)) { invalidate(dogpile.Hard) },
	} {
		for _, stale := range []bool{false, true} {
			a, b, invalidate := Two(t, open, nil)
			if stale {
				OK(t, b.Set(t.Context(), "k", "stale"))
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
			OK(t, <-done)
			if v, err := b.GetOrCreate(t.Context(), "k", Made("new")); v != "new" || err != nil {
				t.Errorf("%s, stale before %v: B reads %q, %v", name, stale, v, err)
			}
		}
	}
}

func lostLeaseCancels(t *testing.T, open func(testing.TB) driver.Backend) {
	a, b, _ := Two(t, open, &dogpile.Options{LockTTL: 300 * time.Millisecond})
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
	OK(t, b.Delete(t.Context(), "k"))
	select {
	case err := <-cause:
		if err != dogpile.ErrLeaseLost {
			t.Errorf("cause %v", err)
		}
	case <-time.After(patience):
		t.Error("the creator was not cancelled")
	}
}
