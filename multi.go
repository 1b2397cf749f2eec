package dogpile

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// GetMulti returns the fresh values among keys, in one call of the backend; the
// others are not in the map. The caller owns the map.
func (c *Cache[V]) GetMulti(ctx context.Context, keys []string) (map[string]V, error) {
	s, err := c.enter("get")
	if err != nil {
		return nil, err
	}
	defer s.leave()
	vals := make(map[string]V, len(keys))
	if len(keys) == 0 {
		return vals, nil
	}
	mangled, err := s.keys("get", keys)
	if err != nil {
		return nil, err
	}
	if flagsOf(ctx)&bypass != 0 {
		for _, key := range distinct(keys) {
			c.tell(ctx, s, countMisses, s.o.Hooks.Miss, "get", key, nil)
		}
		return vals, nil
	}
	lookups, err := c.readKeys(ctx, s, "get", keys, mangled, false)
	if err != nil {
		return nil, err
	}
	var errs []*OpError
	missing, near := make(map[string]bool), 0
	for i, l := range lookups {
		key := keys[i]
		if _, hit := vals[key]; hit || missing[key] {
			continue // the caller has asked for it twice, and is told once
		}
		switch {
		case l.err != nil:
			missing[key] = true
			errs = append(errs, s.region.backendError(ctx, "get", key, l.err))
		case l.use == flight.Fresh && l.notFound:
			missing[key] = true // from the map, though the answer is known
			l.gives(ctx, s)
			c.tellHit(ctx, s, "get", key, l)
		case l.use == flight.Fresh:
			vals[key] = l.value
			l.gives(ctx, s)
			if l.near {
				near++
			}
			c.event(ctx, s, s.o.Hooks.Hit, "get", key, l)
		default:
			missing[key] = true
			c.tell(ctx, s, countMisses, s.o.Hooks.Miss, "get", key, l)
		}
	}
	s.region.stats.add(countHits, len(vals)-near) // in one step, as processors contend for it
	s.region.stats.nearHits(0, near)
	return vals, s.region.joined("get", errs)
}

// distinct returns keys in alphabetical order, without those that come twice.
func distinct(keys []string) []string {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// readKeys reads keys in one call of the backend, as far as they have no copies here.
// creates tells that the caller has a creator at hand.
func (c *Cache[V]) readKeys(ctx context.Context, s *state, op string, keys, mangled []string, creates bool) ([]*lookup[V], error) {
	if s.near != nil {
		return c.readNear(ctx, s, op, keys, mangled, creates)
	}
	return c.readFar(ctx, s, op, keys, mangled)
}

func (c *Cache[V]) readFar(ctx context.Context, s *state, op string, keys, mangled []string) ([]*lookup[V], error) {
	items := make([]driver.Item, len(keys)+1)
	for i := range mangled {
		items[i].Key = mangled[i]
	}
	return c.readMany(ctx, s, op, keys, items, nil)
}

// SetMulti stores vals in one call of the backend, each as Set would. An error
// tells of every key that was not stored; the others were.
func (c *Cache[V]) SetMulti(ctx context.Context, vals map[string]V) error {
	s, err := c.enter("set")
	if err != nil {
		return err
	}
	defer s.leave()
	if len(vals) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(vals))
	if flagsOf(ctx)&bypass != 0 {
		return s.delete(ctx, keys)
	}
	mangled, err := s.keys("set", keys)
	if err != nil {
		return err
	}
	keys, mangled = firsts(s, keys, mangled)
	// 1. A creates.  2. This Set stores.  3. B calls, and must not join A. The store
	// revokes A's lease, so that A's value does not replace this one.
	s.flights.Forget(mangled...)
	began, since := now(), s.pending.now()
	shared, histories := s.sharedFor(ctx, mangled)
	tags, err := c.settingTags(ctx, s, keys)
	if err != nil {
		return s.region.backendError(ctx, "set", keys[0], err)
	}
	items, errs := make([]driver.Item, 0, len(keys)), make(map[string]*OpError)
	for i, key := range keys {
		version, err := shared.entry(ctx, histories[i], key)
		if err = cmp.Or(err, tags.errs[key]); err != nil {
			errs[mangled[i]] = s.region.backendError(ctx, "set", key, err)
			continue
		}
		it, its := driver.Item{Key: mangled[i]}, tags.of(key)
		m := stored.Meta{Created: time.Now().UnixNano(), Version: version, Tags: storedTags(its)}
		ended := began
		if tags.inherited.stale {
			s.age(&m, c.expiration(s), &ended)
		}
		if err := c.pack(s, &it, vals[key], m, ended); err != nil {
			errs[mangled[i]] = &OpError{s.region.name, "set", key, err}
			continue
		}
		items = append(items, it)
		if len(its) > 0 {
			tags.carriers = append(tags.carriers, carrier{its, it.TTL})
		}
	}
	failed := c.put(ctx, s, keys, mangled, items, errs, since)
	if err := s.tags.prolong(ctx, tags.carriers); err != nil {
		c.failed(ctx, s, "version", keys[0], err)
	}
	if len(failed) < len(keys) {
		if err := s.waitForCopies(ctx); err != nil {
			failed = append(failed, &OpError{s.region.name, "set", keys[0], err})
		}
	}
	return s.region.joined("set", failed)
}

