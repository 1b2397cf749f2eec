// Package lock is the dogpile lock by itself, for those who keep their values
// elsewhere; package dogpile is built on it.
//
// While a value is fresh everybody reads it. When it has expired one caller
// creates the new one, and the others go on with the old one at once. When
// there is no old one they wait for that one creator. Its failure is everybody's
// failure; nobody retries in turn.
package lock

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Never, as an expiration or a timeout, means that there is none.
const Never time.Duration = -1

// DefaultTimeout is the life of a creation for which no other is set.
const DefaultTimeout = 30 * time.Second

// elsewhere is how long callers in this process take another's word that the
// stale value they see is being renewed, before one asks for the lock again.
const elsewhere = 100 * time.Millisecond

// AnyVersion, as a Lock's Version of a reading, is for callers who could not
// read the value: they join whatever creation of it is in the air.
const AnyVersion = "\x00any"

// retries is how often callers start over whose creator failed because its
// lock was lost on the way.
const retries = 3

var (
	// ErrRecursive is returned when a creator asks for the value it is creating.
	ErrRecursive = errors.New("creator asks for the value it is creating")
	// ErrTimeout is returned when a creation has outlived its timeout.
	ErrTimeout = errors.New("creation timed out")
	// ErrClosed is returned once the Flights are closed.
	ErrClosed = errors.New("closed")
	// ErrLost tells that a lock was lost before it was given back. A creator
	// that fails with it has its callers start over.
	ErrLost = errors.New("lock lost")
	// ErrGoexit is returned when a creator called runtime.Goexit.
	ErrGoexit = errors.New("creator called runtime.Goexit")

	errRunner = errors.New("the Runner panicked")
)

// PanicError is what callers get, as a *PanicError, when a creator panics.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where, as debug.Stack tells it
}

// Error shows what the creator panicked with, and not the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("creator panicked: %v", e.Value) }

// Unwrap returns the panic's value if it is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Mutex keeps creators of one value from running at the same time, in this
// process or in a fleet. Unlock may be called from another goroutine than the
// one that locked, and is called once for each time the mutex was taken.
type Mutex interface {
	// TryLock takes the mutex if it is free, and reports whether it did. It may
	// fetch in the same step what Read will be asked for next.
	TryLock(ctx context.Context) (bool, error)
	// Lock takes the mutex as soon as it is free, or returns ctx's error.
	Lock(ctx context.Context) error
	// Unlock gives the mutex back. It has to bound its own time: no caller's
	// context limits it.
	Unlock()
}

// Waiter is implemented by a Mutex that can tell when it may be free without
// being taken. Those who wait for a value then read it before they try the
// mutex, so that a crowd does not queue for it one by one.
type Waiter interface {
	// Wait returns when the mutex may be free, or with ctx's error.
	Wait(ctx context.Context) error
}

// Lock is the dogpile lock of one value. Read, Create and Expiration say what
// the value is; Mutex says among whom there is to be one creator. A Lock may
// be used by many goroutines at once, and its fields must not change while it
// is.
type Lock[V any] struct {
	// Read returns the value and when it was made; the zero time when there is
	// none.
	Read func(ctx context.Context) (v V, created time.Time, err error)
	// Create makes the value anew. Its context carries the values of the
	// caller's, but not its cancellation: a caller that leaves takes only itself
	// away. With no Store it also stores the value where Read will find it.
	Create func(ctx context.Context) (V, error)
	// Store stores what Create made, under the mutex, and reports whether the
	// mutex was held until then; if not it must not have stored. Optional.
	Store func(ctx context.Context, v V) (held bool)
	// Expiration is the age after which a value is stale; 0 or Never: no age.
	Expiration time.Duration
	// Stale decides instead of Expiration whether a value is stale. Optional.
	Stale func(v V, created time.Time) bool
	// Mutex excludes other creators of the value. nil: nobody is excluded, but
	// callers of Do with the same Flights and Version share one creation.
	Mutex Mutex
	// Runner is handed the creations of stale values; the caller who found the
	// value stale gets it back at once. nil: that caller waits for the new one.
	Runner func(task func())
	// Timeout bounds the wait for another's creation and each creation.
	// 0: DefaultTimeout.
	Timeout time.Duration

	// Key names the value among those that share Flights. Version, if set,
	// tells readings of the value apart by something that has to be the same for
	// a caller to join a creation that somebody else has started.
	Key     string
	Version func(v V) string
	// Flights holds the creations of this process. nil: the Lock's own.
	Flights *Flights

	own Flights
}

