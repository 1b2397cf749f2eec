package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// plainBackend is a map without locks that notes what it is asked for.
type plainBackend struct {
	caps driver.Caps

	mu     sync.Mutex
	items  map[string]driver.Item
	asked  []string // "get k", "set k", "delete k"
	closed int
}

func (b *plainBackend) Caps() driver.Caps { return b.caps }

func (b *plainBackend) Get(_ context.Context, items []driver.Item) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range items {
		b.asked = append(b.asked, "get "+items[i].Key)
		it := b.items[items[i].Key]
		items[i].Data, items[i].Object = it.Data, it.Object
	}
	return nil
}

func (b *plainBackend) Set(_ context.Context, items []driver.Item) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.items == nil {
		b.items = make(map[string]driver.Item)
	}
	for _, it := range items {
		b.asked = append(b.asked, "set "+it.Key)
		b.items[it.Key] = it
	}
	return nil
}

func (b *plainBackend) Delete(_ context.Context, keys []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		b.asked = append(b.asked, "delete "+key)
		delete(b.items, key)
	}
	return nil
}

func (b *plainBackend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

func (b *plainBackend) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.items))
}

// works checks that a region can be used.
func works(t *testing.T, r *dogpile.Region) {
	t.Helper()
	c := dogpile.NewCache[string](r, nil)
	for range 2 {
		if v, err := c.GetOrCreate(t.Context(), "works", constant("yes").create); v != "yes" || err != nil {
			t.Errorf("GetOrCreate = %q, %v", v, err)
		}
	}
}

func TestConfigureTwice(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("users")
	first := new(plainBackend)
	if r.Configured() || r.Name() != "users" {
		t.Errorf("Configured before Configure; the name is %q", r.Name())
	}
	if err := r.Configure(first, nil); err != nil || !r.Configured() {
		t.Fatalf("Configure = %v", err)
	}
	err := r.Configure(new(plainBackend), nil)
	if !errors.Is(err, dogpile.ErrConfigured) || !strings.Contains(err.Error(), `"users"`) {
		t.Errorf("second Configure = %v", err)
	}
	if r.Backend() != driver.Backend(first) {
		t.Error("the second Configure changed the backend")
	}
	works(t, r)
}

// badOptions are options that Configure refuses, and what it says of them.
var badOptions = []struct {
	name, says string
	o          dogpile.Options
}{
	{"Expiration", "Expiration: -2ns is negative", dogpile.Options{Expiration: -2}},
	{"StaleFor", "StaleFor: -1s is negative", dogpile.Options{StaleFor: -time.Second}},
	{"StaleIfError", "StaleIfError: -1s is negative", dogpile.Options{StaleIfError: -time.Second}},
	{"CreateTimeout", "CreateTimeout: -1s is negative", dogpile.Options{CreateTimeout: -time.Second}},
	{"LockTTL Never", "LockTTL: cannot be Never", dogpile.Options{LockTTL: dogpile.Never}},
	{"LockTTL too short", "LockTTL: 9.999999ms is not from 10ms to 24h0m0s", dogpile.Options{LockTTL: 10*time.Millisecond - 1}},
	{"LockTTL too long", "LockTTL: 2562047h47m16.854775807s is not from", dogpile.Options{LockTTL: math.MaxInt64}},
	{"StaleIfError below StaleFor", "StaleIfError: 1s is less than StaleFor", dogpile.Options{Expiration: time.Hour, StaleFor: time.Minute, StaleIfError: time.Second}},
	{"StaleIfError below StaleFor Never", "StaleIfError: 1s is less than StaleFor", dogpile.Options{Expiration: time.Hour, StaleFor: dogpile.Never, StaleIfError: time.Second}},
	{"Jitter without Expiration", "Jitter: there is no Expiration", dogpile.Options{Jitter: .1}},
	{"Jitter with Never", "Jitter: there is no Expiration", dogpile.Options{Jitter: .1, Expiration: dogpile.Never}},
	{"lag over a backend that is not shared", "InvalidationLag: only a SharedInvalidator has", dogpile.Options{InvalidationLag: 1}},
	{"SharedInvalidator over a backend that is not shared", "Invalidator: a SharedInvalidator needs a backend", dogpile.Options{Invalidator: dogpile.SharedInvalidator{}}},
	{"BackendTimeout", "BackendTimeout: -1s is negative", dogpile.Options{BackendTimeout: -time.Second}},
	{"InvalidationLag", "InvalidationLag: cannot be Never", dogpile.Options{InvalidationLag: dogpile.Never}},
	{"lag of a LocalInvalidator", "InvalidationLag: only a SharedInvalidator has", dogpile.Options{Invalidator: new(dogpile.LocalInvalidator), InvalidationLag: 1}},
	{"Jitter below", "Jitter: -0.1 is not", dogpile.Options{Jitter: -.1}},
	{"Jitter above", "Jitter: 1 is not", dogpile.Options{Jitter: 1}},
	{"MaxCreators", "MaxCreators: -1 is negative", dogpile.Options{MaxCreators: -1}},
	{"nil proxy", "Proxies: element 1 is nil", dogpile.Options{Proxies: []func(driver.Backend) driver.Backend{same, nil}}},
	{"proxy that returns nil", "Proxies: element 0 returned nil", dogpile.Options{Proxies: []func(driver.Backend) driver.Backend{func(driver.Backend) driver.Backend { return nil }}}},
	{"prefix kept for locks", `Prefix: "_lock:"`, dogpile.Options{Prefix: "_lock:"}},
	{"prefix kept for invalidation", `Prefix: "_inv:"`, dogpile.Options{Prefix: "_inv:"}},
	{"several", "Expiration: -2ns is negative\nLockTTL: -3ns is negative\nJitter: 7 is not", dogpile.Options{Expiration: -2, LockTTL: -3, Jitter: 7}},
}

