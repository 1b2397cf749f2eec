//go:build unix

package fleettest

import "time"

// Event is an operation on one thing in the ticks given.
type Event struct {
	Op         string
	Thing, N   int64
	Start, End int64
}

// Stale returns how many faults the check finds in a history.
func Stale(events []Event) int {
	var es []event
	for _, e := range events {
		es = append(es, e.event())
	}
	all, _ := stale(es, 0)
	return len(all)
}

// By is an operation of a process. A tick takes a second there.
type By struct {
	Proc int64
	Event
}

// StaleBy returns how many faults the check finds where reads of other processes may find what
// was replaced up to lag ago, and how long ago that was at most where they have.
func StaleBy(lag time.Duration, events []By) (faults int, oldest time.Duration) {
	var es []event
	for _, by := range events {
		e := by.event()
		e.proc, e.began, e.returned = by.Proc, e.start*int64(time.Second), e.end*int64(time.Second)
		es = append(es, e)
	}
	all, oldest := stale(es, lag)
	return len(all), oldest
}

func (e Event) event() event {
	ops := map[string]int64{}
	for op, name := range opNames {
		ops[name] = op
	}
	return event{op: ops[e.Op], thing: e.Thing, entry: e.Thing, n: e.N, start: e.Start, end: e.End}
}

// Nothing, Created and Set are what reads may find.
const Nothing = nothing

func Created(version int64) int64 { return code(version, false) }
func Set(version int64) int64     { return code(version, true) }

// Product is the entry of a product, Data what its tag stands for, and FreshData the same for
// reads that call it fresh.
func Product(p int64) int64   { return thingProduct + p }
func Data(p int64) int64      { return thingData + p }
func FreshData(p int64) int64 { return thingFresh + p }

// World is the world of two processes.
type World struct{ w *world }

func OpenWorld(path string) (World, error) {
	w, err := openWorld(path)
	return World{w}, err
}

func (w World) Close() error { return w.w.close() }

// Begin begins a creation by a process, and returns the fault found.
func (w World) Begin(p int) string {
	_, fault := w.w.begin(p, 0)
	return fault
}

func (w World) End(p int) { w.w.end(p, w.w.procs[p].creating.Load()) }
func (w World) Lease(p int, ttl time.Duration) {
	w.w.procs[p].lease.Store(time.Now().Add(ttl).UnixNano())
}
func (w World) Kill(p int) { w.w.procs[p].dead.Store(true) }
func (w World) Away(p int) { w.w.procs[p].away.Store(true) }

// Ask has a reader begin a call when version since was the latest that had been
// read.
func (w World) Ask(p, g int, since int64) {
	r := &w.w.procs[p].readers[g]
	r.since.Store(since)
	r.begun.Add(1)
}

func (w World) Answer(p, g int) { w.w.procs[p].readers[g].ended.Add(1) }
func (w World) Unserved(procs, each int) func() int {
	m := w.w.marks()
	return func() int { return w.w.unserved(m, task{Procs: procs, Each: each}) }
}
