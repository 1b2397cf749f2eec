package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/breaker"
)

var errX = errors.New("x")

// server is one that does as it is told, and its breaker.
type server struct {
	*breaker.Breaker
	calls, checks atomic.Int64
	behaviour     atomic.Pointer[func(context.Context) error] // nil: answer
}

// is has the server do something from now on.
func (s *server) is(do func(context.Context) error) { s.behaviour.Store(&do) }

func newServer(o breaker.Options) *server {
	s := new(server)
	o.Check = func(ctx context.Context, _, _ string) error {
		s.checks.Add(1)
		return s.answer(ctx)
	}
	s.Breaker = breaker.New(o)
	return s
}

func (s *server) answer(ctx context.Context) error {
	if do := s.behaviour.Load(); do != nil {
		return (*do)(ctx)
	}
	return ctx.Err()
}

func (s *server) call(ctx context.Context) error {
	return s.Do(ctx, "", "k", func() error {
		s.calls.Add(1)
		return s.answer(ctx)
	})
}

// within makes a call with a deadline.
func (s *server) within(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.call(ctx)
}

func (s *server) isClosed() bool { return s.Refused("") == nil }

func fail(context.Context) error { return errX }

func well(ctx context.Context) error { return ctx.Err() }

func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Failures with a success between them are not in a row, whenever that began.
func TestFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(breaker.Options{})
		done := make(chan error)
		go func() {
			done <- s.Do(t.Context(), "", "k", func() error { time.Sleep(time.Second); return nil })
		}()
		synctest.Wait()
		s.is(fail)
		for range 4 {
			_ = s.call(t.Context())
		}
		<-done
		_ = s.call(t.Context())
		if !s.isClosed() {
			t.Error("open after 4 failures, a success and a failure")
		}
	})
}

// A call that fails when the breaker is open already does not prolong the
// pause.
func TestLateFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(breaker.Options{Failures: 1})
		for i := range 4 {
			go func() {
				_ = s.Do(t.Context(), "", "k", func() error { time.Sleep(time.Duration(i) * 20 * time.Millisecond); return errX })
			}()
		}
		time.Sleep(51 * time.Millisecond)
		if err := s.call(t.Context()); err != nil {
			t.Errorf("after the first pause: %v", err)
		}
		time.Sleep(time.Second)
	})
}

// probes returns how long after the breaker opened it let calls through, in 10 s of
// calls once a millisecond.
func (s *server) probes() (after []time.Duration) {
	began := time.Now()
	before := s.calls.Load()
	for time.Since(began) < 10*time.Second {
		time.Sleep(time.Millisecond)
		_ = s.call(context.Background())
		if n := s.calls.Load(); n != before {
			before = n
			after = append(after, time.Since(began))
		}
	}
	return after
}

func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(breaker.Options{Failures: 2, Cooldown: 2 * time.Second})
		const ms = time.Millisecond
		for i := range 2 { // anew after it was closed
			s.is(fail)
			_, _ = s.call(t.Context()), s.call(t.Context())
			got := s.probes()
			want := []time.Duration{50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 3150 * ms, 5150 * ms, 7150 * ms, 9150 * ms}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("outage %d: probes after\n%v, want\n%v", i, got, want)
			}
			s.is(well)
			time.Sleep(2 * time.Second)
			if err := s.call(t.Context()); err != nil {
				t.Errorf("the probe of a server that is well = %v", err)
			}
			if !s.isClosed() || s.Trouble() {
				t.Error("something is remembered of a server that is well")
			}
		}
	})
}

// A server that restarts is used again after about as long as it was away.
func TestShortOutages(t *testing.T) {
	for _, away := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(breaker.Options{})
			s.is(fail)
			began := time.Now()
			for time.Since(began) < away {
				_ = s.call(t.Context())
				time.Sleep(time.Millisecond)
			}
			s.is(well)
			for s.call(t.Context()) != nil {
				time.Sleep(time.Millisecond)
			}
			most := min(away+2*50*time.Millisecond, time.Second+time.Millisecond)
			if more := time.Since(began) - away; more > most {
				t.Errorf("after %v without the server it was not asked for %v more", away, more)
			}
		})
	}
}

// Calls whose callers give up too early do not open the breaker of a server that
// answers.
func TestHasteIsNoFailure(t *testing.T) {
	slow := func(ctx context.Context) error {
		select {
		case <-time.After(20 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, d := range []time.Duration{-1, 0, 10 * time.Microsecond, 3 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(breaker.Options{Failures: 1})
			s.is(slow)
			for range 1000 {
				if err := s.within(d); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, breaker.ErrOpen) {
					t.Fatalf("a call with %v = %v", d, err)
				}
			}
			if d <= 0 && s.calls.Load()+s.checks.Load() > 0 {
				t.Errorf("%d calls with %v reached the server", s.calls.Load()+s.checks.Load(), d)
			}
			s.Close()
		})
	}
}

