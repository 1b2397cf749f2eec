package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// entry is a value with its mutex that several processes share.
type entry struct {
	mutex
	mu       sync.Mutex
	n        int
	made     time.Time
	now, max atomic.Int64 // creators
}

func (e *entry) read(context.Context) (int, time.Time, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n, e.made, nil
}

// create takes some time, and fails sometimes.
func (e *entry) create(context.Context) (int, error) {
	n := e.now.Add(1)
	defer e.now.Add(-1)
	for most := e.max.Load(); n > most && !e.max.CompareAndSwap(most, n); {
		most = e.max.Load()
	}
	switch n := rand.IntN(20); n {
	case 0:
		return 0, errBroken
	case 1:
		panic(errBroken)
	case 2:
		runtime.Goexit()
	default:
		for range n * 10 {
			runtime.Gosched()
		}
	}
	return 1, nil
}

func (e *entry) store(_ context.Context, n int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n, e.made = e.n+n, time.Now()
	return true
}

// lock returns one of the ways in which a process may have its Lock of the entry.
func (e *entry) lock(way int) *lock.Lock[int] {
	l := &lock.Lock[int]{
		Mutex: &e.mutex, Expiration: 200 * time.Microsecond,
		Read: e.read, Create: e.create, Store: e.store,
	}
	if way&1 > 0 {
		l.Mutex = waiter{&e.mutex}
	}
	if way&2 > 0 {
		l.Runner = func(task func()) { go task() }
	}
	return l
}

// TestStress: four processes with the same four values, real time. There are never
// two creators of one value at once, and everything comes to an end.
func TestStress(t *testing.T) {
	entries := make([]*entry, 4)
	processes := make([][]*lock.Lock[int], 4)
	for i := range entries {
		entries[i] = &entry{mutex: mutex{s: new(site)}}
		for p := range processes {
			processes[p] = append(processes[p], entries[i].lock(p))
		}
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var callers sync.WaitGroup
	for c := range 32 {
		callers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(c)))
			for ctx.Err() == nil {
				l := processes[rnd.IntN(len(processes))][rnd.IntN(len(entries))]
				ctx, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(2000))*time.Microsecond)
				_, err := l.Do(ctx)
				if err != nil && !errors.Is(err, errBroken) && err != lock.ErrGoexit && ctx.Err() == nil {
					t.Errorf("Do = %v", err)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	settles(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= before })
	for i, e := range entries {
		if most := e.max.Load(); most != 1 {
			t.Errorf("value %d: %d creators at once", i, most)
		}
		settles(t, "a mutex is still held", e.try)
	}
}

// settles waits until what was going on has come to its end.
func settles(t *testing.T, otherwise string, settled func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !settled(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}
