//go:build unix

package fleettest

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

var nearFor = flag.Int("near", 0, "how many calls the histories with copies in all processes have, each at least; 0: as many as there are in a few seconds")

const (
	// nearLag is as short as a loaded machine can keep it, so that many changes return that
	// wait for as long.
	nearLag = 150 * time.Millisecond
	// longNearLap is how long a history with copies gets before it is checked, where the flag
	// wants many calls. Otherwise there is each kind of trouble once or twice.
	longNearLap = 15 * time.Second
	// nearLaps is how many laps a long history gets at most.
	nearLaps = 60
)

// nearTask is a history with copies in all processes. Values live much longer than a copy may
// be old, so that nothing but what is known of changes keeps a copy from being served.
var nearTask = task{Role: "history", Procs: 4, Each: 20, Rest: 6 * time.Millisecond, Expiration: 10 * nearLag, Trouble: true}

// near returns the task with copies.
func (k task) near(exact bool) task {
	k.Near = &dogpile.Near{Lag: nearLag, Exact: exact}
	return k
}

// lag returns how old the knowledge may be that reads go by; 0: not at all.
func (k task) lag() time.Duration {
	if k.Near == nil || k.Near.Exact {
		return 0
	}
	return k.Near.Lag
}

// period is the time from one burst of changes to the next. A burst lasts for a quarter of it.
const period = 4 * nearLag

// quiet reports whether there is no burst of changes now:
//
//  1. Many changes of an entry and of its tokens come at once. Some of them come while a
//     process reads the entry anew, and one of them is the last.
//  2. For longer than Lag hardly anything happens. What a process has missed of 1 it goes on
//     missing. So that it is not told by what others make anew, it reads a key that they do
//     not read then.
func (a *actor) quiet() bool {
	return a.Near != nil && time.Duration(time.Now().UnixNano())%period > period/4
}

// changing returns how many of ten thousand calls change something.
func (a *actor) changing() int {
	switch {
	case a.Near == nil:
		return 1500
	case a.quiet():
		return 10
	}
	return 400
}

// RunNear checks copies in the processes: with [dogpile.Near] and Exact that no old value is
// read, and without Exact none that was replaced longer ago than Lag, and none at all that was
// replaced by a call of the same process. Meanwhile processes are killed, stopped, and cut off
// from the backend, and Config.Harms are done, each for longer than Lag. It takes about ten
// seconds; the flag -near makes it longer. Config.URL has the time-outs and the
// breaker of a service, as in [RunTrouble].
func RunNear(t *testing.T, c Config) {
	t.Helper()
	c.LockTTL = cmp.Or(c.LockTTL, 2*time.Second) / 4
	for _, exact := range []bool{true, false} {
		if c.Brief && !exact && *nearFor == 0 {
			continue
		}
		name := "nothing older than Lag is read"
		if exact {
			name = "no old value is read where copies are exact"
		}
		t.Run(name, func(t *testing.T) { nearly(t, c, nearTask.near(exact)) })
	}
}

// nearly records and checks histories until there is as much as the flag says.
func nearly(t *testing.T, c Config, k task) {
	t.Helper()
	var all tally
	const kinds = 3 // besides Config.Harms
	lap := time.Duration(kinds+len(c.Harms)) * 3 * nearLag
	if *nearFor > 0 {
		lap = longNearLap
	}
	for range nearLaps {
		report(t, perform(t, c, scene{task: k, play: func(f *fleet) {
			history(f, lap, false)
			all.add(&f.tally)
		}}))
		if t.Failed() || all.calls >= int64(*nearFor) {
			break
		}
	}
	t.Log(&all)
	if !t.Failed() && all.calls < int64(*nearFor) {
		t.Errorf("there are %d calls in %d laps, and not %d", all.calls, nearLaps, *nearFor)
	}
}

// span is a time in which there is trouble of one kind.
type span struct {
	kind     string
	from, to int64 // on the clock
	nearHits int64
}

// none is the kind of the time in which there is no trouble.
const none = "no trouble"

