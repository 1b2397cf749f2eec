package flight

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Table holds the flights of one process: which keys are being created, and from
// which ones it backs off. Calls that share a Table share their flights. The zero
// value is ready. All methods may be called from many goroutines. A Table must not
// be copied.
type Table struct {
	shards [16]shard
	// clock orders calls and cutoffs. It counts events: a wall clock may give two
	// of them the same time, and then nobody knows which came first.
	clock atomic.Int64
	// several is held by a caller of several keys while it joins their flights.
	several sync.Mutex

	mu      sync.Mutex
	running map[*group]struct{} // groups that have not ended
	closed  bool
	idle    chan struct{} // closed when running becomes empty after Close
}

// shard is the part of the table for the keys of one hash.
type shard struct {
	mu       sync.Mutex
	flights  map[string]*flight // by key; more of one key hang on flight.next
	holders  map[string]*holder // which flight has the lock within this process
	backoffs map[string]*time.Timer
	failures map[string]*failure
}

// holder is the lock on a key within this process, in the hands of one flight.
type holder struct {
	flight *flight
	free   chan struct{} // closed when the flight gives the lock back, or is forgotten
}

var seed = maphash.MakeSeed()

func (t *Table) shard(key string) *shard {
	return &t.shards[maphash.String(seed, key)%uint64(len(t.shards))]
}

// tick returns a moment of the table's clock for a cutoff: later than all calls until
// now, and not later than those that follow.
func (t *Table) tick() int64 { return t.clock.Add(1) }

// Now returns a moment of the table's clock, for [Call].Called. It costs one atomic
// load, which callers do not contend for.
func (t *Table) Now() int64 { return t.clock.Load() }

// terms are on what terms a caller joins a flight.
type terms struct {
	version string
	inTime  bool   // the caller must not be late for the flight
	called  int64  // when the caller called
	waits   bool   // the caller waits for a flight that it starts
	stale   bool   // the caller does not wait for one that others have started
	reading string // the version of the caller's reading; version may say more
	fails   bool   // the error of a creation before is good enough
}

// join returns a flight of key that the terms allow. If there is none, it makes one
// in g, for the key at that position, and reports it as made: the caller must launch g.
func (t *Table) join(key string, at int, on terms, g *group) (f *flight, made bool, err error) {
	sh := t.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// A flight is in the table until it stores or ends. Looking, joining and leaving the
	// table are under one mutex:
	// 1. A's flight ends.  2. B looks for it.  Either B finds it, and its result, or it is
	// gone, and what it has stored can be read.
	for f := sh.flights[key]; f != nil; f = f.next {
		if f.version == on.version && !(on.inTime && f.late(on.called)) {
			if !on.stale {
				f.waiters++
				f.joined = max(f.joined, on.called)
			}
			return f, false, nil
		}
	}
	if err := sh.failed(key, on); err != nil {
		return nil, false, err
	}
	f = &flight{table: t, key: key, at: at, version: on.version, reading: on.reading, done: make(chan struct{})}
	if on.waits {
		f.waiters = 1
	}
	if err := t.add(g, f); err != nil {
		return nil, false, err
	}
	if sh.flights == nil {
		sh.flights = make(map[string]*flight)
	}
	// The newest comes first: a caller for whom several will do is given the one
	// that began last.
	f.next = sh.flights[key]
	sh.flights[key] = f
	return f, true, nil
}

// unshared makes a flight that nobody can join and that excludes nobody.
func (t *Table) unshared(key string, at int, g *group) (*flight, error) {
	f := &flight{table: t, key: key, at: at, unshared: true, waiters: 1, done: make(chan struct{})}
	if err := t.add(g, f); err != nil {
		return nil, err
	}
	return f, nil
}

// Busy reports whether a caller that has a stale value of key should return it:
// because this process is creating the value, or backs off from it.
func (t *Table) Busy(key string) bool {
	sh := t.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.flights[key] != nil || sh.holders[key] != nil || sh.backoffs[key] != nil
}

// BackOff makes callers that have a stale value of key return it for the next d,
// without trying for the lock. A later call counts anew.
func (t *Table) BackOff(key string, d time.Duration) {
	sh := t.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.backoffs == nil {
		sh.backoffs = make(map[string]*time.Timer)
	}
	sh.endBackoff(key)
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		// 1. This timer fires.  2. BackOff is called again, and sets another.
		// 3. This function gets the mutex: it must leave that one alone.
		if sh.backoffs[key] == timer {
			delete(sh.backoffs, key)
		}
	})
	sh.backoffs[key] = timer
}

// BackingOff reports whether the time of a BackOff for key is not over.
func (t *Table) BackingOff(key string) bool {
	sh := t.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.backoffs[key] != nil
}

