package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// callsOf returns how often the operations of a backend were called while do ran, without
// the release of leases.
func (f *fake) callsOf(t *testing.T, do func() error) map[string]int {
	t.Helper()
	f.mu.Lock()
	clear(f.calls)
	f.mu.Unlock()
	wantErr(t, "the call", do(), nil)
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := maps.Clone(f.calls)
	delete(calls, "release")
	return calls
}

func wantRoundTrips(t *testing.T, what string, got map[string]int, want string) {
	t.Helper()
	text := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(got), "map["), "]")
	if text != want {
		t.Errorf("%s: %s; want %s", what, text, want)
	}
}

// TestRoundTripsOfTags: untagged entries cost what they do, tags known beforehand come with
// the entry, tags that the entry tells cost one call more, and none within the lag.
func TestRoundTripsOfTags(t *testing.T) {
	for _, lag := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprint("lag ", lag), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: true})
				r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour, InvalidationLag: lag})
				plain := dogpile.NewCache[int](r, nil)
				known := plain.With(dogpile.CacheOptions[int]{Tags: func(key string) []string { return []string{"t:" + key, "all", "more"} }})
				one := counting(0)
				told := tagged(one, "t:told", "all", "more")
				call := func(c *dogpile.Cache[int], key string, create func(context.Context) (int, error)) map[string]int {
					return b.callsOf(t, func() error { _, err := c.GetOrCreate(bg, key, create); return err })
				}
				call(plain, "plain", one.create)
				call(plain, "told", told)
				call(known, "known", one.create)
				want := map[string]string{"plain": "get:1", "known": "get:1", "told": "get:2"}
				if lag > 0 {
					want["told"] = "get:1"
				}
				for name, calls := range map[string]map[string]int{
					"plain": call(plain, "plain", one.create), "known": call(known, "known", one.create), "told": call(plain, "told", told),
				} {
					wantRoundTrips(t, "a hit: "+name, calls, want[name])
				}
				many := func(c *dogpile.Cache[int], keys ...string) map[string]int {
					return b.callsOf(t, func() error { _, err := c.GetMulti(bg, keys); return err })
				}
				call(known, "known2", one.create)
				wantRoundTrips(t, "many known", many(known, "known", "known2", "plain", "known", "absent"), "get:1")
				if lag == 0 {
					wantRoundTrips(t, "many told", many(plain, "told", "known", "known2", "plain"), "get:2")
				}
				wantRoundTrips(t, "InvalidateTags", b.callsOf(t, func() error {
					return r.InvalidateTags(bg, dogpile.Soft, "t:told", "t:known", "all", "x", "y", "z")
				}), "delete:1")
				wantRoundTrips(t, "InvalidateTags", b.callsOf(t, func() error {
					return r.InvalidateTags(bg, dogpile.Hard, "t:told", "t:known", "all", "x", "y", "z")
				}), "delete:1")
				wantCalls(t, one, 4)

				// What costs a creation is known beforehand too: the token that the invalidation
				// has deleted is made once, and then it is there.
				wantErr(t, "Delete", r.Delete(bg, "known", "plain"), nil)
				call(known, "known2", one.create)
				untagged := call(plain, "plain", one.create)
				wantErr(t, "Delete", r.Delete(bg, "plain"), nil)
				anew := dogpile.CacheOptions[int]{Tags: func(string) []string { return []string{"all"} }}
				tagged := call(plain.With(anew), "plain", one.create)
				if fmt.Sprint(untagged) != fmt.Sprint(tagged) {
					t.Errorf("a creation without tags costs %v, and with tags %v", untagged, tagged)
				}
			})
		})
	}
}

// evict has a backend lose what match finds.
func (f *fake) evict(t *testing.T, match func(key string) bool) {
	t.Helper()
	d, _ := driver.As[driver.Dropper](f.Backend)
	n := 0
	d.Drop(func(it *driver.Item) bool {
		if match(it.Key) {
			n++
			return true
		}
		return false
	})
	if n == 0 {
		t.Fatal("there is nothing to evict")
	}
}

// TestTokenThatIsEvicted: what carries its tag is invalid, and nothing else.
func TestTokenThatIsEvicted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		c := dogpile.NewCache(newRegion(t, b, &dogpile.Options{Expiration: time.Hour}), &dogpile.CacheOptions[int]{Tags: byKey})
		set := func() {
			for _, key := range []string{"a", "b"} {
				wantErr(t, "Set", c.Set(bg, key, 1), nil)
			}
		}
		set()
		b.evict(t, func(key string) bool { return key == "_tag:~t:a" })
		wantTags(t, "without its soft token", c, "a", dogpile.Stale, "t:a")
		wantTags(t, "another", c, "b", dogpile.Fresh, "t:b")
		set()
		wantTags(t, "set anew", c, "a", dogpile.Fresh, "t:a")
		b.evict(t, func(key string) bool { return key == "_tag::t:a" })
		wantTags(t, "without its hard token", c, "a", dogpile.Invalidated, "t:a")
		wantTags(t, "another", c, "b", dogpile.Fresh, "t:b")
	})
}

