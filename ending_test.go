package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// mortal is a backend of settings, whose calls fail once it is closed.
type mortal struct {
	*fake
	closes atomic.Int64
	cannot error // what Close returns
}

func (m *mortal) Close() error {
	m.closes.Add(1)
	if err := m.fake.Proxy.Close(); err != nil {
		return err
	}
	return m.cannot
}

// morgue holds the mortals that were opened, by the name in their URLs.
var morgue = struct {
	sync.Mutex
	m     map[string][]*mortal
	close map[string]error // what Close of new ones returns
}{m: map[string][]*mortal{}, close: map[string]error{}}

func init() {
	driver.Register("mortal", func(_ context.Context, args *driver.Args) (driver.Backend, error) {
		name, bytes := args.String("name", ""), args.Bool("bytes", true)
		if err := args.Err(); err != nil {
			return nil, err
		}
		b, err := memory.New(&memory.Options{Copy: bytes})
		if err != nil {
			return nil, err
		}
		f := &fake{Proxy: driver.Proxy{Backend: b}, calls: make(map[string]int)}
		f.caps = f.Proxy.Caps()
		morgue.Lock()
		defer morgue.Unlock()
		m := &mortal{fake: f, cannot: morgue.close[name]}
		morgue.m[name] = append(morgue.m[name], m)
		return m, nil
	})
}

// mortals returns those that the test has opened, the newest last.
func mortals(t *testing.T) []*mortal {
	morgue.Lock()
	defer morgue.Unlock()
	return slices.Clone(morgue.m[t.Name()])
}

// bury forgets them when the test ends.
func bury(t *testing.T) {
	t.Cleanup(func() {
		morgue.Lock()
		defer morgue.Unlock()
		delete(morgue.m, t.Name())
	})
}

// reload configures r anew, over another mortal.
func reload(t *testing.T, r *dogpile.Region, o *dogpile.Options) *mortal {
	t.Helper()
	bury(t)
	err := dogpile.Setup{Options: o, Settings: map[string]string{
		"r.backend": "mortal", "r.arguments.name": t.Name(), "r.replace_existing_backend": "true",
	}}.Configure(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	all := mortals(t)
	return all[len(all)-1]
}

func wantCloses(t *testing.T, when string, m *mortal, want int64) {
	t.Helper()
	if got := m.closes.Load(); got != want {
		t.Errorf("%s: closed %d times, want %d", when, got, want)
	}
}

// TestReplacedBackendIsClosedAfterItsLastCall:
//
//  1. A's call is in the old backend.  2. The region is configured anew.  3. B's call
//     uses the new backend.  4. A's call ends, without error.  5. The old backend is closed.
func TestReplacedBackendIsClosedAfterItsLastCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dogpile.NewRegion("r")
		old := reload(t, r, nil)
		c := dogpile.NewCache[int](r, nil)
		gate := make(chan struct{})
		old.in(func(context.Context, string, []string) error { <-gate; return nil })
		a := start(func() (int, error) { v, _, err := c.Get(t.Context(), "k"); return v, err })
		synctest.Wait()
		newer := reload(t, r, nil)
		if err := c.Set(t.Context(), "k", 1); err != nil || newer.called("set") != 1 {
			t.Errorf("Set = %v, the new backend was asked %d times", err, newer.called("set"))
		}
		synctest.Wait()
		wantCloses(t, "while a call is in it", old, 0)
		close(gate)
		if got := <-a; got.err != nil {
			t.Error(got.err)
		}
		synctest.Wait()
		wantCloses(t, "after its last call", old, 1)
		wantCloses(t, "in force", newer, 0)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantCloses(t, "closed", old, 1)
		wantCloses(t, "closed", newer, 1)
	})
}

// TestCallThatIsLateForAConfiguration:
//
//  1. A's call loads the configuration.  2. It is replaced, and its backend is closed.
//  3. A enters it: too late. It finds the new one.
func TestCallThatIsLateForAConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dogpile.NewRegion("r")
		old := reload(t, r, nil)
		if dogpile.EntersLate(r, func() { reload(t, r, nil); synctest.Wait() }) {
			t.Error("it is let in")
		}
		works(t, r)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantCloses(t, "replaced", old, 1)
	})
}

