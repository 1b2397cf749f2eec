// Package lock is the dogpile lock by itself, for programs that keep their values
// elsewhere. Package dogpile is built on the same algorithm.
//
// While a value is fresh everybody reads it. When it has expired one caller creates
// the new one, and the others go on with the old one at once. When there is no old
// one they wait for that one creator. If it fails, its error goes to all of them;
// they do not try again one after another.
package lock

import (
	"context"
	"reflect"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// Never, as an expiration or a timeout, means that there is none.
const Never time.Duration = -1

// DefaultTimeout is how long a creation may take for which nothing else is set, and for
// how long a caller may wait for one.
const DefaultTimeout = 30 * time.Second

var (
	// ErrRecursive is returned to a creator that asks for the value it is creating.
	ErrRecursive = flight.ErrRecursive
	// ErrTimeout is returned when a creation has outlived its timeout.
	ErrTimeout = flight.ErrTimeout
	// ErrLost is for creators to return, also wrapped, when they were stopped because
	// their mutex was lost: their callers start over, three times at most.
	ErrLost = flight.ErrLost
	// ErrGoexit is returned when a creator called runtime.Goexit.
	ErrGoexit = flight.ErrGoexit
)

// PanicError is the error of a creator that panicked. It is returned as a
// *PanicError.
type PanicError struct {
	Value any    // what the creator panicked with
	Stack []byte // where, as debug.Stack tells it
}

// Error shows the panic's value, without the stack.
func (e *PanicError) Error() string { return (*flight.PanicError)(e).Error() }

// Unwrap returns the panic's value if it is an error, else nil.
func (e *PanicError) Unwrap() error { return (*flight.PanicError)(e).Unwrap() }

// Mutex keeps creators of one value from running at the same time, in this process
// or in a fleet. Unlock may be called from another goroutine than the one that
// locked, and is called once for each time that the mutex was taken.
type Mutex interface {
	// TryLock takes the mutex if it is free, and reports whether it did. It may
	// fetch in the same step what Read will be asked for next.
	TryLock(ctx context.Context) (bool, error)
	// Lock takes the mutex as soon as it is free, or returns ctx's error.
	Lock(ctx context.Context) error
	// Unlock gives the mutex back. It has to bound its own time: no caller's context
	// limits it.
	Unlock()
}

// Waiter is implemented by a Mutex that can tell when it may be free without being
// taken. Callers that wait for a value then read it before they try the mutex, so
// that a crowd does not take it one by one.
type Waiter interface {
	// Wait returns when the mutex may be free, or with ctx's error.
	Wait(ctx context.Context) error
}

// Lock is the dogpile lock of one value. Read, Create and Expiration say what the
// value is; Mutex says among whom there is to be one creator. A Lock may be used by
// many goroutines at once. Its fields must not change after the first use, and it
// must not be copied after that.
type Lock[V any] struct {
	// Read returns the value and when it was created; the zero time when there is
	// none.
	Read func(ctx context.Context) (v V, created time.Time, err error)
	// Create makes the value anew. Its context carries the values of the context of
	// the caller, but not its cancellation: a caller that leaves takes only itself
	// away. With no Store it also stores the value where Read will find it.
	Create func(ctx context.Context) (V, error)
	// Store stores what Create made, under the mutex, and reports whether the mutex
	// was held until then; if not, it must not have stored. Optional.
	Store func(ctx context.Context, v V) (held bool)
	// Expiration is the age after which a value is stale; 0 or Never: it never is.
	Expiration time.Duration
	// Mutex excludes other creators of the value. nil: only the callers of this Lock
	// share one creation.
	Mutex Mutex
	// Runner is handed the creations of stale values; the caller that found the value
	// stale gets it back at once. An error of such a creation is for Create to report.
	// nil: that caller waits for the new value.
	Runner func(task func())
	// Timeout bounds the wait for another's creation, and each creation. 0:
	// DefaultTimeout; Never: there is no limit.
	Timeout time.Duration

	table flight.Table
}

// Do returns the value: as it is while it is fresh, the stale one while another
// caller creates it, a new one otherwise. Waiting ends with ctx. The error of a
// creator goes to all who waited for it, unchanged. A panic becomes a *PanicError.
func (l *Lock[V]) Do(ctx context.Context) (V, error) {
	s := source[V]{l}
	called := l.table.Now()
	readings, err := s.Read(ctx, one)
	if err != nil {
		return *new(V), err
	}
	if r := readings[0]; r.State == flight.Fresh {
		return r.Value, nil
	}
	call := flight.Call[V]{
		Table: &l.table, Keys: []string{""}, Source: s, Called: called, Runner: l.Runner, Timeout: l.Timeout,
		Space: l.space(),
	}
	results, err := call.Do(ctx, readings)
	if err != nil {
		if p, ok := err.(*flight.PanicError); ok {
			err = (*PanicError)(p)
		}
		return *new(V), err
	}
	return results[0].Value, nil
}

// one is the position of the one value that a Lock has.
var one = []int{0}

// source is a Lock as the algorithm sees it.
type source[V any] struct{ *Lock[V] }

func (s source[V]) Read(ctx context.Context, _ []int) ([]flight.Reading[V], error) {
	v, created, err := s.Lock.Read(ctx)
	r := flight.Reading[V]{Value: v, State: flight.Fresh}
	switch {
	case err != nil:
		return nil, err
	case created.IsZero():
		r.State = flight.Missing
	case s.Expiration > 0 && time.Since(created).Abs() > s.Expiration:
		// A value from the future, because a clock was set back, is no fresher than
		// one that is as far in the past.
		r.State = flight.Stale
	}
	return []flight.Reading[V]{r}, nil
}

func (s source[V]) TryLock(ctx context.Context, _ int) (bool, error) {
	if s.Mutex == nil {
		return true, nil
	}
	return s.Mutex.TryLock(ctx)
}

func (s source[V]) Wait(ctx context.Context, _ int) (held bool, err error) {
	if w, ok := s.Mutex.(Waiter); ok {
		return false, w.Wait(ctx)
	}
	err = s.Mutex.Lock(ctx)
	return err == nil, err
}

func (s source[V]) Unlock(int) {
	if s.Mutex != nil {
		s.Mutex.Unlock()
	}
}

func (s source[V]) Create(ctx context.Context, _ []int) ([]flight.Result[V], error) {
	v, err := s.Lock.Create(ctx)
	return []flight.Result[V]{{Value: v, OK: true}}, err
}

func (s source[V]) Store(ctx context.Context, _ []int, values []flight.Result[V], _ []bool) (held []bool) {
	return []bool{s.Lock.Store == nil || s.Lock.Store(ctx, values[0].Value)}
}

func (source[V]) Enter(context.Context, bool) (leave func(), err error) { return func() {}, nil }

// space is the mutex: Locks with one mutex wait for each other.
func (l *Lock[V]) space() any {
	if l.Mutex == nil || !reflect.ValueOf(l.Mutex).Comparable() {
		return nil
	}
	return l.Mutex
}

// Name implements flight.Source. A Lock has no name.
func (source[V]) Name(int) string { return "" }

// Unseen implements flight.Source. A Lock has nobody to tell: see Lock.Runner.
func (source[V]) Unseen(context.Context, []int, error) {}

// Backoff is for how long a Lock takes it for granted that another process is still
// renewing the value.
func (source[V]) Backoff(int) time.Duration { return 100 * time.Millisecond }
