package lock_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// reader is a value and a mutex which fetches the value in the step that takes the
// mutex, and answers the next Read from that.
type reader struct {
	mu      sync.Mutex
	value   string // "": none
	fetched *string
	locked  bool
	gate    chan struct{} // TryLock waits for it, once it has done its work
}

func (r *reader) set(v string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value = v
}

func (r *reader) Read(context.Context) (string, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.value
	if r.locked && r.fetched != nil {
		v, r.fetched = *r.fetched, nil
	}
	if v == "" {
		return "", time.Time{}, nil
	}
	return v, time.Now(), nil
}

func (r *reader) TryLock(context.Context) (bool, error) {
	r.mu.Lock()
	v := r.value
	r.mu.Unlock()
	<-r.gate
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locked, r.fetched = true, &v
	return true, nil
}

func (r *reader) Lock(ctx context.Context) error { _, err := r.TryLock(ctx); return err }

func (r *reader) Unlock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.locked = false
}

func TestWhatWasFetchedWithTheLockIsNotForLaterCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A finds nothing, and tries the lock.  2. The lock is taken, with a value
		// that another process has just stored.  3. The value is deleted.  4. B finds
		// nothing, and joins A.  5. A goes on, and has its value.  6. B must not.
		r := &reader{gate: make(chan struct{})}
		first := true
		l := &lock.Lock[string]{
			Mutex:  r,
			Create: func(context.Context) (string, error) { return "new", nil },
			Read: func(ctx context.Context) (string, time.Time, error) {
				v, created, err := r.Read(ctx)
				if first {
					first = false
					r.set("stored") // by another, before A tries the lock
				}
				return v, created, err
			},
		}
		a := make(chan string, 1)
		b := make(chan string, 1)
		do := func(to chan string) {
			v, err := l.Do(t.Context())
			if err != nil {
				t.Errorf("Do = %v", err)
			}
			to <- v
		}
		go do(a)
		synctest.Wait()
		r.set("")
		go do(b)
		synctest.Wait()
		close(r.gate)
		if v := <-a; v != "stored" {
			t.Errorf("A got %q", v)
		}
		if v := <-b; v != "new" {
			t.Errorf("B got %q, which was deleted before it called", v)
		}
	})
}