// firsts returns the keys without those that are mangled like one before them: they
// are one entry, and the first counts.
func firsts(s *state, keys, mangled []string) (_, _ []string) {
	if s.mangle == nil {
		return keys, mangled
	}
	seen := make(map[string]bool, len(keys))
	n := 0
	for i := range keys {
		if !seen[mangled[i]] {
			seen[mangled[i]] = true
			keys[n], mangled[n] = keys[i], mangled[i]
			n++
		}
	}
	return keys[:n], mangled[:n]
}

// put stores items unconditionally, tells of each key, and returns the errors. errs are the
// errors of those that could not be packed, by mangled key. since is when the Set began, for
// s.pending.
func (c *Cache[V]) put(ctx context.Context, s *state, keys, mangled []string, items []driver.Item, errs map[string]*OpError, since int64) (failed []*OpError) {
	sizes := s.sizes(items)
	err := s.set(ctx, items)
	itemErrs := itemErrors(items)
	for i, key := range keys {
		oe := errs[mangled[i]]
		if cause := cmp.Or(itemErrs[mangled[i]], err); oe == nil && cause != nil {
			oe = s.region.backendError(ctx, "set", key, cause)
		}
		e := Event{Op: "set", Name: c.o.Name, Key: key, Size: sizes[mangled[i]]}
		if oe != nil {
			failed, e.Err = append(failed, oe), oe
		} else {
			s.region.stats.add(countStores, 1)
			s.pending.settle(since, mangled[i])
		}
		s.event(ctx, s.o.Hooks.Store, e)
	}
	return failed
}

// sizes returns how many bytes of each key are to be stored, for Hooks.Store.
func (s *state) sizes(items []driver.Item) map[string]int {
	if s.o.Hooks.Store == nil {
		return nil
	}
	sizes := make(map[string]int, len(items))
	for i := range items {
		sizes[items[i].Key] = len(items[i].Data)
	}
	return sizes
}

// itemErrors returns the errors of items by key: set does not keep their order. A nil
// map has none.
func itemErrors(items []driver.Item) (errs map[string]error) {
	for i := range items {
		if err := items[i].Err; err != nil {
			if errs == nil {
				errs = make(map[string]error)
			}
			errs[items[i].Key] = err
		}
	}
	return errs
}

// GetOrCreateMulti returns the values of keys, each as GetOrCreate would, but
// with one call of the backend to read them, one of create for all that are
// missing, and one of the backend to store those. create gets keys that differ,
// in alphabetical order. What it leaves out of its map is not in the result, and is not
// stored unless [CacheOptions.NotFound] says so; what it was not asked for is ignored.
//
// Keys that another caller is creating are waited for; no order of keys can make
// callers wait for each other in a circle. Keys that a mangler makes the same are
// one.
//
// A key that fails takes no other one with it: the map has what could be had, also where
// there is an error, and is never nil. Keys whose creator has failed may be in it with a
// value that stands in; see [Options.StaleIfError]. The error is that of the creator where
// nothing else has failed. The caller owns the map.
func (c *Cache[V]) GetOrCreateMulti(ctx context.Context, keys []string, create func(ctx context.Context, missing []string) (map[string]V, error)) (map[string]V, error) {
	const op = "get"
	vals := make(map[string]V, len(keys))
	s, err := c.enter(op)
	if err != nil {
		return vals, err
	}
	defer s.leave()
	if keys = distinct(keys); len(keys) == 0 {
		return vals, nil
	}
	if create == nil {
		return vals, c.region.wrap(op, keys[0], errNilCreator)
	}
	mangled, err := s.keys(op, keys)
	if err != nil {
		return vals, err
	}
	lookups, called := make([]*lookup[V], len(keys)), s.flights.Now()
	reads := !s.caps.Discards && flagsOf(ctx)&(bypass|renew) == 0
	if reads {
		lookups, err = c.readKeys(ctx, s, op, keys, mangled, true)
	}
	// What is fresh is settled before anything is built for the rest.
	rest, failed := newKeyList[V](s), new(groups)
	var early *keyList[V]
	for i, key := range keys {
		var l *lookup[V]
		if err == nil {
			l = lookups[i]
		}
		switch {
		case l == nil:
			rest.add(key, mangled[i], l)
		case l.err != nil && s.o.Strict:
			failed.add(i, key, s.region.backendError(ctx, op, key, l.err))
			c.tell(ctx, s, countMisses, s.o.Hooks.Miss, op, key, nil)
		case l.err == nil && l.use == flight.Fresh:
			c.hitOf(ctx, s, op, key, l, vals)
			early = addEarly(ctx, s, early, key, mangled[i], l)
		default:
			rest.add(key, mangled[i], l)
		}
	}
	c.renewAllEarly(ctx, s, called, early, create)
	if len(rest.keys) == 0 {
		return vals, failed.err(s.region, op)
	}
	cr := c.creation(ctx, s, op, called, rest.keys)
	cr.create = create
	if reads {
		if err := cr.note(ctx, cr.all(), rest.read, err); err != nil {
			return vals, s.region.wrap(op, rest.keys[0].key, err)
		}
	}
	return vals, cr.doAll(ctx, vals, failed)
}