func same(b driver.Backend) driver.Backend { return b }

// TestFailedConfigureChangesNothing: a region that was refused its options is as it was
// before, where dogpile.cache leaves it half-configured.
func TestFailedConfigureChangesNothing(t *testing.T) {
	t.Parallel()
	for _, row := range badOptions {
		t.Run(row.name, func(t *testing.T) {
			r := dogpile.NewRegion("users")
			check := func(err error) {
				t.Helper()
				if err == nil || !strings.HasPrefix(err.Error(), `dogpile: configure region "users": `) || !strings.Contains(err.Error(), row.says) {
					t.Errorf("error is %v, want %s", err, row.says)
				}
			}
			check(r.Configure(new(plainBackend), &row.o))
			check(r.Reconfigure(new(plainBackend), &row.o))
			if r.Configured() || r.Backend() != nil {
				t.Error("the region is half-configured")
			}
			first := new(plainBackend)
			if err := r.Configure(first, nil); err != nil {
				t.Fatalf("a good Configure afterwards = %v", err)
			}
			check(r.Reconfigure(new(plainBackend), &row.o))
			if r.Backend() != driver.Backend(first) {
				t.Error("a bad Reconfigure changed the backend")
			}
			works(t, r)
		})
	}
}

func TestConfigureWithoutBackend(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("users")
	for _, configure := range []func(driver.Backend, *dogpile.Options) error{r.Configure, r.Reconfigure} {
		if err := configure(nil, nil); err == nil || !strings.Contains(err.Error(), "backend is nil") || r.Configured() {
			t.Errorf("Configure = %v", err)
		}
	}
}

func TestConfigureIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("users")
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch err := r.Configure(new(plainBackend), nil); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, dogpile.ErrConfigured):
				t.Errorf("Configure = %v", err)
			}
			works(t, r)
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d calls succeeded", n)
	}
}

