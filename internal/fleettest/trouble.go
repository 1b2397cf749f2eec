//go:build unix

package fleettest

import "time"

// respite is how long there is no trouble between two.
func (f *fleet) respite() time.Duration {
	if f.task.Near != nil {
		return f.task.Near.Lag / 2
	}
	return 500 * time.Millisecond
}

// disturb has processes killed, and stopped for longer than their leases last, and amid trouble
// harms them otherwise.
func (f *fleet) disturb(n int) {
	victim := n % f.task.Procs
	switch {
	case f.task.Trouble && n%2 == 1:
		f.harm(n)
	case n%5 == 4:
		f.kill(victim)
		f.launch(victim)
	default:
		f.stop(victim)
		f.goOn(f.task.LockTTL * 5 / 2) // a backend may round a lease up
		f.cont(victim)
	}
}

// harm cuts the first process off from its servers, or harms one of these, for
// longer than a lease lasts and a breaker takes to open.
func (f *fleet) harm(n int) {
	undo := func() { f.w.cut.Store(false) }
	if n%4 == 1 || f.hurt == nil {
		f.w.cut.Store(true)
	} else {
		undo = f.hurt()
	}
	f.goOn(f.task.LockTTL * 5 / 2)
	undo()
}
