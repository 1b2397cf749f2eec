//go:build unix

package fleettest

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	maxProcs = 8
	maxEach  = 50
	maxLog   = 1 << 21
)

// world is what the processes of a fleet share apart from the backend: the origin
// of the cached values, a clock, and what each process is doing. It lies in a file
// that all of them map, and its fields are atomic: so it is exact, costs next to
// nothing, and loses nothing when a process is killed.
type world struct {
	over   atomic.Bool
	faults atomic.Int64 // how many have been found; the first one ends the scene

	// While all readers ask for one key:
	key    atomic.Int64 // which one
	round  atomic.Int64 // of asking, from 1
	origin atomic.Int64 // its version, which is counted up by each creation
	stored atomic.Int64 // the latest version that is known to be stored
	newest atomic.Int64 // the latest stored version that has been read
	fate   atomic.Int64 // armed: the next creation is struck; else the version that was struck
	free   atomic.Int64 // the latest version that was struck and may go on
	procs  [maxProcs]proc
	made   [1 << 14]creation

	// While a history is recorded:
	cut      atomic.Bool          // the first process cannot reach its backend
	clock    atomic.Int64         // of two events the earlier one has the lower number
	versions [things]atomic.Int64 // of the origin, by thing
	logged   atomic.Int64
	calls    atomic.Int64 // that have returned, and have not failed
	nearHits atomic.Int64 // reads that a copy in the process has answered
	log      [maxLog]record
}

// armed is a fate that has not struck yet.
const armed = -1

// proc is one process.
type proc struct {
	away     atomic.Bool  // it does not run, or not yet: no check waits for it
	dead     atomic.Bool  // it was killed
	lease    atomic.Int64 // until when it is known to hold one, Unix time in ns
	renewals atomic.Int64 // how often it has tried to renew one
	creating atomic.Int64 // the version that its creator is making; 0: none
	readers  [maxEach]reader
}

// reader is one goroutine that asks for values.
type reader struct {
	begun, ended atomic.Int64 // how many calls
	since        atomic.Int64 // the latest version that had been read when the last of them began
	last         atomic.Int64 // the version that the last of them has returned
	took         atomic.Int64 // ns
}

// creation is the making of one version.
type creation struct {
	start, end atomic.Int64 // Unix time in ns
	proc, each atomic.Int64 // numbers of the process and of its goroutine
	outcome    atomic.Int64 // of the attempt to store it
}

const (
	isStored = 1
	isLost   = 2 // the lease was gone
)

// record is one operation of a history on one thing.
type record struct {
	op, proc, thing atomic.Int64
	entry           atomic.Int64 // the thing that was read, if that is another
	n               atomic.Int64 // the origin's version of a change; what a read has found
	start, end      atomic.Int64 // on the clock; no end: it has not returned
	began, returned atomic.Int64 // the same in Unix time, in ns
}

// moment is when something happens.
type moment struct{ tick, at int64 } // on the clock; Unix time in ns

// now returns the moment of an event that nothing else has.
func (w *world) now() moment { return moment{w.clock.Add(1), time.Now().UnixNano()} }

// openWorld maps the world in a file, which is made if it is not there.
func openWorld(path string) (*world, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const size = int(unsafe.Sizeof(world{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap of %s: %w", path, err)
	}
	return (*world)(unsafe.Pointer(&b[0])), nil
}

func (w *world) close() error {
	return syscall.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(w)), unsafe.Sizeof(*w)))
}

// ended reports whether the scene is over.
func (w *world) ended() bool { return w.over.Load() || w.faults.Load() > 0 }

// creation returns what is known about a version.
func (w *world) creation(version int64) *creation { return &w.made[version%int64(len(w.made))] }

// raise makes n the value of a, unless that is greater already.
func raise(a *atomic.Int64, n int64) {
	for {
		old := a.Load()
		if old >= n || a.CompareAndSwap(old, n) {
			return
		}
	}
}

// caller returns the reader whose call makes a version.
func (w *world) caller(version int64) *reader {
	c := w.creation(version)
	return &w.procs[c.proc.Load()].readers[c.each.Load()]
}

// begin notes that goroutine g of process p begins to create, and returns the
// version that it makes. It is a fault to begin while another creator's lease
// lasts. A lease has ended too if its holder was stopped, or was too slow to renew
// it.
func (w *world) begin(p, g int) (version int64, fault string) {
	version = w.origin.Add(1)
	c, now := w.creation(version), time.Now().UnixNano()
	c.proc.Store(int64(p))
	c.each.Store(int64(g))
	c.end.Store(0)
	c.outcome.Store(0)
	c.start.Store(now) // last: a creation that has a start has all the rest
	if !w.procs[p].creating.CompareAndSwap(0, version) {
		return version, fmt.Sprintf("two creators at once: process %d makes version %d while it makes version %d", p, version, w.procs[p].creating.Load())
	}
	for i := range w.procs {
		q := &w.procs[i]
		left := time.Duration(q.lease.Load() - now)
		if other := q.creating.Load(); i != p && other != 0 && !q.dead.Load() && left > tick {
			return version, fmt.Sprintf("two creators at once: process %d makes version %d while process %d makes version %d, under a lease that lasts for another %v",
				p, version, i, other, left)
		}
	}
	return version, ""
}

// tick is how much sooner a lease may end than its holder thinks: servers count
// in milliseconds.
const tick = 5 * time.Millisecond

// end notes that a creator returns.
func (w *world) end(p int, version int64) {
	w.creation(version).end.Store(time.Now().UnixNano())
	// After a fault another version may stand there.
	w.procs[p].creating.CompareAndSwap(version, 0)
}

// marks is how many calls each reader had begun at some moment.
type marks [maxProcs][maxEach]int64

func (w *world) marks() *marks {
	m := new(marks)
	for p := range m {
		for g := range m[p] {
			m[p][g] = w.procs[p].readers[g].begun.Load()
		}
	}
	return m
}

// unanswered returns how many readers of running processes have not yet both begun
// and ended a call since m.
func (w *world) unanswered(m *marks, k task) int {
	return w.count(k, func(p, g int, r *reader) bool { return r.ended.Load() <= m[p][g] })
}

// unserved is unanswered without the reader whose call creates, and without those
// readers that asked when there was no value: if the first value has expired
// before they see it, they may have to wait for the second.
func (w *world) unserved(m *marks, k task) int {
	return w.count(k, func(p, g int, r *reader) bool {
		version := w.procs[p].creating.Load()
		creates := version != 0 && w.caller(version) == r
		first := r.begun.Load() > r.ended.Load() && r.since.Load() == 0
		return !creates && !first && r.ended.Load() <= m[p][g]
	})
}

// idle returns how many readers of running processes are not in a call.
func (w *world) idle(k task) int {
	return w.count(k, func(_, _ int, r *reader) bool { return r.begun.Load() == r.ended.Load() })
}

func (w *world) count(k task, cond func(p, g int, r *reader) bool) (n int) {
	for p := range k.Procs {
		for g := range k.Each {
			if !w.procs[p].away.Load() && cond(p, g, &w.procs[p].readers[g]) {
				n++
			}
		}
	}
	return n
}

// pause lets real time pass.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
