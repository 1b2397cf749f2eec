package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/proxy"
)

func TestBreakerKeepsTheContract(t *testing.T) {
	drivertest.RunProxy(t, proxy.Breaker(nil), nil)
}

// sick is a backend that does as it is told.
type sick struct {
	driver.Proxy
	calls atomic.Int64
	do    func(ctx context.Context) error // nil: be well
}

func (s *sick) call(ctx context.Context) error {
	s.calls.Add(1)
	if s.do != nil {
		return s.do(ctx)
	}
	return nil
}

func (s *sick) Get(ctx context.Context, _ []driver.Item) error     { return s.call(ctx) }
func (s *sick) Set(ctx context.Context, _ []driver.Item) error     { return s.call(ctx) }
func (s *sick) Delete(ctx context.Context, _ []string) error       { return s.call(ctx) }
func (s *sick) Wait(ctx context.Context, _ string) error           { return s.call(ctx) }
func (s *sick) Locked(ctx context.Context, _ string) (bool, error) { return false, s.call(ctx) }
func (s *sick) Holder(ctx context.Context, _ string) (driver.Holder, bool, error) {
	return driver.Holder{}, false, s.call(ctx)
}
func (s *sick) TryLock(ctx context.Context, _ string, _ time.Duration) (driver.Lease, error) {
	return nil, s.call(ctx)
}

// answer is an error reply, which tells whether the server can serve.
type answer bool

func (a answer) Error() string     { return "reply" }
func (a answer) Unavailable() bool { return bool(a) }

var errSick = errors.New("sick")

func failing(context.Context) error { return errSick }

// wantOpen checks that every operation is refused without reaching s. It is for bubbles:
// in real time one of them may be the probe.
func wantOpen(t *testing.T, s *sick, b driver.Backend) {
	t.Helper()
	before := s.calls.Load()
	for _, o := range operations {
		if err := o.call(t.Context(), b); !errors.Is(err, proxy.ErrOpen) {
			t.Errorf("%s while open = %v", o.name, err)
		}
	}
	if n := s.calls.Load() - before; n != 0 {
		t.Errorf("%d calls reached the backend", n)
	}
}

func TestBreakerOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sick{do: failing}
		b := proxy.Breaker(&proxy.BreakerOptions{Failures: 3, Cooldown: time.Minute})(s)
		get := func() error { return b.Get(t.Context(), []driver.Item{{Key: "k"}}) }
		for i := range 3 {
			if err := get(); err != errSick {
				t.Errorf("call %d = %v", i, err)
			}
		}
		wantOpen(t, s, b)
		for pause := 50 * time.Millisecond; pause < 2*time.Minute; pause *= 2 {
			time.Sleep(min(pause, time.Minute) - 1)
			wantOpen(t, s, b)
			time.Sleep(time.Nanosecond)
			if err := get(); err != errSick { // the probe
				t.Errorf("after %v the probe = %v", pause, err)
			}
			wantOpen(t, s, b)
		}
		time.Sleep(time.Minute)
		s.do = nil
		if err := errors.Join(get(), get(), get()); err != nil {
			t.Errorf("after a probe that succeeded: %v", err)
		}
		for _, o := range operations {
			if err := o.call(t.Context(), b); err != nil {
				t.Errorf("%s after closing = %v", o.name, err)
			}
		}
	})
}

func TestBreakerSendsOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sick{do: failing}
		b := proxy.Breaker(&proxy.BreakerOptions{Failures: 1, Cooldown: time.Second})(s)
		call := func() error { return b.Delete(t.Context(), []string{"k"}) }
		if err := call(); err != errSick {
			t.Fatal(err)
		}
		time.Sleep(time.Second + 1)
		gate := make(chan struct{})
		s.do = func(context.Context) error { <-gate; return nil }
		probe := make(chan error, 1)
		before := s.calls.Load()
		go func() { probe <- call() }()
		synctest.Wait()
		wantOpen(t, s, b)
		if n := s.calls.Load() - before; n != 1 {
			t.Errorf("%d probes", n)
		}
		close(gate)
		if err := errors.Join(<-probe, call()); err != nil {
			t.Errorf("after the probe: %v", err)
		}
	})
}