// A server that hangs is found out also if no caller waits long enough.
func TestHasteOpensTheBreakerOfAServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(breaker.Options{Failures: 3, Patience: 500 * time.Millisecond})
		s.is(hang)
		began := time.Now()
		for s.isClosed() && time.Since(began) < time.Minute {
			_ = s.within(50 * time.Millisecond)
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("open after %v of calls that waited for 50 ms", took)
		}
		if n := s.checks.Load(); n != 1 {
			t.Errorf("%d checks", n)
		}
		err := s.Refused("")
		if !errors.Is(err, breaker.ErrOpen) || !strings.Contains(err.Error(), "deadline exceeded") {
			t.Errorf("a call = %v", err)
		}
		// In the pauses between probes, which grow, nobody waits.
		before := s.calls.Load()
		for range 10_000 {
			_ = s.within(50 * time.Millisecond)
			time.Sleep(time.Millisecond)
		}
		if n := s.calls.Load() - before; n < 5 || n > 15 {
			t.Errorf("%d probes in 10 s, with pauses that grow to 1 s and checks of 500 ms", n)
		}
		s.is(well)
		time.Sleep(2 * time.Second) // of which 500 ms may be the last check
		if err := errors.Join(s.within(50*time.Millisecond), s.within(50*time.Millisecond)); err != nil || !s.isClosed() {
			t.Errorf("after the server went on: %v", err)
		}
		s.Close()
	})
}

// One success among hasty calls is enough: the server answers.
func TestHasteAmongAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(breaker.Options{Failures: 3})
		for range 100 {
			for range 2 {
				s.is(hang)
				_ = s.within(time.Millisecond)
			}
			s.is(well)
			_ = s.within(time.Second)
		}
		if n := s.checks.Load(); n != 0 {
			t.Errorf("%d checks of a server that answers one call of three", n)
		}
	})
}

// A hasty probe neither closes the breaker nor leaves it half-open: a Check
// decides.
func TestHastyProbe(t *testing.T) {
	for name, do := range map[string]func(context.Context) error{"that is well": well, "that is down": fail} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(breaker.Options{Failures: 1})
			s.is(fail)
			_ = s.call(t.Context())
			time.Sleep(51 * time.Millisecond)
			s.is(func(ctx context.Context) error {
				if err := hang(ctx); context.Cause(ctx) != driver.ErrTimeout {
					s.is(do)
					return err
				}
				return nil
			})
			if err := s.within(time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the probe = %v", err)
			}
			synctest.Wait()
			if s.isClosed() != (name == "that is well") || s.checks.Load() != 1 {
				t.Errorf("a server %s: closed is %v after %d checks", name, s.isClosed(), s.checks.Load())
			}
			s.Close()
		})
	}
}

// The deadline that a region sets is the backend's time, not a caller's haste.
func TestTimeoutOfTheRegionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(breaker.Options{Failures: 2})
		s.is(hang)
		for range 2 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, driver.ErrTimeout)
			_ = s.call(ctx)
			cancel()
		}
		if s.isClosed() || s.checks.Load() != 0 {
			t.Errorf("closed is %v, after %d checks", s.isClosed(), s.checks.Load())
		}
	})
}

// A client that looks at the clock itself gives up before the context's timer has
// fired. That is the caller's haste all the same.
func TestDeadlineBeforeItsTimer(t *testing.T) {
	t.Parallel()
	b := breaker.New(breaker.Options{Failures: 1})
	_ = b.Do(late{t.Context()}, "", "k", func() error { return context.DeadlineExceeded })
	if err := b.Refused(""); err != nil {
		t.Error(err)
	}
}

// late is a context whose deadline has passed, and whose timer has not fired yet.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now(), true }

func TestCloseEndsChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		s := newServer(breaker.Options{Failures: 1, Patience: time.Hour})
		s.is(hang)
		_ = s.within(time.Millisecond)
		synctest.Wait()
		if s.checks.Load() != 1 {
			t.Fatal("no check")
		}
		s.Close()
		if !s.isClosed() {
			t.Error("a check that was ended opened the breaker")
		}
		for range 5 {
			_ = s.within(time.Millisecond)
		}
		if n := s.checks.Load(); n != 1 {
			t.Errorf("%d checks after Close", n-1)
		}
	})
}

// A Check may get the deadline of a call that shares something with it.
func TestCheckWithTheDeadlineOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := 0
		b := breaker.New(breaker.Options{Failures: 1, Check: func(context.Context, string, string) error {
			if checks++; checks < 3 {
				return context.DeadlineExceeded
			}
			return nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_ = b.Do(ctx, "", "k", func() error { return hang(ctx) })
		time.Sleep(time.Second)
		if err := b.Refused(""); err != nil || b.Trouble() {
			t.Errorf("Refused = %v", err)
		}
	})
}

func TestPanicOfACheckOpensTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{Failures: 1, Check: func(context.Context, string, string) error { panic("boom") }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = b.Do(ctx, "", "k", func() error { return hang(ctx) })
		synctest.Wait()
		if err := b.Refused(""); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("Refused = %v", err)
		}
	})
}

func TestOpenErrorNamesServerTimeAndCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{Failures: 1, Cooldown: time.Hour})
		cause := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		_ = b.Do(t.Context(), "h:1", "k", func() error { return cause })
		for _, row := range []struct {
			after time.Duration
			says  string
		}{
			{0, "the circuit breaker of h:1 is open for 100ms because: dial tcp: connection refused"},
			{40 * time.Millisecond, "the circuit breaker of h:1 is open for 100ms because: dial tcp: connection refused"},
		} {
			time.Sleep(row.after)
			err := b.Do(t.Context(), "h:1", "k", func() error { return nil })
			if !errors.Is(err, breaker.ErrOpen) || !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != row.says {
				t.Errorf("%q, want %q", err, row.says)
			}
		}
		if n := testing.AllocsPerRun(100, func() { _ = b.Refused("h:1") }); n != 0 {
			t.Errorf("a refusal makes %v allocations", n)
		}
	})
}

// What an error says of its call alone, as the keys, is not told to other calls, and
// a server that the cause names is not named twice.
func TestOpenErrorSaysNothingTwiceAndNothingOfOtherCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in real time the next call may be the probe
		b := breaker.New(breaker.Options{Failures: 1, Cooldown: time.Hour})
		_ = b.Do(t.Context(), "h:1", "k", func() error { return keysError{errors.New("no answer from h:1")} })
		err := b.Do(t.Context(), "h:1", "k", func() error { return nil })
		if want := "the circuit breaker is open for 100ms because: no answer from h:1"; err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	})
}

type keysError struct{ reason error }

func (e keysError) Error() string { return e.reason.Error() + " (for k1, k2)" }
func (e keysError) Reason() error { return e.reason }

// Servers that left are forgotten, and not even names without end fill the memory.
func TestServersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Options{Failures: 1})
		call := func(server string, err error) error {
			return b.Do(t.Context(), server, "k", func() error { return err })
		}
		for i := range 10_000 {
			_ = call(fmt.Sprint(i), errX)
		}
		open := 0
		for i := range 10_000 {
			if b.Refused(fmt.Sprint(i)) != nil {
				open++
			}
		}
		if open == 0 || open > 1000 {
			t.Errorf("%d servers are remembered", open)
		}
		time.Sleep(time.Hour)
		_ = call("1", nil)
		if b.Trouble() {
			t.Error("servers that nobody asked for in an hour are remembered")
		}
	})
}

// Whatever calls of many goroutines come to, no server is refused for ever.
func TestManyCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ill atomic.Bool
		ill.Store(true)
		answer := func(ctx context.Context) error {
			if !ill.Load() {
				return nil
			}
			switch rand.IntN(5) {
			case 0:
				return nil
			case 1:
				return breaker.ErrNothing
			case 2:
				return hang(ctx)
			case 3:
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
			return errX
		}
		b := breaker.New(breaker.Options{Check: func(ctx context.Context, _, _ string) error { return answer(ctx) }})
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for range 1000 {
					server := fmt.Sprint(rand.IntN(3))
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(50))*time.Millisecond)
					func() {
						defer func() { _ = recover() }()
						_ = b.Do(ctx, server, "k", func() error {
							if ill.Load() && rand.IntN(10) == 0 {
								panic("boom")
							}
							return answer(ctx)
						})
					}()
					cancel()
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Wait()
		ill.Store(false)
		time.Sleep(4 * time.Second) // a Check and a pause
		for server := range 3 {
			for range 2 {
				if err := b.Do(t.Context(), fmt.Sprint(server), "k", func() error { return nil }); err != nil {
					t.Errorf("server %d, which is well: %v", server, err)
				}
			}
		}
		if b.Trouble() {
			t.Error("something is remembered of servers that are well")
		}
		b.Close()
	})
}

func TestDown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"a time-out of a context", fmt.Errorf("redis: %w", context.DeadlineExceeded), true},
		{"a time-out of a connection", os.ErrDeadlineExceeded, true},
		{"a refused connection", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{"an unknown host", &net.DNSError{Err: "no such host"}, true},
		{"a connection that ended", fmt.Errorf("read: %w", io.EOF), true},
		{"a connection that was closed", net.ErrClosed, true},
		{"an open breaker further down", &breaker.OpenError{Cause: context.DeadlineExceeded}, true},
		{"an error that says so", fmt.Errorf("item: %w", says(true)), true},
		{"an error that says no", fmt.Errorf("item: %w", says(false)), false},
		{"a lost lease", driver.ErrLeaseLost, false},
		{"damage", driver.ErrCorrupt, false},
		{"an unknown error", errX, false},
	} {
		if breaker.Down(row.err) != row.want {
			t.Errorf("Down of %s is %v", row.name, !row.want)
		}
	}
}

type says bool

func (s says) Error() string     { return "says" }
func (s says) Unavailable() bool { return bool(s) }
