package lock

import (
	"context"
	"sync"
	"time"
)

// flight is one creation and everybody who waits for it.
type flight struct {
	set          *Flights
	key, version string
	next         *flight // another version of the same key

	done  chan struct{}
	value any // the rest is final once done is closed
	kind  kind
	lost  bool
	err   error

	// guarded by the shard's mu
	marked   bool // callers from now on are late
	gone     bool // no longer in the table
	finished bool
	started  bool // its goroutine runs, or has run
	unlock   func()
	cancel   context.CancelCauseFunc
	timer    *time.Timer // abandons the flight; nil: no limit
}

// departs starts the clock of a flight that nobody else has seen yet.
func (f *flight) departs(cancel context.CancelCauseFunc, timeout time.Duration) {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.cancel = cancel
	if !f.finished {
		f.clock(timeout)
	}
}

func (f *flight) clock(timeout time.Duration) {
	f.timer = nil
	if timeout > 0 {
		f.timer = time.AfterFunc(timeout, func() { f.abandon(ErrTimeout) })
	}
}

// stop stops the clock, and reports whether the flight was still in time.
func (f *flight) stop() bool {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
	}
	return !f.finished
}

// restart gives the flight its full time again, unless it is over already.
func (f *flight) restart(timeout time.Duration) bool {
	inTime := f.stop()
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if inTime {
		f.clock(timeout)
	}
	return inTime
}

// board marks the flight's goroutine as running; false if the flight was
// abandoned before it got one.
func (f *flight) board() bool {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.started = true
	return !f.finished
}

// mark makes callers from now on late.
func (f *flight) mark() {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.marked = true
}

// detach lets nobody join any more.
func (f *flight) detach() {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.remove(f)
}

// locked notes how to give back the lock that the flight has taken. If nobody
// waits for the flight any more, that is done at once.
func (f *flight) locked(unlock func()) {
	unlock = sync.OnceFunc(unlock)
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	f.unlock = unlock
	finished := f.finished
	sh.mu.Unlock()
	if finished {
		unlock()
	}
}

// release gives the lock back, if the flight has it.
func (f *flight) release() {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	unlock := f.unlock
	sh.mu.Unlock()
	if unlock != nil {
		unlock()
	}
}

// finish publishes the result and takes the flight out of the table, in one
// step. The first call counts; it reports whether this was it.
func (f *flight) finish(publish func()) bool {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.finished {
		return false
	}
	f.finished = true
	publish()
	sh.remove(f)
	close(f.done)
	return true
}

// abandon frees the callers of a flight whose time is up, cancels it and gives
// its lock back.
func (f *flight) abandon(cause error) {
	if !f.finish(func() { f.err = cause }) {
		return
	}
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	started, cancel := f.started, f.cancel
	sh.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
	f.release()
	if !started {
		f.set.ended(f)
	}
}

// lands ends a flight whose result is out.
func (f *flight) lands() {
	f.stop()
	f.cancel(nil)
	f.set.ended(f)
}
