package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// record is a value under a lease that is lost to whoever deletes it. A value
// is the number of deletions that had begun when its creation began.
type record struct {
	mu      sync.Mutex
	lease   *grip // nil: free
	freed   chan struct{}
	v       int
	made    time.Time
	begun   int // deletions
	deleted atomic.Int64

	creators tally // those whose lease holds
}

// grip is one caller's lease on a record.
type grip struct{ r *record }

func (g *grip) TryLock(context.Context) (bool, error) {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if g.r.lease != nil {
		return false, nil
	}
	g.r.lease, g.r.freed = g, make(chan struct{})
	return true, nil
}

func (g *grip) Wait(ctx context.Context) error {
	g.r.mu.Lock()
	held, freed := g.r.lease != nil, g.r.freed
	g.r.mu.Unlock()
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

func (g *grip) Lock(context.Context) error { panic("there is Wait") }

func (g *grip) Unlock() {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if g.r.lease == g {
		g.r.free()
	}
}

func (r *record) free() {
	r.lease = nil
	close(r.freed)
}

func (r *record) read() (int, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.v, r.made
}

// begin begins a creation, and counts it among those at work on r if its lease
// holds.
func (r *record) begin(g *grip) (v int, end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != g {
		return r.begun, func() {}
	}
	return r.begun, r.creators.enter()
}

// work takes some time, and fails sometimes.
func work() error {
	switch n := rand.IntN(20); n {
	case 0:
		return errBroken
	case 1:
		panic(errBroken)
	case 2:
		runtime.Goexit()
	default:
		for range n * 10 {
			runtime.Gosched()
		}
	}
	return nil
}

func (r *record) store(g *grip, v int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lease != g {
		return false
	}
	r.v, r.made = v, time.Now()
	r.free() // as a fenced store does
	return true
}

// delete takes the value and the lease away.
func (r *record) delete(fs *lock.Flights, key string) {
	fs.Forget(key)
	r.mu.Lock()
	r.begun++
	n := r.begun
	r.v, r.made = 0, time.Time{}
	if r.lease != nil {
		r.free()
	}
	r.mu.Unlock()
	fs.Forget(key) // whoever began in between, and has read the old value
	for done := r.deleted.Load(); int64(n) > done && !r.deleted.CompareAndSwap(done, int64(n)); {
		done = r.deleted.Load()
	}
}

// town is several processes with some records in common.
type town struct {
	sites   [3]lock.Flights
	records [6]record
	deletes bool
	calls   atomic.Int64
}

func (w *town) single(rnd *rand.Rand, fs *lock.Flights, i int) *lock.Lock[int] {
	r := &w.records[i]
	g := &grip{r}
	l := &lock.Lock[int]{
		Key: fmt.Sprint(i), Flights: fs, Mutex: g, Expiration: 200 * time.Microsecond,
		Read: func(context.Context) (int, time.Time, error) { v, made := r.read(); return v, made, nil },
		Create: func(context.Context) (int, error) {
			v, end := r.begin(g)
			defer end()
			return v, work()
		},
		Store: func(_ context.Context, v int) bool { return r.store(g, v) },
	}
	if w.deletes {
		l.Expiration = time.Hour
	}
	if rnd.IntN(2) == 0 {
		l.Runner = func(task func()) { go task() }
	}
	return l
}

func (w *town) many(rnd *rand.Rand, fs *lock.Flights, at []int) *lock.Many[int] {
	m := new(lock.Many[int])
	var grips []*grip
	var records []*record
	for _, i := range at {
		m.Locks = append(m.Locks, w.single(rnd, fs, i))
		records = append(records, &w.records[i])
		grips = append(grips, m.Locks[len(m.Locks)-1].Mutex.(*grip))
	}
	m.Runner = m.Locks[0].Runner
	m.Read = func(_ context.Context, at []int) (vals []int, made []time.Time, _ error) {
		for _, i := range at {
			v, at := records[i].read()
			vals, made = append(vals, v), append(made, at)
		}
		return vals, made, nil
	}
	m.Create = func(_ context.Context, at []int) (vals []int, made []bool, _ error) {
		for _, i := range at {
			v, end := records[i].begin(grips[i])
			defer end()
			vals, made = append(vals, v), append(made, rand.IntN(20) > 0)
		}
		return vals, made, work()
	}
	m.Store = func(_ context.Context, at []int, vals []int) (held []bool) {
		for n, i := range at {
			held = append(held, records[i].store(grips[i], vals[n]))
		}
		return held
	}
	return m
}

// visit makes one call and returns what is wrong with its result.
func (w *town) visit(ctx context.Context, rnd *rand.Rand) error {
	w.calls.Add(1)
	fs := &w.sites[rnd.IntN(len(w.sites))]
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(5000))*time.Microsecond)
	defer cancel()
	at := rnd.Perm(len(w.records))[:1+rnd.IntN(4)]
	if w.deletes && rnd.IntN(5) == 0 {
		w.records[at[0]].delete(fs, fmt.Sprint(at[0]))
		return nil
	}
	before := make([]int64, len(at))
	for n, i := range at {
		before[n] = w.records[i].deleted.Load()
	}
	vals, ok, err := w.call(ctx, rnd, fs, at)
	if err != nil {
		if errors.Is(err, errBroken) || errors.Is(err, lock.ErrGoexit) || ctx.Err() != nil {
			return nil
		}
		return err
	}
	for n := range at {
		if ok[n] && int64(vals[n]) < before[n] {
			return fmt.Errorf("a value from before deletion %d was read after it", before[n])
		}
	}
	return nil
}

func (w *town) call(ctx context.Context, rnd *rand.Rand, fs *lock.Flights, at []int) ([]int, []bool, error) {
	if rnd.IntN(2) == 0 {
		v, err := w.single(rnd, fs, at[0]).Do(ctx)
		return []int{v}, []bool{true, false, false, false}, err
	}
	m := w.many(rnd, fs, at)
	if rnd.IntN(10) == 0 {
		return m.Renew(ctx)
	}
	all := make([]int, len(at))
	for i := range all {
		all[i] = i
	}
	v, made, _ := m.Read(ctx, all)
	return m.Do(ctx, v, made)
}

// TestStressOfMany: three processes, Locks and Manys with overlapping keys,
// real time. Never two creators of one key at once, nothing is stuck. With
// deletions: nobody reads what began before one that had returned.
func TestStressOfMany(t *testing.T) {
	for name, deletes := range map[string]bool{"expiry": false, "deletions": true} {
		t.Run(name, func(t *testing.T) {
			w := &town{deletes: deletes}
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			var wg sync.WaitGroup
			for i := range 32 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(2, uint64(i)))
					for ctx.Err() == nil && !t.Failed() {
						if err := w.visit(ctx, rnd); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for i := range w.sites {
				landed(t, &w.sites[i])
			}
			most := make([]int64, len(w.records))
			for i := range w.records {
				most[i] = w.records[i].creators.most.Load()
				if w.records[i].lease != nil {
					t.Errorf("record %d is still leased", i)
				}
			}
			if !deletes && slices.Max(most) != 1 {
				t.Errorf("creators at once, by key: %v", most)
			}
			settled(t, before)
			t.Logf("%d calls", w.calls.Load())
		})
	}
}