func TestFunctionsBeforeConfigure(t *testing.T) {
	t.Parallel()
	// Making a cache or a function needs no backend, only using it does.
	r := dogpile.NewRegion("users")
	one := dogpile.NewFunc(r, "one", func(_ context.Context, n int) (int, error) { return n * n, nil }, nil)
	zero := dogpile.NewFunc0(r, "zero", func(context.Context) (int, error) { return 0, nil }, nil)
	two := dogpile.NewFunc2(r, "two", func(_ context.Context, a, b int) (int, error) { return a + b, nil }, nil)
	three := dogpile.NewFunc3(r, "three", func(_ context.Context, a, b, c int) (int, error) { return a + b + c, nil }, nil)
	many := dogpile.NewMultiFunc(r, "many", func(_ context.Context, ns []int) (map[int]int, error) { return map[int]int{1: 1}, nil }, nil)
	ctx := t.Context()
	calls := map[string]func() error{
		"Call":          func() error { _, err := one.Call(ctx, 3); return err },
		"Get":           func() error { _, _, err := one.Get(ctx, 3); return err },
		"Set":           func() error { return one.Set(ctx, 9, 3) },
		"Delete":        func() error { return one.Delete(ctx, 3) },
		"Refresh":       func() error { _, err := one.Refresh(ctx, 3); return err },
		"Func0":         func() error { _, err := zero.Call(ctx); return err },
		"Func2":         func() error { _, err := two.Call(ctx, 1, 2); return err },
		"Func3":         func() error { _, err := three.Call(ctx, 1, 2, 3); return err },
		"multi Call":    func() error { _, err := many.Call(ctx, 1); return err },
		"multi Get":     func() error { _, err := many.Get(ctx, 1); return err },
		"multi Set":     func() error { return many.Set(ctx, map[int]int{1: 1}) },
		"multi Delete":  func() error { return many.Delete(ctx, 1) },
		"multi Refresh": func() error { _, err := many.Refresh(ctx, 1); return err },
		"region Delete": func() error { return r.Delete(ctx) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, dogpile.ErrNotConfigured) || !strings.Contains(err.Error(), `region "users"`) {
			t.Errorf("%s before Configure = %v", name, err)
		}
	}
	if v, err := one.Original(ctx, 3); v != 9 || err != nil {
		t.Errorf("Original = %d, %v", v, err)
	}
	if err := r.Configure(new(plainBackend), nil); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s = %v", name, err)
		}
	}
}

func TestZeroRegion(t *testing.T) {
	t.Parallel()
	var r dogpile.Region
	b := new(plainBackend)
	if r.Name() != "" || r.Configured() || r.Backend() != nil || r.Stats() != (dogpile.Stats{}) {
		t.Errorf("name %q, configured %v, %v", r.Name(), r.Configured(), r.Stats())
	}
	if err := r.Configure(b, nil); err != nil {
		t.Fatal(err)
	}
	works(t, &r)
	if got := b.keys(); !slices.Equal(got, []string{"works"}) {
		t.Errorf("keys are %q", got)
	}
}

func TestKeysAsTheBackendSeesThem(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, region string
		o            dogpile.Options
		suggests     func(string) string
		want         string
	}{
		{"region's name", "users", dogpile.Options{}, nil, "users:works"},
		{"no name", "", dogpile.Options{}, nil, "works"},
		{"own prefix", "users", dogpile.Options{Prefix: "v2/"}, nil, "v2/works"},
		{"no prefix", "users", dogpile.Options{Prefix: dogpile.NoPrefix}, nil, "works"},
		{"mangled after prefixing", "users", dogpile.Options{Mangler: strings.ToUpper}, nil, "USERS:WORKS"},
		{"mangled as the backend likes it", "users", dogpile.Options{}, strings.ToUpper, "USERS:WORKS"},
		{"the user's mangler counts", "users", dogpile.Options{Mangler: strings.ToTitle}, func(string) string { return "no" }, "USERS:WORKS"},
		{"no mangling at all", "users", dogpile.Options{Mangler: dogpile.Chain()}, strings.ToUpper, "users:works"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := &plainBackend{caps: driver.Caps{Mangle: row.suggests}}
			r := dogpile.NewRegion(row.region)
			if err := r.Configure(b, &row.o); err != nil {
				t.Fatal(err)
			}
			works(t, r)
			if got := b.keys(); !slices.Equal(got, []string{row.want}) {
				t.Errorf("keys are %q, want %q", got, row.want)
			}
		})
	}
}

