package dogpile

import (
	"context"
	"math"
	"sync/atomic"

	"github.com/dogpile-go/dogpile/driver"
)

// opened is a backend that was opened from settings. It is closed when the last
// configuration that uses it has ended.
type opened struct {
	driver.Backend
	users atomic.Int64
}

// drop ends one use.
func (o *opened) drop() error {
	if o.users.Add(-1) > 0 {
		return nil
	}
	return driver.Close(o.Backend)
}

// usage counts the calls that use a configuration whose backend was opened from
// settings, so that the backend can be given up after the last of them. A nil usage, for
// a backend of the user's, counts nothing. Nor is a hit in this process's memory counted,
// which is a look: if the memory was cleared, its caller goes on as after a miss.
//
// All that a flight does is over when it ends, but for the release of a lease that is
// given back in the background: that holds the configuration as a call does.
type usage struct {
	backend *opened
	calls   atomic.Int64  // in progress; counted from sealed upwards once that was added
	zero    chan struct{} // has room for one signal: no call is left

	sealing atomic.Bool
	ctx     context.Context // ends when calls and flights are not waited for any longer
	hurry   context.CancelFunc
	done    chan struct{} // closed when the backend was given up
	err     error         // what came of that
}

// sealed is so far below 0 that no number of calls leads back.
const sealed = math.MinInt64 / 2

func newUsage(b *opened) *usage {
	b.users.Add(1)
	u := &usage{backend: b, zero: make(chan struct{}, 1), done: make(chan struct{})}
	u.ctx, u.hurry = context.WithCancel(context.Background())
	return u
}

// enter begins a call, which leave ends. It returns false if that is too late.
func (u *usage) enter() bool {
	// 1. A call loads configuration A.  2. B replaces A.  3. A is sealed.  4. The call
	// enters A, and is too late. It loads again, and finds B.
	if u == nil || u.calls.Add(1) > 0 {
		return true
	}
	u.leave()
	return false
}

// hold is enter for a part of a call or flight in progress: it is never too late.
func (u *usage) hold() {
	if u != nil {
		u.calls.Add(1)
	}
}

// leave ends what enter or hold began.
func (u *usage) leave() {
	if u != nil && u.calls.Add(-1) == sealed {
		u.signal()
	}
}

func (u *usage) signal() {
	select {
	case u.zero <- struct{}{}:
	default:
	}
}

// end is for a configuration that is not in force any more, and never will be again. It
// ends what has no limit of its own, lets no call enter, and gives up the backend in the
// background when all that use it have ended. An error of that goes to the caller of
// Region.Close, if that is who ends it, and otherwise to where those go that no caller gets.
func (s *state) end(closing bool) {
	s.retired()
	u := s.usage
	if u == nil || !u.sealing.CompareAndSwap(false, true) {
		return
	}
	if u.calls.Add(sealed) == sealed {
		u.signal()
	}
	go func() {
		defer close(u.done)
		defer u.hurry()
		s.idle()
		if err := u.backend.drop(); err != nil && closing {
			u.err = err
		} else if err != nil {
			s.failed(context.Background(), Event{Op: "close", Err: err})
		}
	}()
}

// idle returns when no call and no flight is in progress, or when it has to hurry.
func (s *state) idle() {
	u := s.usage
	for u.ctx.Err() == nil {
		// 1. A call enters A.  2. B replaces A, which is sealed.  3. The call starts a
		// flight, and leaves. It was the last, so that no flight of A starts any more.
		if u.calls.Load() == sealed {
			_ = s.flights.Close(u.ctx) // its error is that of the context
			// 1. A flight is forgotten, and its lease given back in the background.
			// 2. The flight ends.  3. The lease is not back yet.
			if u.calls.Load() == sealed {
				return
			}
		}
		// The signal may be an old one, of a call that came too late and left at once.
		select {
		case <-u.zero:
		case <-u.ctx.Done():
		}
	}
}

// ended waits until s has given up its backend, and returns the error of that. When ctx
// ends it is not done: nothing in progress is waited for any longer, and the backend is
// given up in the background.
func (s *state) ended(ctx context.Context) (done bool, err error) {
	u := s.usage
	if u == nil {
		return true, nil
	}
	select {
	case <-u.done:
		return true, u.err // whether or not ctx has ended
	default:
	}
	select {
	case <-u.done:
		return true, u.err
	case <-ctx.Done():
		u.hurry()
		return false, nil
	}
}

// over reports whether nothing uses s, and nothing of it is left to be closed.
func (s *state) over() bool {
	if s.usage != nil {
		select {
		case <-s.usage.done:
		default:
			return false
		}
	}
	return s.flights.Running() == 0 && s.pending.len() == 0
}
