package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

type account struct {
	ID   int
	Name string
}

// language decides for itself how it stands in keys.
type language string

func (l language) CacheKey() string { return strings.ToLower(string(l)) }

// A method of a Func, with its arguments bound.
type bound struct {
	call, original, refresh func(context.Context) (string, error)
	get                     func(context.Context) (string, bool, error)
	set                     func(context.Context, string) error
	delete                  func(context.Context) error
	key                     func() (string, error)
}

func bind1[A any](f *dogpile.Func[A, string], a A) bound {
	return bound{
		func(ctx context.Context) (string, error) { return f.Call(ctx, a) },
		func(ctx context.Context) (string, error) { return f.Original(ctx, a) },
		func(ctx context.Context) (string, error) { return f.Refresh(ctx, a) },
		func(ctx context.Context) (string, bool, error) { return f.Get(ctx, a) },
		func(ctx context.Context, v string) error { return f.Set(ctx, v, a) },
		func(ctx context.Context) error { return f.Delete(ctx, a) },
		func() (string, error) { return f.Key(a) },
	}
}

func bind0(f *dogpile.Func0[string]) bound {
	return bound{f.Call, f.Original, f.Refresh, f.Get, f.Set, f.Delete, f.Key}
}

func bind2[A, B any](f *dogpile.Func2[A, B, string], a A, b B) bound {
	return bound{
		func(ctx context.Context) (string, error) { return f.Call(ctx, a, b) },
		func(ctx context.Context) (string, error) { return f.Original(ctx, a, b) },
		func(ctx context.Context) (string, error) { return f.Refresh(ctx, a, b) },
		func(ctx context.Context) (string, bool, error) { return f.Get(ctx, a, b) },
		func(ctx context.Context, v string) error { return f.Set(ctx, v, a, b) },
		func(ctx context.Context) error { return f.Delete(ctx, a, b) },
		func() (string, error) { return f.Key(a, b) },
	}
}

func bind3[A, B, C any](f *dogpile.Func3[A, B, C, string], a A, b B, c C) bound {
	return bound{
		func(ctx context.Context) (string, error) { return f.Call(ctx, a, b, c) },
		func(ctx context.Context) (string, error) { return f.Original(ctx, a, b, c) },
		func(ctx context.Context) (string, error) { return f.Refresh(ctx, a, b, c) },
		func(ctx context.Context) (string, bool, error) { return f.Get(ctx, a, b, c) },
		func(ctx context.Context, v string) error { return f.Set(ctx, v, a, b, c) },
		func(ctx context.Context) error { return f.Delete(ctx, a, b, c) },
		func() (string, error) { return f.Key(a, b, c) },
	}
}

// functions are functions of every number of arguments, which return those and
// how often they have been called.
func functions(r *dogpile.Region) map[string]bound {
	calls := 0
	said := func(args ...any) (string, error) {
		calls++
		return fmt.Sprint(args, " ", calls), nil
	}
	one := func(_ context.Context, a int) (string, error) { return said(a) }
	pair := func(_ context.Context, u account) (string, error) { return said(u) }
	words := func(_ context.Context, ws []string) (string, error) { return said(ws) }
	lang := func(_ context.Context, l language) (string, error) { return said(l) }
	when := func(_ context.Context, at time.Time) (string, error) { return said(at) }
	return map[string]bound{
		"none":                      bind0(dogpile.NewFunc0(r, "none", func(context.Context) (string, error) { return said() }, nil)),
		"one|42":                    bind1(dogpile.NewFunc(r, "one", one, nil), 42),
		"pair|7,A%2CB%20C":          bind1(dogpile.NewFunc(r, "pair", pair, nil), account{7, "A,B C"}),
		"words|[a,b%2Cc,%]":         bind1(dogpile.NewFunc(r, "words", words, nil), []string{"a", "b,c", ""}),
		"lang|de":                   bind1(dogpile.NewFunc(r, "lang", lang, nil), "DE"),
		"when|2000-01-02T03:04:05Z": bind1(dogpile.NewFunc(r, "when", when, nil), time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC)),
		"two|1,x": bind2(dogpile.NewFunc2(r, "two", func(_ context.Context, a int, b string) (string, error) {
			return said(a, b)
		}, nil), 1, "x"),
		"three|1,x,true": bind3(dogpile.NewFunc3(r, "three", func(_ context.Context, a int, b string, c bool) (string, error) {
			return said(a, b, c)
		}, nil), 1, "x", true),
	}
}

