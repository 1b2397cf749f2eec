package dogpile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/stored"
	"github.com/dogpile-go/dogpile/lock"
)

// backOff is how long a key is left alone after its creator failed and a stale
// value stood in for the new one.
const backOff = time.Second

// creation is one caller's part in the dogpile lock of a key: it is the lock's
// mutex and its Read, Create and Store. Only one goroutine at a time runs its
// methods, but for Unlock.
type creation[V any] struct {
	c       *Cache[V]
	s       *state
	op      string
	key     string // the user's
	mangled string
	create  func(context.Context) (V, error)

	nested  bool   // needs no place among MaxCreators
	apart   string // what keeps others out of its flight; "": nothing does
	unseen  bool   // it runs in the background, and nobody waits for its error
	renew   bool
	offline bool // the backend has failed: create without it

	held     holding
	freeSlot func()      // gives back the place among MaxCreators
	place    *place      // the last one taken; nil: there was none
	last     *found[V]   // what was read last; never nil
	ran      atomic.Bool // the creator was run here
	made     stored.Meta // of the value just created
	at       int64       // when that began, on the clock of now
	skip     bool        // it is not to be stored
}

// lock returns the dogpile lock that cr is the inside of.
func (cr *creation[V]) lock() *lock.Lock[*found[V]] {
	return &lock.Lock[*found[V]]{
		Read:    cr.read,
		Create:  cr.run,
		Store:   cr.store,
		Stale:   func(f *found[V], _ time.Time) bool { return f.band != fresh },
		Mutex:   cr,
		Runner:  cr.s.o.Runner,
		Timeout: cr.s.o.CreateTimeout,
		Key:     cr.mangled,
		Version: cr.flightVersion,
		Flights: &cr.s.region.flights,
	}
}

// flightVersion tells which flights a caller may join who has read f.
func (cr *creation[V]) flightVersion(f *found[V]) string {
	switch {
	case cr.apart != "":
		return f.version + cr.apart
	case cr.offline:
		return lock.AnyVersion
	}
	return f.version
}

// stamp tells the lock whether there is a value that can be served. What stands
// in for a creator that has just failed is as good as stale.
func (cr *creation[V]) stamp(f *found[V]) time.Time {
	if f.band >= stale || f.band == standby && cr.s.region.flights.Resting(cr.mangled) {
		return f.created
	}
	return time.Time{}
}

func (cr *creation[V]) read(ctx context.Context) (*found[V], time.Time, error) {
	if cr.offline {
		return cr.took(ctx, nil, nil)
	}
	l := cr.held.current()
	f, err := cr.c.read(ctx, cr.s, cr.op, cr.key, cr.mangled, l, cr.known(l))
	return cr.took(ctx, f, err)
}

// took takes note of what was read.
func (cr *creation[V]) took(ctx context.Context, f *found[V], err error) (*found[V], time.Time, error) {
	if cr.offline {
		return cr.last, time.Time{}, nil
	}
	if err != nil {
		if cr.s.o.Strict || gaveUp(ctx, err) {
			return nil, time.Time{}, err
		}
		cr.disconnect(ctx, err)
		return cr.last, time.Time{}, nil
	}
	cr.last = f
	if err := cr.found(ctx); err != nil {
		return nil, time.Time{}, err
	}
	return f, cr.stamp(f), nil
}

// known returns the version token for the reading under a lease: that of the
// reading before. Where the backend has fetched the entry with the lease, nothing
// is left to ask for. Every caller of this flight has read the same token since
// he called, and a value that is created now carries it; should it have been
// replaced meanwhile, that makes the value invalid, as it has to be.
func (cr *creation[V]) known(l driver.Lease) *token {
	if l == nil {
		return nil
	}
	return cr.last.token
}

// found sees to it that what was read last has a version: those who create
// together have to know of the same one.
func (cr *creation[V]) found(ctx context.Context) error {
	f := cr.last
	if cr.s.shared == nil || f.band == fresh || f.version != "" {
		return nil
	}
	v, err := cr.s.version(ctx)
	switch {
	case err == nil:
		f.version = v
	case cr.s.o.Strict || gaveUp(ctx, err):
		return &BackendError{cr.op, cr.key, err}
	default:
		cr.disconnect(ctx, err)
	}
	return nil
}

// disconnect makes the creation go on without the backend.
func (cr *creation[V]) disconnect(ctx context.Context, err error) {
	cr.s.failed(ctx, cr.op, cr.key, err)
	cr.offline = true
}

// TryLock takes a place among MaxCreators and then the lease, or neither.
func (cr *creation[V]) TryLock(ctx context.Context) (bool, error) {
	if !cr.takeSlot(ctx) {
		return false, nil
	}
	if cr.offline {
		return true, nil
	}
	l, err := cr.s.tryLock(ctx, cr.mangled)
	switch {
	case err != nil && (cr.s.o.Strict || gaveUp(ctx, err)):
		cr.freeSlot()
		return false, &BackendError{"lock", cr.key, err}
	case err != nil:
		cr.disconnect(ctx, err)
		return true, nil
	case l == nil:
		cr.freeSlot()
		return false, nil
	}
	cr.held.take(l)
	return true, nil
}

