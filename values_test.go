package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// put stores an entry as another program would.
func put(t *testing.T, b *fake, key, entry string) {
	t.Helper()
	if err := b.Proxy.Set(bg, []driver.Item{{Key: "test:" + key, Data: []byte(entry)}}); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadableEntryIsMissing(t *testing.T) {
	now := float64(time.Now().UnixNano()) / 1e9
	for name, entry := range map[string]string{
		"not an entry":     "garbage",
		"empty":            "",
		"no bar":           fmt.Sprintf(`{"ct": %f, "v": 2}`, now),
		"no value":         fmt.Sprintf(`{"ct": %f, "v": 2}|`, now),
		"no time":          `{"v": 2}|1`,
		"no version":       fmt.Sprintf(`{"ct": %f}|1`, now),
		"another version":  fmt.Sprintf(`{"ct": %f, "v": 3}|1`, now),
		"another type":     fmt.Sprintf(`{"ct": %f, "v": 2}|"one"`, now),
		"null":             fmt.Sprintf(`{"ct": %f, "v": 2}|null`, now),
		"cut short":        fmt.Sprintf(`{"ct": %f, "v": 2}|{"a": `, now),
		"something behind": fmt.Sprintf(`{"ct": %f, "v": 2}|1 2`, now),
		"NaN":              fmt.Sprintf(`{"ct": %f, "v": 2}|NaN`, now),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				b := newFake(t, like{bytes: true, unshared: true})
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Hooks: rec.hooks()}), nil)
				put(t, b, "k", entry)
				wantMissing(t, c, "k")
				if n := len(rec.take("error")); n != 3 {
					t.Errorf("the Error hook was told %d times by 3 reads", n)
				}
				v, err := c.GetOrCreate(bg, "k", constant(7).create)
				wantValue(t, "GetOrCreate", v, err, 7)
				v, _, err = c.Get(bg, "k")
				wantValue(t, "afterwards", v, err, 7)
				put(t, b, "k", entry)
				vals, err := c.GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]int, error) {
					return map[string]int{"k": 8}, nil
				})
				if err != nil || vals["k"] != 8 {
					t.Errorf("GetOrCreateMulti: %v, %v", vals, err)
				}
			})
		})
	}
}

// wantMissing checks that every kind of read finds nothing.
func wantMissing[V any](t *testing.T, c *dogpile.Cache[V], key string) {
	t.Helper()
	if v, ok, err := c.Get(bg, key); ok || err != nil {
		t.Errorf("Get: %v, %v, %v; want it missing", v, ok, err)
	}
	if vals, err := c.GetMulti(bg, []string{key}); len(vals) > 0 || err != nil {
		t.Errorf("GetMulti: %v, %v; want it missing", vals, err)
	}
	if e, ok, err := c.Peek(bg, key); ok || err != nil {
		t.Errorf("Peek: %+v, %v, %v; want it missing", e, ok, err)
	}
}

func TestAnotherTypeIsMissing(t *testing.T) {
	type named string
	for name, l := range map[string]like{"objects": {unshared: true}, "bytes": {bytes: true, unshared: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newFake(t, l), nil)
				numbers, texts := dogpile.NewCache[int](r, nil), dogpile.NewCache[named](r, nil)
				wantErr(t, "Set", texts.Set(bg, "k", "text"), nil)
				wantMissing(t, numbers, "k")
				v, err := numbers.GetOrCreate(bg, "k", constant(7).create)
				wantValue(t, "GetOrCreate", v, err, 7)
				wantMissing(t, texts, "k")
			})
		})
	}
	t.Run("memory", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r := newRegion(t, newMemory(t), nil)
			wantErr(t, "Set", dogpile.NewCache[int64](r, nil).Set(bg, "k", 1), nil)
			wantMissing(t, dogpile.NewCache[int](r, nil), "k")
			wantMissing(t, dogpile.NewCache[any](r, nil), "k")
		})
	})
}

