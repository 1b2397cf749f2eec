//go:build !race

package dogpile_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// TestHitAllocatesNothing: nor does Func.Call with an argument of a built-in
// type. The race detector allocates, so this runs without it.
func TestHitAllocatesNothing(t *testing.T) {
	type user [100]byte
	for name, o := range map[string]*memory.Options{"unbounded": nil, "bounded": {MaxEntries: 1000}} {
		t.Run(name, func(t *testing.T) {
			b, err := memory.New(o)
			if err != nil {
				t.Fatal(err)
			}
			r := dogpile.NewRegion("users")
			if err := r.Configure(b, &dogpile.Options{Expiration: time.Hour, Jitter: 0.1, RefreshAhead: .8}); err != nil {
				t.Fatal(err)
			}
			c := dogpile.NewCache[user](r, nil)
			create := func(context.Context) (user, error) { return user{}, nil }
			f := dogpile.NewFunc(r, "user", func(context.Context, int) (user, error) { return user{}, nil }, nil)
			if _, err := c.GetOrCreate(bg, "a key", create); err != nil {
				t.Fatal(err)
			}
			for what, hit := range map[string]func() error{
				"GetOrCreate": func() error { _, err := c.GetOrCreate(bg, "a key", create); return err },
				"Get":         func() error { _, _, err := c.Get(bg, "a key"); return err },
				"Func.Call":   func() error { _, err := f.Call(bg, 4211); return err },
			} {
				if n := testing.AllocsPerRun(1000, func() { err = hit() }); n != 0 || err != nil {
					t.Errorf("%s: %v allocations, %v", what, n, err)
				}
			}
			if s := r.Stats(); s.Creations != 2 || s.Hits < 3000 {
				t.Errorf("%d creations and %d hits: these were no hits", s.Creations, s.Hits)
			}
		})
	}
}

// TestHitAllocatesNothingWhileItIsRenewed: nor does one of another schema's cache, or under
// a context that asks for something.
func TestHitAllocatesNothingWhileItIsRenewed(t *testing.T) {
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion("users")
	if err := r.Configure(b, &dogpile.Options{Expiration: time.Hour, RefreshAhead: 1e-15}); err != nil {
		t.Fatal(err)
	}
	c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Schema: "2"})
	ctx := dogpile.NoStale(bg)
	gate, created := make(chan struct{}), make(chan struct{})
	create := func(context.Context) (int, error) { close(created); <-gate; return 2, nil }
	if err := c.Set(ctx, "a key", 1); err != nil {
		t.Fatal(err)
	}
	if v, err := c.GetOrCreate(ctx, "a key", create); v != 1 || err != nil {
		t.Fatalf("the caller that has it renewed got %v, %v", v, err)
	}
	<-created
	for what, hit := range map[string]func() error{
		"GetOrCreate":      func() error { _, err := c.GetOrCreate(ctx, "a key", create); return err },
		"GetOrCreateEntry": func() error { _, err := c.GetOrCreateEntry(ctx, "a key", create); return err },
		"Get":              func() error { _, _, err := c.Get(ctx, "a key"); return err },
	} {
		if n := testing.AllocsPerRun(1000, func() { err = hit() }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", what, n, err)
		}
	}
	close(gate)
	if err := r.Close(bg); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Early != 1 || s.Hits < 3000 {
		t.Errorf("%+v: these were no hits while the value was renewed", s)
	}
}

