package dogpile

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/lock"
)

var (
	// ErrNotConfigured is returned when a region is used before Configure.
	ErrNotConfigured = errors.New("region is not configured")
	// ErrConfigured is returned by Configure when the region already is.
	ErrConfigured = errors.New("region is already configured; Reconfigure replaces its backend")
	// ErrClosed is returned when a region is used after Close.
	ErrClosed = flight.ErrClosed
	// ErrRecursive is returned to a creator that asks for the key it is creating.
	ErrRecursive = flight.ErrRecursive
	// ErrCreateTimeout is returned when a creation took longer than
	// [Options].CreateTimeout. Its value, should it come, is not stored.
	ErrCreateTimeout = flight.ErrTimeout
	// ErrLeaseLost is the cause with which a creator's context is cancelled when its
	// lease was lost: another process may create the value now.
	ErrLeaseLost = driver.ErrLeaseLost
	// ErrBackend is what errors.Is finds in an [OpError] if the backend, or a proxy,
	// has failed.
	ErrBackend = errors.New("the backend failed")
)

// PanicError is the error of a creator that panicked, inside an [OpError].
type PanicError = lock.PanicError

// OpError is an error of a region, returned as an *OpError by all its functions. Only
// a creator's own error is returned as it is.
type OpError struct {
	Region string // the region's name
	Op     string // "get", "set", "delete", "refresh", "peek", "locked", "invalidate", "ping", "key of", …
	Key    string // the caller's key, or of several the first that failed; empty where there is none
	Err    error  // the cause; errors.Is(Err, ErrBackend) if the backend failed. Of several keys it unwraps to an *OpError for each, or for the first of those that failed together
}

// Error returns `dogpile: op "key": cause`, or `dogpile: op region "name": cause`
// where there is no key.
func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("dogpile: ")
	b.WriteString(e.Op)
	b.WriteByte(' ')
	if e.Key != "" {
		b.WriteString(strconv.Quote(e.Key))
	} else {
		b.WriteString("region ")
		b.WriteString(strconv.Quote(e.Region))
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// backendError marks an error as the backend's. It reads like the error itself.
type backendError struct{ err error }

// Error returns the backend's own text.
func (e *backendError) Error() string { return e.err.Error() }

// Unwrap returns the backend's own error.
func (e *backendError) Unwrap() error { return e.err }

// Is reports whether target is [ErrBackend].
func (e *backendError) Is(target error) bool { return target == ErrBackend }

// creatorError is a creator's own error on its way through the algorithm.
type creatorError struct{ err error }

// Error returns the creator's own text.
func (e *creatorError) Error() string { return e.err.Error() }

// wrap makes an *OpError of err, unless it is one or is a creator's own.
func (r *Region) wrap(op, key string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *OpError:
		return err
	case *creatorError:
		return e.err
	case *flight.PanicError:
		err = (*PanicError)(e)
	}
	return &OpError{r.name, op, key, err}
}

// backendError makes an *OpError of an error that the backend has returned. It is not
// the backend's fault if the caller, whose context is ctx, has left, or if the backend
// was not asked at all.
func (r *Region) backendError(ctx context.Context, op, key string, err error) *OpError {
	if oe, is := err.(*OpError); is {
		return oe
	}
	if _, refused := err.(*sizeError); !refused && !gaveUp(ctx, err) {
		err = &backendError{err}
	}
	return &OpError{r.name, op, key, err}
}

// keyErrors is the errors of several keys, the first of which is named by the OpError
// around it.
type keyErrors []*OpError

// Error returns the cause of the first, and of the others key and cause.
func (e keyErrors) Error() string {
	var b strings.Builder
	b.WriteString(e[0].Err.Error())
	for _, other := range e[1:] {
		b.WriteString("; ")
		b.WriteString(strconv.Quote(other.Key))
		b.WriteString(": ")
		b.WriteString(other.Err.Error())
	}
	return b.String()
}

// Unwrap returns an *OpError for each key.
func (e keyErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

// joined makes one *OpError of those of several keys.
func (r *Region) joined(op string, errs []*OpError) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return &OpError{r.name, op, errs[0].Key, keyErrors(errs)}
}

// gaveUp reports whether an operation failed because its caller left.
func gaveUp(ctx context.Context, err error) bool { return err != nil && ctx.Err() != nil }
