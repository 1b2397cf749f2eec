package lock

import (
	"context"
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
	marked   int64 // when its last reading or its creation began, on set.clock; 0: not yet
	gone     bool  // no longer in the table
	finished bool
	started  bool // its goroutine runs, or has run
	unlock   func()
	unlocked chan struct{} // closed when unlock, which somebody has taken, is done
	cancel   context.CancelCauseFunc
	task     func()      // gives the flight its goroutine; nil: not yet, or taken
	urgent   bool        // somebody cannot do without it
	timer    *time.Timer // abandons the flight; nil: no limit
	clocks   int         // how many timers there have been; only the last one counts
}

// departs starts the clock of a flight.
func (f *flight) departs(cancel context.CancelCauseFunc, timeout time.Duration) {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.cancel = cancel
	f.clock(timeout)
}

// offers lets whoever cannot do without the flight run it by task.
func (f *flight) offers(task func()) {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.task = task
	f.take()
}

// urge runs a flight that a Runner has not come to yet, for a caller who cannot
// do without.
func (f *flight) urge() {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.urgent = true
	f.take()
}

func (f *flight) take() {
	if f.urgent && f.task != nil && !f.started && !f.finished {
		go f.task()
		f.task = nil
	}
}

// clock gives the flight its full time, unless it is over already. A clock that
// was started before counts no more, even if its function is just about to run.
func (f *flight) clock(timeout time.Duration) {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	f.clocks++
	if n := f.clocks; timeout > 0 && !f.finished {
		f.timer = time.AfterFunc(timeout, func() { f.abandonBy(n, ErrTimeout) })
	}
}

// restart gives the flight its full time again, and reports whether it was still
// in time.
func (f *flight) restart(timeout time.Duration) bool {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.clock(timeout)
	return !f.finished
}

// stop stops the clock, and reports whether the flight was still in time.
func (f *flight) stop() bool { return f.restart(0) }

// board marks the flight's goroutine as running; false if it has one already, or
// was abandoned before it got one.
func (f *flight) board() bool {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.finished || f.started {
		return false
	}
	f.started = true
	return true
}

// mark makes late whoever calls from now on; see serves.
func (f *flight) mark() { f.markAt(f.set.clock.Add(1)) }

// markAt is mark as of an earlier moment.
func (f *flight) markAt(moment int64) {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.marked = moment
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
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	f.unlock = unlock
	finished := f.finished
	sh.mu.Unlock()
	if finished {
		f.release()
	}
}

// release gives the lock back, if the flight has it. It returns when that is
// done, by whomever: the mutex may be taken again then.
func (f *flight) release() {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	unlock := f.unlock
	f.unlock = nil
	if unlock != nil {
		f.unlocked = make(chan struct{})
	}
	unlocked := f.unlocked
	sh.mu.Unlock()
	switch {
	case unlock != nil:
		defer close(unlocked)
		unlock()
	case unlocked != nil:
		<-unlocked
	}
}

// finish publishes the result and takes the flight out of the table, in one
// step. The first call counts.
func (f *flight) finish(publish func()) {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !f.finished {
		f.settle(sh, publish)
	}
}

func (f *flight) settle(sh *shard, publish func()) {
	f.finished = true
	publish()
	sh.remove(f)
	close(f.done)
}

// abandon frees the callers of a flight that is not to go on, cancels it and
// gives its lock back.
func (f *flight) abandon(cause error) { f.abandonIf(cause, func() bool { return true }) }

// abandonBy is abandon for the n-th clock, which may have been stopped too late.
func (f *flight) abandonBy(n int, cause error) {
	f.abandonIf(cause, func() bool { return f.clocks == n })
}

// ground is abandon for a flight that nobody has begun to run.
func (f *flight) ground(cause error) { f.abandonIf(cause, func() bool { return !f.started }) }

func (f *flight) abandonIf(cause error, still func() bool) {
	sh := f.set.shard(f.key)
	sh.mu.Lock()
	if f.finished || !still() {
		sh.mu.Unlock()
		return
	}
	f.settle(sh, func() { f.err = cause })
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
