//go:build unix

// Package backendtest checks what a backend over servers promises, with real
// servers and real faults: that regions over it share what they should, that an
// application goes on while its server does not, that it shares entries and
// locks with Python's dogpile.cache, what a call costs in round trips, and what
// its options and errors look like. The contract of single calls is checked by
// package drivertest.
//
// A backend describes itself by a Kind, and each function that takes one is a
// test of its own:
//
//	func TestFailures(t *testing.T) { backendtest.Failures(t, kind) }
//
// The package has also what such tests need: processes, a network that can be
// cut, certificates. It is for tests of this module alone.
package backendtest

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// Kind describes a kind of backend.
type Kind struct {
	// Name is that of Caps. Errors of calls begin with it.
	Name string
	// Start starts a server with nothing in it, for one test alone.
	Start func(t testing.TB) Server
	// Shared returns a server that tests use at the same time, each with keys of
	// its own.
	Shared func(t testing.TB) Server
	// Args are the arguments of all URLs, as "python_lock=true"; "": none.
	Args string
	// Python says that locks of dogpile.cache are honoured.
	Python bool
}

// Server is a server, or several that serve together.
type Server interface {
	// URL opens a backend over it, by driver.Open.
	URL() string
	// Addr is where it listens.
	Addr() string
	// Kill ends the process at once, with all that it keeps.
	Kill()
	// Start starts it again after Kill, where it was before.
	Start(t testing.TB)
	// Stop has the process stand still until Resume. No thread of it runs when
	// Stop returns.
	Stop(t testing.TB)
	// Resume ends Stop.
	Resume(t testing.TB)
	// Flush removes all that it keeps.
	Flush(t testing.TB)
	// Item returns what is kept under a name, as another program sees it, and
	// for how long; 0: without a limit.
	Item(t testing.TB, name string) (value string, left time.Duration, found bool)
	// TakeAsPython takes the lock on key as dogpile.cache does, without a limit,
	// and returns what it holds.
	TakeAsPython(t testing.TB, key string) (token string)
	// TookAndFreed reports whether the server, since it was started, has been told
	// to take the lease on key and to free it, and nobody holds it.
	TookAndFreed(t testing.TB, key string) bool
}

// Backend is all that a backend over servers implements.
type Backend interface {
	driver.Backend
	driver.Locker
	driver.Describer
	io.Closer
}

// URL returns url with the arguments of the kind and others, "name=value".
func (k Kind) URL(url string, args ...string) string {
	if k.Args != "" {
		args = append([]string{k.Args}, args...)
	}
	return WithArgs(url, args...)
}

// WithArgs returns url with arguments, "name=value".
func WithArgs(url string, args ...string) string {
	for _, arg := range args {
		sep := "?"
		if strings.Contains(url, "?") {
			sep = "&"
		}
		url += sep + arg
	}
	return url
}

// patient are the arguments of backends whose servers are believed to answer, on
// a machine that may be very busy.
var patient = []string{"timeout=20s", "connect_timeout=20s"}

// open opens a patient backend over s.
func (k Kind) open(t testing.TB, s Server) Backend {
	t.Helper()
	return Open(t, k.URL(s.URL(), patient...))
}

// Open opens a backend that is closed when the test ends. A server that was just
// started may need more than one attempt.
func Open(t testing.TB, url string) Backend {
	t.Helper()
	var b driver.Backend
	var err error
	for deadline := time.Now().Add(patience); ; {
		if b, err = driver.Open(context.Background(), url); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		Pause(5 * time.Millisecond)
	}
	t.Cleanup(func() {
		if err := driver.Close(b); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return b.(Backend)
}

// Region returns a region over b. A nil Logger stands for none, and without a
// BackendTimeout it is as patient as b.
func Region(t testing.TB, name string, b driver.Backend, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	r := dogpile.NewRegion(name)
	var own dogpile.Options
	if o != nil {
		own = *o
	}
	if own.BackendTimeout == 0 {
		own.BackendTimeout = patience
	}
	if _, copies := b.(copying); copies && own.Near == nil && driver.CapsOf(b).Fenced {
		own.Near = &dogpile.Near{Lag: 20 * time.Millisecond, Exact: true}
	}
	if own.Logger == nil {
		own.Logger = slog.New(slog.DiscardHandler) // tests break servers all the time
	}
	OK(t, r.Configure(b, &own))
	return r
}

// Set returns what became of a Set of one item.
func Set(ctx context.Context, b driver.Backend, it driver.Item) error {
	items := []driver.Item{it}
	if err := b.Set(ctx, items); err != nil {
		return err
	}
	return items[0].Err
}

// Value returns what is under key, "(none)" for nothing.
func Value(t testing.TB, b driver.Backend, key string) string {
	t.Helper()
	items := []driver.Item{{Key: key}}
	OK(t, b.Get(t.Context(), items))
	OK(t, items[0].Err)
	if !items[0].Found() {
		return "(none)"
	}
	return string(items[0].Data)
}

// WantValue fails the test unless want is under key.
func WantValue(t testing.TB, b driver.Backend, key, want string) {
	t.Helper()
	if got := Value(t, b, key); got != want {
		t.Errorf("%s = %q, want %q", key, got, want)
	}
}

// Hold takes the lease on key, which has to be free.
func Hold(t testing.TB, b driver.Locker, key string, ttl time.Duration) driver.Lease {
	t.Helper()
	l, err := b.TryLock(t.Context(), key, ttl)
	OK(t, err)
	if l == nil {
		t.Fatalf("the lease on %s is not free", key)
	}
	return l
}