// TestReconfigure: backend, mangler and whether there is a codec are those of the new
// backend.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	objects := &plainBackend{caps: driver.Caps{Objects: true, Mangle: strings.ToUpper}}
	bytes := &plainBackend{caps: driver.Caps{Mangle: func(key string) string { return "b:" + key }}}
	r := dogpile.NewRegion("r")
	c := dogpile.NewCache[int](r, nil)
	ctx := t.Context()
	if err := r.Reconfigure(objects, nil); err != nil {
		t.Fatalf("the first Reconfigure = %v", err)
	}
	if err := c.Set(ctx, "k", 1); err != nil {
		t.Fatal(err)
	}
	if it := objects.items["R:K"]; it.Object == nil || it.Data != nil {
		t.Errorf("under R:K: %+v; keys %q", it, objects.keys())
	}
	if err := r.Reconfigure(bytes, &dogpile.Options{Prefix: "p:"}); err != nil {
		t.Fatal(err)
	}
	if r.Backend() != driver.Backend(bytes) {
		t.Error("Backend is the old one")
	}
	if _, ok, err := c.Get(ctx, "k"); ok || err != nil {
		t.Errorf("the old backend's value is there: %v, %v", ok, err)
	}
	if err := c.Set(ctx, "k", 2); err != nil {
		t.Fatal(err)
	}
	if it := bytes.items["b:p:k"]; it.Object != nil || !strings.HasSuffix(string(it.Data), "|2") {
		t.Errorf("under b:p:k: %+v; keys %q", it, bytes.keys())
	}
	if objects.closed+bytes.closed != 0 {
		t.Error("a backend of the caller was closed")
	}
}

func TestReconfigureDuringACreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates, over the old backend.  2. Reconfigure.  3. B comes: it does
		// not join A.  4. A's creator is done: A gets its value, which does not go to
		// the new backend.  5. B's is done.
		before, after := new(plainBackend), new(plainBackend)
		r := dogpile.NewRegion("r")
		if err := r.Configure(before, nil); err != nil {
			t.Fatal(err)
		}
		c := dogpile.NewCache[string](r, nil)
		gateA, gateB := make(chan struct{}), make(chan struct{})
		a := start(get(c, "k", func(context.Context) (string, error) { <-gateA; return "A", nil }))
		synctest.Wait()
		if err := r.Reconfigure(after, nil); err != nil {
			t.Fatal(err)
		}
		b := start(get(c, "k", func(context.Context) (string, error) { <-gateB; return "B", nil }))
		synctest.Wait()
		close(gateA)
		if got := <-a; got.v != "A" || got.err != nil {
			t.Errorf("A got %q, %v", got.v, got.err)
		}
		if keys := after.keys(); len(keys) > 0 {
			t.Errorf("the new backend has %q", keys)
		}
		close(gateB)
		if got := <-b; got.v != "B" || got.err != nil {
			t.Errorf("B got %q, %v", got.v, got.err)
		}
		if len(before.asked) == 0 {
			t.Error("the old backend was never asked")
		}
		if d := string(after.items["r:k"].Data); !strings.HasSuffix(d, `"B"`) {
			t.Errorf("the new backend has %q", d)
		}
	})
}

func TestOptionsAreCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hits atomic.Int64
		o := dogpile.Options{
			Expiration: time.Minute,
			Proxies:    []func(driver.Backend) driver.Backend{same},
			Hooks:      &dogpile.Hooks{Hit: func(context.Context, dogpile.Event) { hits.Add(1) }},
		}
		given, hooks := o, *o.Hooks
		one, two := dogpile.NewRegion("one"), dogpile.NewRegion("two")
		b1, b2 := new(plainBackend), new(plainBackend)
		if err := errors.Join(one.Configure(b1, &o), two.Configure(b2, &o)); err != nil {
			t.Fatal(err)
		}
		if o.Proxies[0] == nil || reflect.ValueOf(o.Hooks.Hit).Pointer() != reflect.ValueOf(hooks.Hit).Pointer() {
			t.Error("Proxies or Hooks were changed")
		}
		o.Proxies, given.Proxies = nil, nil // cannot be compared
		if !reflect.DeepEqual(withoutFuncs(o), withoutFuncs(given)) {
			t.Errorf("Options were changed to %+v", o)
		}
		// Whatever the caller does to them now is no business of the regions.
		o.Expiration, o.Prefix, o.Mangler = 1, "changed", strings.ToUpper
		o.Hooks.Hit = func(context.Context, dogpile.Event) { t.Error("another hook was called") }
		for _, r := range []*dogpile.Region{one, two} {
			works(t, r)
			time.Sleep(time.Second)
			works(t, r)
		}
		if !slices.Equal(b1.keys(), []string{"one:works"}) || !slices.Equal(b2.keys(), []string{"two:works"}) {
			t.Errorf("keys are %q and %q", b1.keys(), b2.keys())
		}
		if n := hits.Load(); n != 6 {
			t.Errorf("%d hits, want 6", n)
		}
	})
}