// TestServerOfATokenIsDown: the entries that carry the tag are taken for missing, and are
// not stored; others are as ever.
func TestServerOfATokenIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, b, &dogpile.Options{Expiration: time.Hour})
		told, known := dogpile.NewCache[int](r, nil), dogpile.NewCache(r, &dogpile.CacheOptions[int]{Tags: byKey})
		n := counting(0)
		get := func(key string) (int, error) {
			if strings.HasPrefix(key, "told") {
				return told.GetOrCreate(bg, key, tagged(n, "t:"+key))
			}
			return known.GetOrCreate(bg, key, n.create)
		}
		keys := []string{"told-a", "told-b", "known-a", "known-b"}
		for i, key := range keys {
			v, err := get(key)
			wantValue(t, key, v, err, i+1)
		}
		for _, down := range []string{"told-a", "known-a"} {
			for _, kind := range []string{":", "~"} {
				n.calls.Store(4)
				b.down = "_tag:" + kind + "t:" + down
				for i, key := range keys {
					want := i + 1
					if key == down {
						want = 5
					}
					v, err := get(key)
					wantValue(t, key+" without "+b.down, v, err, want)
				}
				if v, err := get(down); v != 6 || err != nil {
					t.Errorf("%s, which could not be stored: %v, %v", down, v, err)
				}
				m, err := known.GetMulti(bg, keys)
				if len(m) != 3 || err == nil || !errors.Is(err, errBackend) {
					t.Errorf("GetMulti without %s = %v, %v", b.down, m, err)
				}
				b.down = ""
			}
		}
		for i, key := range keys {
			v, err := get(key)
			wantValue(t, "all servers are there: "+key, v, err, i+1)
		}
	})
}

// TestTagThatCannotBeRead: the value goes to its callers and is not stored, as nobody could
// invalidate it, nor is what is made of it; where the region is strict the creation fails.
func TestTagThatCannotBeRead(t *testing.T) {
	for _, strict := range []bool{false, true} {
		for kind, make := range tagKinds {
			t.Run(fmt.Sprint(kind, " strict ", strict), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b, rec := newFake(t, like{bytes: true}), new(recorder)
					c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Strict: strict, Hooks: rec.hooks()}), nil)
					n := counting(0)
					inner, create := make(c, n)
					outer := func(ctx context.Context) (int, error) { return inner.GetOrCreate(ctx, "k", create) }
					b.in(func(_ context.Context, _ string, keys []string) error {
						for _, key := range keys {
							if strings.HasPrefix(key, "_tag:") {
								return errBackend
							}
						}
						return nil
					})
					for i := range 2 {
						v, err := c.GetOrCreate(bg, "outer", outer)
						if strict {
							wantErr(t, "strict", err, dogpile.ErrBackend)
							continue
						}
						wantValue(t, "without the token", v, err, i+1)
						if told := rec.take("error"); len(told) == 0 || !errors.Is(told[0].Err, errBackend) || told[0].Op != "version" && told[0].Op != "get" {
							t.Errorf("Hooks.Error was told of %+v", told)
						}
					}
					if got := b.stored(t, "test:k") + b.stored(t, "test:outer"); got != "" {
						t.Errorf("stored: %s", got)
					}
					b.in(nil)
					_, err := c.GetOrCreate(bg, "outer", outer)
					wantErr(t, "with the token", err, nil)
					wantTags(t, "with the token", c, "outer", dogpile.Fresh, "t:k")
				})
			})
		}
	}
}

