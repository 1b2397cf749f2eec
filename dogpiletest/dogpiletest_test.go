package dogpiletest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/dogpiletest"
	"github.com/dogpile-go/dogpile/driver"
)

// tb is a test within a test: what it is told is kept, and its end comes when it
// is asked for.
type tb struct {
	testing.TB
	name     string // "": Inner/test
	errors   []string
	fatal    bool
	cleanups []func()
}

func (t *tb) Helper()           {}
func (t *tb) Name() string      { return cmp.Or(t.name, "Inner/test") }
func (t *tb) Cleanup(f func())  { t.cleanups = append(t.cleanups, f) }
func (t *tb) Error(args ...any) { t.errors = append(t.errors, fmt.Sprint(args...)) }
func (t *tb) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}

func (t *tb) Fatal(args ...any) {
	t.Error(args...)
	t.fatal = true
	panic(t)
}

func (t *tb) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// do runs f as a part of the test, which Fatal ends.
func (t *tb) do(f func()) {
	defer func() {
		if p := recover(); p != nil && p != any(t) {
			panic(p)
		}
	}()
	f()
}

func (t *tb) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

func TestRegion(t *testing.T) {
	inner := &tb{TB: t}
	o := &dogpile.Options{Prefix: "p:", Expiration: time.Hour}
	r := dogpiletest.Region(inner, o)
	c := dogpile.NewCache[int](r, nil)
	for range 2 {
		v, err := c.GetOrCreate(t.Context(), "k", func(context.Context) (int, error) { return 1, nil })
		if v != 1 || err != nil {
			t.Errorf("GetOrCreate = %d, %v", v, err)
		}
	}
	if s := r.Stats(); s.Creations != 1 || s.Hits != 1 || r.Name() != "Inner/test" {
		t.Errorf("%q has %+v", r.Name(), s)
	}
	b, ok := driver.As[*memory.Backend](r.Backend())
	if !ok || b.Len() != 1 {
		t.Fatalf("the backend is %v", r.Backend())
	}
	inner.end()
	if len(inner.errors) > 0 {
		t.Errorf("the end failed: %q", inner.errors)
	}
	if _, err := c.GetOrCreate(t.Context(), "k", nil); !errors.Is(err, dogpile.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := b.Get(t.Context(), []driver.Item{{Key: "p:k"}}); err == nil {
		t.Error("the backend is open after the end")
	}
}

// TestRegionGoesThroughTheCodec: as with the backends of production.
func TestRegionGoesThroughTheCodec(t *testing.T) {
	t.Parallel()
	type user struct {
		Name string
		Tags []string
		seen bool
	}
	ctx := t.Context()
	r := dogpiletest.Region(t, nil)
	c := dogpile.NewCache[*user](r, nil)
	create := func(context.Context) (*user, error) { return &user{"Ann", []string{"a"}, true}, nil }
	var got [3]*user
	for i := range got {
		var err error
		if got[i], err = c.GetOrCreate(ctx, "k", create); err != nil {
			t.Fatal(err)
		}
	}
	if got[1].Tags[0] = "changed"; got[2].Tags[0] != "a" || got[1] == got[2] {
		t.Error("two hits share their value")
	}
	if !got[0].seen || got[1].seen {
		t.Errorf("what the codec leaves out is %v when it is created and %v in a hit", got[0].seen, got[1].seen)
	}
	if err := dogpile.NewCache[error](r, nil).Set(ctx, "k", errors.ErrUnsupported); err == nil {
		t.Error("a type that JSON cannot decode was stored")
	}
	text := dogpiletest.Region(t, &dogpile.Options{Codec: dogpile.Text})
	if err := dogpile.NewCache[int](text, nil).Set(ctx, "k", 1); err == nil {
		t.Error("the codec of the options was not asked")
	}
}

func TestRegionsAreApart(t *testing.T) {
	t.Parallel()
	one, two := dogpiletest.Region(t, nil), dogpiletest.Region(t, nil)
	if err := dogpile.NewCache[int](one, nil).Set(t.Context(), "k", 1); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := dogpile.NewCache[int](two, nil).Get(t.Context(), "k"); ok || err != nil {
		t.Errorf("one's entry is in two: %v, %v", ok, err)
	}
}

func TestBadOptionsFailTheTest(t *testing.T) {
	inner := &tb{TB: t}
	inner.do(func() { dogpiletest.Region(inner, &dogpile.Options{Jitter: 2}) })
	if !inner.fatal || len(inner.errors) != 1 || !strings.Contains(inner.errors[0], "Jitter") {
		t.Errorf("fatal: %v, %q", inner.fatal, inner.errors)
	}
}

func TestCreatorsMustEnd(t *testing.T) {
	for _, row := range []struct {
		name  string
		takes time.Duration
		fails bool
	}{{"in time", 10*time.Second - 1, false}, {"too late", time.Minute, true}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := &tb{TB: t}
				r := dogpiletest.Region(inner, nil)
				c := dogpile.NewCache[int](r, nil)
				result := make(chan error, 1)
				go func() {
					_, err := c.GetOrCreate(context.Background(), "k", func(context.Context) (int, error) {
						time.Sleep(row.takes)
						return 1, nil
					})
					result <- err
				}()
				synctest.Wait()
				began := time.Now()
				inner.end()
				if d := time.Since(began); d != min(row.takes, 10*time.Second) {
					t.Errorf("the end took %v", d)
				}
				if failed := len(inner.errors) == 1 && strings.Contains(inner.errors[0], "creations in progress: 1"); failed != row.fails {
					t.Errorf("errors are %q", inner.errors)
				}
				if err := <-result; errors.Is(err, dogpile.ErrClosed) != row.fails {
					t.Errorf("GetOrCreate = %v", err)
				}
				time.Sleep(row.takes)
			})
		})
	}
}