func withoutFuncs(o dogpile.Options) dogpile.Options {
	o.Hooks = nil
	return o
}

// tagging is a proxy that notes its turn.
type tagging struct {
	driver.Proxy
	tag   string
	turns *[]string
}

func (p *tagging) Get(ctx context.Context, items []driver.Item) error {
	*p.turns = append(*p.turns, p.tag)
	return p.Proxy.Get(ctx, items)
}

// TestProxiesInOrder: the first one is outermost.
func TestProxiesInOrder(t *testing.T) {
	t.Parallel()
	var turns []string
	tag := func(name string) func(driver.Backend) driver.Backend {
		return func(b driver.Backend) driver.Backend { return &tagging{driver.Proxy{Backend: b}, name, &turns} }
	}
	b := new(plainBackend)
	r := dogpile.NewRegion("r")
	if err := r.Configure(b, &dogpile.Options{Proxies: []func(driver.Backend) driver.Backend{tag("A"), tag("B"), tag("C")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := dogpile.NewCache[int](r, nil).Get(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(append(turns, b.asked...), " > "); got != "A > B > C > get r:k" {
		t.Errorf("the order is %s", got)
	}
	if outer, ok := r.Backend().(*tagging); !ok || outer.tag != "A" {
		t.Errorf("Backend is %v", r.Backend())
	}
	if inner, ok := driver.As[*plainBackend](r.Backend()); !ok || inner != b {
		t.Errorf("driver.As = %v, %v", inner, ok)
	}
}

func TestExpirationIsNotRounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Stored times are numbers of seconds, exact to less than a microsecond.
		for _, d := range []time.Duration{time.Millisecond, 500 * time.Millisecond, 1999 * time.Millisecond} {
			for name, b := range map[string]driver.Backend{"objects": newMemory(t), "bytes": new(plainBackend)} {
				slack := map[string]time.Duration{"objects": 0, "bytes": time.Microsecond}[name]
				r := dogpile.NewRegion("r")
				if err := r.Configure(b, &dogpile.Options{Expiration: d}); err != nil {
					t.Fatal(err)
				}
				c := dogpile.NewCache[int](r, nil)
				if err := c.Set(t.Context(), "k", 1); err != nil {
					t.Fatal(err)
				}
				time.Sleep(d - slack)
				if _, ok, err := c.Get(t.Context(), "k"); !ok || err != nil {
					t.Errorf("%s: after %v: %v, %v", name, d, ok, err)
				}
				time.Sleep(2*slack + 1)
				if _, ok, err := c.Get(t.Context(), "k"); ok || err != nil {
					t.Errorf("%s: after %v and a little: %v, %v", name, d, ok, err)
				}
			}
		}
	})
}

func TestKeysThatAreTooLong(t *testing.T) {
	t.Parallel()
	b := &plainBackend{caps: driver.Caps{MaxKeyLen: 10}}
	r := dogpile.NewRegion("r")
	if err := r.Configure(b, &dogpile.Options{Invalidator: new(dogpile.LocalInvalidator)}); err != nil {
		t.Fatal(err)
	}
	ops := everyCallOn(dogpile.NewCache[int](r, nil), r)
	for key, legal := range map[string]bool{"12345678": true, "123456789": false, "ääää": true, "äääää": false} {
		for name, call := range ops {
			err := call(t.Context(), key)
			var ke *dogpile.OpError
			switch {
			case legal && err != nil:
				t.Errorf("%s %q = %v", name, key, err)
			case !legal && (!errors.As(err, &ke) || ke.Key != key || !strings.Contains(err.Error(), "the backend takes 10")):
				t.Errorf("%s %q = %v", name, key, err)
			}
		}
	}
	shortens := func(key string) string { return key[:min(len(key), 10)] }
	if err := r.Reconfigure(b, &dogpile.Options{Mangler: shortens}); err != nil {
		t.Fatal(err)
	}
	for name, call := range ops {
		if err := call(t.Context(), "1234567890"); err != nil {
			t.Errorf("%s of a mangled key = %v", name, err)
		}
	}
}

func TestKeyOfTheVersionTokenIsTooLong(t *testing.T) {
	t.Parallel()
	b := &plainBackend{caps: driver.Caps{MaxKeyLen: 20, Shared: true}}
	r := dogpile.NewRegion("a-rather-long-name")
	if err := r.Configure(b, &dogpile.Options{Prefix: "r:"}); err == nil || !strings.Contains(err.Error(), "version token") || r.Configured() {
		t.Errorf("Configure = %v", err)
	}
	if err := r.Configure(b, &dogpile.Options{Prefix: "r:", Mangler: func(key string) string { return dogpile.SHA1(key)[:20] }}); err != nil {
		t.Errorf("Configure with a Mangler = %v", err)
	}
}

func TestReservedKeys(t *testing.T) {
	t.Parallel()
	r := newRegion(t, new(plainBackend), nil)
	for key, legal := range map[string]bool{"_lock": false, "_lockk": false, "_inv:": false, "_inv:r": false, "_inv": true, "_tag:": false, "_tag:a": false, "_tag": true, "_loc": true, "lock": true, "": true, "a_lock": true, "_Lock": true} {
		for name, call := range everyCallOn(dogpile.NewCache[int](r, nil), r) {
			err := call(t.Context(), key)
			var ke *dogpile.OpError
			if legal != (err == nil) || !legal && (!errors.As(err, &ke) || !strings.Contains(err.Error(), "reserved")) {
				t.Errorf("%s %q = %v", name, key, err)
			}
		}
	}
}

// everyCallOn returns everything that can be done with a key.
func everyCallOn(c *dogpile.Cache[int], r *dogpile.Region) map[string]func(context.Context, string) error {
	one := func(context.Context) (int, error) { return 1, nil }
	each := func(_ context.Context, keys []string) (map[string]int, error) {
		m := make(map[string]int)
		for _, key := range keys {
			m[key] = 1
		}
		return m, nil
	}
	return map[string]func(context.Context, string) error{
		"Get":              func(ctx context.Context, k string) error { _, _, err := c.Get(ctx, k); return err },
		"Peek":             func(ctx context.Context, k string) error { _, _, err := c.Peek(ctx, k); return err },
		"Set":              func(ctx context.Context, k string) error { return c.Set(ctx, k, 1) },
		"Delete":           func(ctx context.Context, k string) error { return c.Delete(ctx, "fine", k) },
		"GetOrCreate":      func(ctx context.Context, k string) error { _, err := c.GetOrCreate(ctx, k, one); return err },
		"GetOrCreateEntry": func(ctx context.Context, k string) error { _, err := c.GetOrCreateEntry(ctx, k, one); return err },
		"Refresh":          func(ctx context.Context, k string) error { _, err := c.Refresh(ctx, k, one); return err },
		"GetMulti":         func(ctx context.Context, k string) error { _, err := c.GetMulti(ctx, []string{"fine", k}); return err },
		"SetMulti":         func(ctx context.Context, k string) error { return c.SetMulti(ctx, map[string]int{"fine": 1, k: 1}) },
		"GetOrCreateMulti": func(ctx context.Context, k string) error {
			_, err := c.GetOrCreateMulti(ctx, []string{"fine", k}, each)
			return err
		},
		"Locked": func(ctx context.Context, k string) error { _, err := r.Locked(ctx, k); return err },
	}
}

// TestLockedAsksForTheMangledKey: G12 with its defect mended.
func TestLockedAsksForTheMangledKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), &dogpile.Options{Mangler: dogpile.SHA1})
		c := dogpile.NewCache[int](r, nil)
		gate := make(chan struct{})
		a := start(get(c, "k", func(context.Context) (int, error) { <-gate; return 1, nil }))
		synctest.Wait()
		for key, want := range map[string]bool{"k": true, "j": false, dogpile.SHA1("test:k"): false} {
			if locked, err := r.Locked(t.Context(), key); locked != want || err != nil {
				t.Errorf("Locked(%q) = %v, %v", key, locked, err)
			}
		}
		close(gate)
		<-a
		wantFree(t, r, "k")
	})
}

