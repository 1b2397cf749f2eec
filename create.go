package dogpile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// Create implements flight.Source: it runs the creator while it renews the leases.
func (cr *creation[V]) Create(ctx context.Context, at []int) ([]flight.Result[*lookup[V]], error) {
	err := cr.findVersions(ctx, at)
	if err == nil {
		err = cr.findTags(ctx, at)
	}
	if err != nil {
		return nil, err
	}
	// The version comes before the creator:
	// 1. The version is T.  2. The creator reads the origin.  3. The origin changes, and
	// somebody invalidates: T is replaced by U.  4. The value is stored under T, and is
	// invalid. A version that was read at 4 would be U.
	ctl := &Control{tagger: cr, began: invalidated.now(), offline: cr.without(at)}
	cr.passOn(ctx, ctl, at)
	if k := &cr.keys[at[0]]; cr.one != nil && k.last.found && !k.last.notFound && k.last.state != Invalidated {
		ctl.previous = &k.last.value
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, controlKey{}, ctl))
	defer cancel(nil)
	defer cr.keepLeases(ctx, at, cancel)()
	keys := make([]string, len(at))
	for n, i := range at {
		k := &cr.keys[i]
		keys[n] = k.key
		k.ran.Store(true)
		k.behind.Store(cr.background(k))
		k.began, k.since = now(), cr.s.pending.now()
	}
	v, values, notFound, err := cr.run(ctx, at, keys)
	if failed := cr.tagsFailed(ctx, ctl, at, err != nil); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, cr.creatorFailed(ctx, at, err)
	}
	results := make([]flight.Result[*lookup[V]], len(at))
	for n, i := range at {
		value, ok := v, !notFound
		if cr.one == nil {
			value, ok = values[keys[n]]
		}
		k := &cr.keys[i]
		switch {
		case ok:
			results[n] = flight.Result[*lookup[V]]{Value: cr.created(ctx, k, value, ctl), OK: true}
		case cr.c.o.NotFound != nil:
			results[n] = flight.Result[*lookup[V]]{Value: cr.absent(k, ctl), OK: true}
		default:
			cr.leaveAlone(i)
		}
	}
	return results, nil
}

// run runs the creator, of one key or of several, whose answer may be that there is none.
func (cr *creation[V]) run(ctx context.Context, at []int, keys []string) (v V, values map[string]V, notFound bool, err error) {
	e := Event{Op: cr.op, Name: cr.c.o.Name, Key: keys[0], Background: cr.keys[at[0]].behind.Load()}
	if cr.ahead {
		cr.s.region.stats.add(countEarly, 1)
	}
	if cr.one == nil {
		e.Keys = keys
	}
	defer cr.s.running.add(&runs{Creating{Name: e.Name, Background: e.Background}, keys, at, flight.Waiters(ctx)})()
	err = cr.s.observed(ctx, e, func(ctx context.Context) (err error) {
		if cr.one != nil {
			v, err = cr.one(ctx)
		} else {
			values, err = cr.create(ctx, slices.Clone(keys)) // the creator may sort its own
		}
		if none := cr.c.o.NotFound; none != nil && errors.Is(err, none) {
			notFound, err = true, nil
		}
		return err
	})
	return v, values, notFound, err
}

// findVersions finds out under which versions the values will be stored. They have to
// be known before the creator runs: what it reads may be invalidated while it does.
func (cr *creation[V]) findVersions(ctx context.Context, at []int) error {
	var without []int // a version: what a renewer has found fresh needed none
	for _, i := range at {
		k := &cr.keys[i]
		if k.meta = (stored.Meta{}); !k.offline && k.last.version == "" {
			without = append(without, i)
		}
	}
	if err := cr.share(ctx, without); err != nil {
		return err
	}
	for _, i := range without {
		if err := cr.keys[i].err; err != nil {
			return err
		}
	}
	for n, i := range at {
		k := &cr.keys[i]
		if k.offline {
			continue
		}
		version, err := k.last.history.entry(ctx, k.last.version, k.key)
		if err != nil {
			if cr.strict() {
				return cr.fails(ctx, k.key, err)
			}
			// The others would only fail in the same way, one time-out after another.
			cr.disconnect(ctx, "version", err, at[n:]...)
			return nil
		}
		k.meta.Version = version
	}
	return nil
}

