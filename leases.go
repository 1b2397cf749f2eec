package dogpile

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// tryLock tries for the lease on a mangled key.
func (s *state) tryLock(ctx context.Context, key string) (driver.Lease, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	began := s.calls()
	l, err := s.locker.TryLock(ctx, key, s.o.LockTTL)
	s.called(ctx, "lock", began, nil, err)
	return l, err
}

// wait waits until the lease on a mangled key may be free.
func (s *state) wait(ctx context.Context, key string) error {
	began := s.calls()
	err := s.locker.Wait(ctx, key)
	s.called(ctx, "wait", began, nil, err)
	return err
}

// release gives a lease back in its own time: the context under which it was
// taken may have ended. If that fails the lease runs out, and e tells of it.
func (s *state) release(l driver.Lease, e Event) {
	s.usage.hold() // a lease that is given back in the background may outlast its flight
	defer s.usage.leave()
	ctx, cancel := context.WithTimeout(context.Background(), defaultBackendTimeout)
	defer cancel()
	began := s.calls()
	e.Err = l.Release(ctx)
	s.called(ctx, "unlock", began, nil, e.Err)
	if e.Err != nil {
		s.failed(ctx, e)
	}
}

func (s *state) extend(ctx context.Context, l driver.Lease) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	began := s.calls()
	err := l.Extend(ctx, s.o.LockTTL)
	s.called(ctx, "extend", began, nil, err)
	return err
}

// holding is a lease in the hands of one creation. It is given back once: by the
// creation, or by an invalidation that makes the creation forgotten.
type holding struct {
	lease driver.Lease // read only by the creation itself
	mu    sync.Mutex
	given bool
}

func (h *holding) take(l driver.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lease, h.given = l, false
}

// current returns the lease while it is held.
func (h *holding) current() driver.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.given {
		return nil
	}
	return h.lease
}

func (h *holding) give() driver.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.given {
		return nil
	}
	h.given = true
	return h.lease
}

// keep renews a lease at a third of its time until stop is called. A renewal that
// fails is tried again while the lease lasts, which a backend that hangs for a
// moment does not end. When it is lost, or nothing was heard from the backend for
// as long as it lasts, lost is called with ErrLeaseLost. e tells of each that fails.
func (s *state) keep(ctx context.Context, l driver.Lease, e Event, lost context.CancelCauseFunc) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	every := s.o.LockTTL / 3
	var timer *time.Timer
	turn := make(chan struct{}, 1)     // taken while renewing, so that stop waits for it
	sure := now() + int64(s.o.LockTTL) // until then it holds, as far as we know
	// What is to be told of a renewal is told after the turn: a hook that waits for the creation
	// must not hold up stop, which that waits for.
	renew := func() (tell func()) {
		turn <- struct{}{}
		defer func() { <-turn }()
		// 1. The timer fires.  2. stop cancels ctx and takes the turn.  3. It returns.
		// 4. It is this function's turn, and the lease may be another holder's by now.
		if ctx.Err() != nil {
			return func() {}
		}
		began := now()
		left := time.Duration(sure - began)
		if left <= 0 {
			lost(driver.ErrLeaseLost)
			return func() {}
		}
		bounded, cancel := context.WithTimeout(ctx, min(every, left))
		defer cancel()
		bounded, cancelCall := s.bound(bounded)
		defer cancelCall()
		next, asked := every, s.calls()
		err := l.Extend(bounded, s.o.LockTTL)
		failed := err != nil && ctx.Err() == nil && !errors.Is(err, driver.ErrLeaseLost)
		tell = func() {
			s.called(ctx, "extend", asked, nil, err)
			if e := e; failed {
				e.Err = err
				s.failed(ctx, e)
			}
		}
		switch {
		case err == nil:
			// Counted from before the backend was asked: when it did its part nobody knows.
			sure = began + int64(s.o.LockTTL)
		case errors.Is(err, driver.ErrLeaseLost), now() >= sure:
			lost(driver.ErrLeaseLost)
			return tell
		default:
			next = min(every/4, time.Duration(sure-now()))
		}
		timer.Reset(next)
		return tell
	}
	turn <- struct{}{} // renew uses timer, which is set only when AfterFunc has returned
	timer = time.AfterFunc(every, func() { renew()() })
	<-turn
	return func() {
		cancel()
		timer.Stop()
		turn <- struct{}{} // a renewal in progress ends with ctx
		<-turn
	}
}
