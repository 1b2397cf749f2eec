//go:build unix

package fleettest

import (
	"math/rand/v2"
	"time"
)

var (
	// In a storm all readers ask for one key all the time. No value lives long.
	stormTask = task{Role: "storm", Procs: 8, Each: 50, Rest: 20 * time.Millisecond, Expiration: 500 * time.Millisecond, LockTTL: 10 * time.Second}
	// aheadTask is a storm in which values are renewed before they expire, after the same
	// time.
	aheadTask = task{Role: "storm", Procs: 8, Each: 50, Rest: 20 * time.Millisecond, Expiration: time.Second, Ahead: .5, LockTTL: 10 * time.Second}
	// strikeTask is a storm with the lease of Config.LockTTL. It leaves the
	// machine some time to renew that.
	strikeTask = task{Role: "storm", Procs: 8, Each: 50, Rest: 60 * time.Millisecond, Expiration: 500 * time.Millisecond}
)

// storm is what one goroutine does.
func (a *actor) storm(g int) {
	for a.begins(1) && !a.w.ended() {
		a.ask("k", g)
		pause(a.Rest/2 + rand.N(a.Rest))
	}
}

// storm lets it storm, from a missing key on, and counts the creations.
func storm(f *fleet, d time.Duration) {
	const least = 4
	start := time.Now()
	f.w.round.Store(1)
	if !f.goOn(d) || !f.await("some creations", func() bool { return f.w.origin.Load() > least }) {
		return
	}
	f.disband(patience)
	took := time.Since(start)
	n, lost := 0, 0
	for v := range f.w.origin.Load() {
		switch f.w.creation(v + 1).outcome.Load() {
		case isStored:
			n++
		case isLost:
			lost++
		}
	}
	f.t.Logf("%d creations in %v", n, took.Round(time.Millisecond))
	life := f.task.Expiration
	if f.task.Ahead > 0 {
		life = time.Duration(f.task.Ahead * float64(life))
	}
	switch expiries := int(took / life); {
	case n > expiries+1:
		f.fault("%d creations for %d expiries", n, expiries)
	case n < least:
		f.fault("only %d creations in a storm of %v", n, took)
	case lost > 0:
		f.fault("%d creations lost a lease of %v", lost, f.task.LockTTL)
	}
}

// underWay waits until a value has been stored and read.
func (f *fleet) underWay() bool {
	f.w.round.Store(1)
	return f.await("the first value to be read", func() bool { return f.w.newest.Load() > 0 })
}

// strike lets the next creation begin, and no more; it returns the version and
// its process.
func (f *fleet) strike() (version int64, p int, found bool) {
	f.w.fate.Store(armed)
	if !f.await("a creator to begin", func() bool { return f.w.fate.Load() > 0 }) {
		return 0, 0, false
	}
	version = f.w.fate.Load()
	return version, int(f.w.creation(version).proc.Load()), true
}

// strikeFor is strike in a storm. It returns when it has seen that all other
// readers are served meanwhile, that the creation has gone on for hold, and that
// its lease is still held after that. On a busy machine a lease may be lost; then
// it strikes again.
func (f *fleet) strikeFor(hold time.Duration) (version int64, p int, found bool) {
	for range 6 {
		if version, p, found = f.strike(); !found {
			return 0, 0, false
		}
		renewals := &f.w.procs[p].renewals
		before := renewals.Load()
		if !f.goOn(hold) || !f.served("a creator runs") ||
			hold > f.task.LockTTL && !f.await("a lease to be renewed", func() bool { return renewals.Load() > before }) {
			return 0, 0, false
		}
		if f.w.origin.Load() == version {
			return version, p, true
		}
		f.t.Logf("a lease of %v was not renewed in time", f.task.LockTTL)
		f.w.free.Store(version)
		if !f.renewed(version) {
			return 0, 0, false
		}
	}
	f.fault("leases of %v are lost again and again", f.task.LockTTL)
	return 0, 0, false
}

// served waits until each reader of a process that runs has begun and ended
// another call, except the one whose call creates.
func (f *fleet) served(while string) bool {
	marks := f.w.marks()
	return f.await("readers to be served while "+while, func() bool { return f.w.unserved(marks, f.task) == 0 })
}

// takenOver waits until another process creates, after the one that made version
// was killed or stopped, and checks that this took no longer than the lease and a
// second.
func (f *fleet) takenOver(version int64, at time.Time, hindered string) bool {
	limit := f.task.LockTTL + promptness + slack
	if !f.awaitFor(limit, "another process to create after the holder was "+hindered, func() bool { return f.w.origin.Load() > version }) {
		return false
	}
	f.await("the creation to be noted", func() bool { return f.w.creation(version+1).start.Load() > 0 })
	took := time.Unix(0, f.w.creation(version+1).start.Load()).Sub(at)
	f.t.Logf("taken over %v after the holder was %s; its lease was of %v", took.Round(time.Millisecond), hindered, f.task.LockTTL)
	if took > limit {
		f.fault("another process created %v after the holder was %s", took, hindered)
	}
	return took <= limit
}

// renewed waits until a reader has got a later version.
func (f *fleet) renewed(version int64) bool {
	return f.await("a newer value to be read", func() bool { return f.w.newest.Load() > version })
}

// killHolders kills the process that creates, n times. The first time it does so
// after a creation that is longer than a lease, so that the lease was renewed.
func killHolders(f *fleet, n int) {
	if !f.underWay() {
		return
	}
	hold := f.task.LockTTL * 5 / 4
	for range n {
		version, p, found := f.strikeFor(hold)
		if !found {
			return
		}
		hold = 0
		at := f.kill(p)
		if !f.takenOver(version, at, "killed") || !f.renewed(version) {
			return
		}
		f.launch(p)
	}
	f.await("all processes to be ready", f.ready)
}

// stopHolders stops the process that creates, lets another one create, and has
// the first one go on, n times.
//
//  1. A creates version 2; the others read version 1.
//  2. A is stopped.  They go on reading version 1.
//  3. A's lease runs out.  B creates version 3, and stores it.
//  4. A reader gets version 3.
//  5. A is continued, and tries to store version 2.
//  6. No call that began after 4 may return it.
func stopHolders(f *fleet, n int) {
	if !f.underWay() {
		return
	}
	for range n {
		version, p, found := f.strikeFor(0)
		if !found {
			return
		}
		at := f.stop(p)
		if !f.served("the creator is stopped") || !f.takenOver(version, at, "stopped") || !f.renewed(version) {
			return
		}
		if !f.release(version, p) || !f.served("all is well again") {
			return
		}
	}
}

// release continues process p, which was stopped while it made version, and
// checks that it cannot store that.
func (f *fleet) release(version int64, p int) bool {
	f.w.free.Store(version)
	f.cont(p)
	outcome := &f.w.creation(version).outcome
	if !f.await("the continued process to try to store its value", func() bool { return outcome.Load() != 0 }) {
		return false
	}
	if outcome.Load() == isStored {
		f.fault("version %d was stored by a process that was stopped until its lease was over", version)
	}
	return outcome.Load() == isLost
}