// Views of two types that ask for one key at once have a creator each, one
// after the other.
func TestViewsOfTwoTypesTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), nil)
		n := start(get(dogpile.NewCache[int](r, nil), "k", counting(time.Second).create))
		s := start(get(dogpile.NewCache[string](r, nil), "k", constant("s").create))
		gotN, gotS := <-n, <-s
		wantValue(t, "int", gotN.v, gotN.err, 1)
		wantValue(t, "string", gotS.v, gotS.err, "s")
	})
}

// Values that are zero are values.
func TestZeroValuesAreHits(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, backend(t), nil)
				zeroIsHit(t, r, 0)
				zeroIsHit(t, r, "")
				zeroIsHit(t, r, false)
				zeroIsHit(t, r, struct{ A *int }{})
				zeroIsHit[*int](t, r, nil)
				zeroIsHit[any](t, r, nil)
				if driver.CapsOf(r.Backend()).Objects {
					zeroIsHit[error](t, r, nil) // no codec can read it back
				}
			})
		})
	}
}

func zeroIsHit[V comparable](t *testing.T, r *dogpile.Region, zero V) {
	t.Helper()
	key := fmt.Sprintf("%T", [0]V{})
	c := dogpile.NewCache[V](r, nil)
	o := constant(zero)
	for range 3 {
		v, err := c.GetOrCreate(bg, key, o.create)
		wantValue(t, key, v, err, zero)
	}
	wantCalls(t, o, 1)
	v, ok, err := c.Get(bg, key)
	if wantValue(t, key, v, err, zero); !ok {
		t.Errorf("Get of a zero %s: not there", key)
	}
}

// reads tell whether an entry of a key is fresh, each in its way.
var reads = map[string]func(c *dogpile.Cache[int], key string) (bool, error){
	"Get": func(c *dogpile.Cache[int], key string) (bool, error) { _, ok, err := c.Get(bg, key); return ok, err },
	"GetMulti": func(c *dogpile.Cache[int], key string) (bool, error) {
		vals, err := c.GetMulti(bg, []string{key})
		return len(vals) == 1, err
	},
	"Peek": func(c *dogpile.Cache[int], key string) (bool, error) {
		e, ok, err := c.Peek(bg, key)
		return ok && e.State == dogpile.Fresh, err
	},
	"GetOrCreate": func(c *dogpile.Cache[int], key string) (fresh bool, err error) {
		fresh = true
		_, err = c.GetOrCreate(bg, key, func(ctx context.Context) (int, error) {
			fresh = false
			dogpile.Creation(ctx).NoStore()
			return 0, nil
		})
		return fresh, err
	},
	"GetOrCreateMulti": func(c *dogpile.Cache[int], key string) (fresh bool, err error) {
		fresh = true
		_, err = c.GetOrCreateMulti(bg, []string{key}, func(ctx context.Context, keys []string) (map[string]int, error) {
			fresh = false
			dogpile.Creation(ctx).NoStore()
			return nil, nil
		})
		return fresh, err
	},
}

