//go:build unix

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// Hasty are the arguments of a backend that gives up on a server sooner than one
// with the defaults.
var Hasty = []string{"timeout=1s", "connect_timeout=1s", "breaker_failures=3", "breaker_cooldown=300ms"}

// Load is an application that goes on while things break. Each of its values
// tells of which key it is.
type Load struct {
	t         *testing.T
	cache     *dogpile.Cache[string]
	keys      int
	pad       string
	creations atomic.Int64
	calls     atomic.Int64
	active    [1000]atomic.Int64 // creators of each key
	most      atomic.Int64       // of these at once
	slowest   atomic.Int64
}

// StartLoad starts an application with so many keys, at most 1000, whose values
// end with pad. It goes on until the test ends. Any error of a GetOrCreate, and
// any value of another key, fails the test.
func StartLoad(t *testing.T, b driver.Backend, keys int, pad string) *Load {
	t.Helper()
	r := Region(t, "load", b, &dogpile.Options{Expiration: 200 * time.Millisecond, LockTTL: 2 * time.Second})
	l := &Load{t: t, keys: keys, pad: pad, cache: dogpile.NewCache[string](r, nil)}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for ctx.Err() == nil {
				l.call(rand.IntN(keys))
				Pause(5 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	l.GoesOn("to begin with")
	return l
}

func (l *Load) value(n int) string { return fmt.Sprint("value of ", n, l.pad) }

func (l *Load) call(n int) {
	start := time.Now()
	v, err := l.cache.GetOrCreate(context.Background(), fmt.Sprint("k", n), func(context.Context) (string, error) {
		defer l.active[n].Add(-1)
		if a := l.active[n].Add(1); a > l.most.Load() {
			l.most.Store(a)
		}
		l.creations.Add(1)
		Pause(5 * time.Millisecond)
		return l.value(n), nil
	})
	if v != l.value(n) || err != nil {
		l.t.Errorf("the application sees %.30q of %d, %v", v, n, err)
	}
	l.calls.Add(1)
	if took := int64(time.Since(start)); took > l.slowest.Load() {
		l.slowest.Store(took)
	}
}

// GoesOn waits until many calls have been answered.
func (l *Load) GoesOn(when string) {
	l.t.Helper()
	before := l.calls.Load()
	Eventually(l.t, "calls "+when, func() bool { return l.calls.Load() > before+200 })
}

// Healed waits until what was deleted is stored again, and checks that nobody
// created without need meanwhile.
func (l *Load) Healed() {
	l.t.Helper()
	for n := range min(l.keys, 5) {
		key := fmt.Sprint("k", n)
		Eventually(l.t, "values to be stored", func() bool {
			_, found, err := l.cache.Peek(l.t.Context(), key)
			return err == nil && found && l.cache.Delete(l.t.Context(), key) == nil
		})
		Eventually(l.t, "a value to be there again", func() bool {
			_, found, err := l.cache.Get(l.t.Context(), key)
			return err == nil && found
		})
	}
	// A flight that began with the server and one that began without it do not
	// know of each other.
	l.WantCreatorsAtOnce(2)
	l.t.Logf("%d calls, %d creations, the slowest call took %v", l.calls.Load(), l.creations.Load(), time.Duration(l.slowest.Load()))
}

// WantCreatorsAtOnce fails the test if one key had more creators at once.
func (l *Load) WantCreatorsAtOnce(most int64) {
	l.t.Helper()
	if n := l.most.Load(); n > most {
		l.t.Errorf("%d creators of one key at once in one process, want at most %d", n, most)
	}
}

// wantDeleteError checks that a Delete that cannot be done is an error.
func (l *Load) wantDeleteError() {
	l.t.Helper()
	if err := l.cache.Delete(l.t.Context(), "k1"); err == nil {
		l.t.Error("a Delete that could not be done returned no error")
	}
}

// Failures checks that an application goes on whatever becomes of its server,
// and heals.
func Failures(t *testing.T, k Kind) {
	load := func(t *testing.T, url string) *Load {
		return StartLoad(t, Open(t, k.URL(url, Hasty...)), 5, "")
	}
	for name, test := range map[string]func(*testing.T){
		"a server is killed and started again": func(t *testing.T) {
			s := k.Start(t)
			l := load(t, s.URL())
			for range 2 {
				s.Kill()
				l.GoesOn("without a server")
				l.wantDeleteError()
				s.Start(t) // empty
				l.GoesOn("afterwards")
				l.Healed()
			}
		},
		"a server stops and goes on": func(t *testing.T) {
			s := k.Start(t)
			l := load(t, s.URL())
			s.Stop(t)
			l.GoesOn("while the server hangs")
			l.wantDeleteError()
			Pause(5 * time.Second)
			s.Resume(t)
			l.GoesOn("afterwards")
			l.Healed()
		},
		"a server is flushed": func(t *testing.T) {
			s := k.Start(t)
			l := load(t, s.URL())
			for range 5 {
				s.Flush(t)
				l.GoesOn("afterwards")
			}
			l.Healed()
		},
		"the network is cut":                              func(t *testing.T) { cut(t, k) },
		"a server that hangs costs nothing after a while": func(t *testing.T) { hangs(t, k) },
		"a lock that timed out is given back":             func(t *testing.T) { givenBack(t, k) },
		"callers without time":                            func(t *testing.T) { hasty(t, k) },
		"a server that hangs, and callers without time":   func(t *testing.T) { hangsInHaste(t, k) },
		"a server that restarts is used again at once":    func(t *testing.T) { restarts(t, k) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// cut is a network that is cut and mended.
func cut(t *testing.T, k Kind) {
	s := k.Start(t)
	n := NewNetwork(t, s.Addr())
	l := StartLoad(t, Open(t, k.URL(via(s, n), Hasty...)), 5, "")
	for range 3 {
		n.Cut()
		l.GoesOn("without a network")
		l.wantDeleteError()
		n.Mend()
		l.GoesOn("afterwards")
	}
	l.Healed()
}

// via returns the URL of s by way of n.
func via(s Server, n *Network) string { return strings.Replace(s.URL(), s.Addr(), n.Addr, 1) }

// calls returns each call of a backend, on the key k.
func calls(ctx context.Context, b Backend) map[string]func() error {
	return map[string]func() error{
		"Get":     func() error { return b.Get(ctx, []driver.Item{{Key: "k"}}) },
		"Set":     func() error { return Set(ctx, b, driver.Item{Key: "k", Data: []byte("v")}) },
		"Delete":  func() error { return b.Delete(ctx, []string{"k"}) },
		"TryLock": func() error { _, err := b.TryLock(ctx, "k", time.Minute); return err },
		"Locked":  func() error { _, err := b.Locked(ctx, "k"); return err },
		"Wait":    func() error { return b.Wait(ctx, "k") },
	}
}

// 1. The server stops.  2. Calls time out, until the breaker opens.  3. Calls
// fail at once, without the network.  4. The server goes on.  5. So do calls.
func hangs(t *testing.T, k Kind) {
	s := k.Start(t)
	b := Open(t, k.URL(s.URL(), "timeout=100ms", "connect_timeout=100ms", "breaker_failures=3", "breaker_cooldown=5s"))
	get := calls(t.Context(), b)["Get"]
	Eventually(t, "an answer in time", func() bool { return get() == nil })
	s.Stop(t)
	for i := range 3 {
		if err := get(); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("call %d of a server that hangs = %v", i, err)
		}
	}
	for name, call := range calls(t.Context(), b) {
		Eventually(t, name+" to be refused while open", func() bool { // now and then it is the probe
			return errors.Is(call(), proxy.ErrOpen)
		})
	}
	s.Resume(t)
	Eventually(t, "the breaker to close", func() bool { return get() == nil })
	Eventually(t, "a Delete in time", func() bool { return b.Delete(t.Context(), []string{"k"}) == nil })
}

// 1. The server stops.  2. TryLock gives up.  3. The server goes on, and finds
// the command in its buffer.  4. Nobody holds the lease afterwards.
func givenBack(t *testing.T, k Kind) {
	s := k.Start(t)
	b := Open(t, k.URL(s.URL(), "timeout=2s", "breaker=false"))
	ctx := t.Context()
	Eventually(t, "an answer in time", func() bool { return b.Get(ctx, []driver.Item{{Key: "k"}}) == nil })
	s.Stop(t)
	l, err := b.TryLock(ctx, "k", time.Hour)
	if l != nil || err == nil {
		t.Errorf("TryLock of a server that hangs = %v, %v", l, err)
	}
	s.Resume(t)
	Eventually(t, "the lease to be taken and given back", func() bool { return s.TookAndFreed(t, "k") })
	Eventually(t, "the lease to be free for the taking", func() bool {
		l, err := b.TryLock(ctx, "k", time.Hour)
		return l != nil && err == nil
	})
}

// WantBreaker fails the test unless b, whose server cannot be reached, has a
// breaker, or has none.
func WantBreaker(t testing.TB, what string, b driver.Backend, want bool) {
	t.Helper()
	open := false // of these calls some may be probes
	for range 20 {
		err := b.Get(t.Context(), []driver.Item{{Key: "k"}})
		if err == nil {
			t.Errorf("%s: Get = nil", what)
		}
		open = open || errors.Is(err, proxy.ErrOpen)
	}
	if open != want {
		t.Errorf("%s: after many failures a breaker is open: %v", what, open)
	}
}
