//go:build unix

package fleettest

import (
	"fmt"
	"slices"
	"time"
)

// In a stampede all readers ask once for a key that is not there.
var stampedeTask = task{Role: "stampede", Procs: 8, Each: 50}

// stampede is what one goroutine does: it asks once in every round, beginning with
// the first round after its process is ready.
func (a *actor) stampede(g int) {
	for round := a.round; a.begins(round); round++ {
		a.ask(fmt.Sprint("k", a.w.key.Load()), g)
	}
}

// stampede plays some rounds, then one in which the holder is killed, and one in
// which it is stopped.
func stampede(f *fleet) {
	for range 5 {
		f.nextKey()
		if took := f.everybody(1); took != nil {
			f.t.Logf("%d callers: p50 %v, p99 %v, slowest %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		}
	}
	if f.w.faults.Load() == 0 && stampedeKilled(f) {
		stampedeStopped(f)
	}
}

// nextKey has the next round be about another key.
func (f *fleet) nextKey() {
	f.w.stored.Store(0)
	f.w.newest.Store(0)
	f.w.key.Add(1)
}

// everybody has all readers ask once, which must cause that many creations, and
// returns how long their calls took, in ascending order; nil if there is a fault.
func (f *fleet) everybody(creations int64) []time.Duration {
	before := f.w.origin.Load()
	asked := f.round()
	return f.answered(asked, before+creations)
}

// round lets all readers ask once more, and returns how often each had asked
// before.
func (f *fleet) round() *marks {
	m := f.w.marks()
	f.w.round.Add(1)
	return m
}

// answered waits until each reader of a process that runs has asked once more and
// got an answer, and checks that all have got the same one, the latest version.
func (f *fleet) answered(m *marks, latest int64) (took []time.Duration) {
	if !f.await("everybody to be answered", func() bool { return f.w.unanswered(m, f.task) == 0 }) {
		return nil
	}
	if n := f.w.origin.Load(); n != latest {
		f.fault("%d creations where there were to be %d", n, latest)
	}
	for p := range f.task.Procs {
		if f.w.procs[p].away.Load() {
			continue
		}
		for g := range f.task.Each {
			r := &f.w.procs[p].readers[g]
			if last := r.last.Load(); last != latest {
				f.fault("a caller got version %d and not %d", last, latest)
			}
			took = append(took, time.Duration(r.took.Load()))
		}
	}
	slices.Sort(took)
	return took
}

// struck begins a round about a key that is not there, with a creator that does
// not return.
func (f *fleet) struck() (version int64, p int, m *marks, found bool) {
	f.nextKey()
	m = f.round()
	version, p, found = f.strike()
	found = found && f.await("everybody to ask", func() bool { return f.w.idle(f.task) == 0 })
	return version, p, m, found
}

// stampedeKilled has all readers wait for a creator that is killed.
func stampedeKilled(f *fleet) bool {
	version, p, m, found := f.struck()
	if !found {
		return false
	}
	at := f.kill(p)
	if !f.takenOver(version, at, "killed") || f.answered(m, version+1) == nil {
		return false
	}
	f.launch(p)
	return f.await("all processes to be ready", f.ready)
}

// stampedeStopped has all readers wait for a creator that is stopped, and that is
// continued when another has made the value. Afterwards all find the value of
// that other one.
func stampedeStopped(f *fleet) bool {
	version, p, m, found := f.struck()
	if !found {
		return false
	}
	at := f.stop(p)
	if !f.takenOver(version, at, "stopped") || f.answered(m, version+1) == nil {
		return false
	}
	return f.release(version, p) && f.await("its callers to be answered", func() bool { return f.w.unanswered(m, f.task) == 0 }) &&
		f.everybody(0) != nil
}
