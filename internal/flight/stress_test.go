package flight_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// record is a value under a lease, which is lost when the value is deleted. A value is
// the number of deletions that had begun when its creation began.
type record struct {
	mu    sync.Mutex
	lease *lease        // nil: free
	freed chan struct{} // closed when the lease is free
	value int
	made  time.Time
	begun int // deletions

	deleted  atomic.Int64 // deletions that have returned
	creators most         // those whose lease holds
}

// lease is one caller's on a record.
type lease struct{ r *record }

func (l *lease) try() bool {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.r.lease != nil {
		return false
	}
	l.r.lease, l.r.freed = l, make(chan struct{})
	return true
}

func (l *lease) wait(ctx context.Context) error {
	l.r.mu.Lock()
	held, freed := l.r.lease != nil, l.r.freed
	l.r.mu.Unlock()
	if !held {
		return nil
	}
	select {
	case <-freed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lease) giveBack() {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.r.lease == l {
		l.r.free()
	}
}

func (r *record) free() {
	r.lease = nil
	close(r.freed)
}

// begin begins a creation, and counts it among those that create r if its lease holds.
func (r *record) begin(l *lease) (value int, end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != l {
		return r.begun, func() {}
	}
	return r.begun, r.creators.enter()
}

func (r *record) store(l *lease, value int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != l {
		return false
	}
	r.value, r.made = value, time.Now()
	r.free() // in the same step
	return true
}

// delete takes the value and the lease away. It is called in the process of table.
func (r *record) delete(table *flight.Table, key string) {
	table.Forget(key)
	r.mu.Lock()
	r.begun++
	n := r.begun
	r.value, r.made = 0, time.Time{}
	if r.lease != nil {
		r.free()
	}
	r.mu.Unlock()
	table.Forget(key) // what began in between, and has read the old value
	for done := r.deleted.Load(); int64(n) > done && !r.deleted.CompareAndSwap(done, int64(n)); {
		done = r.deleted.Load()
	}
}

// world is several processes with some records in common.
type world struct {
	deletes bool
	loses   bool // locks are lost to Forget and to time-outs, while creators run on

	processes [3]process
	records   [6]record
	held      atomic.Int64 // locks that were taken and not given back
	calls     atomic.Int64
}

type process struct {
	table    flight.Table
	places   chan struct{}
	creators [6]most
}

// visit is a Source: one call of a process.
type visit struct {
	w       *world
	p       *process
	at      []int // the records
	leases  []*lease
	offline bool // the process cannot reach the records
	taking  bool // waiting takes the lease
}

func (v *visit) Read(_ context.Context, at []int) (readings []flight.Reading[int], _ error) {
	for _, i := range at {
		r := &v.w.records[v.at[i]]
		r.mu.Lock()
		reading := flight.Reading[int]{Value: r.value, Failed: v.offline}
		switch age := time.Since(r.made); {
		case r.made.IsZero() || v.offline || age > 2*time.Millisecond && !v.w.deletes:
		case age > 200*time.Microsecond && !v.w.deletes:
			reading.State = flight.Stale
		default:
			reading.State = flight.Fresh
		}
		r.mu.Unlock()
		readings = append(readings, reading)
	}
	return readings, nil
}

func (v *visit) TryLock(_ context.Context, at int) (bool, error) {
	if rand.IntN(100) == 0 {
		return false, errBroken
	}
	return v.takes(v.offline || v.leases[at].try()), nil
}

func (v *visit) Wait(ctx context.Context, at int) (bool, error) {
	for {
		if err := v.leases[at].wait(ctx); err != nil || !v.taking {
			return false, err
		}
		if v.leases[at].try() {
			return v.takes(true), nil
		}
	}
}

func (v *visit) takes(held bool) bool {
	if held {
		v.w.held.Add(1)
	}
	return held
}

func (v *visit) Unlock(at int) {
	v.w.held.Add(-1)
	v.leases[at].giveBack()
}

func (v *visit) Create(_ context.Context, at []int) (results []flight.Result[int], _ error) {
	for _, i := range at {
		value, end := v.w.records[v.at[i]].begin(v.leases[i])
		defer end()
		defer v.p.creators[v.at[i]].enter()()
		results = append(results, flight.Result[int]{Value: value, OK: rand.IntN(20) > 0})
	}
	switch n := rand.IntN(20); n {
	case 0:
		return nil, errBroken
	case 1:
		panic(errBroken)
	case 2:
		runtime.Goexit()
	case 3:
		return nil, flight.ErrLost
	default:
		for range n * 10 {
			runtime.Gosched()
		}
	}
	return results, nil
}

func (v *visit) Store(_ context.Context, at []int, values []flight.Result[int], _ []bool) (held []bool) {
	for n, i := range at {
		held = append(held, v.w.records[v.at[i]].store(v.leases[i], values[n].Value))
	}
	return held
}

func (v *visit) Enter(ctx context.Context, wait bool) (leave func(), err error) {
	select {
	case v.p.places <- struct{}{}:
	default:
		if !wait {
			return nil, nil
		}
		select {
		case v.p.places <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() { <-v.p.places }, nil
}

func (v *visit) Backoff(int) time.Duration { return 100 * time.Microsecond }

func (v *visit) Unseen(context.Context, []int, error) {}
func (v *visit) Name(int) string                      { return "" }

// call makes one call, and returns what is wrong with its results.
func (w *world) call(ctx context.Context, rnd *rand.Rand) error {
	w.calls.Add(1)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(5000))*time.Microsecond)
	defer cancel()
	v := &visit{
		w: w, p: &w.processes[rnd.IntN(len(w.processes))], at: rnd.Perm(len(w.records))[:1+rnd.IntN(4)],
		offline: rnd.IntN(10) == 0, taking: rnd.IntN(2) == 0,
	}
	key := func(at int) string { return fmt.Sprint("record ", at) }
	switch {
	case w.deletes && rnd.IntN(5) == 0:
		w.records[v.at[0]].delete(&v.p.table, key(v.at[0]))
		return nil
	case w.loses && rnd.IntN(20) == 0:
		v.p.table.Forget(key(v.at[0]))
		return nil
	case w.loses && rnd.IntN(20) == 0:
		v.p.table.ForgetAll(ctx)
		return nil
	}
	c := &flight.Call[int]{
		Table: &v.p.table, Source: v,
		Renew: rnd.IntN(10) == 0, Optional: rnd.IntN(2) == 0, Unshared: w.loses && rnd.IntN(20) == 0,
		Timeout: []time.Duration{0, flight.Never}[rnd.IntN(2)],
	}
	if w.loses && rnd.IntN(2) == 0 {
		c.Timeout = time.Duration(1 + rnd.IntN(2e6))
	}
	if rnd.IntN(2) == 0 {
		c.Runner = func(task func()) { go task() }
	}
	before, all := make([]int64, len(v.at)), make([]int, len(v.at))
	for n, i := range v.at {
		before[n], all[n] = w.records[i].deleted.Load(), n
		c.Keys, v.leases = append(c.Keys, key(i)), append(v.leases, &lease{&w.records[i]})
	}
	c.Called = v.p.table.Now()
	readings, _ := v.Read(ctx, all)
	results, err := c.Do(ctx, readings)
	for _, expected := range []error{errBroken, flight.ErrGoexit, flight.ErrLost, flight.ErrTimeout, ctx.Err()} {
		if err != nil && errors.Is(err, expected) {
			return nil
		}
	}
	for n, r := range results {
		if r.OK && int64(r.Value) < before[n] {
			return fmt.Errorf("a value from before deletion %d was read after it", before[n])
		}
	}
	return err
}

// TestStress: three processes, calls for several keys that overlap, real time. Never
// are there two creators of one key at once, and everything comes to its end. With
// deletions: nobody reads what began before one that had returned.
func TestStress(t *testing.T) {
	for name, w := range map[string]*world{
		"expiry": {}, "deletions": {deletes: true}, "lost locks": {loses: true},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range w.processes {
				w.processes[i].places = make(chan struct{}, 8)
			}
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			var callers sync.WaitGroup
			seed := rand.Uint64()
			for i := range 32 {
				callers.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, uint64(i)))
					for ctx.Err() == nil && !t.Failed() {
						if err := w.call(ctx, rnd); err != nil {
							t.Error(err)
						}
					}
				})
			}
			callers.Wait()
			w.ends(t)
			settles(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= before })
			t.Logf("%d calls", w.calls.Load())
		})
	}
}

func (w *world) ends(t *testing.T) {
	for i := range w.processes {
		p := &w.processes[i]
		ends(t, &p.table)
		for at := range w.records {
			settles(t, "the table is still busy", func() bool { return !p.table.Busy(fmt.Sprint("record ", at)) })
			if n := p.creators[at].max.Load(); n > 1 && !w.deletes && !w.loses {
				t.Errorf("%d creators of record %d at once in process %d", n, at, i)
			}
		}
		settles(t, "a place is still taken", func() bool { return len(p.places) == 0 })
	}
	settles(t, "locks are still held", func() bool { return w.held.Load() == 0 })
	for i := range w.records {
		r := &w.records[i]
		settles(t, "a record is still leased", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.lease == nil })
		if n := r.creators.max.Load(); n > 1 && !w.deletes && !w.loses {
			t.Errorf("%d creators of record %d at once", n, i)
		}
	}
}

// settles waits until what was going on has come to its end.
func settles(t *testing.T, otherwise string, settled func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !settled(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}