func TestFuncs(t *testing.T) {
	for backend, l := range map[string]like{"objects": {unshared: true}, "bytes": {bytes: true}} {
		r := func(t *testing.T) *dogpile.Region { return newRegion(t, newFake(t, l), nil) }
		for key := range functions(dogpile.NewRegion("")) {
			t.Run(key+"/"+backend, func(t *testing.T) {
				bubble(t, func(t *testing.T) { everyMethod(t, r(t), key) })
			})
		}
	}
	for key := range functions(dogpile.NewRegion("")) {
		t.Run(key+"/memory", func(t *testing.T) {
			bubble(t, func(t *testing.T) { everyMethod(t, newRegion(t, newMemory(t), nil), key) })
		})
	}
}

func everyMethod(t *testing.T, r *dogpile.Region, key string) {
	f, ok := functions(r)[key]
	if !ok {
		t.Fatal("no such function")
	}
	if got, err := f.key(); got != key || err != nil {
		t.Errorf("Key: %q, %v; want %q", got, err, key)
	}
	if _, ok, err := f.get(bg); ok || err != nil {
		t.Error("Get before the first call:", ok, err)
	}
	first, err := f.call(bg)
	wantErr(t, "Call", err, nil)
	for range 3 {
		v, err := f.call(bg)
		wantValue(t, "Call", v, err, first)
	}
	v, ok, err := f.get(bg)
	if wantValue(t, "Get", v, err, first); !ok {
		t.Error("Get: not there")
	}
	// The key is that of the cache, too.
	v, _, err = dogpile.NewCache[string](r, nil).Get(bg, key)
	wantValue(t, "Cache.Get", v, err, first)

	v, err = f.original(bg)
	if wantErr(t, "Original", err, nil); v == first {
		t.Error("Original did not call the function")
	}
	v, err = f.refresh(bg)
	if wantErr(t, "Refresh", err, nil); v == first {
		t.Error("Refresh did not call the function")
	}
	again, err := f.call(bg)
	wantValue(t, "Call after Refresh", again, err, v)
	wantErr(t, "Set", f.set(bg, "mine"), nil)
	v, err = f.call(bg)
	wantValue(t, "Call after Set", v, err, "mine")
	wantErr(t, "Delete", f.delete(bg), nil)
	v, err = f.call(bg)
	if wantErr(t, "Call after Delete", err, nil); v == "mine" || v == first {
		t.Errorf("Call after Delete: %q", v)
	}
}

func TestFuncsShareNoKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), nil)
		none := dogpile.NewFunc0(r, "f0", func(context.Context) (string, error) { return "none", nil }, nil)
		one := dogpile.NewFunc(r, "f", func(_ context.Context, a string) (string, error) { return fmt.Sprintf("%q", a), nil }, nil)
		two := dogpile.NewFunc2(r, "f2", func(_ context.Context, a, b string) (string, error) { return fmt.Sprintf("%q %q", a, b), nil }, nil)
		for want, call := range map[string]func() (string, error){
			`none`:      func() (string, error) { return none.Call(bg) },
			`""`:        func() (string, error) { return one.Call(bg, "") },
			`"a,b"`:     func() (string, error) { return one.Call(bg, "a,b") },
			`"a%2Cb"`:   func() (string, error) { return one.Call(bg, "a%2Cb") },
			`"a" "b"`:   func() (string, error) { return two.Call(bg, "a", "b") },
			`"a," "b"`:  func() (string, error) { return two.Call(bg, "a,", "b") },
			`"a" ",b"`:  func() (string, error) { return two.Call(bg, "a", ",b") },
			`"a b" "c"`: func() (string, error) { return two.Call(bg, "a b", "c") },
			`"a" "b c"`: func() (string, error) { return two.Call(bg, "a", "b c") },
		} {
			got, err := call()
			wantValue(t, want, got, err, want)
		}
	})
}

