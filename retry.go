package dogpile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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

// carryOut tries the invalidation and then the deletes: those of several servers at the
// same time, so that one that is down holds up no other's.
func (p *pending) carryOut(ctx context.Context) (progress bool) {
	p.mu.Lock()
	inv := p.inv
	servers := make(map[string][]*kept)
	for e := p.order.Front(); e != nil; e = e.Next() {
		k := e.Value.(*kept)
		name := p.s.shard(k.mangled)
		servers[name] = append(servers[name], k)
	}
	p.mu.Unlock()
	if inv != nil {
		progress = p.invalidate(ctx, inv)
	}
	groups := slices.Collect(maps.Values(servers))
	done := make([][]string, len(groups))
	for _, err := range each(len(groups), len(groups), func(i int) (err error) {
		done[i], err = p.deleteAll(ctx, groups[i])
		return err
	}) {
		if err != nil {
			p.tell(ctx, "delete", err)
		}
	}
	all := slices.Concat(done...)
	if len(all) > 0 {
		p.log(ctx, "delete", slog.Int("keys", len(all)), slog.String("key", all[0]))
	}
	return progress || len(all) > 0
}

// deleteAll tries the deletes of one server; err is the last that one of them has failed
// with.
func (p *pending) deleteAll(ctx context.Context, keys []*kept) (done []string, err error) {
	p.mu.Lock()
	turn := p.turn
	p.mu.Unlock()
	at := turn % len(keys)
	keys = slices.Concat(keys[at:], keys[:at])
	for len(keys) > 0 && ctx.Err() == nil {
		batch := keys[:min(len(keys), retryBatch)]
		keys = keys[len(batch):]
		// What was stored meanwhile, in place of what was to be deleted, stays.
		if batch = p.stillKept(batch); len(batch) == 0 {
			continue
		}
		failed := p.delete(ctx, batch)
		if failed == nil {
			done = append(done, p.done(ctx, batch)...)
			continue
		} else if len(batch) == 1 {
			err = failed
			continue
		}
		// One of them fails, or all do.
		one, tried, failed := p.oneByOne(ctx, batch)
		done, err = append(done, one...), cmp.Or(failed, err)
		if tried < len(batch) {
			// The next round comes to other keys.
			p.mu.Lock()
			p.turn = turn + tried
			p.mu.Unlock()
			break
		}
	}
	return done, err
}

func (p *pending) stillKept(keys []*kept) (still []*kept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		if e := p.keys[k.mangled]; e != nil && e.Value.(*kept) == k {
			still = append(still, k)
		}
	}
	return still
}

// oneByOne tries keys each by itself, until retryMisses have failed; err is that of the last
// one.
func (p *pending) oneByOne(ctx context.Context, keys []*kept) (done []string, tried int, err error) {
	for misses := 0; tried < len(keys) && misses < retryMisses; tried++ {
		if failed := p.delete(ctx, keys[tried:tried+1]); failed != nil {
			misses, err = misses+1, failed
		} else {
			done = append(done, p.done(ctx, keys[tried:tried+1])...)
		}
	}
	return done, tried, err
}

func (p *pending) delete(ctx context.Context, keys []*kept) error {
	mangled := make([]string, len(keys))
	for i, k := range keys {
		mangled[i] = k.mangled
	}
	ctx, cancel := p.s.bound(ctx)
	defer cancel()
	err := p.s.remove(ctx, mangled)
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
	var carried []*kept
	p.s.tags.forgetKept(keys)
	p.mu.Lock()
	for _, k := range keys {
		if p.remove(k) { // otherwise it has failed again, or was settled, meanwhile
			carried = append(carried, k)
		}
	}
	p.mu.Unlock()
	for _, k := range carried {
		if done = append(done, k.key); k.token != 0 {
			p.s.region.stats.add(countInvalidations, 1)
			p.s.event(ctx, p.s.o.Hooks.Invalidate, Event{Op: "invalidate", Keys: []string{k.key}})
			continue
		}
		p.s.region.stats.add(countDeletes, 1)
		p.s.event(ctx, p.s.o.Hooks.Delete, Event{Op: "delete", Key: k.key})
	}
	return done
}

// invalidate tries the invalidation once more.
func (p *pending) invalidate(ctx context.Context, inv *kept) (done bool) {
	p.mu.Lock()
	left := inv.left
	p.mu.Unlock()
	err := p.s.versions.invalidate(ctx, inv.mode, left)
	p.mu.Lock()
	if err != nil {
		inv.failed(err)
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
			k := e.Value.(*kept)
			what := strconv.Quote(k.key)
			if k.token != 0 {
				what = "tag " + what
			}
			keys = append(keys, what)
		}
		if n > named {
			keys = append(keys, "…")
		}
		cause := p.order.Front().Value.(*kept).err
		errs = append(errs, fmt.Errorf("deletes not done: %d (%s): %w", n, strings.Join(keys, ", "), &backendError{cause}))
	}
	return errors.Join(errs...)
}
