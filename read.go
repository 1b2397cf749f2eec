package dogpile

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// read reads one entry, under a lease if there is one, and judges it by known, or
// where that is nil by the token in force.
func (c *Cache[V]) read(ctx context.Context, s *state, op, key, mangled string, lease driver.Lease, known *token) (*lookup[V], error) {
	var r struct { // what a reading needs, allocated at once
		keys    [1]string
		items   [2]driver.Item
		lookups [1]*lookup[V]
		lookup  lookup[V]
	}
	r.keys[0], r.items[0], r.lookups[0] = key, driver.Item{Key: mangled, Lease: lease}, &r.lookup
	if err := c.readAll(ctx, s, op, r.keys[:], r.items[:], r.lookups[:], known); err != nil {
		return nil, err
	}
	if err := r.lookup.err; err != nil {
		return nil, s.region.backendError(ctx, op, key, err)
	}
	return &r.lookup, nil
}

// readMany is readAll for any number of keys.
func (c *Cache[V]) readMany(ctx context.Context, s *state, op string, keys []string, items []driver.Item, known *token) ([]*lookup[V], error) {
	lookups, room := make([]*lookup[V], len(keys)), make([]lookup[V], len(keys))
	for i := range lookups {
		lookups[i] = &room[i]
	}
	if err := c.readAll(ctx, s, op, keys, items, lookups, known); err != nil {
		return nil, err
	}
	return lookups, nil
}

// readAll reads entries and the version token in one call of the backend, judges them
// and fills lookups. items has room for the token at its end. An entry for which the
// backend could not answer has an err. A token that is known is not read again.
func (c *Cache[V]) readAll(ctx context.Context, s *state, op string, keys []string, items []driver.Item, lookups []*lookup[V], known *token) error {
	n, t := len(keys), known
	ask, asked := "", int64(0)
	if t == nil {
		// The token is taken, or read, no later than the entries:
		// 1. The token is read.  2. Somebody invalidates, and an entry is created anew.
		// 3. The entry is read: it has a newer token, and counts as missing. The other
		// way round an old entry would be judged by an old token, and be fresh.
		t, ask = s.versions.known()
	}
	if items = items[:n]; ask != "" {
		items = items[:n+1]
		items[n].Key = ask
		asked = now()
	}
	veil := s.pending.veil(items[:n])
	if err := s.get(ctx, items); err != nil {
		return s.region.backendError(ctx, op, keys[0], err)
	}
	if ask != "" {
		if err := items[n].Err; err != nil && !errors.Is(err, driver.ErrCorrupt) {
			return s.region.backendError(ctx, op, keys[0], err)
		}
		t = s.versions.parse(&items[n], asked)
	}
	exp, at := c.expiration(s), time.Now()
	for i, l := range lookups {
		if l.token = t; t != nil {
			l.version = t.Version
		}
		veil.over(i, &items[i])
		version, err := c.unpack(s, &items[i], l, at)
		switch {
		case errors.Is(err, driver.ErrCorrupt):
			c.failed(ctx, s, "decode", keys[i], err)
		default:
			l.err = err
		}
		if l.found {
			l.classify(s, exp, max(veil.verdict, s.versions.judge(t, keys[i], version, l.began())))
		}
	}
	return nil
}

// began returns when the creation of the entry began: from then on it may have read
// what an invalidation was for.
func (l *lookup[V]) began() time.Time { return l.created.Add(-l.took) }