func TestExpirationMeansTheSameEverywhere(t *testing.T) {
	const none = 100 * 365 * 24 * time.Hour
	in := func(d time.Duration) *dogpile.CacheOptions[int] { return &dogpile.CacheOptions[int]{Expiration: d} }
	by := func(d time.Duration) *dogpile.CacheOptions[int] {
		return &dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration { return d }}
	}
	for name, row := range map[string]struct {
		region time.Duration
		view   *dogpile.CacheOptions[int]
		want   time.Duration // fresh until then; none: always
	}{
		"0":                        {0, nil, none},
		"Never":                    {dogpile.Never, nil, none},
		"a minute":                 {time.Minute, nil, time.Minute},
		"50ms":                     {50 * time.Millisecond, nil, 50 * time.Millisecond},
		"view 0":                   {time.Minute, in(0), time.Minute},
		"view Never":               {time.Minute, in(dogpile.Never), none},
		"view 50ms":                {time.Minute, in(50 * time.Millisecond), 50 * time.Millisecond},
		"view of never":            {dogpile.Never, in(time.Second), time.Second},
		"ExpirationFunc":           {time.Minute, by(time.Second), time.Second},
		"ExpirationFunc 0":         {time.Minute, by(0), time.Minute},
		"ExpirationFunc Never":     {time.Minute, by(dogpile.Never), none},
		"ExpirationFunc past":      {time.Minute, by(-time.Hour), 0},
		"longest":                  {math.MaxInt64, nil, none},
		"longest through the view": {0, in(math.MaxInt64), none},
	} {
		for kind, backend := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					o := &dogpile.Options{Expiration: row.region, StaleFor: dogpile.Never}
					c := dogpile.NewCache(newRegion(t, backend(t), o), row.view)
					wantErr(t, "Set", c.Set(bg, "k", 1), nil)
					check := func(want bool) {
						t.Helper()
						for read, fresh := range reads {
							if got, err := fresh(c, "k"); got != want || err != nil {
								t.Errorf("%s: %v, %v; want %v", read, got, err, want)
							}
						}
					}
					if row.want == none {
						pass(none)
						check(true)
						return
					}
					if row.want > 0 {
						pass(row.want - row.want/100)
						check(true)
						pass(row.want/100 + time.Microsecond)
					}
					check(false)
				})
			})
		}
	}
}

// ExpirationFunc is asked on every call: the same entry may be fresh for one and
// not for the next.
func TestExpirationFuncIsAskedOnEveryCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		exp := time.Hour
		c := dogpile.NewCache(newRegion(t, newMemory(t), nil), &dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration { return exp }})
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		pass(time.Minute)
		for _, row := range []struct {
			exp  time.Duration
			want bool
		}{{time.Hour, true}, {time.Second, false}, {dogpile.Never, true}, {-time.Hour, false}, {0, true}, {time.Minute, true}} {
			exp = row.exp
			for read, fresh := range reads {
				if got, err := fresh(c, "k"); got != row.want || err != nil {
					t.Errorf("%v: %s: %v, %v; want %v", row.exp, read, got, err, row.want)
				}
			}
		}
	})
}

// TTL: what the backend is told to keep an entry for.
func TestTTLForTheBackend(t *testing.T) {
	const never = dogpile.Never
	for name, row := range map[string]struct {
		o        dogpile.Options
		expireIn time.Duration
		want     time.Duration
	}{
		"no expiration":        {dogpile.Options{}, 0, 0},
		"Expiration":           {dogpile.Options{Expiration: time.Minute}, 0, 2 * time.Minute},
		"StaleFor":             {dogpile.Options{Expiration: time.Minute, StaleFor: time.Second}, 0, 61 * time.Second},
		"StaleIfError":         {dogpile.Options{Expiration: time.Minute, StaleFor: time.Second, StaleIfError: time.Hour}, 0, 61 * time.Minute},
		"StaleFor Never":       {dogpile.Options{Expiration: time.Minute, StaleFor: never}, 0, 0},
		"StaleIfError Never":   {dogpile.Options{Expiration: time.Minute, StaleIfError: never}, 0, 0},
		"ExpireIn":             {dogpile.Options{Expiration: time.Minute}, time.Second, 2 * time.Second},
		"ExpireIn Never":       {dogpile.Options{Expiration: time.Minute}, never, 0},
		"ExpireIn of no one":   {dogpile.Options{}, time.Second, 2 * time.Second},
		"below a nanosecond":   {dogpile.Options{Expiration: 1}, 0, 2},
		"longer than for ever": {dogpile.Options{Expiration: math.MaxInt64}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake(t, like{unshared: true})
				b := &ttls{Proxy: driver.Proxy{Backend: f}}
				c := dogpile.NewCache[int](newRegion(t, b, &row.o), nil)
				_, err := c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
					if row.expireIn != 0 {
						dogpile.Creation(ctx).ExpireIn(row.expireIn)
					}
					return 1, nil
				})
				wantErr(t, "GetOrCreate", err, nil)
				if !slices.Equal(b.got, []time.Duration{row.want}) {
					t.Errorf("the backend was told %v, want %v", b.got, row.want)
				}
			})
		})
	}
}

