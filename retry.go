package dogpile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A kept delete is tried again after firstRetry at first, and then after pauses that double
// up to lastRetry.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second

	retryBatch  = 256 // keys in one call of the backend
	retryMisses = 3   // calls for one key that fail before a round is given up
)

// start sees to it that a goroutine tries again. mu is held.
func (p *pending) start() {
	if p.ended != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.ended = stop, make(chan struct{})
	go p.run(ctx, p.ended)
}

// run tries again until nothing is left to be done, or ctx ends.
func (p *pending) run(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	pause := firstRetry
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if p.attempt(ctx) {
				pause = firstRetry
			}
		case <-ctx.Done():
		}
		p.mu.Lock()
		if p.n.Load() == 0 || ctx.Err() != nil {
			p.stop()
			p.ended = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		pause = min(2*pause, lastRetry)
		timer.Reset(pause)
	}
}

// attempt is one round, which reports whether anything was done.
func (p *pending) attempt(ctx context.Context) (progress bool) {
	if !p.s.usage.enter() {
		return false // what is left of this configuration is its successor's to do
	}
	defer p.s.leave()
	defer p.s.contain(ctx, "retry")
	return p.carryOut(ctx)
}

// carryOut tries the invalidation and then the deletes.
func (p *pending) carryOut(ctx context.Context) (progress bool) {
	p.mu.Lock()
	inv := p.inv
	keys := make([]*kept, 0, p.order.Len())
	for e := p.order.Front(); e != nil; e = e.Next() {
		keys = append(keys, e.Value.(*kept))
	}
	p.mu.Unlock()
	if inv != nil {
		progress = p.invalidate(ctx, inv)
	}
	var done []string
	var failure error
	for len(keys) > 0 && ctx.Err() == nil {
		batch := keys[:min(len(keys), retryBatch)]
		keys = keys[len(batch):]
		if err := p.delete(ctx, batch); err == nil {
			done = append(done, p.done(ctx, batch)...)
			continue
		} else if len(batch) == 1 {
			failure = err
			continue
		}
		// One of them fails, for its server is down, or all do.
		one, misses, err := p.oneByOne(ctx, batch)
		if done = append(done, one...); err != nil {
			failure = err
		}
		if misses == retryMisses {
			break
		}
	}
	if failure != nil {
		p.tell(ctx, "delete", failure)
	}
	if len(done) > 0 {
		p.log(ctx, "delete", slog.Int("keys", len(done)), slog.String("key", done[0]))
	}
	return progress || len(done) > 0
}

// oneByOne tries keys each by itself, until retryMisses have failed; err is that of the last
// one. Another round begins with those that it did not come to.
func (p *pending) oneByOne(ctx context.Context, keys []*kept) (done []string, misses int, err error) {
	p.mu.Lock()
	turn := p.turn
	p.mu.Unlock()
	for i := 0; i < len(keys) && misses < retryMisses; i++ {
		at := (turn + i) % len(keys)
		if failed := p.delete(ctx, keys[at:at+1]); failed != nil {
			misses, err = misses+1, failed
		} else {
			done = append(done, p.done(ctx, keys[at:at+1])...)
		}
		if misses == retryMisses {
			p.mu.Lock()
			p.turn = at + 1
			p.mu.Unlock()
		}
	}
	return done, misses, err
}

func (p *pending) delete(ctx context.Context, keys []*kept) error {
	mangled := make([]string, len(keys))
	for i, k := range keys {
		mangled[i] = k.mangled
	}
	ctx, cancel := p.s.bound(ctx)
	defer cancel()
	err := p.s.backend.Delete(ctx, mangled)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, k := range keys {
			k.err = err
		}
	}
	return err
}