// Do returns the value: as it is while it is fresh, the stale one while another
// creates it, a new one otherwise. Waiting ends with ctx. The error of a creator
// goes to all who waited for it, unchanged. A panic becomes a *PanicError.
func (l *Lock[V]) Do(ctx context.Context) (V, error) {
	v, created, err := l.Read(ctx)
	if err != nil {
		return v, err
	}
	return l.DoRead(ctx, v, created)
}

// DoRead is Do for a caller who has just read the value.
func (l *Lock[V]) DoRead(ctx context.Context, v V, created time.Time) (V, error) {
	return l.do(ctx, v, created, false)
}

// Renew creates the value even while it is fresh. It shares a creation only
// with other callers of Renew, and only one that has not begun.
func (l *Lock[V]) Renew(ctx context.Context) (V, error) {
	var none V
	return l.do(ctx, none, time.Time{}, true)
}

func (l *Lock[V]) do(ctx context.Context, v V, created time.Time, renew bool) (V, error) {
	fs, failed := l.flights(), 0
	called := fs.clock.Add(1)
	for {
		if !renew && l.fresh(v, created) {
			return v, nil
		}
		if creating(ctx, fs, l.Key) {
			return v, ErrRecursive
		}
		if err := ctx.Err(); err != nil {
			return v, err
		}
		stale := !created.IsZero()
		if stale && fs.Resting(l.Key) {
			return v, nil
		}
		version := l.version(v, renew)
		f, made, err := fs.start(l.Key, version, renew)
		if err != nil {
			return v, err
		}
		if made {
			l.launch(ctx, f, v, created, renew)
		} else if !stale {
			f.urge()
		}
		if stale && (!made || l.Runner != nil) {
			return v, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return v, ctx.Err()
		}
		switch got, ok := f.value.(box[V]); {
		case errors.Is(f.err, ErrLost) && failed < retries:
			failed++
		case f.err != nil:
			return v, f.err
		case made && f.kind == old: // enough for others; he is the one to renew it
		case ok && f.serves(called, stale, version):
			return got.v, nil
		}
		if renew {
			continue
		}
		if v, created, err = l.Read(ctx); err != nil {
			return v, err
		}
	}
}

// box makes any value, nil interfaces too, tell its type.
type box[V any] struct{ v V }

// launch gives the flight its goroutine, or hands it to the Runner.
func (l *Lock[V]) launch(ctx context.Context, f *flight, v V, created time.Time, renew bool) {
	ctx, cancel := context.WithCancelCause(entering(context.WithoutCancel(ctx), f.set, f.key))
	run := func() {
		if f.board() {
			l.run(ctx, f, v, created, renew)
		}
	}
	f.departs(cancel, l.timeout())
	if l.Runner == nil || created.IsZero() {
		go run()
		return
	}
	f.offers(run)
	handed := false
	defer func() {
		if !handed {
			f.ground(errRunner) // it panicked, and the panic goes to its caller
		}
	}()
	l.Runner(run)
	handed = true
}

// run carries a flight through and publishes what came of it, whatever way the
// creator leaves.
func (l *Lock[V]) run(ctx context.Context, f *flight, v V, created time.Time, renew bool) {
	out := outcome[V]{err: ErrGoexit}
	defer func() {
		if p := recover(); p != nil {
			out = outcome[V]{err: &PanicError{Value: p, Stack: debug.Stack()}}
		}
		f.release()
		f.finish(out.publish(f))
		f.lands()
	}()
	out = l.fly(ctx, f, v, created, renew)
}

