package dogpile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/dogpile-go/dogpile/driver"
)

// Never, as a duration in options, means that there is no limit.
const Never time.Duration = -1

// Region is a cache with its configuration: a backend, when entries expire, and
// how keys and values are stored. It can be made before it is configured; only
// using it needs a backend. All methods may be called from many goroutines. The
// zero value is an unconfigured region without a name. A Region must not be
// copied.
type Region struct {
	name    string
	current atomic.Pointer[state] // nil: not configured, or closed
	stats   counters
	journal journal
	telling sync.WaitGroup // what tells other processes the Lag of copies

	mu     sync.Mutex
	closed bool
	states []*state                // this configuration, and earlier ones that are not over
	funcs  map[string]reflect.Type // the functions wrapped so far, by name
}

// NewRegion returns an unconfigured region. The name appears in errors, events
// and, unless [Options.Prefix] says otherwise, before every key.
func NewRegion(name string) *Region { return &Region{name: name} }

// Name returns the name that NewRegion was given.
func (r *Region) Name() string { return r.name }

// String returns the region's name, backend and expiration in one line, for logs.
func (r *Region) String() string {
	s := r.current.Load()
	if s == nil {
		return fmt.Sprintf("region %q, not configured", r.name)
	}
	expires := "never"
	switch exp := s.o.Expiration; {
	case exp > 0:
		expires = "after " + exp.String()
	case exp == noTime:
		expires = "at once"
	}
	return fmt.Sprintf("region %q over %s, expires %s", r.name, cmp.Or(s.caps.Name, "a backend"), expires)
}

// Configured reports whether the region can be used.
func (r *Region) Configured() bool { return r.current.Load() != nil }

// Configure gives the region its backend; o may be nil. Everything is checked
// first, and a fault leaves the region as it was. Configuring it twice is
// [ErrConfigured]. The backend remains the caller's to close, after the region.
func (r *Region) Configure(b driver.Backend, o *Options) error {
	return r.configure(b, o, false)
}

// Reconfigure is Configure for a region that may be configured already: the
// new backend and options take the place of the old ones. Creations in progress
// end with the old ones, and no later caller joins them.
func (r *Region) Reconfigure(b driver.Backend, o *Options) error {
	return r.configure(b, o, true)
}

func (r *Region) configure(b driver.Backend, o *Options, replace bool) error {
	s, err := newState(r, b, o)
	if err == nil {
		err = s.checkLag(context.Background())
	}
	if err == nil {
		err = commit([]*plan{{region: r, state: s, replace: replace}})
	}
	if err == nil {
		s.tell(context.Background())
	}
	return r.wrap("configure", "", err)
}

// plan is a region's next configuration, checked but not yet in force.
type plan struct {
	region  *Region
	state   *state
	replace bool
	before  *state // what it has replaced; nil: nothing, or not in force yet
}

// retire gives back the leases of a configuration that is not in force any more.
func (s *state) retire() {
	ctx, cancel := context.WithTimeout(context.Background(), defaultBackendTimeout)
	defer cancel()
	s.flights.ForgetAll(ctx)
	s.endNear()
}

var commits sync.Mutex

// commit puts all plans in force, or none.
func commit(plans []*plan) error {
	if err := adopt(plans); err != nil {
		return err
	}
	for _, p := range plans {
		if p.before != nil {
			p.before.retire()
			p.before.end(false)
			p.before.pending.dropped()
		}
	}
	return nil
}

func adopt(plans []*plan) error {
	commits.Lock()
	defer commits.Unlock()
	// All are asked before the first is changed: either all plans are in force afterwards,
	// or none.
	for _, p := range plans {
		if err := p.region.accepts(p.replace); err != nil {
			return err
		}
	}
	for _, p := range plans {
		p.region.adopt(p)
	}
	return nil
}

func (r *Region) accepts(replace bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case !replace && r.current.Load() != nil:
		return ErrConfigured
	}
	return nil
}

func (r *Region) adopt(p *plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.before = r.current.Load()
	p.state.pending.inherit(p.before)
	r.put(p.state)
}

// put puts s in force; mu is held.
func (r *Region) put(s *state) {
	if s != nil {
		s.beginNear()
		r.enlist()
	}
	r.current.Store(s)
	if s == nil {
		return
	}
	r.states = slices.DeleteFunc(r.states, func(old *state) bool { return old == s || old.over() })
	r.states = append(r.states, s)
}

// Backend returns the region's backend as seen through its proxies; driver.As
// looks for a particular one in it. It is nil before Configure.
func (r *Region) Backend() driver.Backend {
	if s := r.current.Load(); s != nil {
		return s.chain
	}
	return nil
}

// Delete removes the entries of keys. When it returns nil no read that begins
// from then on returns a value whose creation had begun before. An error means
// that the entries may still be there; it wraps [ErrPending] where
// [Options.RetryDeletes] is going to change that.
func (r *Region) Delete(ctx context.Context, keys ...string) error {
	s, err := r.enter("delete")
	if err != nil {
		return err
	}
	defer s.leave()
	return s.delete(ctx, keys)
}

