package flight

import (
	"sync"
	"time"
)

// flight is the creation of one key, and what all callers that want it wait for.
type flight struct {
	table        *Table
	key, version string
	reading      string  // the version of the readings that it goes by; version may say more
	at           int     // the key's position in the call that has started the flight
	next         *flight // another flight of the same key; guarded by the shard's mu
	unshared     bool    // it takes no lock within the process

	done   chan struct{}
	result any // the rest is final once done is closed
	err    error

	// guarded by the shard's mu
	cutoff   int64                     // see the package comment; 0: neither read nor created yet
	revoked  bool                      // by ForgetAll: a lock that it is still granted is given back
	waiters  int                       // callers that wait for the result
	joined   int64                     // the latest moment at which one of those that joined, to wait, had called
	failFor  func(error) time.Duration // set once its creator runs; nil: no error is remembered
	made     any                       // the result if the time is up while it is being stored; nil: ErrTimeout
	finished bool
	group    *group
	holder   *holder       // the lock within this process; nil: not held
	unlock   func()        // gives back the Source's lock; nil: not held
	unlocked chan struct{} // closed once the Source's lock is given back

	// guarded by the mu of circles
	blocker *blocker  // the lock that it waits for; nil: it waits for none
	nested  []*nested // callers inside creators that wait for it
}

// setCutoff makes late every caller that calls after moment.
func (f *flight) setCutoff(moment int64) {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.cutoff = moment
}

// late reports whether a caller that called at that moment is late for the flight. The
// shard's mu is held, or the flight has ended.
func (f *flight) late(called int64) bool { return f.cutoff != 0 && f.cutoff <= called }

// occupy takes the lock on the key within this process. If another flight has it,
// busy.free is closed when that may be over.
func (f *flight) occupy() (busy *holder) {
	if f.unshared {
		return nil
	}
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if h := sh.holders[f.key]; h != nil {
		// 1. This flight waits for h.free.  2. h's flight gives back the Source's lock, and
		// then this one.  3. This flight tries the Source's lock, and finds it free.
		return h
	}
	if sh.holders == nil {
		sh.holders = make(map[string]*holder)
	}
	f.holder = &holder{flight: f, free: make(chan struct{})}
	sh.holders[f.key] = f.holder
	return nil
}

// vacate gives back the lock within this process.
func (f *flight) vacate() {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if h := f.holder; h != nil {
		f.holder = nil
		sh.vacate(f.key, h)
	}
}

// locked notes how to give back the Source's lock, which the flight has taken, and
// reports whether the flight may keep it.
func (f *flight) locked(unlock func()) (kept bool) {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	f.unlock, f.unlocked = unlock, nil
	unwanted := f.finished || f.revoked
	sh.mu.Unlock()
	// 1. The flight asks for the lock.  2. It times out: its callers are gone, and
	// there is no lock to give back. Or ForgetAll is called: later callers are not to
	// wait for what the flight would create.  3. The lock is granted, and nobody else
	// would give it back.
	if unwanted {
		f.release()
	}
	return !unwanted
}

// release gives back the Source's lock, if the flight has it, and then the one
// within the process: flights that wait for the latter find the former free. It
// returns when that is done, by this call or by another: the lock may be taken
// again then.
func (f *flight) release() {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	unlock := f.unlock
	f.unlock = nil
	if unlock != nil {
		f.unlocked = make(chan struct{})
	}
	unlocked := f.unlocked
	sh.mu.Unlock()
	defer f.vacate()
	switch {
	case unlock != nil:
		defer close(unlocked)
		unlock()
	case unlocked != nil:
		<-unlocked
	}
}

func releaseAll(flights []*flight) {
	switch len(flights) {
	case 0:
		return
	case 1:
		flights[0].release()
		return
	}
	// Each may take a round trip, so they are made at the same time.
	var all sync.WaitGroup
	for _, f := range flights {
		all.Go(f.release)
	}
	all.Wait()
}

// finish publishes the result and takes the flight out of the table, in one step. The
// first call counts. It reports whether that publishes an error that nobody waits for.
func (f *flight) finish(result any, err error) (unseen bool) {
	failFor := f.failsFor(err)
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.finished {
		return false
	}
	if err == ErrTimeout && f.made != nil {
		// The creator has done its part. Whether the value is stored nobody knows.
		result, err = f.made, nil
	}
	f.finished = true
	f.result, f.err = result, err
	if there := sh.remove(f); there && err != nil && failFor > 0 {
		// In the same step as the flight leaves the table:
		// 1. A thousand callers wait for the flight, or are about to join it.  2. It fails.
		// Each of them gets its error, or the remembered one.
		// What was forgotten is not remembered: it failed with what was there before.
		sh.fail(f.key, f.reading, err, failFor)
	}
	close(f.done)
	return err != nil && f.waiters == 0
}

// storing notes the result that callers get if the time is up before it is stored, and
// lets nobody join any more. It reports whether a late caller has joined.
func (f *flight) storing(made any) (late bool) {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.made = made
	sh.remove(f)
	sh.endFailure(f.key) // whether or not the value is stored, its creator works
	// Nobody joins from here on, and the cutoff stays as it is. At the moment of joining it
	// may not be known:
	// 1. The batch takes the moment of its cutoff.  2. B calls, and joins.  3. The cutoff is
	// set: B is late.
	return f.late(f.joined)
}

// creating notes that the creator runs: from now on an error is one of the creation.
func (f *flight) creating(failFor func(error) time.Duration) {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.failFor = failFor
}

// failsFor returns for how long err is to be remembered. It holds no mutex while it asks,
// as errors have methods of their own.
func (f *flight) failsFor(err error) time.Duration {
	if err == nil {
		return 0
	}
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	failFor := f.failFor
	sh.mu.Unlock()
	if failFor == nil {
		return 0
	}
	return failFor(err)
}

// leave notes that a caller does not wait any longer.
func (f *flight) leave() {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.waiters--
}

// wanted reports whether a caller waits for the flight.
func (f *flight) wanted() bool {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return f.waiters > 0
}

// waiting returns how many callers wait for the flight; once it has ended there is none.
func (f *flight) waiting() int {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f.finished {
		return 0
	}
	return f.waiters
}

// holdsLock reports whether the flight has the Source's lock.
func (f *flight) holdsLock() bool {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return f.unlock != nil && !f.unshared
}

// hasten has the flight's group run now, for a caller that cannot do without its
// result, if a Runner has it and has not come to it yet.
func (f *flight) hasten() {
	sh := f.table.shard(f.key)
	sh.mu.Lock()
	g := f.group
	sh.mu.Unlock()
	g.hasten()
}
