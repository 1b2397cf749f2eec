package dogpile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/lock"
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
	flights lock.Flights
	stats   counters

	mu     sync.Mutex
	closed bool
	owned  []driver.Backend // opened by the region itself, to be closed with it
}

// NewRegion returns an unconfigured region. The name appears in errors, events
// and, unless Options.Prefix says otherwise, before every key.
func NewRegion(name string) *Region { return &Region{name: name} }

// Name returns the name that NewRegion was given.
func (r *Region) Name() string { return r.name }

// Configured reports whether the region can be used.
func (r *Region) Configured() bool { return r.current.Load() != nil }

// Configure gives the region its backend; o may be nil. Everything is checked
// first, and a fault leaves the region as it was. Configuring it twice is
// ErrConfigured. The backend remains the caller's to close, after the region.
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
		err = commit([]*plan{{region: r, state: s, replace: replace}})
	}
	if err != nil {
		return fmt.Errorf("dogpile: configure region %q: %w", r.name, err)
	}
	return nil
}

// plan is a region's next configuration, checked but not yet in force.
type plan struct {
	region  *Region
	state   *state
	replace bool
	opened  driver.Backend // the region's to close; nil: the user's
}

var commits sync.Mutex

// commit puts all plans in force, or none.
func commit(plans []*plan) error {
	if err := adopt(plans); err != nil {
		return err
	}
	for _, p := range plans {
		ctx, cancel := context.WithTimeout(context.Background(), defaultBackendTimeout)
		p.region.flights.ForgetAll(ctx)
		cancel()
	}
	return nil
}

func adopt(plans []*plan) error {
	commits.Lock()
	defer commits.Unlock()
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
	if p.opened != nil {
		r.owned = append(r.owned, p.opened)
	}
	r.current.Store(p.state)
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
// that the entries may still be there.
func (r *Region) Delete(ctx context.Context, keys ...string) error {
	s, err := r.use("delete")
	if err != nil {
		return err
	}
	return s.delete(ctx, keys)
}

// Locked reports whether a creator is at work on key, anywhere among those that
// share the backend.
func (r *Region) Locked(ctx context.Context, key string) (bool, error) {
	s, err := r.use("locked")
	if err != nil {
		return false, err
	}
	k, err := s.key("locked", key)
	if err != nil || s.caps.Discards {
		return false, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	locked, err := s.locker.Locked(ctx, k)
	if err != nil {
		return false, &BackendError{"locked", key, err}
	}
	return locked, nil
}

// Invalidate makes every entry invalid that was stored before, or whose
// creation had begun before; see Mode. An error means that nothing may have
// been invalidated.
func (r *Region) Invalidate(ctx context.Context, mode Mode) error {
	s, err := r.use("invalidate")
	if err != nil {
		return err
	}
	if mode != Hard && mode != Soft {
		return fmt.Errorf("dogpile: invalidate region %q: unknown mode %d", r.name, mode)
	}
	// Forgetting first lets no creation in progress store what it has made from
	// old data; forgetting again lets nobody wait for one that began meanwhile.
	r.flights.ForgetAll(ctx)
	err = s.invalidate(ctx, mode)
	r.flights.ForgetAll(ctx)
	s.event(ctx, s.o.Hooks.Invalidate, Event{Op: "invalidate", Err: err})
	if err != nil {
		return &BackendError{"invalidate", "", err}
	}
	r.stats.add(countInvalidations, 1)
	return nil
}

// Close lets nobody use the region any more, waits for the creations in
// progress, and cancels them when ctx ends; their callers then get ErrClosed,
// and Close returns ctx's error. Backends that the region has opened itself,
// from settings, are closed; one given to Configure is not. A further call waits
// for what is left.
func (r *Region) Close(ctx context.Context) error {
	owned := r.shut()
	errs := []error{r.flights.Close(ctx)}
	for _, b := range owned {
		errs = append(errs, driver.Close(b))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("dogpile: close region %q: %w", r.name, err)
	}
	return nil
}

// shut lets nobody use the region, and returns what it has to close.
func (r *Region) shut() []driver.Backend {
	commits.Lock()
	defer commits.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	owned := r.owned
	r.closed, r.owned = true, nil
	r.current.Store(nil)
	return owned
}

// use returns the configuration in force.
func (r *Region) use(op string) (*state, error) {
	if s := r.current.Load(); s != nil {
		return s, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("dogpile: %s: region %q: %w", op, r.name, ErrClosed)
	}
	return nil, fmt.Errorf("dogpile: %s: region %q: %w", op, r.name, ErrNotConfigured)
}