// Locked reports whether a creator is at work on key, anywhere among those that
// share the backend.
func (r *Region) Locked(ctx context.Context, key string) (bool, error) {
	s, err := r.enter("locked")
	if err != nil {
		return false, err
	}
	defer s.leave()
	k, err := s.key("locked", key)
	if err != nil || s.caps.Discards {
		return false, err
	}
	bounded, cancel := s.bound(ctx)
	defer cancel()
	began := s.calls()
	locked, err := s.locker.Locked(bounded, k)
	s.called(bounded, "locked", began, nil, err)
	if err != nil {
		return false, r.backendError(ctx, "locked", key, err)
	}
	return locked, nil
}

// Invalidate makes every entry invalid that was stored before, or whose
// creation had begun before; see Mode. An error means that nothing may have
// been invalidated. With a [SharedInvalidator] over several servers it names those
// that could not be asked, whose entries may be valid still; those of the others are
// invalid.
//
// A hard invalidation needs no room in the backend: where a [SharedInvalidator] cannot
// write it deletes. A soft one does, and is an error where there is none. A
// [driver.Dropper] with a [LocalInvalidator] drops the entries a second later, in the
// background.
//
// An error wraps [ErrPending] where [Options.RetryDeletes] has the invalidation done later.
func (r *Region) Invalidate(ctx context.Context, mode Mode) error {
	s, err := r.enter("invalidate")
	if err != nil {
		return err
	}
	defer s.leave()
	if mode != Hard && mode != Soft {
		return r.wrap("invalidate", "", fmt.Errorf("unknown mode %d", mode))
	}
	_ = s.listen(ctx) // what is not known then is asked for again
	// Forgetting first lets no creation in progress store what it has made from old
	// data. Forgetting again lets no later caller wait for one that began in between.
	s.flights.ForgetAll(ctx)
	began := s.pending.now()
	done := false
	if err = s.versions.invalidate(ctx, mode, nil); err == nil {
		done = true
		s.pending.settleInvalidation(began, mode)
	} else {
		oe := r.backendError(ctx, "invalidate", "", err)
		if s.pending.keepInvalidation(mode, err) {
			oe = &OpError{oe.Region, oe.Op, oe.Key, &pendingError{oe.Err}}
		}
		err = oe
	}
	s.flights.ForgetAll(ctx)
	if done {
		err = r.wrap("invalidate", "", s.waitForCopies(ctx))
	}
	s.event(ctx, s.o.Hooks.Invalidate, Event{Op: "invalidate", Err: err})
	if done {
		r.stats.add(countInvalidations, 1)
		if mode == Hard {
			s.dropInvalid()
		}
	}
	return err
}

// Ping asks the backend whether it is there: each of its servers, where it has several.
// It takes no longer than [Options.BackendTimeout], and nil means that all have answered.
// The error is an *[OpError] in which errors.Is finds [ErrBackend], unless ctx has ended,
// and what the servers have failed with. It names those that have, if others have not.
func (r *Region) Ping(ctx context.Context) error {
	s, err := r.enter("ping")
	if err != nil {
		return err
	}
	defer s.leave()
	keys, err := s.tokenKeys()
	if err != nil {
		return r.wrap("ping", "", err)
	}
	if err := s.ping(ctx, keys); err != nil {
		return r.backendError(ctx, "ping", "", err)
	}
	return nil
}

// Close lets nobody use the region any more, waits for the creations in progress, and
// cancels them when ctx ends; their callers then get [ErrClosed], and Close returns an
// error that wraps ctx's and tells what is still going on. Backends that the region has
// opened itself, from settings, are closed once the calls in progress are over, and at
// once when ctx ends; one given to Configure is not closed. What [Options.RetryDeletes]
// has kept is tried once more, and the error tells what is left of it. A further call
// waits for what is left.
func (r *Region) Close(ctx context.Context) error {
	states := r.shut()
	var errs []error
	retried := retryAll(ctx, states)
	for _, s := range states {
		errs = append(errs, s.flights.Close(ctx))
	}
	errs = append(errs, <-retried)
	for _, s := range states {
		done, err := s.ended(ctx)
		if !done {
			err = fmt.Errorf("%w: the backend is still being closed", ctx.Err())
		}
		errs = append(errs, err)
	}
	r.journal.close(ctx)
	errs = append(errs, r.told(ctx))
	return r.wrap("close", "", errors.Join(errs...))
}

// told waits for what tells other processes the Lag of copies, and was told to end.
func (r *Region) told(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.telling.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shut lets nobody use the region, and returns what there is to wait for.
func (r *Region) shut() []*state {
	commits.Lock()
	defer commits.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.current.Store(nil)
	delist(weak.Make(r))
	for _, s := range r.states {
		s.endNear()
		s.usage.hold() // for retryAll
		s.end(true)
	}
	return r.states
}

// enter returns the configuration in force, for one operation. The caller calls leave
// when that is over.
func (r *Region) enter(op string) (*state, error) {
	// What has been replaced is let go of only when its successor is in force, so this
	// finds another one each time.
	for s := r.current.Load(); s != nil; s = r.current.Load() {
		if s.usage.enter() {
			return s, nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, r.wrap(op, "", ErrClosed)
	}
	return nil, r.wrap(op, "", ErrNotConfigured)
}

// leave ends the operation for which s was entered.
func (s *state) leave() { s.usage.leave() }
