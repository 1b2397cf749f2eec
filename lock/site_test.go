package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

var errBroken = errors.New("broken")

// site is where a test keeps its value. It notes in order what is done there.
type site struct {
	mu   sync.Mutex
	log  []string
	v    string
	made time.Time
}

func (s *site) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
}

func (s *site) count(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.log {
		if w == what {
			n++
		}
	}
	return n
}

// set puts a value there that was made some time ago.
func (s *site) set(v string, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v, s.made = v, time.Now().Add(-age)
}

func (s *site) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v, s.made = "", time.Time{}
}

func (s *site) value() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v
}

func (s *site) read(context.Context) (string, time.Time, error) {
	s.note("read")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v, s.made, nil
}

// create makes "new1", then "new2" and so on.
func (s *site) create(context.Context) (string, error) {
	s.note("create")
	return fmt.Sprint("new", s.count("create")), nil
}

func (s *site) store(_ context.Context, v string) bool {
	s.note("store")
	s.set(v, 0)
	return true
}

// lock returns a Lock of the value with an expiration of a minute.
func (s *site) lock(m lock.Mutex) *lock.Lock[string] {
	return &lock.Lock[string]{
		Read: s.read, Create: s.create, Store: s.store,
		Expiration: time.Minute, Mutex: m,
	}
}

// mutex can be waited for only by taking it.
type mutex struct {
	s     *site
	mu    sync.Mutex
	freed chan struct{} // closed when it becomes free; nil while it is
}

func newMutex(s *site) *mutex { return &mutex{s: s} }

func (m *mutex) TryLock(context.Context) (bool, error) {
	m.s.note("try")
	return m.try(), nil
}

func (m *mutex) try() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed != nil {
		return false
	}
	m.freed = make(chan struct{})
	return true
}

func (m *mutex) Lock(ctx context.Context) error {
	m.s.note("lock")
	for !m.try() {
		if err := m.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *mutex) wait(ctx context.Context) error {
	m.mu.Lock()
	freed := m.freed
	m.mu.Unlock()
	if freed == nil {
		return nil
	}
	select {
	case <-freed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *mutex) Unlock() {
	m.s.note("unlock")
	m.free()
}

func (m *mutex) free() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed == nil {
		panic("unlock of a free mutex")
	}
	close(m.freed)
	m.freed = nil
}

// waiter is a mutex that can also be waited for without taking it.
type waiter struct{ *mutex }

func (w waiter) Wait(ctx context.Context) error {
	w.s.note("wait")
	return w.wait(ctx)
}

// result is what a call returned.
type result struct {
	v   string
	err error
}

// async calls do in a goroutine of its own and returns once that is stuck.
func async(do func(context.Context) (string, error), ctx context.Context) chan result {
	c := make(chan result, 1)
	go func() {
		v, err := do(ctx)
		c <- result{v, err}
	}()
	synctest.Wait()
	return c
}

// want checks what a call returned at this moment of the bubble's time.
func want(t *testing.T, caller string, c chan result, v string, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-c:
		if !errors.Is(got.err, err) || err == nil && got.v != v {
			t.Errorf("%s got %q, %v; want %q, %v", caller, got.v, got.err, v, err)
		}
	default:
		t.Errorf("%s still waits; want %q, %v", caller, v, err)
		go func() { <-c }()
	}
}

// waits checks that a call has not returned yet.
func waits(t *testing.T, caller string, c chan result) {
	t.Helper()
	synctest.Wait()
	if len(c) > 0 {
		t.Errorf("%s does not wait", caller)
	}
}
