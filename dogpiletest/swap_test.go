package dogpiletest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/dogpiletest"
	"github.com/dogpile-go/dogpile/driver"
)

// What code to be tested has at the level of its package.
var (
	pages    = dogpile.NewRegion("pages")
	pageText = dogpile.NewCache[string](pages, nil)
)

func creates(v string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return v, nil }
}

// gives wants the cache to return a value.
func gives(t *testing.T, c *dogpile.Cache[string], key, create, want string) {
	t.Helper()
	if v, err := c.GetOrCreate(context.Background(), key, creates(create)); v != want || err != nil {
		t.Errorf("GetOrCreate(%q) = %q, %v; want %q", key, v, err, want)
	}
}

func TestSwapOfAConfiguredRegion(t *testing.T) {
	t.Parallel()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion("r")
	if err := r.Configure(b, &dogpile.Options{Prefix: "old:"}); err != nil {
		t.Fatal(err)
	}
	c := dogpile.NewCache[string](r, nil)
	gives(t, c, "k", "old", "old")

	inner := &tb{TB: t}
	dogpiletest.Swap(inner, r, &dogpile.Options{Codec: dogpile.Text})
	gives(t, c, "k", "new", "new")
	gives(t, c, "k", "newer", "new")
	if err := dogpile.NewCache[int](r, nil).Set(t.Context(), "n", 1); err == nil {
		t.Error("the codec of the options was not asked")
	}
	inner.end()
	if len(inner.errors) > 0 {
		t.Errorf("the end failed: %q", inner.errors)
	}
	gives(t, c, "k", "newest", "old")
	if r.Backend() != b || b.Len() != 1 {
		t.Errorf("the backend is %v, with %d entries", r.Backend(), b.Len())
	}
}

func TestSwapOfARegionThatIsNotConfigured(t *testing.T) {
	inner := &tb{TB: t}
	dogpiletest.Swap(inner, pages, nil)
	gives(t, pageText, "k", "new", "new")
	inner.end()
	if _, err := pageText.GetOrCreate(t.Context(), "k", creates("x")); !errors.Is(err, dogpile.ErrNotConfigured) || pages.Configured() || len(inner.errors) > 0 {
		t.Errorf("after the end: %v, %q", err, inner.errors)
	}
	// Each test finds it empty.
	dogpiletest.Swap(t, pages, nil)
	gives(t, pageText, "k", "newest", "newest")
}

// TestSwapLeavesTheRegionsOwnBackend: what a region has opened from settings is
// open afterwards, and is closed with the region.
func TestSwapLeavesTheRegionsOwnBackend(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	if err := r.ConfigureFrom(t.Context(), map[string]string{"c.r.backend": "memory://"}, "c.r."); err != nil {
		t.Fatal(err)
	}
	c := dogpile.NewCache[string](r, nil)
	gives(t, c, "k", "old", "old")
	own := r.Backend()
	inner := &tb{TB: t}
	dogpiletest.Swap(inner, r, nil)
	gives(t, c, "k", "new", "new")
	inner.end()
	gives(t, c, "k", "x", "old")
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := own.Get(t.Context(), []driver.Item{{Key: "r:k"}}); err == nil {
		t.Error("the region has not closed it")
	}
}

// TestSwapClosesWhatTheTestConfigures: it is gone with the test, and nobody else would.
func TestSwapClosesWhatTheTestConfigures(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"backend": "memory://", "replace_existing_backend": "true"}
	r := dogpile.NewRegion("r")
	inner := &tb{TB: t}
	dogpiletest.Swap(inner, r, nil)
	if err := r.ConfigureFrom(t.Context(), settings, ""); err != nil {
		t.Fatal(err)
	}
	b := r.Backend()
	inner.end()
	for end := time.Now().Add(10 * time.Second); b.Get(t.Context(), []driver.Item{{Key: "k"}}) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the backend is open")
		}
	}
	if r.Configured() {
		t.Error("the region is configured")
	}
}