// TestTokensGo: they last for as long as an entry can carry them, and then they go.
func TestTokensGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		o := &dogpile.Options{Expiration: time.Minute, StaleFor: time.Minute}
		c := dogpile.NewCache(newRegion(t, b, o), &dogpile.CacheOptions[int]{Tags: func(string) []string { return []string{"all"} }})
		long := c.With(dogpile.CacheOptions[int]{Expiration: 24 * time.Hour})
		tokens := func() string { return b.stored(t, "_tag::all") + b.stored(t, "_tag:~all") }
		wantErr(t, "Set", c.Set(bg, "a", 1), nil)
		first := tokens()
		for range 20 { // 100 seconds each, while "all" goes on being carried
			pass(100 * time.Second)
			wantTags(t, "before its time is over", c, "a", dogpile.Stale, "all")
			wantErr(t, "Set", c.Set(bg, "a", 1), nil)
		}
		version, _, _ := strings.Cut(first, " ")
		if now := tokens(); !strings.HasPrefix(now, version) || now == first {
			t.Errorf("the tokens were %q and are %q", first, now)
		}
		// One that lives for long has them last as long.
		_, err := long.GetOrCreate(bg, "b", constant(1).create)
		wantErr(t, "GetOrCreate", err, nil)
		pass(23 * time.Hour)
		wantTags(t, "a day later", long, "b", dogpile.Fresh, "all")
		pass(48 * time.Hour)
		if left := tokens(); left != "" {
			t.Errorf("tokens that nobody needs: %q", left)
		}
		// One that never goes has them stay.
		wantErr(t, "Set", c.With(dogpile.CacheOptions[int]{Expiration: dogpile.Never}).Set(bg, "c", 1), nil)
		pass(10000 * time.Hour)
		wantTags(t, "a year later", c.With(dogpile.CacheOptions[int]{Expiration: dogpile.Never}), "c", dogpile.Fresh, "all")
		wantErr(t, "InvalidateTags", newRegion(t, b, nil).InvalidateTags(bg, dogpile.Hard, "all"), nil)
		wantErr(t, "InvalidateTags", newRegion(t, b, nil).InvalidateTags(bg, dogpile.Soft, "all"), nil)
		if left := tokens(); left != "" {
			t.Errorf("tokens of what was invalidated: %q", left)
		}
	})
}

// TestTokenIsNotProlongedAfterAnInvalidation:
//
//  1. A has stored an entry that outlives its token T, and has read T to write it again.
//  2. The tag is invalidated: T is deleted.  3. A writes T: that must not be done.
func TestTokenIsNotProlongedAfterAnInvalidation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		r := newRegion(t, b, &dogpile.Options{Expiration: time.Minute})
		c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Tags: func(string) []string { return []string{"all"} }})
		wantErr(t, "Set", c.Set(bg, "a", 1), nil)
		first := b.stored(t, "_tag::all")
		b.in(func(_ context.Context, op string, keys []string) error {
			if op == "set" && strings.HasPrefix(keys[0], "_tag:") { // 3 is to begin
				b.in(nil)
				return r.InvalidateTags(bg, dogpile.Hard, "all")
			}
			return nil
		})
		_, err := c.With(dogpile.CacheOptions[int]{Expiration: time.Hour}).GetOrCreate(bg, "b", constant(1).create)
		wantErr(t, "GetOrCreate", err, nil)
		if now := b.stored(t, "_tag::all"); now != "" {
			t.Errorf("the token was %q and is %q", first, now)
		}
		for _, key := range []string{"a", "b"} {
			wantTags(t, "invalidated", c, key, dogpile.Invalidated, "all")
		}
	})
}

// TestTagsThatAreReadMeanwhile are not trusted within the lag:
//
//  1. A reads an entry and the tokens of its tag.  2. In the same process the tag is
//     invalidated.  3. A notes what it has read.  4. B calls: the entry is invalid.
func TestTagsThatAreReadMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		regions, caches := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Hour, InvalidationLag: time.Hour})
		r, c := regions[0], caches[0].With(dogpile.CacheOptions[int]{Tags: byKey})
		wantErr(t, "Set", caches[1].With(dogpile.CacheOptions[int]{Tags: byKey}).Set(bg, "k", 1), nil)
		reads := 0
		b.slow = func(_ context.Context, op string) error {
			if reads++; op == "get" && reads == 2 { // it has been read
				b.slow = nil
				return r.InvalidateTags(bg, dogpile.Hard, "t:k") // 2
			}
			return nil
		}
		_, _, err := c.Peek(bg, "k") // 1, 3
		wantErr(t, "Peek", err, nil)
		wantTags(t, "after the invalidation", c, "k", dogpile.Invalidated, "t:k") // 4
	})
}

// TestTagsWithinTheLag: the process that invalidates sees it at once, another one within
// the lag.
func TestTagsWithinTheLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		regions, caches := processes[int](t, 2, b, &dogpile.Options{Expiration: time.Hour, InvalidationLag: time.Minute})
		for i := range caches {
			caches[i] = caches[i].With(dogpile.CacheOptions[int]{Tags: byKey})
		}
		wantErr(t, "Set", caches[0].Set(bg, "k", 1), nil)
		for i, c := range caches {
			wantTags(t, fmt.Sprint("before, process ", i), c, "k", dogpile.Fresh, "t:k")
		}
		wantErr(t, "InvalidateTags", regions[0].InvalidateTags(bg, dogpile.Soft, "t:k"), nil)
		wantTags(t, "where it was invalidated", caches[0], "k", dogpile.Stale, "t:k")
		pass(time.Minute + 1)
		wantTags(t, "elsewhere, after the lag", caches[1], "k", dogpile.Stale, "t:k")
	})
}