// done forgets deletes that were carried out, tells of them, and returns their keys.
func (p *pending) done(ctx context.Context, keys []*kept) (done []string) {
	p.mu.Lock()
	for _, k := range keys {
		if p.remove(k) { // otherwise it has failed again, or was settled, meanwhile
			done = append(done, k.key)
		}
	}
	p.mu.Unlock()
	p.s.region.stats.add(countDeletes, len(done))
	for _, key := range done {
		p.s.event(ctx, p.s.o.Hooks.Delete, Event{Op: "delete", Key: key})
	}
	return done
}

// invalidate tries the invalidation once more.
func (p *pending) invalidate(ctx context.Context, inv *kept) (done bool) {
	err := p.s.versions.invalidate(ctx, inv.mode)
	p.mu.Lock()
	if err != nil {
		inv.err = err
	} else if done = p.inv == inv; done {
		p.inv = nil
		p.n.Add(-1)
	}
	p.mu.Unlock()
	switch {
	case err != nil:
		p.tell(ctx, "invalidate", err)
	case done:
		p.s.region.stats.add(countInvalidations, 1)
		p.s.event(ctx, p.s.o.Hooks.Invalidate, Event{Op: "invalidate"})
		p.log(ctx, "invalidate", slog.String("mode", inv.mode.String()))
	}
	return done
}

// tell reports that something was tried again and has failed.
func (p *pending) tell(ctx context.Context, op string, err error) {
	if ctx.Err() == nil { // otherwise it is Close that reports it
		p.s.failed(ctx, Event{Op: op, Err: &pendingError{&backendError{err}}})
	}
}

// log writes that something was done at last.
func (p *pending) log(ctx context.Context, op string, attrs ...slog.Attr) {
	defer p.s.silent()
	attrs = append([]slog.Attr{slog.String("region", p.s.region.name)}, attrs...)
	p.s.logger().LogAttrs(ctx, slog.LevelInfo, "dogpile: "+op+" done that had failed", attrs...)
}

// retryAll has every state try once more what is pending there, and gives back the hold
// that each has of what it uses. The error that it sends tells what is left.
func retryAll(ctx context.Context, states []*state) <-chan error {
	errs := make([]error, len(states))
	var all sync.WaitGroup
	for i, s := range states {
		if s.pending == nil {
			s.usage.leave()
			continue
		}
		all.Go(func() { errs[i] = s.pending.close(ctx) })
	}
	sum := make(chan error, 1)
	go func() {
		all.Wait()
		sum <- errors.Join(errs...)
	}()
	return sum
}

// close ends the goroutine and tries once more what is left. What then is left is in the
// error. When ctx ends it returns at once. It may be called again.
func (p *pending) close(ctx context.Context) error {
	p.mu.Lock()
	p.over = true
	ended := p.ended
	if ended != nil {
		p.stop()
	}
	p.mu.Unlock()
	tried := make(chan struct{})
	go func() {
		defer p.s.usage.leave()
		defer close(tried)
		if ended != nil {
			<-ended
		}
		defer p.s.contain(ctx, "retry")
		if p.n.Load() > 0 {
			p.carryOut(ctx)
		}
	}()
	select {
	case <-tried:
	case <-ctx.Done():
		select {
		case <-tried:
		case <-time.After(parting): // what can be done at once is
		}
	}
	return p.left()
}

// parting is for how long close goes on past the end of its context.
const parting = 25 * time.Millisecond

// named is how many keys an error names.
const named = 10

// left returns an error that tells what has not been done; nil: all has been.
func (p *pending) left() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	if p.inv != nil {
		errs = append(errs, fmt.Errorf("%v invalidation not done: %w", p.inv.mode, &backendError{p.inv.err}))
	}
	if n := p.order.Len(); n > 0 {
		var keys []string
		for e := p.order.Front(); e != nil && len(keys) < named; e = e.Next() {
			keys = append(keys, strconv.Quote(e.Value.(*kept).key))
		}
		if n > named {
			keys = append(keys, "…")
		}
		cause := p.order.Front().Value.(*kept).err
		errs = append(errs, fmt.Errorf("deletes not done: %d (%s): %w", n, strings.Join(keys, ", "), &backendError{cause}))
	}
	return errors.Join(errs...)
}
