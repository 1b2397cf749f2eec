// Package breaker is a circuit breaker for one server or several. A call of a
// healthy server costs two atomic loads.
package breaker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstPause is how long a breaker that opens lets nothing through. Each probe
	// that fails doubles it, up to Options.Cooldown.
	firstPause = 50 * time.Millisecond

	// askAgain is when a Check is repeated that was ended before its time.
	askAgain = 10 * time.Millisecond

	// A server that no call was for during idle is forgotten: it may have left.
	idle = time.Minute

	// maxServers bounds what is remembered should every key name another server.
	// While so many are failing, further ones are let through without being counted.
	maxServers = 256
)

// Options says how a [Breaker] works.
type Options struct {
	// Failures is how many calls in a row have to fail for the breaker to open.
	// 0: 5; a negative number counts as 1.
	Failures int
	// Cooldown is the longest pause between two probes of an open breaker. 0: 1 s; a
	// negative time counts as 1 ns.
	Cooldown time.Duration
	// Uncounted are errors that say nothing about a server, as do those that wrap them.
	Uncounted []error

	// Check asks a server something in the background, about a key that a call was
	// for, and honours ctx, which ends after Patience at the latest. nil: calls whose
	// callers give up too early say nothing, and nobody asks.
	Check func(ctx context.Context, server, key string) error
	// Patience is how long a Check may take. 0: 2 s.
	Patience time.Duration
}

// Breaker keeps calls from servers that fail or hang. It knows each server by a
// name; where there is one server only that is "". It lets all calls of a server
// through until some have failed in a row, and is open then. It lets none
// through until a pause is over, and after it one, the probe: if that succeeds
// the breaker is closed, and if it fails a longer pause begins.
//
// It is the server that is judged, not the caller. A call whose context had
// ended before the server answered is hasty: it is neither a success nor a
// failure, unless the cause is [ErrTimeout]. After Failures hasty calls without an
// answer, and after a hasty probe, Check asks the server without haste, one at a
// time for each server. If that fails the breaker opens.
//
// A Breaker is safe for concurrent use. A nil one lets everything through.
type Breaker struct {
	o       Options
	trouble atomic.Int64 // len(circuits), without the mutex

	mu       sync.Mutex
	circuits map[string]*circuit // of servers that did not answer every call
	swept    time.Time
	closed   bool
	checks   sync.WaitGroup
}

type state int

const (
	closed state = iota
	open
	probing  // one call is under way
	checking // that call was hasty, and a Check decides in its place
)

// circuit is what is known of a server.
type circuit struct {
	state    state
	failures int                // in a row, while closed
	hasty    int                // since the last answer, while closed
	check    context.CancelFunc // ends the Check that is under way; nil: none is
	suspect  bool               // nothing was answered since that Check began

	opened  time.Time
	pause   time.Duration
	until   time.Time // the end of the pause
	cause   error
	refusal *OpenError
	used    time.Time // when a call was for it
}

// New returns a Breaker that is closed.
func New(o Options) *Breaker {
	if o.Failures == 0 {
		o.Failures = 5
	}
	o.Failures = max(o.Failures, 1)
	if o.Cooldown == 0 {
		o.Cooldown = time.Second
	}
	o.Cooldown = max(o.Cooldown, 1)
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	return &Breaker{o: o, circuits: make(map[string]*circuit)}
}

// Do makes a call of a server, about key, and counts it. Its error is that of the
// call, or if it was not made an [OpenError], or that of a ctx that had ended
// before.
func (b *Breaker) Do(ctx context.Context, server, key string, call func() error) (err error) {
	probe, err := b.Enter(ctx, server)
	if err != nil {
		return err
	}
	err = ErrPanic // see Leave
	defer func() { b.Leave(ctx, server, key, probe, err) }()
	err = call()
	return err
}