func TestEmptyBatchesReachNoBackend(t *testing.T) {
	t.Parallel()
	b := new(plainBackend)
	r := newRegion(t, b, nil)
	c := dogpile.NewCache[int](r, nil)
	ctx := t.Context()
	got, err1 := c.GetMulti(ctx, nil)
	made, err2 := c.GetOrCreateMulti(ctx, nil, func(context.Context, []string) (map[string]int, error) { return nil, errOrigin })
	if err := errors.Join(err1, err2, c.SetMulti(ctx, nil), c.Delete(ctx), r.Delete(ctx)); err != nil || got == nil || made == nil || len(got)+len(made) > 0 {
		t.Errorf("GetMulti = %v, GetOrCreateMulti = %v, errors %v", got, made, err)
	}
	if len(b.asked) > 0 {
		t.Errorf("the backend was asked: %q", b.asked)
	}
}

func TestCloseLeavesTheCallersBackendOpen(t *testing.T) {
	t.Parallel()
	b := new(plainBackend)
	r := dogpile.NewRegion("r")
	if err := r.Configure(b, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if b.closed != 0 || r.Configured() || r.Backend() != nil {
		t.Errorf("closed %d times; configured: %v", b.closed, r.Configured())
	}
	for name, configure := range map[string]func(driver.Backend, *dogpile.Options) error{"Configure": r.Configure, "Reconfigure": r.Reconfigure} {
		if err := configure(b, nil); !errors.Is(err, dogpile.ErrClosed) || r.Configured() {
			t.Errorf("%s after Close = %v", name, err)
		}
	}
	_, err := dogpile.NewCache[int](r, nil).GetOrCreate(t.Context(), "k", constant(1).create)
	if !errors.Is(err, dogpile.ErrClosed) || !strings.Contains(err.Error(), `region "r"`) {
		t.Errorf("GetOrCreate after Close = %v", err)
	}
}

func TestCloseOfAnUnconfiguredRegion(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	if err := r.Close(t.Context()); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := r.Configure(new(plainBackend), nil); !errors.Is(err, dogpile.ErrClosed) {
		t.Errorf("Configure = %v", err)
	}
}

// TestCloseWhileConfiguring: 1. ConfigureAll finds that it may configure region
// 0, and looks at the others.  2. Region 0 is closed.  3. Either it is not
// configured, or it was before it was closed: in the end it is closed and so is
// the backend. It is found by trying often.
func TestCloseWhileConfiguring(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		var regions []*dogpile.Region
		settings := make(map[string]string)
		for n := range 100 {
			name := fmt.Sprint("r", n)
			regions = append(regions, dogpile.NewRegion(name))
			settings[name+".backend"] = "tracked"
		}
		b := track(fmt.Sprint("racing", i))
		settings["r0.arguments.id"] = fmt.Sprint("racing", i)
		opened := make(chan struct{})
		last := track(fmt.Sprint("last", i))
		last.onOpen = func() { close(opened) }
		settings["r99.arguments.id"] = fmt.Sprint("last", i)
		var wg sync.WaitGroup
		wg.Go(func() {
			<-opened
			for range i * 1000 {
				regions[0].Configured() // passes some time
			}
			if err := regions[0].Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
		err := dogpile.ConfigureAll(t.Context(), settings, "", regions...)
		wg.Wait()
		if err != nil && !errors.Is(err, dogpile.ErrClosed) {
			t.Fatal(err)
		}
		if regions[0].Configured() || b.closes() != 1 {
			t.Fatalf("try %d: configured after Close: %v; its backend is closed %d times; ConfigureAll = %v", i, regions[0].Configured(), b.closes(), err)
		}
	}
}
