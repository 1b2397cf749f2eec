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

// TestInvalidatedEntriesLeaveMemory: without a Set or a Get of them.
func TestInvalidatedEntriesLeaveMemory(t *testing.T) {
	t.Parallel()
	const most = 100_000
	wrapped := &dogpile.Options{Proxies: []func(driver.Backend) driver.Backend{
		func(b driver.Backend) driver.Backend { return driver.Proxy{Backend: b} },
	}}
	for name, row := range map[string]struct {
		memory memory.Options
		region *dogpile.Options
	}{
		"unbounded":       {},
		"bytes":           {memory: memory.Options{Copy: true}},
		"below a proxy":   {region: wrapped},
		"bounded":         {memory: memory.Options{MaxEntries: 2 * most}},
		"bounded, a TTL":  {memory: memory.Options{MaxEntries: 2 * most}, region: &dogpile.Options{Expiration: time.Hour}},
		"bytes, and many": {memory: memory.Options{MaxBytes: 1 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := most
			if name != "unbounded" {
				n /= 10
			}
			b, err := memory.New(&row.memory)
			wantErr(t, "New", err, nil)
			r := newRegion(t, b, row.region)
			other := dogpile.NewRegion("other") // over the same backend, with an invalidator of its own
			wantErr(t, "Configure", other.Configure(b, nil), nil)
			kept := dogpile.NewCache[int](other, nil)
			wantErr(t, "Set", kept.Set(bg, "kept", 1), nil)
			c, vals := dogpile.NewCache[int](r, nil), make(map[string]int)
			for i := range n {
				vals[fmt.Sprint(i)] = i
			}
			wantErr(t, "SetMulti", c.SetMulti(bg, vals), nil)
			if got := b.Len(); got != n+1 {
				t.Fatalf("%d entries, want %d", got, n+1)
			}
			wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
			wantErr(t, "Set after Invalidate", c.Set(bg, "new", 1), nil)
			for end := time.Now().Add(30 * time.Second); b.Len() > 2 && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			if got := b.Len(); got != 2 {
				t.Errorf("%d entries are left, want two", got)
			}
			v, _, err := c.Get(bg, "new")
			wantValue(t, "what was stored afterwards", v, err, 1)
			v, _, err = kept.Get(bg, "kept")
			wantValue(t, "what belongs to another region", v, err, 1)
		})
	}
}

// What is stale, or was stored since, is not dropped; what several invalidations have
// made invalid is, whichever of them comes first.
func TestOnlyWhatIsInvalidIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, inv := newMemory(t), new(dogpile.LocalInvalidator)
		rs, cs := []*dogpile.Region{}, []*dogpile.Cache[int]{}
		for range 2 { // with one invalidator
			r := newRegion(t, b, &dogpile.Options{Invalidator: inv})
			rs, cs = append(rs, r), append(cs, dogpile.NewCache[int](r, nil))
		}
		wantErr(t, "Set", cs[0].Set(bg, "old", 1), nil)
		for i := range 5 {
			wantErr(t, "Set", cs[0].Set(bg, fmt.Sprint("older", i), 1), nil)
			wantErr(t, "Invalidate", rs[i%2].Invalidate(bg, dogpile.Hard), nil)
		}
		wantErr(t, "Set", cs[0].Set(bg, "stale", 1), nil)
		wantErr(t, "Invalidate", rs[0].Invalidate(bg, dogpile.Soft), nil)
		wantErr(t, "Set", cs[1].Set(bg, "fresh", 1), nil)
		if e, ok, err := cs[0].Peek(bg, "old"); !ok || e.State != dogpile.Invalidated || err != nil {
			t.Errorf("Peek at once: %v, %v, %v; want an entry that is invalidated", e.State, ok, err)
		}
		later(2 * time.Second)
		if n := b.Len(); n != 2 {
			t.Errorf("%d entries, want the stale one and the fresh one", n)
		}
		e, ok, err := cs[1].Peek(bg, "stale")
		if !ok || err != nil || e.State != dogpile.Stale {
			t.Errorf("%v, %v, %v", e.State, ok, err)
		}
	})
}

// A creation that was under way is no reason to lose what is created afterwards.
func TestDropWhileACreationIsUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newMemory(t)
		r := newRegion(t, b, nil)
		c := dogpile.NewCache[int](r, nil)
		old := start(get(c, "k", counting(time.Second).create))
		wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
		v := <-start(get(c, "k", func(context.Context) (int, error) { return 2, nil }))
		wantValue(t, "afterwards", v.v, v.err, 2)
		<-old
		later(2 * time.Second)
		now, _, err := c.Get(bg, "k")
		wantValue(t, "in the end", now, err, 2)
	})
}

// TestInvalidatedTagsLeaveMemory: what carries them, whichever region has stored it, and
// nothing else.
func TestInvalidatedTagsLeaveMemory(t *testing.T) {
	for name, o := range map[string]*memory.Options{"objects": nil, "bytes": {Copy: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, err := memory.New(o)
				wantErr(t, "New", err, nil)
				region := func(scope string) (*dogpile.Region, *dogpile.Cache[int]) {
					r := newRegion(t, b, &dogpile.Options{TagScope: scope, Prefix: scope + ":"})
					return r, dogpile.NewCache(r, &dogpile.CacheOptions[int]{Tags: func(key string) []string { return []string{key[:1], "all"} }})
				}
				r, c := region("a")
				_, other := region("b")
				untagged := dogpile.NewCache[int](r, nil)
				for i := range 100 {
					wantErr(t, "Set", c.Set(bg, fmt.Sprint("x", i), 1), nil)
				}
				wantErr(t, "Set", c.Set(bg, "y", 1), nil)
				wantErr(t, "Set", other.Set(bg, "x", 1), nil)
				wantErr(t, "Set", untagged.Set(bg, "plain", 1), nil)
				pass(time.Second)
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Soft, "x"), nil)
				later(2 * time.Second)
				wantTags(t, "softly", c, "x1", dogpile.Stale, "x", "all")
				wantErr(t, "InvalidateTags", r.InvalidateTags(bg, dogpile.Hard, "x"), nil)
				wantTags(t, "at once", c, "x1", dogpile.Invalidated, "x", "all")
				wantErr(t, "Set", c.Set(bg, "x1", 2), nil) // under a new token
				later(2 * time.Second)
				for key, c := range map[string]*dogpile.Cache[int]{"x1": c, "y": c, "x": other, "plain": untagged} {
					if _, ok, err := c.Get(bg, key); !ok || err != nil {
						t.Errorf("%s is gone: %v", key, err)
					}
				}
				if n := b.Len(); n != 4+6+4 { // x, y and all here, x and all there: two tokens each
					t.Errorf("%d are left", n)
				}
			})
		})
	}
}