// fly is the algorithm, from the moment when this process is to create the
// value. Wherever it returns, run gives back the lock.
func (l *Lock[V]) fly(ctx context.Context, f *flight, v V, created time.Time, renew bool) outcome[V] {
	held, err := false, error(nil)
	var tried int64
	for {
		tried = f.set.clock.Add(1)
		if held, err = l.tryLock(ctx, f); err != nil {
			return outcome[V]{err: err}
		}
		if held {
			break
		}
		if !created.IsZero() && !renew {
			f.set.Rest(f.key, elsewhere)
			return outcome[V]{v: v, kind: seen}
		}
		if held, err = l.await(ctx, f); err != nil {
			return outcome[V]{err: err}
		}
		if held {
			tried = f.set.clock.Add(1)
			break
		}
		f.mark()
		v, created, err = l.Read(ctx)
		switch {
		case err != nil || l.fresh(v, created) && !renew:
			return outcome[V]{v: v, kind: read, err: err}
		case !created.IsZero() && !renew:
			return outcome[V]{v: v, kind: old}
		}
	}
	// Whoever held the lock until now may have made the value.
	f.mark()
	if v, created, err = l.Read(ctx); err != nil || l.fresh(v, created) && !renew {
		f.markAt(tried) // taking the lock may have been the reading already
		return outcome[V]{v: v, kind: read, err: err}
	}
	return l.create(ctx, f)
}

// create runs the creator, whose time begins now, and stores what it made.
func (l *Lock[V]) create(ctx context.Context, f *flight) (out outcome[V]) {
	flights := []*flight{f}
	inTime := timed(ctx, l.timeout(), flights, func(ctx context.Context) error {
		out.v, out.err = l.Create(ctx)
		return out.err
	})
	switch {
	case !inTime:
		return outcome[V]{err: ErrTimeout} // the lock is gone
	case out.err != nil || l.Store == nil:
		return out
	}
	// Nobody may join once the value is stored: it could be deleted before they
	// come, and they would still be given it.
	f.detach()
	timed(ctx, l.timeout(), flights, func(ctx context.Context) error {
		out.lost = !l.Store(ctx, out.v)
		return nil
	})
	return out
}

// timed does something within a flight's full time, and reports whether it came
// to its end in time. What failed because its time was up did not.
func timed(ctx context.Context, timeout time.Duration, flights []*flight, do func(context.Context) error) bool {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	inTime := true
	for _, f := range flights {
		inTime = f.restart(timeout) && inTime
	}
	if !inTime {
		return false
	}
	err := do(ctx)
	for _, f := range flights {
		inTime = f.stop() && inTime
	}
	return inTime && !(err != nil && context.Cause(ctx) == ErrTimeout)
}

func (l *Lock[V]) tryLock(ctx context.Context, f *flight) (bool, error) {
	if l.Mutex == nil {
		return true, nil
	}
	held, err := l.Mutex.TryLock(ctx)
	if held && err == nil {
		f.locked(l.Mutex.Unlock)
	}
	return held, err
}

// await waits until the mutex may be free, or takes it where it cannot wait
// without.
func (l *Lock[V]) await(ctx context.Context, f *flight) (held bool, err error) {
	if w, ok := l.Mutex.(Waiter); ok {
		return false, w.Wait(ctx)
	}
	if err := l.Mutex.Lock(ctx); err != nil {
		return false, err
	}
	f.locked(l.Mutex.Unlock)
	return true, nil
}

func (l *Lock[V]) fresh(v V, created time.Time) bool {
	switch {
	case created.IsZero():
		return false
	case l.Stale != nil:
		return !l.Stale(v, created)
	case l.Expiration <= 0:
		return true
	}
	// A value from the future, because a clock was set back, is no fresher than
	// one that is as far in the past.
	return time.Since(created).Abs() <= l.Expiration
}

func (l *Lock[V]) version(v V, renew bool) string {
	switch {
	case renew:
		return "\x00renew"
	case l.Version != nil:
		return l.Version(v)
	}
	return ""
}

func (l *Lock[V]) timeout() time.Duration {
	if l.Timeout == 0 {
		return DefaultTimeout
	}
	return l.Timeout
}

func (l *Lock[V]) flights() *Flights {
	if l.Flights != nil {
		return l.Flights
	}
	return &l.own
}