// keepLeases renews the leases of keys until stop is called. If all of them are lost,
// lost is called: one key that was deleted is no reason to give up the others.
func (cr *creation[V]) keepLeases(ctx context.Context, at []int, lost context.CancelCauseFunc) (stop func()) {
	left := new(atomic.Int64)
	var stops []func()
	for _, i := range at {
		if k := &cr.keys[i]; k.lease.lease != nil && !k.offline {
			left.Add(1)
		}
	}
	for _, i := range at {
		if k := &cr.keys[i]; k.lease.lease != nil {
			offline := k.offline
			stops = append(stops, cr.s.keep(ctx, k.lease.lease, Event{Op: "extend", Name: cr.c.o.Name, Key: k.key}, func(cause error) {
				// A creation that goes on without the backend does not depend on the lease,
				// which keeps others from creating for as long as it lasts.
				if !offline && left.Add(-1) == 0 {
					lost(cause)
				}
			}))
		}
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// created notes what is to be stored of a value whose creation has just ended, and
// returns the value as it would be read then.
func (cr *creation[V]) created(ctx context.Context, k *creationKey[V], v V, ctl *Control) *lookup[V] {
	l := cr.ended(k, ctl)
	l.value = v
	k.noStore = k.noStore || !cr.c.shouldCache(ctx, cr.s, v)
	return l
}

// absent is created for the answer that there is no value.
func (cr *creation[V]) absent(k *creationKey[V], ctl *Control) *lookup[V] {
	l := cr.ended(k, ctl)
	l.notFound, k.meta.NotFound = true, true
	if own := k.meta.ExpireIn; own <= 0 || cr.c.o.NotFoundFor > 0 && own > cr.c.o.NotFoundFor {
		k.meta.ExpireIn = cr.c.o.NotFoundFor
	}
	return l
}

// ended notes of a creation that it has just ended, and what its creator asked for.
func (cr *creation[V]) ended(k *creationKey[V], ctl *Control) *lookup[V] {
	// Age counts from here. Counted from the begin, a value whose creation takes longer
	// than it may be kept would never be a hit.
	k.endedAt = now()
	created := time.Now()
	k.meta.Created, k.meta.Took = created.UnixNano(), time.Duration(k.endedAt-k.began)
	w := ctl.of(k.key)
	k.meta.ExpireIn, k.meta.StaleFor, k.meta.StaleIfError, k.noStore = w.expireIn, w.staleFor, w.ifError, w.noStore
	k.made = &lookup[V]{found: true, use: flight.Fresh, created: created, took: k.meta.Took, schema: cr.c.o.Schema}
	k.made.tags, k.made.unsure = cr.carries(k, w)
	k.meta.Tags = storedTags(k.made.tags)
	if w.stale {
		k.made.state = Stale
		cr.s.age(&k.meta, cr.c.expiration(cr.s), &k.endedAt)
	}
	return k.made
}

// shouldCache asks the user's function. If that panics the value is not stored.
func (c *Cache[V]) shouldCache(ctx context.Context, s *state, v V) (should bool) {
	if c.o.ShouldCache == nil {
		return true
	}
	defer s.contain(ctx, "ShouldCache")
	return c.o.ShouldCache(v)
}

// creatorFailed returns the error of a creator for all who wait for it. Each of them may have
// an entry that stands in. Nobody is given another's, which may have been deleted
// before that caller called. The keys are left alone for a while then.
func (cr *creation[V]) creatorFailed(ctx context.Context, at []int, err error) error {
	if context.Cause(ctx) == driver.ErrLeaseLost {
		return fmt.Errorf("%w: %w", flight.ErrLost, err)
	}
	for _, i := range at {
		k := &cr.keys[i]
		if !cr.renew && k.last.usableOnError(cr.s, cr.c.expiration(cr.s)) {
			cr.s.flights.BackOff(k.mangled, errorBackoff)
		}
	}
	cr.leaveAlone(at...)
	return &creatorError{err}
}

// Unseen implements flight.Source: it reports what no caller waits for.
func (cr *creation[V]) Unseen(ctx context.Context, at []int, err error) {
	cr.leaveAlone(at...)
	e := Event{Op: "create", Name: cr.c.o.Name, Key: cr.keys[at[0]].key, Background: cr.keys[at[0]].behind.Load(), Err: cr.s.region.wrap(cr.op, cr.keys[at[0]].key, err)}
	if len(at) > 1 {
		for _, i := range at {
			e.Keys = append(e.Keys, cr.keys[i].key)
		}
	}
	cr.s.failed(ctx, e)
}

// Store implements flight.Source: it stores values under their leases, in one call of
// the backend.
func (cr *creation[V]) Store(ctx context.Context, at []int, values []flight.Result[*lookup[V]], late []bool) (held []bool) {
	defer func() {
		// A function of the user's that panics now, an ExpirationFunc or an Invalidator,
		// must not lose what has been created.
		if p := recover(); p != nil {
			held = make([]bool, len(at))
			cr.c.failed(ctx, cr.s, "store", cr.keys[at[0]].key, &PanicError{Value: p, Stack: debug.Stack()})
		}
	}()
	held = make([]bool, len(at))
	items, packed := make([]driver.Item, 0, len(at)), make([]int, 0, len(at))
	overtaken := cr.overtaken(ctx, at, late)
	var carriers []carrier
	for n, i := range at {
		k := &cr.keys[i]
		var done bool
		if held[n], done = cr.refuses(ctx, i, late != nil && late[n], overtaken.of(n)); done {
			continue
		}
		it := driver.Item{Key: k.mangled, Lease: k.lease.lease}
		if err := cr.c.pack(cr.s, &it, values[n].Value.value, k.meta, k.endedAt); err != nil {
			held[n] = cr.stored(ctx, i, err)
			continue
		}
		if len(k.made.tags) > 0 {
			carriers = append(carriers, carrier{k.made.tags, it.TTL})
		}
		k.size = len(it.Data)
		items, packed = append(items, it), append(packed, n)
	}
	if len(items) == 0 {
		return held
	}
	err := cr.s.set(ctx, items)
	errs := itemErrors(items)
	for _, n := range packed {
		cause := err
		if cause == nil {
			cause = errs[cr.keys[at[n]].mangled]
		}
		held[n] = cr.stored(ctx, at[n], cause) && overtaken.of(n) == Fresh
	}
	if err == nil {
		cr.prolong(ctx, carriers)
	}
	return held
}

// refuses reports whether the value of a key is not to be stored, and if so whether the
// lease was held until now, if there are late callers who need to know. Without the
// backend nothing tells what was deleted in the meantime, so the lease counts as lost.
// overtaken is what has become of the value meanwhile.
func (cr *creation[V]) refuses(ctx context.Context, i int, late bool, overtaken State) (held, done bool) {
	k := &cr.keys[i]
	l := k.lease.lease
	if l == nil || k.offline {
		return false, true
	}
	if k.made.unsure {
		cr.leaveAlone(i)
		return false, true
	}
	if overtaken == Invalidated {
		return false, true
	}
	// What was invalidated since it began would be invalid at once. Where the token has
	// to be asked for, the readers find out.
	h := k.last.history
	if t, ask := h.known(); ask == "" &&
		h.judge(t, k.key, k.meta.Version, time.Unix(0, k.meta.Created).Add(-k.meta.Took)) != Fresh {
		return false, true
	}
	if k.noStore {
		cr.leaveAlone(i)
		if !late {
			return false, true
		}
		err := cr.s.extend(ctx, l)
		if err != nil && !errors.Is(err, driver.ErrLeaseLost) {
			cr.c.failed(ctx, cr.s, "extend", k.key, err)
		}
		return err == nil && overtaken == Fresh, true
	}
	return true, false
}

// stored tells of an entry that was stored under its lease, or was not, and reports
// whether the lease is known to have been held.
func (cr *creation[V]) stored(ctx context.Context, i int, err error) (held bool) {
	s, k := cr.s, &cr.keys[i]
	s.event(ctx, s.o.Hooks.Store, Event{Op: "store", Name: cr.c.o.Name, Key: k.key, Background: k.behind.Load(), Size: k.size, Err: err})
	switch {
	case err == nil:
		k.lease.give() // the store has used it up
		s.region.stats.add(countStores, 1)
		s.pending.settle(k.since, k.mangled)
		return true
	case errors.Is(err, driver.ErrLeaseLost):
		s.region.stats.add(countLost, 1)
		return false
	}
	// It was not stored, but whether the key was deleted in the meantime the lease can
	// still tell: late callers may take the value if it was not.
	cr.leaveAlone(i)
	cr.c.failed(ctx, s, "store", k.key, err)
	return s.extend(ctx, k.lease.lease) == nil
}
