package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// opener is what the scheme "x" does at the moment; tests that use it do not run
// in parallel.
var opener func(*driver.Args) error

func opened(open func(*driver.Args) error) { opener = open }

func init() {
	driver.Register("x", func(_ context.Context, args *driver.Args) (driver.Backend, error) {
		return plain{}, opener(args)
	})
}

// plain is a backend that says nothing about itself.
type plain struct{}

func (plain) Get(context.Context, []driver.Item) error { return nil }
func (plain) Set(context.Context, []driver.Item) error { return nil }
func (plain) Delete(context.Context, []string) error   { return nil }

var errDown = errors.New("down")

// full is a backend that has everything. Its methods answer with errDown, which
// tells that they were reached.
type full struct {
	plain
	caps   driver.Caps
	closed *int
}

func (f *full) Caps() driver.Caps { return f.caps }
func (f *full) TryLock(context.Context, string, time.Duration) (driver.Lease, error) {
	return nil, errDown
}
func (f *full) Wait(context.Context, string) error           { return errDown }
func (f *full) Locked(context.Context, string) (bool, error) { return true, errDown }
func (f *full) Close() error                                 { *f.closed++; return errDown }
func (f *full) Holder(_ context.Context, key string) (driver.Holder, bool, error) {
	return driver.Holder{Host: "host of " + key}, true, errDown
}
func (f *full) Scan(_ context.Context, prefix string, found func(driver.Found) bool) error {
	found(driver.Found{Key: prefix})
	return errDown
}

// liar says that it has locks, and has none.
type liar struct{ plain }

func (liar) Caps() driver.Caps {
	return driver.Caps{Name: "liar", Locks: true, Fenced: true, Shared: true}
}

// upper is a proxy.
type upper struct {
	driver.Proxy
	name string
}

func TestCapsOf(t *testing.T) {
	fenceOnly := driver.Caps{Name: "f", Fenced: true}
	everything := driver.Caps{Name: "full", Objects: true, Shared: true, Locks: true, Fenced: true, MaxKeyLen: 1, MaxValue: 2, TTLUnit: 3, InMemory: true, Discards: true}
	throughProxy := everything
	throughProxy.InMemory = false
	for _, row := range []struct {
		name string
		b    driver.Backend
		want driver.Caps
	}{
		{"says nothing", plain{}, driver.Caps{}},
		{"has everything", &full{caps: everything}, everything},
		{"fenced without locks", &full{caps: fenceOnly}, driver.Caps{Name: "f"}},
		{"claims locks and has none", liar{}, driver.Caps{Name: "liar", Shared: true}},
		{"in a proxy", upper{Proxy: driver.Proxy{Backend: &full{caps: everything}}}, throughProxy},
		{"says nothing, in a proxy", upper{Proxy: driver.Proxy{Backend: plain{}}}, driver.Caps{}},
		{"claims locks and has none, in two proxies", upper{Proxy: driver.Proxy{Backend: &upper{Proxy: driver.Proxy{Backend: liar{}}}}}, driver.Caps{Name: "liar", Shared: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := driver.CapsOf(row.b)
			got.Mangle = nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", row.want) {
				t.Errorf("CapsOf = %+v, want %+v", got, row.want)
			}
		})
	}
	mangles := &full{caps: driver.Caps{Mangle: strings.ToUpper}}
	if m := driver.CapsOf(upper{Proxy: driver.Proxy{Backend: mangles}}).Mangle; m == nil || m("k") != "K" {
		t.Error("Mangle does not come through a proxy")
	}
}

func TestProxyForwardsEverything(t *testing.T) {
	closed := 0
	var p driver.Backend = upper{Proxy: driver.Proxy{Backend: &full{closed: &closed}}}
	l := p.(driver.Locker)
	if _, err := l.TryLock(t.Context(), "k", time.Second); err != errDown {
		t.Errorf("TryLock = %v", err)
	}
	if err := l.Wait(t.Context(), "k"); err != errDown {
		t.Errorf("Wait = %v", err)
	}
	if locked, err := l.Locked(t.Context(), "k"); !locked || err != errDown {
		t.Errorf("Locked = %v, %v", locked, err)
	}
	if h, held, err := p.(driver.Holders).Holder(t.Context(), "k"); h.Host != "host of k" || !held || err != errDown {
		t.Errorf("Holder = %+v, %v, %v", h, held, err)
	}
	var found []driver.Found
	if err := p.(driver.Scanner).Scan(t.Context(), "k", func(f driver.Found) bool { found = append(found, f); return true }); err != errDown || len(found) != 1 || found[0].Key != "k" {
		t.Errorf("Scan = %v, found %+v", err, found)
	}
	if err := driver.Close(p); err != errDown || closed != 1 {
		t.Errorf("Close = %v, closed %d times", err, closed)
	}
}