// Enter asks whether a call of a server may be made. Unless it returns an error,
// as Do does, the caller makes the call and hands probe to [Breaker.Leave].
func (b *Breaker) Enter(ctx context.Context, server string) (probe bool, err error) {
	if b == nil {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err // as good as not called, and no probe
	}
	if b.trouble.Load() == 0 {
		return false, nil
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	c := b.circuits[server]
	if c == nil || c.state == closed {
		return false, nil
	}
	c.used = now
	if c.state == open && !now.Before(c.until) {
		c.state = probing
		return true, nil
	}
	return false, c.refuse(server, now)
}

// Refused returns the error that a call of a server would get from Enter now, and
// nil while all calls are let through. A server that waits for a probe refuses.
func (b *Breaker) Refused(server string) error {
	if b == nil || b.trouble.Load() == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.circuits[server]
	if c == nil || c.state == closed {
		return nil
	}
	return c.refuse(server, time.Now())
}

// Trouble reports whether any call of a server was not answered since the last
// one that was. It is one atomic load.
func (b *Breaker) Trouble() bool { return b != nil && b.trouble.Load() != 0 }

// Troubled is Trouble for one server.
func (b *Breaker) Troubled(server string) bool {
	if !b.Trouble() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.circuits[server] != nil
}

// Leave counts a call that Enter has let through, whose context was ctx, by what
// came of it. It has to be called for each, also if the call panics, or else the
// server of a probe is refused for ever.
func (b *Breaker) Leave(ctx context.Context, server, key string, probe bool, result error) {
	if b == nil || result == nil && !probe && b.trouble.Load() == 0 {
		return
	}
	said := b.judge(ctx, result)
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.circuits[server]
	if c == nil {
		if said != failure && said != haste || len(b.circuits) >= maxServers {
			return
		}
		c = new(circuit)
		b.circuits[server] = c
	}
	c.used = now
	switch {
	case probe:
		b.probed(c, said, server, key, result, now)
	case c.state != closed:
		// The call began before the breaker opened. How long ago nobody knows, so
		// that it neither closes the breaker nor prolongs the pause.
	case said == success:
		c.close()
	case said == failure:
		b.failed(c, result)
	case said == haste:
		if c.hasty++; c.hasty >= b.o.Failures {
			c.hasty = 0
			b.check(c, server, key)
		}
	}
	b.settle(server, c)
}

// probed takes note of what came of a probe.
func (b *Breaker) probed(c *circuit, said verdict, server, key string, result error, now time.Time) {
	switch said {
	case success:
		c.close()
	case failure:
		b.open(c, result)
	case haste:
		if c.state = checking; !b.check(c, server, key) {
			c.state, c.until = open, now.Add(c.pause)
		}
	default:
		c.state = open // the pause is over: the next call is the probe
	}
}

// check asks a server without haste, and reports whether it does. b.mu is held.
func (b *Breaker) check(c *circuit, server, key string) bool {
	if b.o.Check == nil || b.closed {
		return false
	}
	c.suspect = true
	if c.check != nil {
		return true // that one will do
	}
	// The cause tells breakers further down that this deadline is no caller's.
	ctx, cancel := context.WithTimeoutCause(context.Background(), b.o.Patience, ErrTimeout)
	c.check = cancel
	b.checks.Go(func() {
		defer cancel()
		err := b.ask(ctx, server, key)
		b.mu.Lock()
		defer b.mu.Unlock()
		c.check = nil
		b.checked(c, err)
		b.settle(server, c)
	})
	return true
}

// checked takes note of what came of a Check. b.mu is held.
func (b *Breaker) checked(c *circuit, err error) {
	switch {
	case c.state == open || c.state == probing:
		// It has opened in the meantime, and probes decide.
	case b.closed:
		if c.state == checking {
			c.state = open // the pause is over: the next call is the probe
		}
	case err == nil || b.uncounted(err):
		c.close()
	case c.suspect:
		b.open(c, err)
	default: // others were answered while it was under way
		b.failed(c, err)
	}
}

// ask makes Checks until one has had its time, and contains their panics, which no
// caller would recover from. A client whose calls share a connection, or the
// making of one, may hand one call the deadline of another:
//
//  1. A hasty caller needs a connection, and has it made under its own deadline.
//  2. The Check needs one too, and waits for that one.
//  3. The deadline passes, and both get the error.
func (b *Breaker) ask(ctx context.Context, server, key string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrPanic, p)
		}
	}()
	for {
		if err = b.o.Check(ctx, server, key); !timeout(err) {
			return err
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return err
		}
	}
}

// failed counts a failure while the breaker is closed. b.mu is held.
func (b *Breaker) failed(c *circuit, cause error) {
	if c.failures++; c.failures >= b.o.Failures {
		b.open(c, cause)
	}
}

// open begins a pause. b.mu is held.
func (b *Breaker) open(c *circuit, cause error) {
	now := time.Now()
	switch {
	case c.state == closed:
		c.opened, c.pause = now, min(firstPause, b.o.Cooldown)
	case c.pause > b.o.Cooldown/2:
		c.pause = b.o.Cooldown
	default:
		c.pause *= 2
	}
	c.state, c.until, c.cause, c.refusal = open, now.Add(c.pause), reason(cause), nil
	c.failures, c.hasty = 0, 0
}

// close forgets all but what is under way.
func (c *circuit) close() {
	*c = circuit{check: c.check, used: c.used}
}

// settle forgets a server of which there is nothing to remember. b.mu is held.
func (b *Breaker) settle(server string, c *circuit) {
	if c.state == closed && c.failures == 0 && c.hasty == 0 && c.check == nil {
		delete(b.circuits, server)
	}
	b.trouble.Store(int64(len(b.circuits)))
}

// sweep forgets servers that no call is for any more. b.mu is held.
func (b *Breaker) sweep(now time.Time) {
	if now.Sub(b.swept) < idle {
		return
	}
	b.swept = now
	for server, c := range b.circuits {
		if c.state != probing && c.check == nil && now.Sub(c.used) >= idle+b.o.Cooldown {
			delete(b.circuits, server)
		}
	}
	b.trouble.Store(int64(len(b.circuits)))
}

// Close ends what runs in the background and returns when nothing does. Calls are
// judged as before, and no Check is made any more.
func (b *Breaker) Close() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.closed = true
	for _, c := range b.circuits {
		if c.check != nil {
			c.check()
		}
	}
	b.mu.Unlock()
	b.checks.Wait()
}