// Wait waits for whatever it was that TryLock did not get.
func (cr *creation[V]) Wait(ctx context.Context) error {
	if full := cr.s.slots != nil && !cr.nested && len(cr.s.slots) == cap(cr.s.slots); full {
		return cr.waitSlot(ctx)
	}
	err := cr.s.locker.Wait(ctx, cr.mangled)
	switch {
	case err == nil || gaveUp(ctx, err):
		return err
	case cr.s.o.Strict:
		return &BackendError{"lock", cr.key, err}
	}
	cr.disconnect(ctx, err)
	return nil
}

// Lock is TryLock and Wait in turn. The lock does not use it, because Wait is
// there.
func (cr *creation[V]) Lock(ctx context.Context) error {
	for {
		if held, err := cr.TryLock(ctx); held || err != nil {
			return err
		}
		if err := cr.Wait(ctx); err != nil {
			return err
		}
	}
}

// Unlock gives back the lease, unless it is used up by the store or lost. A
// creator that has begun keeps its place among MaxCreators until it returns.
func (cr *creation[V]) Unlock() {
	if l := cr.held.give(); l != nil {
		cr.s.release(l)
	}
	if !cr.ran.Load() {
		cr.freeSlot()
	}
}

// takeSlot takes a place among MaxCreators if there is one. It is given back by
// freeSlot, or when the flight, whose context ctx is, ends or times out.
func (cr *creation[V]) takeSlot(ctx context.Context) bool {
	if cr.s.slots == nil || cr.nested {
		cr.freeSlot = func() {}
		return true
	}
	if p := cr.place; p != nil && p.ctx == ctx && p.kept.Swap(false) {
		return true
	}
	select {
	case cr.s.slots <- struct{}{}:
	default:
		return false
	}
	cr.hasSlot(ctx)
	return true
}

// place is one among MaxCreators, for the flight whose context ctx is.
type place struct {
	ctx  context.Context
	kept atomic.Bool // TryLock has not used it yet
}

func (cr *creation[V]) hasSlot(ctx context.Context) *place {
	p := &place{ctx: ctx}
	cr.place = p
	cr.freeSlot = sync.OnceFunc(func() {
		p.kept.Store(false)
		<-cr.s.slots
	})
	context.AfterFunc(ctx, cr.freeSlot)
	return p
}

