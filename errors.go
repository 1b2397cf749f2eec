package dogpile

import (
	"context"
	"errors"
	"fmt"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/lock"
)

var (
	// ErrNotConfigured is returned when a region is used before Configure.
	ErrNotConfigured = errors.New("region is not configured")
	// ErrConfigured is returned by Configure when the region already is.
	ErrConfigured = errors.New("region is already configured; Reconfigure replaces its backend")
	// ErrClosed is returned when a region is used after Close.
	ErrClosed = lock.ErrClosed
	// ErrRecursive is returned to a creator that asks for the key it is creating.
	ErrRecursive = lock.ErrRecursive
	// ErrCreateTimeout is returned when a creation took longer than
	// Options.CreateTimeout. Its value, should it come, is not stored.
	ErrCreateTimeout = lock.ErrTimeout
	// ErrLeaseLost is the cause with which a creator's context is cancelled when
	// its lock was lost: another process may create the value now.
	ErrLeaseLost = driver.ErrLeaseLost
)

// BackendError is an error of the backend, or of a proxy. It is returned as a
// *BackendError.
type BackendError struct {
	Op  string // "get", "set", "delete", "lock", "invalidate"
	Key string // the user's key; empty where there is none
	Err error
}

// Error returns "dogpile: op "key": cause".
func (e *BackendError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("dogpile: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("dogpile: %s %q: %v", e.Op, e.Key, e.Err)
}

// Unwrap returns the backend's own error.
func (e *BackendError) Unwrap() error { return e.Err }

// PanicError is what callers get, as a *PanicError, when a creator panics.
type PanicError = lock.PanicError

// KeyError is a fault of a key or an argument, found before the backend was
// asked. It is returned as a *KeyError.
type KeyError struct {
	Op  string
	Key string
	Err error
}

// Error returns "dogpile: op "key": cause".
func (e *KeyError) Error() string { return fmt.Sprintf("dogpile: %s %q: %v", e.Op, e.Key, e.Err) }

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// lockError adds operation and key to the errors of the lock itself. A
// creator's own error stays as it is.
func lockError(op, key string, err error) error {
	switch err {
	case lock.ErrRecursive, lock.ErrTimeout, lock.ErrClosed, lock.ErrGoexit:
		return &KeyError{op, key, err}
	}
	return err
}

// gaveUp reports whether an operation failed because its caller left.
func gaveUp(ctx context.Context, err error) bool { return err != nil && ctx.Err() != nil }
