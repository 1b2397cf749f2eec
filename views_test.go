package dogpile_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// panickingLogger returns a logger whose handler panics.
func panickingLogger() *slog.Logger { return slog.New(panicking{slog.DiscardHandler}) }

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool { return true }

func (panicking) Handle(context.Context, slog.Record) error { panic("oops") }

// TestWithMerges: what the new options set replaces, and all else stays.
func TestWithMerges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		b := newFake(t, like{bytes: true, unshared: true})
		r := newRegion(t, b, &dogpile.Options{Hooks: rec.hooks()})
		base := dogpile.NewCache(r, &dogpile.CacheOptions[string]{
			Expiration: time.Minute, ShouldCache: func(v string) bool { return v != "secret" }, Codec: dogpile.Text, Name: "base",
		})
		for name, view := range map[string]*dogpile.Cache[string]{
			"nothing":        base.With(dogpile.CacheOptions[string]{}),
			"Expiration":     base.With(dogpile.CacheOptions[string]{Expiration: time.Hour}),
			"ExpirationFunc": base.With(dogpile.CacheOptions[string]{ExpirationFunc: func() time.Duration { return time.Hour }}),
			"two after another": base.With(dogpile.CacheOptions[string]{ExpirationFunc: func() time.Duration { return time.Second }}).
				With(dogpile.CacheOptions[string]{Expiration: time.Hour}),
		} {
			_, err := view.GetOrCreate(bg, "secret", constant("secret").create)
			wantErr(t, name, err, nil)
			if _, ok, _ := view.Get(bg, "secret"); ok {
				t.Errorf("%s: ShouldCache is lost", name)
			}
			wantErr(t, name, view.Set(bg, name, "plain"), nil)
			if got := b.stored(t, "test:"+name); !strings.HasSuffix(got, "|plain") {
				t.Errorf("%s: the codec is lost: %q", name, got)
			}
			for _, e := range rec.take("store") {
				if e.Name != "base" {
					t.Errorf("%s: the name is %q", name, e.Name)
				}
			}
			pass(61 * time.Second)
			if _, ok, _ := view.Get(bg, name); ok != (name != "nothing") {
				t.Errorf("%s: fresh after 61 s: %v", name, ok)
			}
		}
		other := base.With(dogpile.CacheOptions[string]{ShouldCache: func(string) bool { return true }, Codec: dogpile.JSON, Name: "other"})
		_, err := other.GetOrCreate(bg, "secret", constant("secret").create)
		wantErr(t, "replaced", err, nil)
		if got := b.stored(t, "test:secret"); !strings.HasSuffix(got, `|"secret"`) {
			t.Errorf("replaced: stored %q", got)
		}
		if e := rec.take("store"); len(e) != 1 || e[0].Name != "other" {
			t.Errorf("replaced: Store was told %+v", e)
		}
	})
}

func TestFuncsHaveWith(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		r := newRegion(t, newMemory(t), &dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour, Hooks: rec.hooks()})
		hour := dogpile.CacheOptions[string]{Expiration: time.Hour, Name: "not this"}
		f0 := dogpile.NewFunc0(r, "f0", func(context.Context) (string, error) { return "v", nil }, nil)
		f1 := dogpile.NewFunc(r, "f1", func(context.Context, int) (string, error) { return "v", nil }, nil)
		f2 := dogpile.NewFunc2(r, "f2", func(context.Context, int, int) (string, error) { return "v", nil }, nil)
		f3 := dogpile.NewFunc3(r, "f3", func(context.Context, int, int, int) (string, error) { return "v", nil }, nil)
		m := dogpile.NewMultiFunc(r, "m", func(_ context.Context, ks []int) (map[int]string, error) {
			out := make(map[int]string)
			for _, k := range ks {
				out[k] = "v"
			}
			return out, nil
		}, nil)
		one := func(m map[int]string, err error) (string, error) { return m[1], err }
		calls := map[string][2]func() (string, error){
			"f0": {func() (string, error) { return f0.Call(bg) }, func() (string, error) { return f0.With(hour).Call(bg) }},
			"f1": {func() (string, error) { return f1.Call(bg, 1) }, func() (string, error) { return f1.With(hour).Call(bg, 1) }},
			"f2": {func() (string, error) { return f2.Call(bg, 1, 2) }, func() (string, error) { return f2.With(hour).Call(bg, 1, 2) }},
			"f3": {func() (string, error) { return f3.Call(bg, 1, 2, 3) }, func() (string, error) { return f3.With(hour).Call(bg, 1, 2, 3) }},
			"m":  {func() (string, error) { return one(m.Call(bg, 1)) }, func() (string, error) { return one(m.With(hour).Call(bg, 1)) }},
		}
		for name, call := range calls {
			v, err := call[0]()
			wantValue(t, name, v, err, "v")
			pass(10 * time.Minute)
			rec.counts()
			v, err = call[1]()
			wantValue(t, name+".With", v, err, "v")
			hits := rec.take("hit")
			if len(hits) != 1 || hits[0].Name != name {
				t.Errorf("%s.With does not share the result of %s: Hit was told %+v", name, name, hits)
			}
			if v, err = call[0](); err != nil || len(rec.take("create")) != 1 {
				t.Errorf("%s itself has changed: %v, %v", name, v, err)
			}
		}
	})
}