// waitSlot waits for a place, and keeps it for the TryLock that follows: were it
// given back, those who wait would hand it round and none would have it.
func (cr *creation[V]) waitSlot(ctx context.Context) error {
	select {
	case cr.s.slots <- struct{}{}:
		cr.hasSlot(ctx).kept.Store(true)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run runs the creator while it keeps the lease alive.
func (cr *creation[V]) run(ctx context.Context) (*found[V], error) {
	cr.ran.Store(true)
	defer cr.freeSlot()
	version, err := cr.version(ctx)
	if err != nil {
		if cr.s.o.Strict {
			return nil, &BackendError{"get", cr.key, err}
		}
		cr.disconnect(ctx, err)
	}
	ctl := new(Control)
	if f := cr.last; f.there && f.state != Invalidated {
		ctl.previous, ctl.hasPrev = f.value, true
	}
	ctx = context.WithValue(ctx, controlKey{}, ctl)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if l := cr.held.lease; l != nil && !cr.offline {
		defer cr.s.keep(ctx, l, cancel)()
	}
	cr.at = now()
	cr.made = stored.Meta{Created: time.Now().UnixNano(), Version: version}
	var v V
	// Whoever found it missing at first may have been served a stale one since.
	cr.unseen = cr.unseen || cr.s.o.Runner != nil && !cr.renew && cr.last.band == stale
	err = cr.s.observed(ctx, Event{Op: cr.op, Key: cr.key}, cr.unseen, func() (err error) { v, err = cr.create(ctx); return err })
	switch {
	case err != nil && context.Cause(ctx) == driver.ErrLeaseLost:
		return nil, fmt.Errorf("%w: %w", lock.ErrLost, err)
	case err != nil:
		return nil, cr.broke(ctx, err)
	}
	cr.decide(v, ctl)
	return cr.created(v), nil
}

// decide notes whether and how v is to be stored.
func (cr *creation[V]) decide(v V, ctl *Control) {
	expireIn, noStore := ctl.said()
	cr.made.ExpireIn = expireIn
	cr.skip = noStore || cr.c.o.ShouldCache != nil && !cr.c.o.ShouldCache(v)
}

// created returns v as what would be read once it is stored.
func (cr *creation[V]) created(v V) *found[V] {
	return &found[V]{value: v, there: true, band: fresh, created: time.Unix(0, cr.made.Created)}
}

// version returns the version under which the value will be stored. It has to
// be known before the creator runs.
func (cr *creation[V]) version(ctx context.Context) (string, error) {
	switch {
	case cr.offline:
		return "", nil
	case cr.s.custom != nil:
		return cr.s.custom.Version(ctx, cr.key)
	case cr.last.version != "":
		return cr.last.version, nil
	}
	return cr.s.version(ctx)
}

// errAborted stands, in events, for whatever ended a creator that did not
// return.
var errAborted = errors.New("creator panicked or called runtime.Goexit")

// observed runs a creator and tells the hooks and counters of it, however it
// ends.
func (s *state) observed(ctx context.Context, e Event, unseen bool, create func() error) error {
	began := now()
	e.Err = errAborted
	if unseen {
		// One that does not listen to its context may never return to be told of.
		stop := context.AfterFunc(ctx, func() {
			if context.Cause(ctx) == lock.ErrTimeout {
				s.failed(ctx, e.Op, e.Key, ErrCreateTimeout)
			}
		})
		defer func() {
			if e.Err != nil && (stop() || e.Err != ErrCreateTimeout) {
				s.failed(ctx, e.Op, e.Key, e.Err)
			}
		}()
	}
	defer func() {
		if context.Cause(ctx) == lock.ErrTimeout {
			e.Err = ErrCreateTimeout // whatever came of it came too late
		}
		n := countCreations
		if e.Err != nil {
			n = countFailures
		}
		e.Duration = time.Duration(now() - began)
		s.region.stats.add(n, 1)
		s.event(ctx, s.o.Hooks.Create, e)
	}()
	e.Err = create()
	return e.Err
}

// creatorError is a creator's own error, on its way through the lock.
type creatorError struct{ err error }

// Error returns what the creator's own error says.
func (e *creatorError) Error() string { return e.err.Error() }

// broke returns err, of a creator, for all who wait for it. Each of them may have
// an entry that stands in; none is given another's, which may have been deleted
// before he called. The key is left alone for a while then.
func (cr *creation[V]) broke(ctx context.Context, err error) error {
	if cr.standsIn(cr.last) {
		cr.s.region.flights.Rest(cr.mangled, backOff)
		if !cr.unseen {
			cr.s.failed(ctx, cr.op, cr.key, err)
		}
	}
	return &creatorError{err}
}

// ownError undoes what broke did, and reports whether err means that a creator
// has failed, or taken too long.
func ownError(err error) (own error, failed bool) {
	if ce, is := err.(*creatorError); is {
		return ce.err, true
	}
	return err, err == lock.ErrTimeout
}

// standsIn reports whether an entry may be returned in place of the value that
// could not be made.
func (cr *creation[V]) standsIn(f *found[V]) bool {
	exp := cr.c.expiration(cr.s)
	if f.expireIn != 0 {
		exp = f.expireIn
	}
	more := cr.s.o.StaleIfError
	return !cr.renew && f.band >= standby && more != 0 && (exp == Never || within(f.age, max(exp, 0), more))
}

// store stores what run has made, under the lease, and reports whether that was
// held until then.
func (cr *creation[V]) store(ctx context.Context, f *found[V]) (held bool) {
	if held, done := cr.refused(ctx); done {
		return held
	}
	items := []driver.Item{{Key: cr.mangled, Lease: cr.held.lease}}
	err := cr.c.pack(cr.s, &items[0], f.value, cr.made, cr.at)
	if err == nil {
		if err = cr.s.set(ctx, items); err == nil {
			err = items[0].Err
		}
	}
	return cr.stored(ctx, err)
}

// refused reports whether the value is not to be stored, and if so whether the
// lease was held until now. Without the backend nothing tells what was deleted
// meanwhile, so it counts as lost.
func (cr *creation[V]) refused(ctx context.Context) (held, done bool) {
	l, inv := cr.held.lease, cr.s.custom
	switch {
	case l == nil || cr.offline:
		return false, true
	case inv != nil && inv.Judge(cr.key, cr.made.Version, time.Unix(0, cr.made.Created)) != Fresh:
		return false, true // invalidated since it began
	case cr.skip:
		return cr.s.extend(ctx, l) == nil, true
	}
	return true, false
}

// stored tells of an entry that was stored under the lease, or was not, and
// reports whether the lease is known to have been held.
func (cr *creation[V]) stored(ctx context.Context, err error) (held bool) {
	s := cr.s
	s.event(ctx, s.o.Hooks.Store, Event{Op: cr.op, Key: cr.key, Err: err})
	switch {
	case err == nil:
		cr.held.give() // storing has used it up
		s.region.stats.add(countStores, 1)
		return true
	case errors.Is(err, driver.ErrLeaseLost):
		s.region.stats.add(countLost, 1)
		return false
	}
	s.failed(ctx, cr.op, cr.key, err)
	return s.extend(ctx, cr.held.lease) == nil
}
