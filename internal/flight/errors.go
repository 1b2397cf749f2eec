package flight

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrRecursive is returned when a creator asks for a value that it is creating.
	ErrRecursive = errors.New("creator asks for the value it is creating")
	// ErrTimeout is returned when a flight has outlived its timeout.
	ErrTimeout = errors.New("creation timed out")
	// ErrClosed is returned once the Table is closed.
	ErrClosed = errors.New("region is closed")
	// ErrLost is the error of a creator whose lock was lost before it was done, and of
	// a flight that was never launched. Callers start over, a few times.
	ErrLost = errors.New("lock lost")
	// ErrGoexit is returned when a creator called runtime.Goexit.
	ErrGoexit = errors.New("creator called runtime.Goexit")
)

// KeyError is an error of one key, which may be the only one on its server: it ends the
// flight of that key with Err, and others go on.
type KeyError struct{ Err error }

// Error returns the text of Err.
func (e *KeyError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *KeyError) Unwrap() error { return e.Err }

// circleError is an ErrRecursive: creators wait for each other.
type circleError struct{ names []string }

// Error names the keys in the order in which their creators wait, the first one again at
// the end.
func (e *circleError) Error() string {
	if e.names[0] == "" {
		return "creators wait for each other"
	}
	return "creators wait for each other: " + strings.Join(e.names, ", ")
}

// Unwrap returns ErrRecursive.
func (e *circleError) Unwrap() error { return ErrRecursive }

// PanicError is the error of a creator that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where, as debug.Stack tells it
}

// Error shows the panic's value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("creator panicked: %v", e.Value) }

// Unwrap returns the panic's value if it is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
