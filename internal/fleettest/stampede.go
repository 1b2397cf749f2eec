//go:build unix

package fleettest

import (
	"fmt"
	"slices"
	"time"
)

// In a stampede everybody asks once for a key that is not there.
var stampedeTask = task{Role: "stampede", Procs: 8, Each: 50}

// stampede is what one goroutine does: it asks once in every round, from the first
// that begins after its process is ready.
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

// everybody has everybody ask in a round of its own, and returns how long they
// took, in order; nil if there is a fault. There are to be so many creations.
func (f *fleet) everybody(creations int64) []time.Duration {
	before := f.w.origin.Load()
	asked := f.round()
	return f.answered(asked, before+creations)
}

// round lets everybody ask once more, and returns how often each reader had asked
// before.
func (f *fleet) round() *marks {
	m := f.w.marks()
	f.w.round.Add(1)
	return m
}

// answered waits until everybody who is not away has asked once more and got an
// answer, and checks that all have got the same, which is the latest version.
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

// struck begins a round about a key that is not there whose creator does not come
// to its end.
func (f *fleet) struck() (version int64, p int, m *marks, found bool) {
	f.nextKey()
	m = f.round()
	version, p, found = f.strike()
	found = found && f.await("everybody to ask", func() bool { return f.w.idle(f.task) == 0 })
	return version, p, m, found
}

// stampedeKilled: they wait for a creator that is killed.
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

// stampedeStopped: they wait for a creator that is stopped, and continued when
// another has made the value. Afterwards everybody finds that one's.
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
