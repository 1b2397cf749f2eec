package dogpile

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/stored"
	"github.com/dogpile-go/dogpile/lock"
)

// batch is one caller's part in the dogpile locks of many keys. Each of its
// members is the mutex of one; it reads, creates and stores for all.
type batch[V any] struct {
	c       *Cache[V]
	s       *state
	members []*creation[V]
	names   [][]string // the user's keys of each member
	create  func(context.Context, []string) (map[string]V, error)

	nested  bool        // inside another creator of this region
	offline atomic.Bool // the backend has failed: create without it
}

// batch makes the members for keys: one for each that differs after mangling,
// in the alphabetical order of the user's keys.
func (c *Cache[V]) batch(ctx context.Context, s *state, keys []string) (*batch[V], error) {
	b := &batch[V]{c: c, s: s, nested: s.region.flights.Creating(ctx)}
	b.offline.Store(s.caps.Discards)
	index := make(map[string]int, len(keys))
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		mangled, err := s.key("get", key)
		if err != nil {
			return nil, err
		}
		i, known := index[mangled]
		if !known {
			i = len(b.members)
			index[mangled] = i
			cr := c.creation(ctx, s, "get", key, mangled, nil)
			cr.nested = true // the batch takes one place for all
			b.members, b.names = append(b.members, cr), append(b.names, nil)
		}
		b.names[i] = append(b.names[i], key)
	}
	return b, nil
}

func (b *batch[V]) all() []int {
	at := make([]int, len(b.members))
	for i := range at {
		at[i] = i
	}
	return at
}

func (b *batch[V]) deliver(vals map[string]V, i int, v V) {
	for _, key := range b.names[i] {
		vals[key] = v
	}
}

// lock returns the dogpile lock that b is the inside of.
func (b *batch[V]) lock() *lock.Many[*found[V]] {
	m := &lock.Many[*found[V]]{
		Read: b.read, Create: b.run, Store: b.store, Enter: b.enter,
		Runner: b.s.o.Runner, Timeout: b.s.o.CreateTimeout,
	}
	for _, cr := range b.members {
		m.Locks = append(m.Locks, cr.lock())
	}
	return m
}

