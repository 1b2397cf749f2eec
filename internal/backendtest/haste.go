//go:build unix

package backendtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// hasty checks that callers without time open the breaker of no server that is
// well.
func hasty(t *testing.T, k Kind) {
	s := k.Start(t)
	b := Open(t, k.URL(s.URL(), append(patient, "breaker_failures=1", "breaker_cooldown=1h")...))
	r := Region(t, "hasty", b, nil)
	all := calls(t.Context(), b)
	delete(all, "Wait")
	all["Invalidate"] = func() error { return r.Invalidate(t.Context(), dogpile.Hard) }
	for name, call := range all {
		Eventually(t, "an answer to "+name, func() bool { return call() == nil })
	}
	for _, d := range []time.Duration{-time.Second, 0, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond} {
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			hurried := calls(ctx, b)
			hurried["Invalidate"] = func() error { return r.Invalidate(ctx, dogpile.Soft) }
			for name, call := range hurried {
				if err := call(); errors.Is(err, proxy.ErrOpen) {
					t.Fatalf("%s within %v = %v", name, d, err)
				}
			}
			cancel()
		}
		for name, call := range all {
			if err := call(); errors.Is(err, proxy.ErrOpen) {
				t.Errorf("%s after calls with %v = %v", name, d, err)
			}
		}
	}
}

// hangsInHaste checks that the breaker of a server that hangs opens also if no
// caller waits for as long as the server has.
func hangsInHaste(t *testing.T, k Kind) {
	s := k.Start(t)
	b := Open(t, k.URL(s.URL(), "timeout=500ms", "connect_timeout=500ms"))
	get := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return b.Get(ctx, []driver.Item{{Key: "k"}})
	}
	Eventually(t, "an answer in time", func() bool { return get() == nil })
	s.Stop(t)
	Eventually(t, "the breaker to open", func() bool { return errors.Is(get(), proxy.ErrOpen) })
	s.Resume(t)
	Eventually(t, "the breaker to close", func() bool { return get() == nil })
}

// restarts checks that a server that was away for a moment is used again at once,
// however long the breaker may stay open.
func restarts(t *testing.T, k Kind) {
	s := k.Start(t)
	b := Open(t, k.URL(s.URL(), append(patient, "breaker_cooldown=1h")...))
	get := func() error { return b.Get(t.Context(), []driver.Item{{Key: "k"}}) }
	Eventually(t, "an answer", func() bool { return get() == nil })
	for range 3 {
		s.Kill()
		Eventually(t, "the breaker to open", func() bool { return errors.Is(get(), proxy.ErrOpen) })
		s.Start(t)
		began := time.Now()
		Eventually(t, "the server to be used again", func() bool { return get() == nil })
		t.Logf("used again %v after it was started", time.Since(began))
	}
}