// hitOf puts a fresh value that was found into vals, and tells of it.
func (c *Cache[V]) hitOf(ctx context.Context, s *state, op, key string, l *lookup[V], vals map[string]V) {
	if !l.notFound {
		vals[key] = l.value
	}
	l.gives(ctx, s)
	c.tellHit(ctx, s, op, key, l)
}

// tellHit counts a fresh value that was found, and tells of it.
func (c *Cache[V]) tellHit(ctx context.Context, s *state, op, key string, l *lookup[V]) {
	if l.near {
		s.region.stats.nearHits(0, 1)
	} else {
		s.region.stats.add(countHits, 1)
	}
	c.event(ctx, s, s.o.Hooks.Hit, op, key, l)
}

// keyList is the keys of a creation in the making: one for all keys of the caller's that
// are mangled alike.
type keyList[V any] struct {
	keys  []creationKey[V]
	read  []*lookup[V]
	index map[string]int // by mangled key; nil: no two are mangled alike
}

func newKeyList[V any](s *state) *keyList[V] {
	l := new(keyList[V])
	if s.mangle != nil {
		l.index = make(map[string]int)
	}
	return l
}

func (l *keyList[V]) add(key, mangled string, read *lookup[V]) {
	if i, known := l.index[mangled]; known {
		l.keys[i].aliases = append(l.keys[i].aliases, key)
		return
	}
	if l.index != nil {
		l.index[mangled] = len(l.keys)
	}
	l.keys, l.read = append(l.keys, creationKey[V]{key: key, mangled: mangled}), append(l.read, read)
}

// all returns the positions of all keys.
func (cr *creation[V]) all() []int {
	at := make([]int, len(cr.keys))
	for i := range at {
		at[i] = i
	}
	return at
}

// doAll carries out a creation whose first readings have been taken, and puts its values
// into vals. failed are keys that have failed before.
func (cr *creation[V]) doAll(ctx context.Context, vals map[string]V, failed *groups) error {
	s := cr.s
	first, unasked := make([]*lookup[V], len(cr.keys)), make([]bool, len(cr.keys))
	for i := range cr.keys {
		k := &cr.keys[i]
		first[i], unasked[i] = k.last, k.err != nil
		if k.last.use == flight.Missing && !k.last.ifError && cr.op == "get" {
			found := k.last
			if k.offline {
				found = nil // nobody knows what there is
			}
			cr.tellAll(ctx, k, countMisses, s.o.Hooks.Miss, found)
		}
	}
	began := now()
	results, _ := cr.call().Do(ctx, cr.readings(cr.all())) // each has its own error
	stoodIn := new(groups)
	for i := range cr.keys {
		k, got, err := &cr.keys[i], results[i].Value, causeOf(results[i].Err)
		if err != nil && cr.mayFallBack(err, first[i]) {
			stoodIn.add(i, k.key, err)
			got, err = first[i], nil
		}
		got.gives(ctx, s)
		if got != nil && !got.notFound {
			vals[k.key] = got.value
			for _, alias := range k.aliases {
				vals[alias] = got.value
			}
		}
		if err != nil {
			failed.add(i, k.key, err)
		}
		cr.tellResult(ctx, k, first[i], got, got != first[i] && !unasked[i], began, s.region.wrap(cr.op, k.key, err))
	}
	for _, g := range stoodIn.all {
		cr.fellBack(ctx, g.at, g.err, failed.has(g.err))
	}
	return failed.err(s.region, cr.op)
}

// refreshMulti creates the values of keys now, under their locks.
func (c *Cache[V]) refreshMulti(ctx context.Context, keys []string, create func(context.Context, []string) (map[string]V, error)) (map[string]V, error) {
	vals := make(map[string]V, len(keys))
	s, err := c.enter("refresh")
	if err != nil {
		return vals, err
	}
	defer s.leave()
	if keys = distinct(keys); len(keys) == 0 {
		return vals, nil
	}
	mangled, err := s.keys("refresh", keys)
	if err != nil {
		return vals, err
	}
	all := newKeyList[V](s)
	for i, key := range keys {
		all.add(key, mangled[i], nil)
	}
	cr := c.creation(ctx, s, "refresh", s.flights.Now(), all.keys)
	cr.create, cr.renew = create, true
	return vals, cr.doAll(ctx, vals, new(groups))
}