// TestProxyOverLeasesOfNobody tells that they are held.
func TestProxyOverLeasesOfNobody(t *testing.T) {
	closed := 0
	var p driver.Backend = upper{Proxy: driver.Proxy{Backend: nobodys{plain{}, &full{closed: &closed}}}}
	if h, held, err := p.(driver.Holders).Holder(t.Context(), "k"); h != (driver.Holder{}) || !held || err != errDown {
		t.Errorf("Holder = %+v, %v, %v", h, held, err)
	}
}

// nobodys has leases and cannot tell whose they are.
type nobodys struct {
	plain
	driver.Locker
}

func TestHolderInAFewWords(t *testing.T) {
	since := time.Date(2026, 11, 27, 9, 3, 59, 0, time.FixedZone("", 3600))
	for _, row := range []struct {
		h    driver.Holder
		want string
	}{
		{driver.Holder{}, "unknown"},
		{driver.Holder{Program: "python"}, "python"},
		{driver.Holder{Host: "web-1", PID: 42, Since: since}, `process 42 on "web-1" since 2026-11-27T08:03:59Z`},
		{driver.Holder{PID: 42}, "process 42"},
		{driver.Holder{Host: "a\n\x1b[2J"}, `on "a\n\x1b[2J"`},
		{driver.Holder{Since: since}, "unknown since 2026-11-27T08:03:59Z"},
	} {
		if got := row.h.String(); got != row.want {
			t.Errorf("%#v is %s, want %s", row.h, got, row.want)
		}
	}
}

func TestProxyOverWhatIsNotThere(t *testing.T) {
	p := upper{Proxy: driver.Proxy{Backend: plain{}}}
	_, err1 := p.TryLock(t.Context(), "k", time.Second)
	err2 := p.Wait(t.Context(), "k")
	_, err3 := p.Locked(t.Context(), "k")
	_, _, err4 := p.Holder(t.Context(), "k")
	if err := p.Scan(t.Context(), "", nil); !errors.Is(err, errors.ErrUnsupported) || err.Error() != "backend driver_test.plain lists nothing: unsupported operation" {
		t.Errorf("Scan = %v", err)
	}
	for _, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), "backend driver_test.plain has no leases: ") {
			t.Errorf("error is %v", err)
		}
	}
	if err := driver.Close(p); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestAs(t *testing.T) {
	closed := 0
	bottom := &full{closed: &closed}
	b := upper{driver.Proxy{Backend: &upper{driver.Proxy{Backend: bottom}, "inner"}}, "outer"}
	if got, ok := driver.As[*full](b); !ok || got != bottom {
		t.Errorf("As[*full] = %v, %v", got, ok)
	}
	if got, ok := driver.As[upper](b); !ok || got.name != "outer" {
		t.Errorf("As[upper] = %v, %v", got.name, ok)
	}
	if got, ok := driver.As[*upper](b); !ok || got.name != "inner" {
		t.Errorf("As[*upper] = %v, %v", got, ok)
	}
	if got, ok := driver.As[io.Closer](b); !ok || got != io.Closer(b) {
		t.Errorf("As[io.Closer] = %v, %v: the outermost is one", got, ok)
	}
	if got, ok := driver.As[plain](b); ok {
		t.Errorf("As[plain] = %v", got)
	}
	if _, ok := driver.As[*full](nil); ok {
		t.Error("As of nothing")
	}
	if _, ok := driver.As[*full](upper{}); ok {
		t.Error("As of a proxy of nothing")
	}
}

// A nil pointer in the interface is a backend that was forgotten. Looking at one
// is no panic, so that a region can refuse it with a sentence.
func TestNilPointersAreNoBackends(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]driver.Backend{
		"nil":                nil,
		"a nil backend":      (*full)(nil),
		"a nil proxy":        (*upper)(nil),
		"a nil driver.Proxy": (*driver.Proxy)(nil),
	} {
		for where, b := range map[string]driver.Backend{name: b, name + " in a proxy": upper{Proxy: driver.Proxy{Backend: b}}} {
			if got, want := driver.IsNil(b), where == name; got != want {
				t.Errorf("%s: IsNil = %v", where, got)
			}
			if c := driver.CapsOf(b); c.Name != "" || c.Locks {
				t.Errorf("%s: CapsOf = %+v", where, c)
			}
			if got, ok := driver.As[*full](b); ok {
				t.Errorf("%s: As = %v", where, got)
			}
			if err := driver.Close(b); err != nil {
				t.Errorf("%s: Close = %v", where, err)
			}
		}
	}
	for name, b := range map[string]driver.Backend{"a pointer": &full{}, "a value": plain{}, "a proxy of nothing": upper{}} {
		if driver.IsNil(b) {
			t.Errorf("%s is nil", name)
		}
	}
}

