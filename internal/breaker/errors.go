package breaker

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// ErrOpen is what errors.Is finds in an [OpenError].
var ErrOpen = errors.New("the circuit breaker is open")

// ErrTimeout is driver.ErrTimeout.
var ErrTimeout = driver.ErrTimeout

var (
	// ErrPanic is for the result of a call that did not return.
	ErrPanic = errors.New("the call panicked")
	// ErrNothing is for the result of a call that says nothing about its server.
	ErrNothing = errors.New("nothing is known of the server")
)

// SharedError is for the result of a call of several servers that has failed without
// telling which of them has. It is nobody's failure: a Check asks each, as after
// hasty calls.
type SharedError struct{ Err error }

func (e SharedError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the call.
func (e SharedError) Unwrap() error { return e.Err }

// OpenError is the error of a call that was not let through.
type OpenError struct {
	Server string        // its name, which may be ""
	For    time.Duration // how long the breaker had been open, about
	Cause  error         // what the last call that was let through has failed with
}

// Error names the server, unless the cause does, the time and the cause.
func (e *OpenError) Error() string {
	what, cause := "the circuit breaker", e.Cause.Error()
	if !strings.Contains(cause, e.Server) {
		what += " of " + e.Server
	}
	return what + " is open for " + e.For.String() + " because: " + cause
}

// Is reports whether target is [ErrOpen].
func (e *OpenError) Is(target error) bool { return target == ErrOpen }

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Cause }

// refuse returns the error of a call now. Calls get the same one for a while: in
// an outage there are many of them.
func (c *circuit) refuse(server string, now time.Time) *OpenError {
	age := now.Sub(c.opened).Round(time.Second)
	if age < time.Second {
		const unit = time.Second / 10
		age = max(now.Sub(c.opened).Round(unit), unit)
	}
	if c.refusal == nil || c.refusal.For != age {
		c.refusal = &OpenError{server, age, c.cause}
	}
	return c.refusal
}

// verdict is what a call says about its server.
type verdict int

const (
	nothing verdict = iota
	success
	failure
	haste
)

// judge tells what the result of a call under ctx says.
func (b *Breaker) judge(ctx context.Context, result error) verdict {
	switch {
	case result == nil:
		return success
	case b.uncounted(result):
		return nothing
	case hasty(ctx), errors.Is(result, context.Canceled), // no server cancels
		errors.As(result, new(SharedError)):
		return haste
	}
	return failure
}

// reason returns what an error says of a server. It may also say what concerns its
// call alone, as the keys: then it has a method Reason() error.
func reason(err error) error {
	var of interface{ Reason() error }
	if errors.As(err, &of) {
		return of.Reason()
	}
	return err
}

// hasty reports whether an error of a call under ctx is due to its caller, who has
// left or had no time, and not to a server that took too long.
func hasty(ctx context.Context) bool {
	if ctx.Err() != nil {
		return context.Cause(ctx) != ErrTimeout
	}
	// A client that looks at the clock itself is ahead of the context's timer. Whose
	// deadline it was nobody knows then, and a Check finds out.
	d, ok := ctx.Deadline()
	return ok && !time.Now().Before(d)
}

// uncounted reports whether err says nothing about a server.
func (b *Breaker) uncounted(err error) bool {
	if err == ErrNothing {
		return true
	}
	if says, down := unavailable(err); says {
		return !down
	}
	for _, u := range b.o.Uncounted {
		if errors.Is(err, u) {
			return true
		}
	}
	return false
}

// unavailable asks an error whether it tells of a server that cannot serve, as
// opposed to one that has answered with an error. says is false where it does not
// know.
func unavailable(err error) (says, down bool) {
	var u interface{ Unavailable() bool }
	if !errors.As(err, &u) {
		return false, false
	}
	return true, u.Unavailable()
}

// timeout reports whether err is a time-out.
func timeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Down reports whether err, of one item of a batch, tells of a server that
// cannot serve: a time-out, an error of the network, or one that says so itself by
// a method Unavailable() bool.
func Down(err error) bool {
	if err == nil {
		return false
	}
	if says, down := unavailable(err); says {
		return down
	}
	var ne net.Error // time-outs, and what a connection fails with
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
