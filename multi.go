package dogpile

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// GetMulti returns the fresh values among keys, in one call of the backend; the
// others are not in the map. The caller owns the map.
func (c *Cache[V]) GetMulti(ctx context.Context, keys []string) (map[string]V, error) {
	s, err := c.region.use("get")
	if err != nil {
		return nil, err
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	items := make([]driver.Item, len(keys)+1)
	for i, key := range keys {
		if items[i].Key, err = s.key("get", key); err != nil {
			return nil, err
		}
	}
	vals := make(map[string]V, len(keys))
	if len(keys) == 0 {
		return vals, nil
	}
	fs, err := c.readMany(ctx, s, "get", keys, items, nil)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, f := range fs {
		switch {
		case f.err != nil:
			errs = append(errs, &BackendError{"get", keys[i], f.err})
		case f.band == fresh:
			s.told(ctx, countHits, s.o.Hooks.Hit, "get", keys[i])
			vals[keys[i]] = f.value
		default:
			s.told(ctx, countMisses, s.o.Hooks.Miss, "get", keys[i])
		}
	}
	return vals, errors.Join(errs...)
}

// SetMulti stores vals in one call of the backend, each as Set would. An error
// tells of every key that was not stored; the others were.
func (c *Cache[V]) SetMulti(ctx context.Context, vals map[string]V) error {
	s, err := c.region.use("set")
	if err != nil {
		return err
	}
	b, err := c.batch(ctx, s, slices.Sorted(maps.Keys(vals)))
	if err != nil || len(b.members) == 0 {
		return err
	}
	mangled := make([]string, len(b.members))
	for i, cr := range b.members {
		mangled[i] = cr.mangled
	}
	s.region.flights.Forget(mangled...)
	began := now()
	items := make([]driver.Item, 0, len(b.members))
	errs := make(map[string]error)
	version := ""
	for _, cr := range b.members {
		cr.last.version = version // of all, unless the invalidator is a custom one
		if version, err = cr.version(ctx); err != nil {
			return &BackendError{"set", cr.key, err}
		}
		it := driver.Item{Key: cr.mangled}
		m := stored.Meta{Created: time.Now().UnixNano(), Version: version}
		if err := c.pack(s, &it, vals[cr.key], m, began); err != nil {
			errs[cr.mangled] = &KeyError{"set", cr.key, err}
			continue
		}
		items = append(items, it)
	}
	return b.put(ctx, items, errs)
}

// put stores items unconditionally and tells of each; errs are the errors of
// those that could not be packed.
func (b *batch[V]) put(ctx context.Context, items []driver.Item, errs map[string]error) error {
	err := b.s.set(ctx, items)
	byKey := make(map[string]error)
	itemErrors(items, byKey)
	var all []error
	for _, cr := range b.members {
		failed := errs[cr.mangled]
		if cause := cmp.Or(byKey[cr.mangled], err); failed == nil && cause != nil {
			failed = &BackendError{"set", cr.key, cause}
		}
		b.s.event(ctx, b.s.o.Hooks.Store, Event{Op: "set", Key: cr.key, Err: failed})
		if failed != nil {
			all = append(all, failed)
			continue
		}
		b.s.region.stats.add(countStores, 1)
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

// itemErrors adds the errors of items to errs, by key: set does not keep their
// order.
func itemErrors(items []driver.Item, errs map[string]error) {
	for i := range items {
		if items[i].Err != nil {
			errs[items[i].Key] = items[i].Err
		}
	}
}

// GetOrCreateMulti returns the values of keys, each as GetOrCreate would, but
// with one call of the backend to read them, one of create for all that are
// missing, and one of the backend to store those. create gets keys that differ,
// in alphabetical order. What it leaves out of its map is not stored and not in
// the result; what it was not asked for is ignored.
//
// Of keys that somebody else is creating the values are waited for; no order of
// keys can make callers wait for each other in a circle. Keys that a mangler
// makes the same are one. An error means that there is no result. The caller
// owns the map.
func (c *Cache[V]) GetOrCreateMulti(ctx context.Context, keys []string, create func(ctx context.Context, missing []string) (map[string]V, error)) (map[string]V, error) {
	s, err := c.region.use("get")
	if err != nil {
		return nil, err
	}
	b, err := c.batch(ctx, s, keys)
	if err != nil {
		return nil, err
	}
	vals := make(map[string]V, len(keys))
	if len(b.members) == 0 {
		return vals, nil
	}
	if create == nil {
		return nil, &KeyError{"get", keys[0], errNilCreator}
	}
	b.create = create
	first, created, err := b.read(ctx, b.all())
	if err != nil {
		return nil, err
	}
	for i, f := range first {
		switch cr := b.members[i]; f.band {
		case fresh:
			s.told(ctx, countHits, s.o.Hooks.Hit, "get", cr.key)
		case missing:
			s.told(ctx, countMisses, s.o.Hooks.Miss, "get", cr.key)
		}
	}
	for i, cr := range b.members {
		cr.unseen = s.o.Runner != nil && first[i].band == stale
	}
	began := now()
	got, ok, err := b.lock().Do(ctx, first, created)
	err, failed := ownError(err)
	if failed && b.standsIn(first) {
		got, ok, err = first, slices.Repeat([]bool{true}, len(first)), nil
	}
	for i, cr := range b.members {
		var f *found[V]
		if err == nil && ok[i] {
			f = got[i]
			b.deliver(vals, i, f.value)
		}
		if first[i].band != fresh {
			cr.tell(ctx, first[i], f, err != nil || f != first[i], began, err)
		}
	}
	if err != nil {
		return nil, lockError("get", b.members[0].key, err)
	}
	return vals, nil
}

// standsIn reports whether what was read first may be returned after all, because
// the creator has failed.
func (b *batch[V]) standsIn(first []*found[V]) bool {
	for i, cr := range b.members {
		if first[i].band != fresh && !cr.standsIn(first[i]) {
			return false
		}
	}
	for i, cr := range b.members {
		if first[i].band != fresh {
			b.s.region.flights.Rest(cr.mangled, backOff)
		}
	}
	return true
}

// refreshMulti creates the values of keys now, under their locks.
func (c *Cache[V]) refreshMulti(ctx context.Context, keys []string, create func(context.Context, []string) (map[string]V, error)) (map[string]V, error) {
	s, err := c.region.use("refresh")
	if err != nil {
		return nil, err
	}
	b, err := c.batch(ctx, s, keys)
	if err != nil {
		return nil, err
	}
	b.create = create
	for _, cr := range b.members {
		cr.renew = true
	}
	vals := make(map[string]V, len(keys))
	got, ok, err := b.lock().Renew(ctx)
	if err, _ = ownError(err); err != nil {
		return nil, lockError("refresh", b.members[0].key, err)
	}
	for i := range b.members {
		if ok[i] {
			b.deliver(vals, i, got[i].value)
		}
	}
	return vals, nil
}