// TestReplacedBackendOutlivesItsFlights: a flight that has no caller left uses it still.
func TestReplacedBackendOutlivesItsFlights(t *testing.T) {
	for _, row := range []struct {
		name         string
		runner       func(func())
		leaves, deaf bool
	}{
		{"its caller has left", nil, true, true},
		{"its caller waits", nil, false, true},
		{"its caller waits, and begins again", nil, false, false},
		{"in the background", dogpile.Background, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := dogpile.NewRegion("r")
				o := &dogpile.Options{Runner: row.runner, Expiration: time.Minute}
				old := reload(t, r, o)
				c := dogpile.NewCache[int](r, nil)
				if err := c.Set(t.Context(), "k", 1); err != nil {
					t.Fatal(err)
				}
				pass(61 * time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				made := &creator[int]{value: func(int64) int { return 2 }, takes: 10 * time.Second, deaf: row.deaf}
				a := start(func() (int, error) { return c.GetOrCreate(ctx, "k", made.create) })
				pass(time.Second)
				if row.leaves {
					cancel()
					<-a
				}
				newer := reload(t, r, o)
				pass(time.Second)
				wantCloses(t, "while a creator runs", old, 0)
				if !row.leaves {
					got := <-a
					wantValue(t, "the caller", got.v, got.err, 2)
				}
				pass(10 * time.Second)
				wantCloses(t, "after the flight", old, 1)
				wantCloses(t, "in force", newer, 0)
				if err := r.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestReloadsUnderLoad: whenever a call comes, it finds a backend that is open.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	reload(t, r, nil)
	c := dogpile.NewCache[int](r, nil)
	stop := make(chan struct{})
	var load sync.WaitGroup
	calls := everyCallOn(c, r)
	for name, call := range calls {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(t.Context(), fmt.Sprint("k", i%3)); err != nil {
					t.Errorf("%s = %v", name, err)
					return
				}
			}
		})
	}
	for range 100 {
		reload(t, r, nil)
	}
	close(stop)
	load.Wait()
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for i, m := range mortals(t) {
		wantCloses(t, fmt.Sprint("number ", i), m, 1)
	}
}

// TestEveryCallLeaves: one that did not would keep what it used open for ever.
func TestEveryCallLeaves(t *testing.T) {
	t.Parallel()
	var names []string
	for name := range everyCallOn(dogpile.NewCache[int](dogpile.NewRegion("r"), nil), nil) {
		names = append(names, name)
	}
	names = append(names, "Holder", "Inspect", "Invalidate", "InvalidateTags", "Ping", "Scan", "unfit type")
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dogpile.NewRegion("r")
			old := reload(t, r, nil)
			calls := everyCallOn(dogpile.NewCache[int](r, nil), r)
			calls["Invalidate"] = func(ctx context.Context, _ string) error { return r.Invalidate(ctx, dogpile.Hard) }
			calls["InvalidateTags"] = func(ctx context.Context, _ string) error { return r.InvalidateTags(ctx, dogpile.Hard, "t") }
			calls["Inspect"] = func(ctx context.Context, k string) error { _, _, err := r.Inspect(ctx, k); return err }
			calls["Holder"] = func(ctx context.Context, k string) error { _, _, err := r.Holder(ctx, k); return err }
			calls["Scan"] = func(ctx context.Context, _ string) error {
				return r.Scan(ctx, func(driver.Found) bool { return true })
			}
			calls["Ping"] = func(ctx context.Context, _ string) error { return r.Ping(ctx) }
			calls["unfit type"] = func(ctx context.Context, k string) error {
				_, _, err := dogpile.NewCache[chan int](r, nil).Get(ctx, k)
				return err
			}
			for _, key := range []string{"k", "k", "_lock"} { // the last one is refused
				_ = calls[name](t.Context(), key)
			}
			old.in(func(context.Context, string, []string) error { return errOrigin })
			_ = calls[name](t.Context(), "k")
			reload(t, r, nil)
			if err := r.Close(t.Context()); err != nil { // it waits for the old configuration too
				t.Error(err)
			}
			wantCloses(t, "after the call", old, 1)
		})
	}
	// A method that is added later is in everyCallOn, or is known to be no call.
	known := append(names,
		"With",                                                                                                                          // of a cache
		"Backend", "Close", "Configure", "ConfigureFrom", "Configured", "Creating", "Name", "Options", "Reconfigure", "Stats", "String") // of a region
	for _, typ := range []reflect.Type{reflect.TypeFor[*dogpile.Cache[int]](), reflect.TypeFor[*dogpile.Region]()} {
		for i := range typ.NumMethod() {
			if m := typ.Method(i).Name; !slices.Contains(known, m) {
				t.Errorf("%v.%s is not among everyCallOn", typ, m)
			}
		}
	}
}