// ttls notes the TTLs of what is stored, and makes them longer.
type ttls struct {
	driver.Proxy
	got    []time.Duration
	factor time.Duration
}

func (b *ttls) Set(ctx context.Context, items []driver.Item) error {
	for i := range items {
		b.got = append(b.got, items[i].TTL)
		items[i].TTL *= max(1, b.factor)
	}
	return b.Proxy.Set(ctx, items)
}

// A backend may keep entries for longer than it was told. That does not keep
// them fresh.
func TestLongerTTLDoesNotKeepEntriesFresh(t *testing.T) {
	for name, l := range map[string]like{"objects": {unshared: true}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := &ttls{Proxy: driver.Proxy{Backend: newFake(t, l)}, factor: 10}
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute}), nil)
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(61 * time.Second)
				for read, fresh := range reads {
					if got, err := fresh(c, "k"); got || err != nil {
						t.Errorf("%s a second after it expired: fresh, %v", read, err)
					}
				}
			})
		})
	}
}

// TestClockStepsBack: entries whose time lies in the future are as old as they
// are far, and come to an end.
func TestClockStepsBack(t *testing.T) {
	for name, row := range map[string]struct {
		ahead time.Duration
		want  dogpile.State
	}{
		"a little": {10 * time.Second, dogpile.Fresh}, "beyond the expiration": {90 * time.Second, dogpile.Stale},
		"far beyond": {24 * time.Hour, dogpile.Stale}, "for ever": {250 * 365 * 24 * time.Hour, dogpile.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{bytes: true, unshared: true})
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute}), nil)
				put(t, b, "k", fmt.Sprintf(`{"ct": %d.0, "v": 2}|1`, time.Now().Add(row.ahead).Unix()))
				e, ok, err := c.Peek(bg, "k")
				if !ok || e.State != row.want || err != nil {
					t.Errorf("Peek: %+v, %v, %v; want %v", e, ok, err, row.want)
				}
				// It is asked for every ten seconds, as entries are.
				for range 60 {
					pass(10 * time.Second)
					if v, err := c.GetOrCreate(bg, "k", constant(2).create); err != nil {
						t.Fatal(err)
					} else if v == 2 {
						return
					}
				}
				t.Error("ten minutes later it is still there")
			})
		})
	}
}

// TestJitter: entries expire up to a fifth early, each at a time of its own,
// never late.
func TestJitter(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) { bubble(t, func(t *testing.T) { expireEarly(t, backend(t), 1) }) })
	}
	t.Run("two processes", func(t *testing.T) { bubble(t, func(t *testing.T) { expireEarly(t, newFake(t, like{bytes: true}), 2) }) })
}

func expireEarly(t *testing.T, b driver.Backend, n int) {
	_, cs := processes[int](t, n, b, &dogpile.Options{Expiration: 1000 * time.Second, Jitter: 0.2})
	vals := make(map[string]int)
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprint("key", i))
		vals[keys[i]] = i
	}
	wantErr(t, "SetMulti", cs[0].SetMulti(bg, vals), nil) // one time for all
	pass(800*time.Second - time.Millisecond)
	var left []int // of 200, at every tenth of the last fifth
	for range 11 {
		fresh := 0
		for _, key := range keys {
			_, here, err := cs[0].Get(bg, key)
			_, there, err2 := cs[n-1].Get(bg, key)
			if here != there || err != nil || err2 != nil {
				t.Errorf("%s: fresh %v here and %v elsewhere, %v, %v", key, here, there, err, err2)
			}
			if here {
				fresh++
			}
		}
		left = append(left, fresh)
		pass(20 * time.Second)
	}
	if left[0] != 200 || left[10] > 2 {
		t.Errorf("fresh after 800s: %d, after 1000s: %d; want all and none", left[0], left[10])
	}
	for i := 1; i <= 10; i++ {
		if expired := left[i-1] - left[i]; expired < 5 || expired > 40 {
			t.Errorf("from %d to %ds: %d of 200 expired, want about 20", 780+20*i, 800+20*i, expired)
		}
	}
}

