package dogpile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// TestOpErrorIsTheShapeOfAllErrors: each function names the region, its operation and
// the key, in one form, and tells whether the backend failed.
func TestOpErrorIsTheShapeOfAllErrors(t *testing.T) {
	type call struct {
		what, op, key string
		backend       bool
		err           error
	}
	none := func(context.Context) (int, error) { return 0, nil }
	noneOf := func(context.Context, []string) (map[string]int, error) { return nil, nil }
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		r := newRegion(t, b, &dogpile.Options{Strict: true})
		c := dogpile.NewCache[int](r, nil)
		f := dogpile.NewMultiFunc(r, "f", func(context.Context, []string) (map[string]int, error) { return nil, nil }, nil)
		second := func(_ any, err error) error { return err }
		third := func(_, _ any, err error) error { return err }
		ended, cancel := context.WithCancel(bg)
		cancel()
		unconfigured := dogpile.NewCache[int](dogpile.NewRegion("test"), nil)
		calls := []call{
			{"reserved key", "get", "_lockx", false, second(c.GetOrCreate(bg, "_lockx", none))},
			{"no creator", "get", "k", false, second(c.GetOrCreate(bg, "k", nil))},
			{"no creator for many", "get", "k", false, second(c.GetOrCreateMulti(bg, []string{"k"}, nil))},
			{"no creator to refresh", "refresh", "k", false, second(c.Refresh(bg, "k", nil))},
			{"caller has left", "get", "k", false, second(c.GetOrCreate(ended, "k", none))},
			{"panic", "get", "k", false, second(c.GetOrCreate(bg, "k", func(context.Context) (int, error) { panic("oops") }))},
			{"panic in a batch", "get", "k", false, second(c.GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]int, error) { panic("oops") }))},
			{"not configured", "peek", "", false, third(unconfigured.Peek(bg, "k"))},
			{"unknown mode", "invalidate", "", false, r.Invalidate(bg, 7)},
			{"configured twice", "configure", "", false, r.Configure(b, nil)},
		}
		b.in(failing("get", "set", "delete", "lock", "locked"))
		calls = append(calls,
			call{"Get", "get", "k", true, third(c.Get(bg, "k"))},
			call{"Peek", "peek", "k", true, third(c.Peek(bg, "k"))},
			call{"Set", "set", "k", true, c.Set(bg, "k", 1)},
			call{"SetMulti", "set", "k", true, c.SetMulti(bg, map[string]int{"k": 1})},
			call{"Delete", "delete", "k", true, c.Delete(bg, "k", "l")},
			call{"GetOrCreate", "get", "k", true, second(c.GetOrCreate(bg, "k", none))},
			call{"Refresh", "refresh", "k", true, second(c.Refresh(bg, "k", none))},
			call{"GetMulti", "get", "k", true, second(c.GetMulti(bg, []string{"k", "l"}))},
			call{"GetOrCreateMulti", "get", "k", true, second(c.GetOrCreateMulti(bg, []string{"k", "l"}, noneOf))},
			call{"MultiFunc.Refresh", "refresh", "f|k", true, second(f.Refresh(bg, "k"))},
			call{"Locked", "locked", "k", true, second(r.Locked(bg, "k"))},
			call{"Invalidate", "invalidate", "", true, r.Invalidate(bg, dogpile.Hard)},
		)
		b.in(nil)
		for _, call := range calls {
			oe, ok := call.err.(*dogpile.OpError)
			if !ok {
				t.Errorf("%s: %v is a %T, not an *OpError", call.what, call.err, call.err)
				continue
			}
			lock := call.backend && oe.Op == "lock" // creating, the lease is what fails first
			if oe.Region != "test" || oe.Op != call.op && !lock || oe.Key != call.key {
				t.Errorf("%s: region %q, op %q, key %q; want %q of %q", call.what, oe.Region, oe.Op, oe.Key, call.op, call.key)
			}
			if is := errors.Is(call.err, dogpile.ErrBackend); is != call.backend {
				t.Errorf("%s: is ErrBackend: %v, want %v", call.what, is, call.backend)
			}
			if call.backend && !errors.Is(call.err, errBackend) {
				t.Errorf("%s: %v hides the cause", call.what, call.err)
			}
			if text := call.err.Error(); strings.Count(text, "dogpile") != 1 || !strings.HasPrefix(text, "dogpile: "+oe.Op+" ") {
				t.Errorf("%s: text is %q", call.what, text)
			}
		}
	})
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		`dogpile: get "k": connection refused`:                   &dogpile.OpError{Region: "users", Op: "get", Key: "k", Err: errBackend},
		`dogpile: invalidate region "users": connection refused`: &dogpile.OpError{Region: "users", Op: "invalidate", Err: errBackend},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	for _, err := range []error{dogpile.ErrClosed, dogpile.ErrNotConfigured, dogpile.ErrConfigured, dogpile.ErrRecursive, dogpile.ErrLeaseLost, dogpile.ErrCreateTimeout, dogpile.ErrBackend, dogpile.ErrPending} {
		if !strings.Contains(err.Error(), " ") || strings.Contains(err.Error(), "dogpile:") {
			t.Errorf("%q does not say what it is about, or has a prefix of its own", err)
		}
	}
}