func TestKeyFunc(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for key, f := range map[string]func(r *dogpile.Region) bound{
			"app:one|42":         func(r *dogpile.Region) bound { return functions(r)["one|42"] },
			"app:none|":          func(r *dogpile.Region) bound { return functions(r)["none"] },
			"app:two|1 x":        func(r *dogpile.Region) bound { return functions(r)["two|1,x"] },
			"app:three|1 x True": func(r *dogpile.Region) bound { return functions(r)["three|1,x,true"] },
		} {
			r := newRegion(t, newMemory(t), &dogpile.Options{KeyFunc: dogpile.PythonKeys("app")})
			b := f(r)
			got, err := b.key()
			wantValue(t, "Key", got, err, key)
			first, err := b.call(bg)
			wantErr(t, "Call", err, nil)
			v, err := b.call(bg)
			wantValue(t, "Call again", v, err, first)
			v, ok, err := dogpile.NewCache[string](r, nil).Get(bg, key)
			if wantValue(t, "Cache.Get", v, err, first); !ok {
				t.Errorf("nothing is under %q", key)
			}
		}
	})
}

// What keeps a key from being made is an error of every method, and nothing is
// called.
func TestKeyFuncThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bad := errors.New("no key for this")
		r := newRegion(t, newMemory(t), &dogpile.Options{KeyFunc: func(string, ...any) (string, error) { return "", bad }})
		f := functions(r)["one|42"]
		m := dogpile.NewMultiFunc(r, "m", func(context.Context, []int) (map[int]int, error) { panic("called") }, nil)
		for what, err := range map[string]error{
			"Call": second(f.call(bg)), "Refresh": second(f.refresh(bg)), "Set": f.set(bg, ""), "Delete": f.delete(bg), "Key": second(f.key()),
			"Get":        func() error { _, _, err := f.get(bg); return err }(),
			"multi Call": second(m.Call(bg, 1)), "multi Get": second(m.Get(bg, 1)), "multi Refresh": second(m.Refresh(bg, 1)),
			"multi Set": m.Set(bg, map[int]int{1: 1}), "multi Delete": m.Delete(bg, 1), "multi Key": second(m.Key(1)),
		} {
			var ke *dogpile.OpError
			if !errors.Is(err, bad) || !errors.As(err, &ke) {
				t.Errorf("%s: %v, want a *OpError", what, err)
			}
		}
		wantErr(t, "Original", second(f.original(bg)), nil)
	})
}

func second[V any](_ V, err error) error { return err }

func TestWhatCannotBeWrapped(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	fine := func(context.Context, int) (int, error) { return 0, nil }
	for name, wrap := range map[string]func(){
		"no name":        func() { dogpile.NewFunc(r, "", fine, nil) },
		"space":          func() { dogpile.NewFunc(r, "a b", fine, nil) },
		"nil function":   func() { dogpile.NewFunc[int, int](r, "f", nil, nil) },
		"nil function 0": func() { dogpile.NewFunc0[int](r, "f", nil, nil) },
		"nil function 2": func() { dogpile.NewFunc2[int, int, int](r, "f", nil, nil) },
		"nil function 3": func() { dogpile.NewFunc3[int, int, int, int](r, "f", nil, nil) },
		"nil function m": func() { dogpile.NewMultiFunc[int, int](r, "f", nil, nil) },
		"nil region":     func() { dogpile.NewFunc(nil, "f", fine, nil) },
		"func":           func() { dogpile.NewFunc(r, "f", func(context.Context, func()) (int, error) { return 0, nil }, nil) },
		"chan in struct": func() {
			dogpile.NewFunc(r, "f", func(context.Context, struct{ C chan int }) (int, error) { return 0, nil }, nil)
		},
		"map": func() {
			dogpile.NewFunc2(r, "f", func(context.Context, int, map[int]int) (int, error) { return 0, nil }, nil)
		},
		"options": func() {
			dogpile.NewFunc(r, "f", fine, &dogpile.CacheOptions[int]{Expiration: -5})
		},
	} {
		if p := fmt.Sprint(panicOf(wrap)); !strings.HasPrefix(p, "dogpile: ") {
			t.Errorf("%s: panicked with %v", name, p)
		}
	}
}

// squares is a function of many keys, of which it has no result for 0, and one
// that nobody asked for.
func squares(calls *[][]int) func(context.Context, []int) (map[int]int, error) {
	return func(_ context.Context, ks []int) (map[int]int, error) {
		*calls = append(*calls, slices.Sorted(slices.Values(ks)))
		vals := map[int]int{99: 99}
		for _, k := range ks {
			if k != 0 {
				vals[k] = k * k
			}
		}
		return vals, nil
	}
}

