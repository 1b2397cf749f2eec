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

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
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

	mu     sync.Mutex
	closed bool
	owned  []driver.Backend        // opened by the region itself, to be closed with it
	tables []*flight.Table         // of this configuration, and of earlier ones that are not idle
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
	if s.o.Expiration > 0 {
		expires = "after " + s.o.Expiration.String()
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
		err = commit([]*plan{{region: r, state: s, replace: replace}})
	}
	return r.wrap("configure", "", err)
}

// plan is a region's next configuration, checked but not yet in force.
type plan struct {
	region  *Region
	state   *state
	replace bool
	opened  driver.Backend // the region's to close; nil: the user's
	before  *state         // what it has replaced; nil: nothing, or not in force yet
}

// retire gives back the leases of a configuration that is not in force any more.
func (s *state) retire() {
	ctx, cancel := context.WithTimeout(context.Background(), defaultBackendTimeout)
	defer cancel()
	s.flights.ForgetAll(ctx)
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
	if p.opened != nil {
		r.owned = append(r.owned, p.opened)
	}
	p.before = r.current.Load()
	r.put(p.state)
}

// put puts s in force; mu is held.
func (r *Region) put(s *state) {
	r.current.Store(s)
	if s == nil {
		return
	}
	r.tables = slices.DeleteFunc(r.tables, func(t *flight.Table) bool { return t == s.flights || t.Running() == 0 })
	r.tables = append(r.tables, s.flights)
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
	bounded, cancel := s.bound(ctx)
	defer cancel()
	locked, err := s.locker.Locked(bounded, k)
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
func (r *Region) Invalidate(ctx context.Context, mode Mode) error {
	s, err := r.use("invalidate")
	if err != nil {
		return err
	}
	if mode != Hard && mode != Soft {
		return r.wrap("invalidate", "", fmt.Errorf("unknown mode %d", mode))
	}
	// Forgetting first lets no creation in progress store what it has made from old
	// data. Forgetting again lets no later caller wait for one that began in between.
	s.flights.ForgetAll(ctx)
	if err = s.versions.invalidate(ctx, mode); err != nil {
		err = r.backendError(ctx, "invalidate", "", err)
	}
	s.flights.ForgetAll(ctx)
	s.event(ctx, s.o.Hooks.Invalidate, Event{Op: "invalidate", Err: err})
	if err == nil {
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
	s, err := r.use("ping")
	if err != nil {
		return err
	}
	keys, err := s.tokenKeys()
	if err != nil {
		return r.wrap("ping", "", err)
	}
	if err := s.ping(ctx, keys); err != nil {
		return r.backendError(ctx, "ping", "", err)
	}
	return nil
}

// Close lets nobody use the region any more, waits for the creations in
// progress, and cancels them when ctx ends; their callers then get [ErrClosed],
// and Close returns ctx's error. Backends that the region has opened itself,
// from settings, are closed; one given to Configure is not. A further call waits
// for what is left.
func (r *Region) Close(ctx context.Context) error {
	owned, tables := r.shut()
	var errs []error
	for _, t := range tables {
		errs = append(errs, t.Close(ctx))
	}
	for _, b := range owned {
		errs = append(errs, driver.Close(b))
	}
	r.journal.close(ctx)
	return r.wrap("close", "", errors.Join(errs...))
}

// shut lets nobody use the region, and returns what it has to close.
func (r *Region) shut() ([]driver.Backend, []*flight.Table) {
	commits.Lock()
	defer commits.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	owned := r.owned
	r.closed, r.owned = true, nil
	r.current.Store(nil)
	return owned, r.tables
}

// use returns the configuration in force.
func (r *Region) use(op string) (*state, error) {
	if s := r.current.Load(); s != nil {
		return s, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, r.wrap(op, "", ErrClosed)
	}
	return nil, r.wrap(op, "", ErrNotConfigured)
}