// The error of a creator is its own, to the letter, also where it is one of ours.
func TestCreatorsOwnErrorIsReturnedAsItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		for _, own := range []error{errOrigin, &dogpile.OpError{Op: "get", Err: errOrigin}, context.Canceled, dogpile.ErrCreateTimeout} {
			_, err := c.GetOrCreate(bg, "k", func(context.Context) (int, error) { return 0, own })
			if err != own {
				t.Errorf("GetOrCreate = %#v, want %#v", err, own)
			}
			_, err = c.GetOrCreateMulti(bg, []string{"k", "l"}, func(context.Context, []string) (map[string]int, error) { return nil, own })
			if err != own {
				t.Errorf("GetOrCreateMulti = %#v, want %#v", err, own)
			}
		}
	})
}

// A panic in a function of the user's that only looks on loses no value.
func TestPanicsOfOnlookersLoseNothing(t *testing.T) {
	oops := func(context.Context, dogpile.Event) { panic("oops") }
	for name, o := range map[string]*dogpile.Options{
		"hooks": {Hooks: &dogpile.Hooks{Hit: oops, Stale: oops, Miss: oops, Wait: oops, Create: oops, Store: oops, Delete: oops, Invalidate: oops, Error: oops}},
		"log":   {Logger: panickingLogger()},
		"both":  {Logger: panickingLogger(), Hooks: &dogpile.Hooks{Error: oops, Store: oops}},
	} {
		for kind, backend := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, backend(t), o)
					c := dogpile.NewCache[int](r, nil)
					v, err := c.GetOrCreate(bg, "k", constant(1).create)
					wantValue(t, "GetOrCreate", v, err, 1)
					v, ok, err := c.Get(bg, "k")
					if wantValue(t, "Get", v, err, 1); !ok {
						t.Error("the value was not stored")
					}
					// An entry of another type, which the Error hook and the log are told of.
					_, ok, err = dogpile.NewCache[[]string](r, nil).Get(bg, "k")
					if ok || err != nil {
						t.Errorf("another type: %v, %v", ok, err)
					}
					wantErr(t, "Delete", c.Delete(bg, "k"), nil)
					wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft), nil)
					wantFree(t, r, "k")
				})
			})
		}
	}
}

func TestShouldCacheThatPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newMemory(t), nil)
		c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{ShouldCache: func(int) bool { panic("oops") }})
		v, err := c.GetOrCreate(bg, "k", constant(1).create)
		wantValue(t, "GetOrCreate", v, err, 1)
		if _, ok, _ := c.Get(bg, "k"); ok {
			t.Error("stored, though nobody said that it may be")
		}
		if n := r.Stats().Errors; n == 0 {
			t.Error("the panic was not counted")
		}
		wantFree(t, r, "k")
	})
}

func TestNilBackends(t *testing.T) {
	t.Parallel()
	var typed *memory.Backend
	for name, b := range map[string]driver.Backend{"nil": nil, "nil of a type": typed} {
		r := dogpile.NewRegion("users")
		if err := r.Configure(b, nil); err == nil || !strings.Contains(err.Error(), "the backend is nil") {
			t.Errorf("%s: Configure = %v", name, err)
		}
	}
	err := dogpile.ConfigureAll(bg, nil, "", nil, dogpile.NewRegion("b"))
	if err == nil || !strings.Contains(err.Error(), "region 1 of 2 is nil") {
		t.Errorf("ConfigureAll of a nil region = %v", err)
	}
}

func TestRegionString(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for want, r := range map[string]*dogpile.Region{
			`region "users", not configured`:                     dogpile.NewRegion("users"),
			`region "test" over memory, expires never`:           newRegion(t, newMemory(t), nil),
			`region "test" over memory, expires after 1h0m0s`:    newRegion(t, newMemory(t), &dogpile.Options{Expiration: time.Hour}),
			`region "test" over a backend, expires after 1h0m0s`: newRegion(t, new(plainBackend), &dogpile.Options{Expiration: time.Hour}),
		} {
			if got := r.String(); got != want {
				t.Errorf("String = %q, want %q", got, want)
			}
		}
	})
}
