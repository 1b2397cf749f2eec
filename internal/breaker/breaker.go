// Package breaker is a circuit breaker that costs a call to a healthy backend
// one atomic load. The states are those of github.com/sony/gobreaker.
package breaker

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Breaker lets all calls through while it is closed. After some failures in a
// row it opens and lets none through until a cooldown is over. Then it is half-open
// and lets one through: a success closes it, a failure opens it again. It is
// safe for concurrent use. A nil Breaker lets everything through.
type Breaker struct {
	cb       *gobreaker.TwoStepCircuitBreaker[struct{}]
	excluded func(error) bool

	// failing is set by a failure and cleared by the success that closes the
	// breaker. While it is not set, cb is closed and counts no failure, so that
	// another success would change nothing: such calls leave cb alone.
	failing atomic.Bool
	mu      sync.Mutex // failing and cb are changed together
}

// New returns a Breaker that opens after that many failures in a row, for as long
// as cooldown. 0 failures stand for 5, a cooldown of 0 for 5 s; what is negative counts
// as 1, and as 1 ns. Errors that wrap one of uncounted say nothing, neither good
// nor bad.
func New(failures int, cooldown time.Duration, uncounted ...error) *Breaker {
	if failures == 0 {
		failures = 5
	}
	if cooldown == 0 {
		cooldown = 5 * time.Second
	}
	limit := max(failures, 1)
	excluded := func(err error) bool {
		return slices.ContainsFunc(uncounted, func(e error) bool { return errors.Is(err, e) })
	}
	return &Breaker{excluded: excluded, cb: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     max(cooldown, 1),
		ReadyToTrip: func(c gobreaker.Counts) bool { return uint64(c.ConsecutiveFailures) >= uint64(limit) },
		IsExcluded:  excluded,
	})}
}

var errPanic = errors.New("the call panicked")

// Do makes a call, counts its outcome and returns its error. It reports whether
// the call was let through.
func (b *Breaker) Do(call func() error) (through bool, err error) {
	if b == nil {
		return true, call()
	}
	var done func(error)
	if b.failing.Load() {
		if done, err = b.cb.Allow(); err != nil {
			return false, err
		}
	}
	// A call that panics never gives err its error, and has failed. Without the
	// defer a probe that panics would keep the breaker half-open for ever.
	err = errPanic
	defer func() { b.count(done, err) }()
	err = call()
	return true, err
}

// count counts a call. done is nil if the call began while nothing was failing,
// and so without asking cb.
func (b *Breaker) count(done func(error), result error) {
	if done == nil && (result == nil && !b.failing.Load() || result != nil && b.excluded(result)) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if done == nil {
		// cb has not seen the call begin, so it is told now, if it still matters:
		//  1. A and B begin while all is well.
		//  2. A fails, and the breaker opens.  3. The cooldown is over.
		//  4. B fails, having hung all the time. Allow would take B for the probe,
		//     and its failure would begin another cooldown.
		// Only a breaker that is closed counts B.
		if !b.Closed() {
			return
		}
		var err error
		if done, err = b.cb.Allow(); err != nil {
			return
		}
	}
	done(result)
	// A success between failures leaves cb closed with no failure counted: from
	// here on the next successes need not be counted. While the mutex is held no
	// failure comes between the two lines.
	b.failing.Store(result != nil || b.cb.State() != gobreaker.StateClosed)
}

// Closed reports whether all calls are let through.
func (b *Breaker) Closed() bool { return b == nil || b.cb.State() == gobreaker.StateClosed }