// TestFunctionsOfOneNameAndAnotherTypePanic: they would have the same keys and evict
// each other's results for ever.
func TestFunctionsOfOneNameAndAnotherTypePanic(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("users")
	str := func(context.Context, int) (string, error) { return "", nil }
	num := func(context.Context, int) (int, error) { return 0, nil }
	many := func(context.Context, []int) (map[int]string, error) { return nil, nil }
	dogpile.NewFunc(r, "user", str, nil)
	dogpile.NewFunc(r, "user", str, nil)       // the same again is no fault: tests do it
	dogpile.NewMultiFunc(r, "user", many, nil) // shares its entries on purpose
	dogpile.NewFunc(dogpile.NewRegion("others"), "user", num, nil)
	for name, wrap := range map[string]func(){
		"another result": func() { dogpile.NewFunc(r, "user", num, nil) },
		"another argument": func() {
			dogpile.NewFunc(r, "user", func(context.Context, string) (string, error) { return "", nil }, nil)
		},
		"no argument": func() { dogpile.NewFunc0(r, "user", func(context.Context) (string, error) { return "", nil }, nil) },
	} {
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, `"user"`) || !strings.Contains(p, `region "users"`) || !strings.Contains(p, "string") {
					t.Errorf("%s: panic %q does not name the function, the region and the types", name, p)
				}
			}()
			wrap()
		}()
	}
}

// TestRegionsKeepApart: region "a" with key "b:c" is not region "a:b" with key "c".
func TestRegionsKeepApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newMemory(t)
		names := []string{"a", "a:b", "a%3Ab", "a%", "a%25", "", ":"}
		keys := []string{"b:c", "c", "%3Ab:c", "x"}
		for i, name := range names {
			r := dogpile.NewRegion(name)
			wantErr(t, "Configure", r.Configure(b, nil), nil)
			c := dogpile.NewCache[int](r, nil)
			for _, key := range keys {
				if name == "" && key != "x" {
					continue // a region without a name has no prefix
				}
				if v, ok, err := c.Get(bg, key); ok || err != nil {
					t.Errorf("region %q finds %d under %q, %v", name, v, key, err)
				}
				wantErr(t, "Set", c.Set(bg, key, i), nil)
			}
		}
	})
}

func TestControlOfOneKeyOfABatch(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := dogpile.NewCache[int](newRegion(t, backend(t), &dogpile.Options{Expiration: time.Minute}), nil)
				keys := []string{"hour", "never", "none", "other", "past"}
				vals, err := c.GetOrCreateMulti(bg, keys, func(ctx context.Context, keys []string) (map[string]int, error) {
					ctl := dogpile.Creation(ctx)
					ctl.ExpireIn(10 * time.Minute) // of all that say nothing else
					ctl.Key("hour").ExpireIn(time.Hour)
					ctl.Key("never").ExpireIn(dogpile.Never)
					ctl.Key("none").NoStore()
					ctl.Key("past").ExpireIn(-time.Second)
					ctl.Key("unknown").NoStore()
					return many(0, new([][]string))(ctx, keys)
				})
				wantErr(t, "GetOrCreateMulti", err, nil)
				if len(vals) != 5 {
					t.Errorf("got %v", vals)
				}
				for _, row := range []struct {
					after time.Duration
					fresh string
				}{{0, "hour never other"}, {9 * time.Minute, "hour never other"}, {2 * time.Minute, "hour never"}, {50 * time.Minute, "never"}} {
					pass(row.after)
					got, err := c.GetMulti(bg, keys)
					wantErr(t, "GetMulti", err, nil)
					var names []string
					for _, key := range keys {
						if _, ok := got[key]; ok {
							names = append(names, key)
						}
					}
					if fresh := strings.Join(names, " "); fresh != row.fresh {
						t.Errorf("fresh after %v more: %q, want %q", row.after, fresh, row.fresh)
					}
				}
				var nobody *dogpile.Control
				nobody.Key("k").NoStore() // outside of a creation it does nothing
			})
		})
	}
}