func TestFound(t *testing.T) {
	for _, row := range []struct {
		name string
		it   driver.Item
		want bool
	}{
		{"nothing", driver.Item{Key: "k"}, false},
		{"an error", driver.Item{Key: "k", Err: errDown}, false},
		{"bytes", driver.Item{Data: []byte("v")}, true},
		{"no bytes, but there", driver.Item{Data: []byte{}}, true},
		{"an object", driver.Item{Object: 0}, true},
	} {
		if got := row.it.Found(); got != row.want {
			t.Errorf("%s: Found = %v", row.name, got)
		}
	}
}

func TestRegisterPanics(t *testing.T) {
	some := func(context.Context, *driver.Args) (driver.Backend, error) { return plain{}, nil }
	for _, row := range []struct {
		name, scheme string
		open         driver.Opener
		want         string
	}{
		{"nil", "fine", nil, "nil Opener"},
		{"twice", "x", some, "twice"},
		{"empty", "", some, "illegal scheme"},
		{"upper case", "Fine", some, "illegal scheme"},
		{"with a colon", "fine:", some, "illegal scheme"},
		{"begins with a digit", "1fine", some, "illegal scheme"},
		{"not ASCII", "fïne", some, "illegal scheme"},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "dogpile: Register") || !strings.Contains(p, row.want) {
					t.Errorf("panic %q, want %q", p, row.want)
				}
			}()
			driver.Register(row.scheme, row.open)
		})
	}
	if slices.Contains(driver.Schemes(), "fine") {
		t.Error("what panicked is registered")
	}
}

func TestOpen(t *testing.T) {
	opened(func(a *driver.Args) error { a.String("n", ""); return a.Err() })
	for _, url := range []string{"x", "x://", "X://host", "x://host?n=1"} {
		if b, err := driver.Open(t.Context(), url); err != nil || b != driver.Backend(plain{}) {
			t.Errorf("Open(%q) = %v, %v", url, b, err)
		}
	}
	_, err := driver.Open(t.Context(), "x://u:pw@host/0?m=1")
	var ae *driver.ArgError
	if !errors.As(err, &ae) || ae.Name != "m" || err.Error() != `dogpile: open x://host/0: argument "m" is unknown` {
		t.Errorf("Open = %v", err)
	}
	for _, cause := range []error{errDown, fmt.Errorf("dogpile: %w", errDown)} {
		opened(func(*driver.Args) error { return cause })
		b, err := driver.Open(t.Context(), "x")
		if !errors.Is(err, errDown) || err.Error() != "dogpile: open x://: down" || b != nil {
			t.Errorf("Open = %v, %v", b, err)
		}
	}
	_, err = driver.Open(t.Context(), "redis://u:pw@host")
	if want := `dogpile: unknown backend "redis" (forgotten import?); known: ` + strings.Join(driver.Schemes(), ", "); err == nil || err.Error() != want {
		t.Errorf("Open = %v, want %s", err, want)
	}
}

func TestOpenHandsOnItsContext(t *testing.T) {
	type key struct{}
	driver.Register("context", func(ctx context.Context, _ *driver.Args) (driver.Backend, error) {
		if ctx.Value(key{}) != "v" {
			t.Error("another context")
		}
		return plain{}, nil
	})
	if _, err := driver.Open(context.WithValue(t.Context(), key{}, "v"), "context"); err != nil {
		t.Error(err)
	}
}

func TestSchemesAreTheCallers(t *testing.T) {
	s := driver.Schemes()
	if !slices.IsSorted(s) || !slices.Contains(s, "x") {
		t.Errorf("Schemes = %q", s)
	}
	clear(s)
	if !slices.Contains(driver.Schemes(), "x") {
		t.Error("the registry was changed")
	}
}

func TestRegistryIsSafeForConcurrentUse(t *testing.T) {
	opened(func(*driver.Args) error { return nil })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			driver.Register(fmt.Sprintf("concurrent%d", i), func(context.Context, *driver.Args) (driver.Backend, error) { return plain{}, nil })
			if _, err := driver.Open(t.Context(), fmt.Sprintf("concurrent%d", i)); err != nil {
				t.Error(err)
			}
			driver.Schemes()
		})
	}
	wg.Wait()
}

// A region and Open put the prefix in front of what a backend returns, so it is
// nowhere else.
func TestErrorsOfBackendsHaveNoPrefix(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{driver.ErrLeaseLost: "lease lost", driver.ErrCorrupt: "stored data is corrupt"} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