func (sh *shard) endBackoff(key string) {
	if timer := sh.backoffs[key]; timer != nil {
		timer.Stop()
		delete(sh.backoffs, key)
	}
}

// Forget takes the flights of keys out of sight: their callers still get their
// results, later callers start new flights. It ends backoffs, and the locks within
// this process: the creator of a deleted value must not hold up the next one. Errors of
// its creations are forgotten, and those of creations that are under way will be. The
// Source's locks stay held; it is for the caller, which has changed the values, to
// revoke them.
func (t *Table) Forget(keys ...string) {
	for _, key := range keys {
		sh := t.shard(key)
		sh.mu.Lock()
		sh.forget(key)
		sh.mu.Unlock()
	}
}

// ForgetAll forgets every key, and gives back the Source's locks as well of all flights
// that have not begun to store. It returns when that is done. If ctx ends before, it
// returns at once, and the locks are given back in the background.
func (t *Table) ForgetAll(ctx context.Context) {
	var locked []*flight
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for key, f := range sh.flights {
			for ; f != nil; f = f.next {
				f.revoked = true
				// 1. A has the lock, B waits for it.  2. A is forgotten: B takes the lock
				// within the process.  3. All locks are given back, but not B's.
				if f.unlock != nil || f.unlocked != nil {
					locked = append(locked, f)
				}
			}
			sh.forget(key)
		}
		for key := range sh.holders {
			sh.forget(key)
		}
		for key := range sh.backoffs {
			sh.endBackoff(key)
		}
		for key := range sh.failures {
			sh.endFailure(key)
		}
		sh.mu.Unlock()
	}
	if len(locked) == 0 {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		releaseAll(locked)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (sh *shard) forget(key string) {
	delete(sh.flights, key)
	if h := sh.holders[key]; h != nil {
		sh.vacate(key, h)
	}
	sh.endBackoff(key)
	sh.endFailure(key)
}

// vacate gives back the lock within the process, unless h has lost it already.
func (sh *shard) vacate(key string, h *holder) {
	if sh.holders[key] == h {
		delete(sh.holders, key)
		close(h.free)
	}
}

// remove takes f out of the table, and reports whether it was there.
func (sh *shard) remove(f *flight) bool {
	at := sh.flights[f.key]
	if at == f {
		if f.next == nil {
			delete(sh.flights, f.key)
		} else {
			sh.flights[f.key] = f.next
		}
		return true
	}
	for ; at != nil; at = at.next {
		if at.next == f {
			at.next = f.next
			return true
		}
	}
	return false
}

// Running returns how many groups of flights, each in one goroutine, have not
// ended.
func (t *Table) Running() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.running)
}

// parting is for how long Close goes on past the end of its context, so that locks which
// can be given back at once are.
const parting = 25 * time.Millisecond

// Close lets no new flight start and waits until the running ones have ended. If
// ctx ends before, it cancels them, frees their callers with ErrClosed, and returns
// an error that wraps ctx's; creators that ignore their context may run on, and locks
// of a Source that hangs are given back in the background. Close may be called again.
func (t *Table) Close(ctx context.Context) error {
	t.mu.Lock()
	// From here on no group is added: running can only become smaller, and idle is
	// closed once.
	t.closed = true
	if t.idle == nil {
		t.idle = make(chan struct{})
		if len(t.running) == 0 {
			close(t.idle)
		}
	}
	idle := t.idle
	t.mu.Unlock()

	select {
	case <-idle:
		return nil // whether or not ctx has ended
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	left := make([]*group, 0, len(t.running))
	for g := range t.running {
		left = append(left, g)
	}
	t.mu.Unlock()
	if len(left) == 0 {
		return nil // they have ended at the same moment
	}
	var all sync.WaitGroup
	for _, g := range left {
		all.Go(g.free(ErrClosed))
	}
	given := make(chan struct{})
	go func() {
		defer close(given)
		all.Wait()
	}()
	timer := time.NewTimer(parting)
	defer timer.Stop()
	select {
	case <-given:
	case <-timer.C:
	}
	return fmt.Errorf("%w: creations in progress: %d", ctx.Err(), len(left))
}

// add adds f to g, and notes that g is running.
func (t *Table) add(g *group, f *flight) error {
	// The other way round, nothing would end f:
	// 1. The table is open, and g runs.  2. Close gives up: it abandons g, and all its
	// flights.  3. f is added to them.
	g.add(f)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.running == nil {
		t.running = make(map[*group]struct{})
	}
	t.running[g] = struct{}{}
	return nil
}

// ended notes that g has ended. It may be called again.
func (t *Table) ended(g *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, running := t.running[g]; !running {
		return
	}
	delete(t.running, g)
	if t.closed && len(t.running) == 0 {
		close(t.idle)
	}
}