// enter takes a place among MaxCreators for all members.
func (b *batch[V]) enter(ctx context.Context, wait bool) (leave func(), err error) {
	if b.nested || b.s.slots == nil {
		return func() {}, nil
	}
	select {
	case b.s.slots <- struct{}{}:
	default:
		if !wait {
			return nil, nil
		}
		select {
		case b.s.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() { <-b.s.slots }, nil
}

// fetch reads the entries of members.
func (b *batch[V]) fetch(ctx context.Context, at []int) ([]*found[V], error) {
	keys, items := make([]string, len(at)), make([]driver.Item, len(at)+1)
	known := b.members[at[0]].last.token
	for i, n := range at {
		cr := b.members[n]
		keys[i], items[i].Key, items[i].Lease = cr.key, cr.mangled, cr.held.current()
		if cr.known(items[i].Lease) != known {
			known = nil
		}
	}
	return b.c.readMany(ctx, b.s, "get", keys, items, known)
}

func (b *batch[V]) read(ctx context.Context, at []int) ([]*found[V], []time.Time, error) {
	fs, created := make([]*found[V], len(at)), make([]time.Time, len(at))
	if !b.offline.Load() {
		read, err := b.fetch(ctx, at)
		switch {
		case err == nil:
			fs = read
		case b.s.o.Strict || gaveUp(ctx, err):
			return nil, nil, err
		default:
			b.s.failed(ctx, "get", b.members[at[0]].key, err)
			b.offline.Store(true)
		}
	}
	version := "" // of those before
	for i, n := range at {
		cr := b.members[n]
		switch {
		case b.offline.Load():
			cr.offline, fs[i] = true, cr.last
		case fs[i].err != nil && b.s.o.Strict:
			return nil, nil, &BackendError{"get", cr.key, fs[i].err}
		case fs[i].err != nil:
			cr.disconnect(ctx, fs[i].err)
			fs[i] = cr.last
		default:
			cr.last = fs[i]
			if fs[i].version == "" {
				fs[i].version = version
			}
			if err := cr.found(ctx); err != nil {
				return nil, nil, err
			}
			version, created[i] = fs[i].version, cr.stamp(fs[i])
		}
	}
	return fs, created, nil
}

// run runs the creator for members while it keeps their leases alive.
func (b *batch[V]) run(ctx context.Context, at []int) (vals []*found[V], made []bool, err error) {
	if err := b.versions(ctx, at); err != nil {
		return nil, nil, err
	}
	ctl := new(Control)
	ctx = context.WithValue(ctx, controlKey{}, ctl)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	keys, leases := make([]string, len(at)), new(atomic.Int64)
	for i, n := range at {
		cr := b.members[n]
		cr.ran.Store(true)
		keys[i], cr.at, cr.made.Created = cr.key, now(), time.Now().UnixNano()
		if l := cr.held.lease; l != nil && !cr.offline {
			leases.Add(1)
			// One key that was deleted is no reason to give up the others.
			defer b.s.keep(ctx, l, func(cause error) {
				if leases.Add(-1) == 0 {
					cancel(cause)
				}
			})()
		}
	}
	var out map[string]V
	unseen := b.members[at[0]].unseen
	err = b.s.observed(ctx, Event{Op: "get", Key: keys[0], Keys: keys}, unseen, func() (err error) { out, err = b.create(ctx, keys); return err })
	if err != nil {
		return nil, nil, b.broke(ctx, at, err)
	}
	vals, made = make([]*found[V], len(at)), make([]bool, len(at))
	for i, n := range at {
		cr := b.members[n]
		v, ok := out[cr.key]
		if made[i] = ok; !ok {
			continue
		}
		cr.decide(v, ctl)
		vals[i] = cr.created(v)
	}
	return vals, made, nil
}

// versions finds out under which versions the members will be stored.
func (b *batch[V]) versions(ctx context.Context, at []int) error {
	var shared string
	for _, n := range at {
		cr := b.members[n]
		if shared != "" && cr.last.version == "" {
			cr.last.version = shared
		}
		v, err := cr.version(ctx)
		if err != nil {
			if b.s.o.Strict {
				return &BackendError{"get", cr.key, err}
			}
			cr.disconnect(ctx, err)
		}
		cr.made = stored.Meta{Version: v}
		if b.s.custom == nil {
			shared = v
		}
	}
	return nil
}

// broke is creation.broke for members.
func (b *batch[V]) broke(ctx context.Context, at []int, err error) error {
	if context.Cause(ctx) == driver.ErrLeaseLost {
		return errors.Join(lock.ErrLost, err)
	}
	told := b.members[at[0]].unseen
	for _, n := range at {
		cr := b.members[n]
		if !cr.standsIn(cr.last) {
			continue
		}
		b.s.region.flights.Rest(cr.mangled, backOff)
		if !told {
			b.s.failed(ctx, "get", cr.key, err)
			told = true
		}
	}
	return &creatorError{err}
}

// store stores what run has made, under the leases, in one call of the backend.
func (b *batch[V]) store(ctx context.Context, at []int, vals []*found[V]) (held []bool) {
	held = make([]bool, len(at))
	var items []driver.Item
	var packed []int // positions in at
	for i, n := range at {
		cr := b.members[n]
		var done bool
		if held[i], done = cr.refused(ctx); done {
			continue
		}
		it := driver.Item{Key: cr.mangled, Lease: cr.held.lease}
		if err := b.c.pack(b.s, &it, vals[i].value, cr.made, cr.at); err != nil {
			held[i] = cr.stored(ctx, err)
			continue
		}
		items, packed = append(items, it), append(packed, i)
	}
	if len(items) == 0 {
		return held
	}
	err := b.s.set(ctx, items)
	byKey := make(map[string]error)
	itemErrors(items, byKey)
	for _, i := range packed {
		cr := b.members[at[i]]
		cause := err
		if cause == nil {
			cause = byKey[cr.mangled]
		}
		held[i] = cr.stored(ctx, cause)
	}
	return held
}
