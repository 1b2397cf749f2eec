// Package lifetime is how a backend ends: calls that come later are refused,
// what waits is woken, and what runs in the background is waited for.
package lifetime

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// maxRetries is how many Retry tasks run at once.
const maxRetries = 64

// Lifetime is the time from New to End. It is safe for concurrent use.
type Lifetime struct {
	ended   error
	ctx     context.Context // done once ended
	cancel  context.CancelFunc
	retries chan struct{} // holds one for each Retry task that runs

	mu    sync.Mutex // orders tasks.Go and the cancelling before tasks.Wait
	tasks sync.WaitGroup
}

// New begins a Lifetime. ended is the error of calls that come after its end.
func New(ended error) *Lifetime {
	l := &Lifetime{ended: ended, retries: make(chan struct{}, maxRetries)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Err returns nil until End is called, and then the error that New was given.
func (l *Lifetime) Err() error {
	if l.ctx.Err() != nil {
		return l.ended
	}
	return nil
}

// Context returns a context that is done when End is called.
func (l *Lifetime) Context() context.Context { return l.ctx }

// End ends the Lifetime and returns when no task is left. It reports whether
// this is the first call.
func (l *Lifetime) End() (first bool) {
	// 1. Go finds the Lifetime going on.  2. End cancels it.  3. Wait finds no
	// task and returns.  4. Go starts the task. The lock rules that out.
	l.mu.Lock()
	first = l.ctx.Err() == nil
	l.cancel()
	l.mu.Unlock()
	l.tasks.Wait()
	return first
}

// Go runs task in a goroutine that End waits for. It returns false, and runs
// nothing, once the Lifetime has ended.
func (l *Lifetime) Go(task func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return false
	}
	l.tasks.Go(task)
	return true
}

// Sleep returns nil after d or when woken is closed, and an error if ctx is done before
// that, or the Lifetime has ended by then.
func (l *Lifetime) Sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return l.Err()
	case <-woken:
		return l.Err() // its end may be what wakes those who sleep
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return l.ended
	}
}

// Poll calls ask until it returns 0 or an error. ask returns for how long to
// wait at most before the next time. The pauses grow from first to last and
// vary by a quarter, so that waiters that began together do not stay together.
func (l *Lifetime) Poll(ctx context.Context, first, last time.Duration, ask func() (time.Duration, error)) error {
	for pause := first; ; pause = min(pause*3/2, last) {
		most, err := ask()
		if most <= 0 || err != nil {
			return err
		}
		if err := l.Sleep(ctx, min(most, Jitter(pause)), nil); err != nil {
			return err
		}
	}
}

// Jitter returns d, give or take a quarter.
func Jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// Retry calls try in the background until it reports that it is done, for at
// most limit and with growing pauses. If 64 others do the same already, it
// does nothing.
func (l *Lifetime) Retry(limit time.Duration, try func(context.Context) (done bool)) {
	select {
	case l.retries <- struct{}{}:
	default:
		return
	}
	started := l.Go(func() {
		defer func() { <-l.retries }()
		ctx, cancel := context.WithTimeout(l.ctx, limit)
		defer cancel()
		for pause := 10 * time.Millisecond; !try(ctx); pause = min(2*pause, time.Second) {
			if l.Sleep(ctx, pause, nil) != nil {
				return
			}
		}
	})
	if !started {
		<-l.retries
	}
}