// TestAllocsOfReads: what a call allocates that creates nothing.
func TestAllocsOfReads(t *testing.T) {
	type user struct{ Name string }
	keys, ids := make([]string, 100), make([]int, 100)
	for i := range keys {
		keys[i], ids[i] = fmt.Sprintf("key %02d", i), i
	}
	objects, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	region := func(b driver.Backend, o dogpile.Options) *dogpile.Region {
		r := dogpile.NewRegion("users")
		if err := r.Configure(b, &o); err != nil {
			t.Fatal(err)
		}
		return r
	}
	hour := dogpile.Options{Expiration: time.Hour}
	r := region(objects, hour)
	users := dogpile.NewCache[user](r, nil)
	createAll := func(_ context.Context, keys []string) (map[string]user, error) {
		vals := make(map[string]user)
		for _, key := range keys {
			vals[key] = user{key}
		}
		return vals, nil
	}
	byID := dogpile.NewMultiFunc(r, "byID", func(_ context.Context, ids []int) (map[int]user, error) {
		vals := make(map[int]user)
		for _, id := range ids {
			vals[id] = user{"u"}
		}
		return vals, nil
	}, nil)
	create := func(context.Context) (user, error) { return user{"u"}, nil }
	inBytes := dogpile.NewCache[user](region(bytes, hour), nil)
	stale := dogpile.NewCache[user](region(objects, dogpile.Options{Expiration: time.Nanosecond, StaleFor: time.Hour, Prefix: "stale:"}), nil)
	if err := stale.Set(bg, "k", user{"old"}); err != nil {
		t.Fatal(err)
	}
	gate, created := make(chan struct{}), make(chan struct{})
	go stale.GetOrCreate(bg, "k", func(context.Context) (user, error) { close(created); <-gate; return user{"new"}, nil })
	<-created
	defer close(gate)
	for _, row := range []struct {
		what string
		most float64
		call func() error
	}{
		{"a hit on a backend of bytes", 4, func() error { _, err := inBytes.GetOrCreate(bg, "k", create); return err }},
		{"a stale value that another caller renews", 3, func() error { _, err := stale.GetOrCreate(bg, "k", create); return err }},
		{"a Set", 14, func() error { return users.Set(bg, "k", user{"u"}) }},
		{"GetMulti of 100", 20, func() error { _, err := users.GetMulti(bg, keys); return err }},
		{"GetOrCreateMulti of 100", 20, func() error { _, err := users.GetOrCreateMulti(bg, keys, createAll); return err }},
		{"MultiFunc.Call of 100", 60, func() error { _, err := byID.Call(bg, ids...); return err }},
	} {
		if err := row.call(); err != nil { // creates, if there is something to create
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(200, func() { err = row.call() }); n > row.most || err != nil {
			t.Errorf("%s: %v allocations, want at most %v; %v", row.what, n, row.most, err)
		}
	}
}

// TestHitWithTagsAllocatesNothing: the tokens of its tags are looked at in memory too.
func TestHitWithTagsAllocatesNothing(t *testing.T) {
	for name, o := range map[string]*memory.Options{"unbounded": nil, "bounded": {MaxEntries: 1000}} {
		t.Run(name, func(t *testing.T) {
			b, err := memory.New(o)
			if err != nil {
				t.Fatal(err)
			}
			r := dogpile.NewRegion("users")
			if err := r.Configure(b, &dogpile.Options{Expiration: time.Hour}); err != nil {
				t.Fatal(err)
			}
			told := dogpile.NewCache[int](r, nil)
			create := func(ctx context.Context) (int, error) {
				dogpile.Creation(ctx).Tag(ctx, "user:42", "all")
				return 1, nil
			}
			if _, err := told.GetOrCreate(bg, "a key", create); err != nil {
				t.Fatal(err)
			}
			for what, hit := range map[string]func() error{
				"GetOrCreate": func() error { _, err := told.GetOrCreate(bg, "a key", create); return err },
				"Get":         func() error { _, _, err := told.Get(bg, "a key"); return err },
			} {
				if n := testing.AllocsPerRun(1000, func() { err = hit() }); n != 0 || err != nil {
					t.Errorf("%s: %v allocations, %v", what, n, err)
				}
			}
			if s := r.Stats(); s.Creations != 1 || s.Hits < 2000 {
				t.Errorf("%d creations and %d hits: these were no hits", s.Creations, s.Hits)
			}
			if err := r.InvalidateTags(bg, dogpile.Hard, "all"); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := told.Get(bg, "a key"); ok || err != nil {
				t.Errorf("after InvalidateTags: %v, %v", ok, err)
			}
		})
	}
}

// TestNearHitAllocatesNothing: nor does one with tags.
func TestNearHitAllocatesNothing(t *testing.T) {
	p := nearProcesses(t, 1, dogpile.Options{Expiration: time.Hour, Jitter: .1, RefreshAhead: .8, Near: &dogpile.Near{Lag: time.Hour}}, false)[0]
	f := dogpile.NewFunc(p.Region, "user", func(context.Context, int) (string, error) { return "v", nil }, nil)
	tagged := p.Cache.With(dogpile.CacheOptions[string]{Tags: func(string) []string { return []string{"t"} }})
	create := returns("v")
	hits := map[string]func() (string, error){
		"GetOrCreate": func() (string, error) { return p.GetOrCreate(bg, "a key", create) },
		"Get":         func() (string, error) { v, _, err := p.Get(bg, "a key"); return v, err },
		"Func.Call":   func() (string, error) { return f.Call(bg, 4211) },
		"tagged":      func() (string, error) { return tagged.GetOrCreate(bg, "tagged", create) },
	}
	for _, what := range []string{"GetOrCreate", "Get", "Func.Call", "tagged"} {
		hit := hits[what]
		for range 2 { // the second makes the copy
			if v, err := hit(); v != "v" || err != nil {
				t.Fatalf("%s = %q, %v", what, v, err)
			}
		}
		var err error
		if n := testing.AllocsPerRun(1000, func() { _, err = hit() }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", what, n, err)
		}
	}
	if s := p.Stats(); s.NearHits < 4000 {
		t.Errorf("%d near hits: these were none", s.NearHits)
	}
}

func TestNearHitsOfLocalInvalidatorsAllocateNothing(t *testing.T) {
	f := new(fleet)
	r := dogpile.NewRegion("near")
	o := nearly(time.Hour)
	o.Invalidator = new(dogpile.LocalInvalidator)
	wantErr(t, "Configure", r.Configure(f.sit(newFake(t, like{bytes: true})), &o), nil)
	defer r.Close(bg)
	c := dogpile.NewCache[string](r, nil)
	key := "a key that is longer than thirty-two bytes, as keys are"
	wantErr(t, "Set", c.Set(bg, key, "v"), nil)
	_, _, _ = c.Get(bg, key)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = c.Get(bg, key) }); n > 0 && r.Stats().NearHits > 90 {
		t.Errorf("%v allocations", n)
	}
}
