package lifetime_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/lifetime"
)

var errEnded = errors.New("ended")

func TestEndWaitsForTasksAndRefusesLaterOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lifetime.New(errEnded)
		if err := l.Err(); err != nil {
			t.Errorf("Err before the end = %v", err)
		}
		finished := false
		if !l.Go(func() {
			<-l.Context().Done()
			time.Sleep(time.Second)
			finished = true
		}) {
			t.Error("Go refused a task before the end")
		}
		if !l.End() || !finished {
			t.Errorf("after the first End the task has finished: %v", finished)
		}
		if l.End() {
			t.Error("the second End takes itself for the first")
		}
		if err := l.Err(); err != errEnded {
			t.Errorf("Err after the end = %v", err)
		}
		if l.Go(func() { t.Error("a task ran after the end") }) {
			t.Error("Go took a task after the end")
		}
		l.Retry(time.Hour, func(context.Context) bool { t.Error("Retry ran after the end"); return true })
	})
}

func TestSleep(t *testing.T) {
	cancelled := func(parent context.Context) context.Context {
		ctx, cancel := context.WithCancel(parent)
		time.AfterFunc(time.Second, cancel)
		return ctx
	}
	for _, tt := range []struct {
		name  string
		ctx   func(context.Context) context.Context
		wake  bool
		end   bool
		want  error
		after time.Duration
	}{
		{name: "time is up", after: time.Minute},
		{name: "woken", wake: true, after: time.Second},
		{name: "context done", ctx: cancelled, want: context.Canceled, after: time.Second},
		{name: "lifetime ended", end: true, want: errEnded, after: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, start, ctx, woken := lifetime.New(errEnded), time.Now(), t.Context(), make(chan struct{})
				if tt.ctx != nil {
					ctx = tt.ctx(ctx)
				}
				if tt.wake {
					time.AfterFunc(time.Second, func() { close(woken) })
				}
				if tt.end {
					time.AfterFunc(time.Second, func() { l.End() })
				}
				if err := l.Sleep(ctx, time.Minute, woken); err != tt.want || time.Since(start) != tt.after {
					t.Errorf("Sleep = %v after %v, want %v after %v", err, time.Since(start), tt.want, tt.after)
				}
				l.End()
			})
		})
	}
}

// What ends a Lifetime also wakes those who sleep: of the two, they are told of the end.
func TestSleepThatTheEndWakes(t *testing.T) {
	t.Parallel()
	l, woken := lifetime.New(errEnded), make(chan struct{})
	l.End()
	close(woken)
	for range 100 {
		if err := l.Sleep(t.Context(), time.Hour, woken); err != errEnded {
			t.Fatalf("Sleep = %v", err)
		}
	}
}

func TestPollAsksEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lifetime.New(errEnded)
		defer l.End()
		var at []time.Time
		err := l.Poll(t.Context(), 10*time.Millisecond, 100*time.Millisecond, func() (time.Duration, error) {
			at = append(at, time.Now())
			return map[bool]time.Duration{true: time.Hour}[len(at) < 30], nil
		})
		if err != nil || len(at) != 30 {
			t.Fatalf("Poll = %v after %d questions", err, len(at))
		}
		first, last := at[1].Sub(at[0]), at[29].Sub(at[28])
		if first < 7*time.Millisecond || first > 13*time.Millisecond || last < 75*time.Millisecond || last > 125*time.Millisecond {
			t.Errorf("the first pause is %v, the last %v", first, last)
		}
	})
}

func TestPollWaitsNoLongerThanItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, start, asked := lifetime.New(errEnded), time.Now(), 0
		defer l.End()
		wrong := errors.New("wrong")
		err := l.Poll(t.Context(), time.Hour, time.Hour, func() (time.Duration, error) {
			if asked++; asked == 3 {
				return time.Hour, wrong
			}
			return time.Second, nil
		})
		if err != wrong || time.Since(start) != 2*time.Second {
			t.Errorf("Poll = %v after %v", err, time.Since(start))
		}
	})
}

func TestRetryGoesOnUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lifetime.New(errEnded)
		var tries atomic.Int64
		l.Retry(time.Hour, func(context.Context) bool { return tries.Add(1) == 5 })
		time.Sleep(time.Minute)
		if n := tries.Load(); n != 5 {
			t.Errorf("%d tries, want 5", n)
		}
		tries.Store(0)
		l.Retry(5*time.Second, func(context.Context) bool { tries.Add(1); return false })
		time.Sleep(time.Minute)
		within := tries.Load()
		time.Sleep(time.Minute)
		if later := tries.Load() - within; within < 5 || later != 0 {
			t.Errorf("%d tries within 5 s, %d later", within, later)
		}
		l.Retry(time.Hour, func(context.Context) bool { return false })
		l.End() // does not wait for an hour
	})
}

func TestRetryHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lifetime.New(errEnded)
		var run atomic.Int64
		for range 100 {
			l.Retry(time.Hour, func(ctx context.Context) bool { run.Add(1); <-ctx.Done(); return false })
		}
		synctest.Wait()
		if n := run.Load(); n != 64 {
			t.Errorf("%d run at once, want 64", n)
		}
		l.End()
	})
}