func TestSwapOneAtATime(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	c := dogpile.NewCache[string](r, nil)
	first, second, sub := &tb{TB: t, name: "TestA"}, &tb{TB: t, name: "TestAB"}, &tb{TB: t, name: "TestA/sub"}
	dogpiletest.Swap(first, r, nil)
	gives(t, c, "k", "first", "first")

	second.do(func() { dogpiletest.Swap(second, r, nil) })
	want := `region "r" is swapped by TestA already: tests that swap one region cannot run in parallel`
	if !second.fatal || !slices.Equal(second.errors, []string{want}) {
		t.Errorf("the second one: fatal %v, %q", second.fatal, second.errors)
	}
	second.end()
	gives(t, c, "k", "x", "first")

	dogpiletest.Swap(sub, r, nil)
	gives(t, c, "k", "sub", "sub")
	sub.end()
	gives(t, c, "k", "x", "first")
	third := &tb{TB: t, name: "TestC"}
	if third.do(func() { dogpiletest.Swap(third, r, nil) }); !third.fatal {
		t.Error("after the subtest nobody holds the region")
	}
	first.end()
	if len(first.errors)+len(sub.errors) > 0 {
		t.Errorf("%q, %q", first.errors, sub.errors)
	}
	third = &tb{TB: t, name: "TestC"}
	dogpiletest.Swap(third, r, nil)
	gives(t, c, "k", "third", "third")
	third.end()
}

func TestSwapFails(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	for range 2 { // and holds nothing afterwards
		inner := &tb{TB: t, name: t.Name()}
		inner.do(func() { dogpiletest.Swap(inner, r, &dogpile.Options{Jitter: 2}) })
		if !inner.fatal || len(inner.errors) != 1 || !strings.Contains(inner.errors[0], "Jitter") {
			t.Errorf("bad options: fatal %v, %q", inner.fatal, inner.errors)
		}
	}
	inner := &tb{TB: t, name: "TestOther"}
	dogpiletest.Swap(inner, r, nil)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	inner.end()
	if len(inner.errors) != 1 || !strings.Contains(inner.errors[0], "cannot be what it was before") {
		t.Errorf("closed in the test: %q", inner.errors)
	}
	inner = &tb{TB: t}
	if inner.do(func() { dogpiletest.Swap(inner, r, nil) }); !inner.fatal || !strings.Contains(inner.errors[0], dogpile.ErrClosed.Error()) {
		t.Errorf("a closed region: fatal %v, %q", inner.fatal, inner.errors)
	}
}

// TestSwapInABubble: a region that was made outside of it.
func TestSwapInABubble(t *testing.T) {
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			dogpiletest.Swap(t, pages, &dogpile.Options{Expiration: time.Hour, Runner: dogpile.Background})
			gives(t, pageText, "k", "first", "first")
			time.Sleep(time.Hour + 1)
			gives(t, pageText, "k", "second", "first")
			synctest.Wait()
			gives(t, pageText, "k", "x", "second")
		})
	}
	if pages.Configured() {
		t.Error("it is configured after the tests")
	}
}

func TestSwapWaitsForCreators(t *testing.T) {
	for _, row := range []struct {
		name  string
		takes time.Duration
		fails bool
	}{{"in time", 9 * time.Second, false}, {"too late", time.Minute, true}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := &tb{TB: t}
				r := dogpile.NewRegion("r")
				c := dogpile.NewCache[string](r, nil)
				dogpiletest.Swap(inner, r, &dogpile.Options{CreateTimeout: dogpile.Never})
				go c.GetOrCreate(context.Background(), "k", func(context.Context) (string, error) {
					time.Sleep(row.takes)
					return "old", nil
				})
				synctest.Wait()
				began := time.Now()
				inner.end()
				if d := time.Since(began); d < min(row.takes, 10*time.Second) || d > min(row.takes, 10*time.Second)+time.Second {
					t.Errorf("the end took %v", d)
				}
				if failed := len(inner.errors) == 1 && strings.Contains(inner.errors[0], "1 creators are still running"); failed != row.fails {
					t.Errorf("errors are %q", inner.errors)
				}
				time.Sleep(row.takes)
			})
		})
	}
}

// TestSwapJoinsNoCreation: not one of the configuration before, nor is one of the
// test joined after it.
func TestSwapJoinsNoCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := dogpile.NewRegion("r")
		if err := r.Configure(b, nil); err != nil {
			t.Fatal(err)
		}
		c := dogpile.NewCache[string](r, nil)
		slow := func(v string, d time.Duration) {
			go c.GetOrCreate(context.Background(), "k", func(context.Context) (string, error) {
				time.Sleep(d)
				return v, nil
			})
			synctest.Wait()
		}
		slow("before", time.Second)
		inner := &tb{TB: t}
		dogpiletest.Swap(inner, r, nil)
		gives(t, c, "k", "within", "within")
		if err := c.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		slow("of the test", time.Second)
		inner.end()
		gives(t, c, "k", "after", "after")
		if len(inner.errors) > 0 {
			t.Errorf("the end failed: %q", inner.errors)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