func TestMultiFunc(t *testing.T) {
	for backend, l := range map[string]like{"objects": {unshared: true}, "bytes": {bytes: true}} {
		t.Run(backend, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newFake(t, l), nil)
				var calls [][]int
				f := dogpile.NewMultiFunc(r, "sq", squares(&calls), nil)
				check := func(what string, want map[int]int, wantCalls string) func(map[int]int, error) {
					return func(got map[int]int, err error) {
						t.Helper()
						if err != nil || !maps.Equal(got, want) || fmt.Sprint(calls) != wantCalls {
							t.Errorf("%s: %v, %v, called for %v; want %v, %s", what, got, err, calls, want, wantCalls)
						}
						calls = nil
					}
				}
				check("Get", map[int]int{}, "[]")(f.Get(bg, 2, 3))
				check("Call", map[int]int{2: 4, 3: 9}, "[[0 2 3]]")(f.Call(bg, 3, 2, 0, 3))
				check("Call", map[int]int{2: 4, 3: 9, 4: 16}, "[[0 4]]")(f.Call(bg, 4, 3, 2, 0))
				check("Get", map[int]int{2: 4, 4: 16}, "[]")(f.Get(bg, 2, 4, 5, 99))
				wantErr(t, "Set", f.Set(bg, map[int]int{2: 5, 7: 50}), nil)
				check("after Set", map[int]int{2: 5, 7: 50}, "[]")(f.Call(bg, 2, 7))
				check("Refresh", map[int]int{2: 4}, "[[0 2]]")(f.Refresh(bg, 2, 0))
				check("after Refresh", map[int]int{2: 4}, "[]")(f.Call(bg, 2))
				check("Original", map[int]int{1: 1, 99: 99}, "[[1]]")(f.Original(bg, 1))
				wantErr(t, "Delete", f.Delete(bg, 2, 7, 8), nil)
				check("after Delete", map[int]int{3: 9}, "[]")(f.Get(bg, 2, 3, 7))
				check("no keys", map[int]int{}, "[]")(f.Call(bg))
				key, err := f.Key(3)
				wantValue(t, "Key", key, err, "sq|3")
				one := dogpile.NewFunc(r, "sq", func(context.Context, int) (int, error) { panic("called") }, nil)
				v, err := one.Call(bg, 3)
				wantValue(t, "a Func of the same name", v, err, 9)
			})
		})
	}
}

func TestFuncIsCoalescedAndCancelled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := counting(time.Second)
		f := dogpile.NewFunc(newRegion(t, newMemory(t), nil), "f", func(ctx context.Context, _ int) (int, error) { return o.create(ctx) }, nil)
		for _, call := range crowd(20, func() (int, error) { return f.Call(bg, 1) }) {
			r := <-call
			wantValue(t, "Call", r.v, r.err, 1)
		}
		wantCalls(t, o, 1)
		ctx, cancel := context.WithTimeout(bg, time.Millisecond)
		defer cancel()
		_, err := f.Call(ctx, 2)
		wantErr(t, "with a deadline", err, context.DeadlineExceeded)
	})
}

// A function may be wrapped before its region is configured, and keeps working
// over the next backend.
func TestFuncBeforeConfigureAndAfterReconfigure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := dogpile.NewRegion("late")
		o := counting(0)
		f := dogpile.NewFunc(r, "f", func(ctx context.Context, _ int) (int, error) { return o.create(ctx) }, nil)
		_, err := f.Call(bg, 1)
		wantErr(t, "before", err, dogpile.ErrNotConfigured)
		wantErr(t, "Configure", r.Configure(newMemory(t), nil), nil)
		wantErr(t, "Configure again", r.Configure(newMemory(t), nil), dogpile.ErrConfigured)
		for range 2 {
			v, err := f.Call(bg, 1)
			wantValue(t, "Call", v, err, 1)
		}
		wantErr(t, "Reconfigure", r.Reconfigure(newMemory(t), &dogpile.Options{KeyFunc: dogpile.PythonKeys("m")}), nil)
		v, err := f.Call(bg, 1)
		wantValue(t, "over an empty backend", v, err, 2)
		wantErr(t, "Close", r.Close(bg), nil)
	})
}