// amid has the n-th trouble, for longer than Lag.
func (f *fleet) amid(n int) {
	kinds := f.troubles()
	kind := kinds[n%len(kinds)]
	s := span{kind: kind.Name, from: f.w.clock.Load(), nearHits: -f.w.nearHits.Load()}
	undo := kind.Do((n + n/len(kinds)) % f.task.Procs)
	lag := f.task.Near.Lag
	more := 2 * lag
	if *nearFor > 0 || f.task.wrong() {
		more = 4 * lag // for longer than a lease lasts
	}
	f.goOn(lag + rand.N(more))
	undo()
	// What comes of it belongs to it.
	f.goOn(lag / 2)
	s.to = f.w.clock.Load()
	s.nearHits += f.w.nearHits.Load()
	f.spans = append(f.spans, s)
}

const standingStill = "a process stands still"

// troubles are all kinds of trouble.
func (f *fleet) troubles() []Harm {
	own := []Harm{
		{standingStill, func(proc int) (undo func()) {
			f.stop(proc)
			return func() { f.cont(proc) }
		}},
		{"a process is cut off", func(int) (undo func()) {
			f.w.cut.Store(true)
			return func() { f.w.cut.Store(false) }
		}},
		{"a process is killed", func(proc int) (undo func()) {
			f.kill(proc)
			return func() {
				f.launch(proc)
				f.await("the process to be ready", f.ready)
			}
		}},
	}
	return slices.DeleteFunc(append(own, f.harms...), func(h Harm) bool { return f.only != "" && h.Name != f.only })
}

// amount is what there was of something.
type amount struct{ times, reads, changes, nearHits, old int64 }

// tally is how much there was amid each kind of trouble.
type tally struct {
	calls  int64
	oldest time.Duration
	kinds  map[string]*amount
}

func (t *tally) of(kind string) *amount {
	if t.kinds == nil {
		t.kinds = make(map[string]*amount)
	}
	if t.kinds[kind] == nil {
		t.kinds[kind] = new(amount)
	}
	return t.kinds[kind]
}

// sum counts what there was in a history, by the kind of trouble amid which it began.
func (f *fleet) sum(all []old) {
	f.tally.calls, f.tally.oldest = f.w.calls.Load(), f.oldest
	f.tally.of(none).nearHits = f.w.nearHits.Load()
	for _, s := range f.spans {
		a := f.tally.of(s.kind)
		a.times++
		a.nearHits += s.nearHits
		f.tally.of(none).nearHits -= s.nearHits
	}
	for _, e := range f.w.events() {
		switch a := f.tally.of(f.kindAt(e.start)); {
		case e.end == 0:
		case e.op == opRead:
			a.reads++
		default:
			a.changes++
		}
	}
	for _, o := range all {
		f.tally.of(f.kindAt(o.start)).old++
	}
}

// kindAt returns the kind of trouble that there was at a tick of the clock.
func (f *fleet) kindAt(tick int64) string {
	i, _ := slices.BinarySearchFunc(f.spans, tick, func(s span, tick int64) int { return cmp.Compare(s.to, tick) })
	if i < len(f.spans) && f.spans[i].from < tick {
		return f.spans[i].kind
	}
	return none
}

// add adds what another history has had.
func (t *tally) add(more *tally) {
	t.calls += more.calls
	t.oldest = max(t.oldest, more.oldest)
	for kind, m := range more.kinds {
		a := t.of(kind)
		a.times += m.times
		a.reads += m.reads
		a.changes += m.changes
		a.nearHits += m.nearHits
		a.old += m.old
	}
}

func (t *tally) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d calls; what was read had been replaced at most %v before, where it may\n", t.calls, t.oldest.Round(time.Millisecond))
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		a := t.kinds[kind]
		fmt.Fprintf(&s, "%-45s %4d times: %8d reads, %8d on copies, %6d changes, %d old\n", kind, a.times, a.reads, a.nearHits, a.changes, a.old)
	}
	return s.String()
}
