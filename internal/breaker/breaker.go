// Package breaker is a circuit breaker that a call which goes well passes at the
// price of one atomic load. What it does is github.com/sony/gobreaker's.
package breaker

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Breaker lets calls through until some have failed in a row, then none until a
// rest is over, then one, whose outcome decides. It is safe for concurrent use.
// A nil Breaker lets everything through.
type Breaker struct {
	cb       *gobreaker.TwoStepCircuitBreaker[struct{}]
	excluded func(error) bool
	// ailing is set by a failure and cleared by a success. While it is not set
	// another success changes nothing, and costs nothing.
	ailing atomic.Bool
	mu     sync.Mutex // orders what cb and ailing are told
}

// New returns a Breaker that opens after that many failures in a row, for as long
// as rest. 0 stands for 5 failures and for 5 s; what is below counts as 1, and as
// 1 ns. Errors that wrap one of uncounted say nothing, neither good nor bad.
func New(failures int, rest time.Duration, uncounted ...error) *Breaker {
	if failures == 0 {
		failures = 5
	}
	if rest == 0 {
		rest = 5 * time.Second
	}
	limit := uint32(max(failures, 1))
	excluded := func(err error) bool {
		return slices.ContainsFunc(uncounted, func(e error) bool { return errors.Is(err, e) })
	}
	return &Breaker{excluded: excluded, cb: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     max(rest, 1),
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= limit },
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
	if b.ailing.Load() {
		if done, err = b.cb.Allow(); err != nil {
			return false, err
		}
	}
	err = errPanic
	defer func() { b.count(done, err) }()
	err = call()
	return true, err
}

// count counts a call; done is nil if cb was not asked for leave, because all was
// well then. Once the breaker is open such calls come too late to count.
func (b *Breaker) count(done func(error), result error) {
	if done == nil && (result == nil && !b.ailing.Load() || result != nil && b.excluded(result)) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if done == nil {
		if !b.Closed() {
			return
		}
		var err error
		if done, err = b.cb.Allow(); err != nil {
			return
		}
	}
	done(result)
	b.ailing.Store(result != nil || b.cb.State() != gobreaker.StateClosed)
}

// Closed reports whether all calls are let through.
func (b *Breaker) Closed() bool { return b == nil || b.cb.State() == gobreaker.StateClosed }