func TestPeek(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				r := newRegion(t, backend(t), &dogpile.Options{Expiration: time.Minute, Hooks: rec.hooks()})
				c := dogpile.NewCache[int](r, nil)
				_, err := c.GetOrCreate(bg, "k", counting(time.Second).create)
				wantErr(t, "GetOrCreate", err, nil)
				ended := time.Now()
				rec.counts()
				before := r.Stats()
				for _, row := range []struct {
					after time.Duration
					do    func() error
					want  dogpile.State
				}{
					{time.Second, nil, dogpile.Fresh},
					{70 * time.Second, nil, dogpile.Stale},
					{0, func() error { return r.Invalidate(bg, dogpile.Soft) }, dogpile.Stale},
					{0, func() error { return r.Invalidate(bg, dogpile.Hard) }, dogpile.Invalidated},
				} {
					if pass(row.after); row.do != nil {
						wantErr(t, "Invalidate", row.do(), nil)
					}
					e, ok, err := c.Peek(bg, "k")
					if !ok || e.Value != 1 || e.State != row.want || err != nil {
						t.Errorf("%+v, %v, %v; want %v", e, ok, err, row.want)
					}
					if off := e.Created.Sub(ended).Abs(); off > time.Microsecond {
						t.Errorf("created %v off the end of the creation", off)
					}
					if off := (e.Age() - time.Since(ended)).Abs(); off > time.Microsecond {
						t.Errorf("Age is off by %v", off)
					}
				}
				after := r.Stats()
				if after.Hits != before.Hits || after.Misses != before.Misses || len(rec.take("hit"))+len(rec.take("miss")) > 0 {
					t.Error("Peek was counted as access")
				}
			})
		})
	}
}

// TestSlowCreatorLeavesAFreshEntry: age counts from the end of the creation, so a
// creator that is slower than Expiration and StaleFor together leaves a fresh entry,
// and processes that waited for it take it.
func TestSlowCreatorLeavesAFreshEntry(t *testing.T) {
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, cs := processes[int](t, 4, backend(t), &dogpile.Options{Expiration: 2 * time.Second, StaleFor: time.Second})
				slow := counting(9 * time.Second)
				var calls []<-chan result[int]
				for _, c := range cs {
					calls = append(calls, start(get(c, "k", slow.create)))
				}
				for _, call := range calls {
					r := <-call
					wantValue(t, "a process that asked at once", r.v, r.err, 1)
				}
				pass(1999 * time.Millisecond)
				if v, ok, _ := cs[0].Get(bg, "k"); !ok || v != 1 {
					t.Error("not fresh 1.999s after its creation ended")
				}
				pass(2 * time.Millisecond)
				if _, ok, _ := cs[0].Get(bg, "k"); ok {
					t.Error("fresh 2.001s after its creation ended")
				}
				wantCalls(t, slow, 1)
			})
		})
	}
}

// Two views have options of their own and share entries and creations.
func TestTwoViews(t *testing.T) {
	bubble(t, func(t *testing.T) {
		long := newCache[int](t, &dogpile.Options{Expiration: time.Hour})
		short := long.With(dogpile.CacheOptions[int]{Expiration: time.Second})
		proud := long.With(dogpile.CacheOptions[int]{ShouldCache: func(int) bool { return false }})
		o := counting(time.Second)
		calls := []<-chan result[int]{start(get(long, "k", o.create)), start(get(short, "k", o.create)), start(get(proud, "k", o.create))}
		for _, call := range calls {
			r := <-call
			wantValue(t, "one creation for all views", r.v, r.err, 1)
		}
		pass(time.Minute)
		v, ok, err := long.Get(bg, "k")
		if wantValue(t, "long", v, err, 1); !ok {
			t.Error("stale for the long view")
		}
		if _, ok, _ := short.Get(bg, "k"); ok {
			t.Error("fresh for the short view")
		}
		wantErr(t, "Delete", proud.Delete(bg, "k"), nil)
		wantMissing(t, long, "k")
	})
}

func TestCacheOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]dogpile.CacheOptions[int]{
		"negative": {Expiration: -2},
		"both":     {Expiration: 1, ExpirationFunc: func() time.Duration { return 1 }},
	} {
		if p := fmt.Sprint(panicOf(func() { newCache[int](t, nil).With(o) })); p == "<nil>" {
			t.Errorf("%s: no panic", name)
		}
	}
	if p := panicOf(func() { dogpile.NewCache[int](nil, nil) }); p == nil {
		t.Error("no panic for a nil region")
	}
}

// Reserved and over-long keys never reach the backend.
func TestKeysThatCannotBe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		b.caps.MaxKeyLen = 20
		r := newRegion(t, b, nil)
		c := dogpile.NewCache[int](r, nil)
		for _, key := range []string{"_lock", "_lockk", "_inv:", "_inv:test", "0123456789012345"} {
			for op, call := range map[string]func() error{
				"Get":      func() error { _, _, err := c.Get(bg, key); return err },
				"Peek":     func() error { _, _, err := c.Peek(bg, key); return err },
				"Set":      func() error { return c.Set(bg, key, 1) },
				"Delete":   func() error { return c.Delete(bg, "fine", key) },
				"Locked":   func() error { _, err := r.Locked(bg, key); return err },
				"GetMulti": func() error { _, err := c.GetMulti(bg, []string{"fine", key}); return err },
				"SetMulti": func() error { return c.SetMulti(bg, map[string]int{"fine": 1, key: 1}) },
				"Create":   func() error { _, err := c.GetOrCreate(bg, key, constant(1).create); return err },
				"Refresh":  func() error { _, err := c.Refresh(bg, key, constant(1).create); return err },
			} {
				var ke *dogpile.OpError
				if err := call(); !errors.As(err, &ke) || ke.Key != key || !contains(err, fmt.Sprintf("%q", key)) {
					t.Errorf("%s of %q: %v, want a *OpError that names it", op, key, err)
				}
			}
		}
		for _, op := range []string{"get", "set", "delete", "lock", "locked"} {
			if n := b.called(op); n > 0 {
				t.Errorf("%d calls of %s", n, op)
			}
		}
	})
}

// A prefix and a key cannot make up a reserved one.
func TestPrefixAndKeyTogetherAreNotReserved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for prefix, key := range map[string]string{"_": "lock_k", "_lo": "ck_k", "_in": "v:users"} {
			c := dogpile.NewCache[int](newRegion(t, newMemory(t), &dogpile.Options{Prefix: prefix}), nil)
			if err := c.Set(bg, key, 1); err == nil {
				t.Errorf("prefix %q: key %q was taken", prefix, key)
			}
		}
	})
}

// TestNoStoreAsksOnlyForLateCallers: whether the lease was held matters to nobody else.
func TestNoStoreAsksOnlyForLateCallers(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late callers ", late), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
				create := func(ctx context.Context) (int, error) {
					dogpile.Creation(ctx).NoStore()
					return 1, wait(ctx, time.Second)
				}
				calls := []<-chan result[int]{start(get(c, "k", create))}
				want := 0
				if late {
					calls, want = append(calls, start(get(c, "k", create))), 1
				}
				for _, call := range calls {
					r := <-call
					wantValue(t, "not stored", r.v, r.err, 1)
				}
				if n := b.called("extend"); n != want {
					t.Errorf("the lease was asked for %d times, want %d", n, want)
				}
			})
		})
	}
}