// undeletable is a backend that deletes nothing.
type undeletable struct{ driver.Proxy }

func (undeletable) Delete(context.Context, []string) error { return errors.ErrUnsupported }

func TestDeletesMustBeDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &tb{TB: t}
		r := dogpiletest.Region(inner, &dogpile.Options{
			RetryDeletes: 1,
			Proxies:      []func(driver.Backend) driver.Backend{func(b driver.Backend) driver.Backend { return undeletable{driver.Proxy{Backend: b}} }},
			Logger:       slog.New(slog.DiscardHandler),
		})
		if err := r.Delete(t.Context(), "k"); !errors.Is(err, dogpile.ErrPending) {
			t.Fatal(err)
		}
		inner.end()
		if len(inner.errors) != 1 || !strings.Contains(inner.errors[0], "deletes not done: 1") || strings.Contains(inner.errors[0], "creat") {
			t.Errorf("errors are %q", inner.errors)
		}
	})
}

// TestInABubble: the region expires by the bubble's clock and leaves no
// goroutine behind.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec dogpiletest.Recorder
		r := dogpiletest.Region(t, &dogpile.Options{Expiration: time.Hour, Runner: dogpile.Background, Hooks: rec.Hooks()})
		c := dogpile.NewCache[time.Time](r, nil)
		now := func(context.Context) (time.Time, error) { return time.Now(), nil }
		get := func() time.Time {
			v, err := c.GetOrCreate(t.Context(), "k", now)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		first := get()
		time.Sleep(time.Hour + 1)
		if v := get(); !v.Equal(first) {
			t.Errorf("the stale value is from %v after the first", v.Sub(first))
		}
		synctest.Wait()
		if v := get(); v.Sub(first) != time.Hour+1 {
			t.Errorf("the new value is from %v after the first", v.Sub(first))
		}
		if m, s, h, n := rec.Count("Miss"), rec.Count("Stale"), rec.Count("Hit"), rec.Count("Create"); m != 1 || s != 1 || h != 1 || n != 2 {
			t.Errorf("%d misses, %d stale, %d hits, %d creations", m, s, h, n)
		}
	})
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	var rec dogpiletest.Recorder
	r := dogpiletest.Region(t, &dogpile.Options{Hooks: rec.Hooks()})
	c := dogpile.NewCache[int](r, nil)
	ctx := t.Context()
	if len(rec.Events()) != 0 {
		t.Errorf("before anything happened: %v", rec.Events())
	}
	if _, err := c.GetOrCreate(ctx, "k", func(context.Context) (int, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range rec.Events() {
		got = append(got, e.Hook+" "+e.Event.Key)
		if e.Event.Region != t.Name() || e.Event.Err != nil {
			t.Errorf("event %+v", e)
		}
	}
	if want := []string{"Miss k", "Create k", "Store k", "Hit k"}; !slices.Equal(got, want) {
		t.Errorf("events are %q, want %q", got, want)
	}
	own := rec.Events()
	own[0].Hook = "changed"
	if rec.Events()[0].Hook != "Miss" {
		t.Error("the caller's slice is the recorder's")
	}
	if n := rec.Count("Hit"); n != 1 {
		t.Errorf("%d hits", n)
	}
	rec.Reset()
	if n := len(rec.Events()) + rec.Count("Hit"); n != 0 || len(own) != 4 {
		t.Errorf("after Reset: %v; own: %v", rec.Events(), own)
	}
	if err := r.Delete(ctx, "k"); err != nil || rec.Count("Delete") != 1 {
		t.Errorf("%v; after Delete: %v", err, rec.Events())
	}
}

func TestEveryHookIsRecorded(t *testing.T) {
	t.Parallel()
	var rec dogpiletest.Recorder
	h := reflect.ValueOf(rec.Hooks()).Elem()
	for i := range h.NumField() {
		name := h.Type().Field(i).Name
		if name == "Creating" || name == "Backend" {
			if !h.Field(i).IsNil() {
				t.Errorf("%s is set", name)
			}
			continue
		}
		hook, ok := h.Field(i).Interface().(func(context.Context, dogpile.Event))
		if !ok || hook == nil {
			t.Errorf("%s is not set", name)
			continue
		}
		keys := []string{name}
		hook(t.Context(), dogpile.Event{Key: name, Keys: keys})
		keys[0] = "changed"
		if n := rec.Count(name); n != 1 {
			t.Errorf("%s was counted %d times", name, n)
		}
		if all := rec.Events(); len(all) == 0 {
			t.Errorf("%s is not recorded", name)
		} else if last := all[len(all)-1]; last.Hook != name || last.Event.Key != name || last.Event.Keys[0] != name {
			t.Errorf("recorded as %+v", last)
		}
	}
}

func TestCountOfNoHook(t *testing.T) {
	t.Parallel()
	defer func() {
		if p := recover(); p != "dogpiletest: dogpile.Hooks has no field Created" {
			t.Errorf("panic %v", p)
		}
	}()
	new(dogpiletest.Recorder).Count("Created")
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	var rec dogpiletest.Recorder
	h := rec.Hooks()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				h.Hit(t.Context(), dogpile.Event{})
				rec.Events()
				rec.Count("Hit")
			}
		})
	}
	wg.Wait()
	if n := rec.Count("Hit"); n != 800 {
		t.Errorf("%d hits, want 800", n)
	}
}