// TestCloseWaitsForWhatWasReplaced: and only as long as its context lasts.
func TestCloseWaitsForWhatWasReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := dogpile.NewRegion("r")
		old := reload(t, r, nil)
		c := dogpile.NewCache[int](r, nil)
		gate := make(chan struct{})
		deaf := func(context.Context) (int, error) { <-gate; return 1, nil }
		a := start(func() (int, error) { return c.GetOrCreate(t.Context(), "k", deaf) })
		synctest.Wait()
		newer := reload(t, r, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := r.Close(ctx)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("Close = %v after %v", err, took)
		}
		if got := <-a; !errors.Is(got.err, dogpile.ErrClosed) {
			t.Errorf("its caller gets %v", got.err)
		}
		synctest.Wait()
		wantCloses(t, "though a creator does not listen", old, 1)
		wantCloses(t, "the last one", newer, 1)
		later := make(chan error)
		go func() { later <- r.Close(t.Context()) }()
		synctest.Wait()
		close(gate)
		if err := <-later; err != nil {
			t.Errorf("a further Close = %v", err)
		}
	})
}

// TestErrorOfClosingWhatWasReplaced: nobody is there to get it.
func TestErrorOfClosingWhatWasReplaced(t *testing.T) {
	t.Parallel()
	morgue.Lock()
	morgue.close[t.Name()] = errOrigin
	morgue.Unlock()
	r, rec := dogpile.NewRegion("r"), new(recorder)
	reload(t, r, &dogpile.Options{Hooks: rec.hooks()})
	reload(t, r, nil)
	if err := r.Close(t.Context()); !errors.Is(err, errOrigin) {
		t.Errorf("Close = %v, want the error of closing what was in force", err)
	}
	if errs := rec.take("error"); len(errs) != 1 || errs[0].Op != "close" || !errors.Is(errs[0].Err, errOrigin) {
		t.Errorf("hooks were told %v", errs)
	}
}

// TestSharedBackendThatAReloadDrops: the last region that lets go of it closes it.
func TestSharedBackendThatAReloadDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bury(t)
		a, b := dogpile.NewRegion("a"), dogpile.NewRegion("b")
		settings := map[string]string{
			"backends.main": "mortal", "backends.main.arguments.name": t.Name(),
			"a.backend": "@main", "a.replace_existing_backend": "true", "b.backend": "@main", "b.replace_existing_backend": "true",
		}
		if err := dogpile.ConfigureAll(t.Context(), settings, "", a, b); err != nil {
			t.Fatal(err)
		}
		main := mortals(t)[0]
		alone := map[string]string{"backend": "null", "replace_existing_backend": "true"}
		if err := a.ConfigureFrom(t.Context(), alone, ""); err != nil {
			t.Fatal(err)
		}
		works(t, b)
		synctest.Wait()
		wantCloses(t, "while b uses it", main, 0)
		if err := dogpile.ConfigureAll(t.Context(), settings, "", a, b); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantCloses(t, "when nobody does", main, 1)
		for _, r := range []*dogpile.Region{a, b} {
			works(t, r)
			if err := r.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wantCloses(t, "the second one", mortals(t)[1], 1)
	})
}

// TestReplacedMemory: a hit is counted nowhere, and finds nothing in what was closed.
func TestReplacedMemory(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	settings := map[string]string{"backend": "memory", "replace_existing_backend": "true"}
	configure := func() {
		if err := r.ConfigureFrom(t.Context(), settings, ""); err != nil {
			t.Error(err)
		}
	}
	configure()
	c := dogpile.NewCache[int](r, nil)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v, err := c.GetOrCreate(t.Context(), "k", constant(7).create); v != 7 || err != nil {
					t.Errorf("GetOrCreate = %d, %v", v, err)
					return
				}
			}
		})
	}
	for range 200 {
		configure()
	}
	close(stop)
	load.Wait()
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
