package dogpile

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// read reads one entry and judges it by known, or where that is nil by what is
// in force.
func (c *Cache[V]) read(ctx context.Context, s *state, op, key, mangled string, l driver.Lease, known *token) (*found[V], error) {
	var r struct { // what a reading needs, allocated at once
		keys  [1]string
		items [2]driver.Item
		fs    [1]*found[V]
		f     found[V]
	}
	r.keys[0], r.items[0], r.fs[0] = key, driver.Item{Key: mangled, Lease: l}, &r.f
	if err := c.readAll(ctx, s, op, r.keys[:], r.items[:], r.fs[:], known); err != nil {
		return nil, err
	}
	if err := r.f.err; err != nil {
		return nil, &BackendError{op, key, err}
	}
	return &r.f, nil
}

// readMany is readAll for any number of keys.
func (c *Cache[V]) readMany(ctx context.Context, s *state, op string, keys []string, items []driver.Item, known *token) ([]*found[V], error) {
	fs, room := make([]*found[V], len(keys)), make([]found[V], len(keys))
	for i := range fs {
		fs[i] = &room[i]
	}
	if err := c.readAll(ctx, s, op, keys, items, fs, known); err != nil {
		return nil, err
	}
	return fs, nil
}

// readAll reads entries and the version token in one call of the backend,
// judges them and puts them into fs. items has room for the token at its end. An
// entry that the backend could not answer for has an err. A token that is known
// already is not read again.
func (c *Cache[V]) readAll(ctx context.Context, s *state, op string, keys []string, items []driver.Item, fs []*found[V], known *token) error {
	n, t := len(keys), known
	if t == nil && s.shared != nil {
		t = s.shared.trusted()
	}
	if t != nil || s.shared == nil {
		items = items[:n]
	} else {
		items[n].Key = s.shared.key
	}
	// The version in force is taken before the entries are read: they may be
	// newer than it says, which makes them missing, but never older.
	if s.local != nil {
		t = s.local.token()
	}
	asked := now()
	if err := s.get(ctx, items); err != nil {
		return &BackendError{op, keys[0], err}
	}
	if len(items) > n {
		if err := items[n].Err; err != nil && !errors.Is(err, driver.ErrCorrupt) {
			return &BackendError{op, keys[0], err}
		}
		t = s.shared.parse(&items[n], asked)
	}
	exp := c.expiration(s)
	for i, f := range fs {
		version, err := c.unpack(s, &items[i], f)
		switch {
		case errors.Is(err, driver.ErrCorrupt):
			s.failed(ctx, op, keys[i], err)
		default:
			f.err = err
		}
		if t != nil {
			f.version = t.Version
		}
		if s.shared != nil {
			f.token = t
		}
		if f.there {
			f.classify(s, exp, s.judge(t, keys[i], version, f.created))
		}
	}
	return nil
}

// judge asks the invalidator, whichever it is, about an entry; t is the token
// in force, if there is one.
func (s *state) judge(t *token, key, version string, created time.Time) State {
	switch {
	case s.local != nil:
		return t.judgeLocal(version, created)
	case s.custom != nil:
		return s.custom.Judge(key, version, created)
	case t == nil && version == "":
		return Fresh // written by another program, and nothing was ever invalidated
	case t == nil:
		return Invalidated // the token was evicted
	case version == "":
		return t.judgeTime(created)
	}
	return t.judge(version)
}