func TestBreakerCounts(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	timeout := func(cause error) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, cause)
		}
	}
	for _, tt := range []struct {
		name  string
		do    func(context.Context) error
		ctx   func(context.Context) (context.Context, context.CancelFunc)
		opens bool
	}{
		{"errors", failing, nil, true},
		{"the backend's own time-outs", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return hang(ctx)
		}, nil, true},
		{"time-outs of the region", hang, timeout(driver.ErrTimeout), true},
		{"deadlines of callers", hang, timeout(nil), false},
		{"deadlines that have passed", func(context.Context) error { return errSick }, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, -time.Second)
		}, false},
		{"servers that have answered", func(context.Context) error { return fmt.Errorf("set: %w", answer(false)) }, nil, false},
		{"servers that cannot serve", func(context.Context) error { return fmt.Errorf("set: %w", answer(true)) }, nil, true},
		{"callers that leave", hang, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, false},
		{"lost leases", func(context.Context) error { return fmt.Errorf("set: %w", driver.ErrLeaseLost) }, nil, false},
		{"what the backend cannot do", func(context.Context) error { return errors.ErrUnsupported }, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, o := range operations {
				synctest.Test(t, func(t *testing.T) {
					s := &sick{do: tt.do}
					b := proxy.Breaker(nil)(s)
					for i := range 5 {
						ctx, cancel := t.Context(), context.CancelFunc(func() {})
						if tt.ctx != nil {
							ctx, cancel = tt.ctx(ctx)
						}
						if err := o.call(ctx, b); err == nil || errors.Is(err, proxy.ErrOpen) {
							t.Errorf("%s, call %d = %v", o.name, i, err)
						}
						cancel()
					}
					// Hasty callers have the breaker ask the backend by itself. That
					// check has read s.do and hangs in it before s.do changes.
					synctest.Wait()
					s.do = nil
					opened := errors.Is(b.Get(t.Context(), []driver.Item{{Key: "k"}}), proxy.ErrOpen)
					_ = driver.Close(b)
					if opened != (tt.opens && o.name != "Wait") {
						t.Errorf("after five of %s the breaker is open: %v", o.name, opened)
					}
				})
			}
		})
	}
}

func TestBreakerNilAndZeroOptionsMeanTheSame(t *testing.T) {
	for name, o := range map[string]*proxy.BreakerOptions{"nil": nil, "zero": {}} {
		synctest.Test(t, func(t *testing.T) {
			s := &sick{do: failing}
			b := proxy.Breaker(o)(s)
			get := func() error { return b.Get(t.Context(), []driver.Item{{Key: "k"}}) }
			for i := range 5 {
				if err := get(); err != errSick {
					t.Errorf("%s options: call %d = %v", name, i, err)
				}
			}
			wantOpen(t, s, b)
			time.Sleep(50 * time.Millisecond)
			for range 10 { // until the pauses are as long as they get
				if err := get(); err != errSick {
					t.Errorf("%s options: the probe = %v", name, err)
				}
				wantOpen(t, s, b)
				time.Sleep(time.Second)
			}
		})
	}
}

// The caller's options are read once: writing to them later changes nothing.
func TestBreakerKeepsNoPointerToItsOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &proxy.BreakerOptions{Failures: 1, Cooldown: time.Hour}
		wrap := proxy.Breaker(o)
		o.Failures = 1000
		s := &sick{do: failing}
		b := wrap(s)
		_ = b.Get(t.Context(), []driver.Item{{Key: "k"}})
		wantOpen(t, s, b)
	})
}

func TestBreakerForgetsFailuresAfterASuccess(t *testing.T) {
	t.Parallel()
	s := new(sick)
	b := proxy.Breaker(&proxy.BreakerOptions{Failures: 2})(s)
	for i := range 100 {
		if s.do = nil; i%2 == 0 {
			s.do = failing
		}
		if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); errors.Is(err, proxy.ErrOpen) {
			t.Fatalf("open after call %d, though no two in a row failed", i)
		}
	}
}

func TestBreakerCountsPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sick{do: func(context.Context) error { panic("boom") }}
		b := proxy.Breaker(&proxy.BreakerOptions{Failures: -1, Cooldown: time.Hour})(s)
		func() {
			defer func() {
				if p := recover(); p != "boom" {
					t.Errorf("recovered %v", p)
				}
			}()
			_ = b.Get(t.Context(), []driver.Item{{Key: "k"}})
		}()
		wantOpen(t, s, b)
	})
}

func TestBreakerThatIsOffLetsEverythingThrough(t *testing.T) {
	t.Parallel()
	s := &sick{do: failing}
	b := proxy.Breaker(&proxy.BreakerOptions{Off: true, Failures: 1})(s)
	for i := range 10 {
		if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err != errSick {
			t.Fatalf("call %d = %v", i, err)
		}
	}
}

// A region bounds calls of a backend that has no time-out of its own. That it took
// so long is the backend's fault, whatever deadlines the callers have.
func TestBreakerInARegionOverABackendThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sick{do: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		b := proxy.Breaker(&proxy.BreakerOptions{Failures: 2, Cooldown: time.Hour})(s)
		r := dogpile.NewRegion("r")
		if err := r.Configure(b, &dogpile.Options{BackendTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		c := dogpile.NewCache[int](r, nil)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, _, _ = c.Get(ctx, "k")
			cancel()
		}
		_, _, err := c.Get(t.Context(), "k")
		if !errors.Is(err, proxy.ErrOpen) || !errors.Is(err, dogpile.ErrBackend) {
			t.Errorf("the third Get = %v", err)
		}
	})
}
