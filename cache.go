package dogpile

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// Cache is a view of a region in which all values are of type V. A region may
// have many; an entry that holds another type is missing in them. All methods
// may be called from many goroutines.
//
// Keys are any strings but those that begin with "_lock" or "_inv:". A backend
// that keeps objects, as package memory does, hands the same value to everyone:
// what it points to must not be changed.
type Cache[V any] struct {
	region *Region
	o      CacheOptions[V]
}

// CacheOptions is what a cache does differently from its region.
type CacheOptions[V any] struct {
	// Expiration is the age at which an entry becomes stale. 0: the region's;
	// Never: it does not.
	Expiration time.Duration
	// ExpirationFunc is asked on every call instead, for "until midnight". Its
	// result means what Expiration means; what is below Never lies in the past
	// and makes everything stale. It has to be quick and safe for concurrent use.
	ExpirationFunc func() time.Duration
	// ShouldCache decides whether a new value is stored. Those who waited for it
	// get it in any case. nil: it is.
	ShouldCache func(V) bool
	// Codec makes bytes of values. nil: the region's.
	Codec Codec
}

// Entry is a value as it is stored.
type Entry[V any] struct {
	Value   V
	Created time.Time // when its creation began, by the clock of its creator
	State   State
}

// Age returns how long ago the entry was created.
func (e Entry[V]) Age() time.Duration { return time.Since(e.Created) }

// NewCache returns a view of r, which need not be configured yet; o may be nil.
// It panics if r is nil or o is at fault.
func NewCache[V any](r *Region, o *CacheOptions[V]) *Cache[V] {
	if r == nil {
		panic("dogpile: NewCache: region is nil")
	}
	c := &Cache[V]{region: r}
	if o != nil {
		c.o = *o
	}
	if c.o.Expiration < Never {
		panic("dogpile: NewCache: Expiration " + c.o.Expiration.String() + " is negative")
	}
	if c.o.Expiration != 0 && c.o.ExpirationFunc != nil {
		panic("dogpile: NewCache: both Expiration and ExpirationFunc are set")
	}
	return c
}

// With returns a view of the same region with other options. It shares all
// entries and creations with c.
func (c *Cache[V]) With(o CacheOptions[V]) *Cache[V] { return NewCache(c.region, &o) }

// Get returns the value of key if there is a fresh one. It never creates and
// never waits for a creation.
func (c *Cache[V]) Get(ctx context.Context, key string) (v V, ok bool, err error) {
	s, err := c.region.use("get")
	if err != nil {
		return v, false, err
	}
	if s.direct {
		sc := s.scratch()
		sc.key = append(sc.key, key...)
		e, ok := c.hit(ctx, s, sc)
		s.free(sc)
		if ok {
			if s.o.Hooks.Hit != nil {
				s.event(ctx, s.o.Hooks.Hit, Event{Op: "get", Key: key})
			}
			return e.value, true, nil
		}
	}
	f, err := c.look(ctx, s, "get", key)
	if err != nil {
		return v, false, err
	}
	if f.band == fresh {
		s.told(ctx, countHits, s.o.Hooks.Hit, "get", key)
		return f.value, true, nil
	}
	s.told(ctx, countMisses, s.o.Hooks.Miss, "get", key)
	return v, false, nil
}

// Peek returns the entry of key, whatever its state. It counts as no access.
func (c *Cache[V]) Peek(ctx context.Context, key string) (e Entry[V], ok bool, err error) {
	s, err := c.region.use("peek")
	if err != nil {
		return e, false, err
	}
	f, err := c.look(ctx, s, "peek", key)
	if err != nil || !f.there {
		return e, false, err
	}
	return Entry[V]{f.value, f.created, f.state}, true, nil
}

func (c *Cache[V]) look(ctx context.Context, s *state, op, key string) (*found[V], error) {
	mangled, err := s.key(op, key)
	if err != nil {
		return nil, err
	}
	return c.read(ctx, s, op, key, mangled, nil, nil)
}

// Set stores v under key, in place of what is there and of what is being
// created: a value whose creation began before is never returned by a read that
// begins after Set has returned nil.
func (c *Cache[V]) Set(ctx context.Context, key string, v V) error {
	return c.SetMulti(ctx, map[string]V{key: v})
}

// Delete is Region.Delete.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error {
	return c.region.Delete(ctx, keys...)
}

// GetOrCreate returns the value of key, which create makes if there is no fresh
// one. At most one creator of a key runs at a time among all that share the
// backend.
//
// A fresh entry is returned at once, and so is a stale one, unless this caller
// is the one to renew it. Callers without an entry to return wait for the one
// creator, until ctx ends. Its error goes to all of them as it is; a panic goes
// to them as a *PanicError.
//
// create gets a context with the values of ctx, which ends when the creation
// has taken Options.CreateTimeout or its lock is lost, but not when ctx does.
// Creation finds the creation's Control in it.
func (c *Cache[V]) GetOrCreate(ctx context.Context, key string, create func(context.Context) (V, error)) (V, error) {
	s := c.region.current.Load()
	if s != nil && s.direct {
		sc := s.scratch()
		sc.key = append(sc.key, key...)
		e, ok := c.hit(ctx, s, sc)
		s.free(sc)
		if ok {
			if s.o.Hooks.Hit != nil {
				s.event(ctx, s.o.Hooks.Hit, Event{Op: "get", Key: key})
			}
			return e.value, nil
		}
	}
	return c.getOrCreate(ctx, key, create)
}

// hit is a look into the memory of this process for a fresh entry under
// sc.key. It allocates nothing.
func (c *Cache[V]) hit(ctx context.Context, s *state, sc *scratch) (*entry[V], bool) {
	object, left, err := s.lookup(ctx, sc)
	if err != nil {
		return nil, false // who asks again will get the error
	}
	e, ok := object.(*entry[V])
	if !ok || e.version != s.local.token().Version {
		return nil, false
	}
	if exp := s.expires(c.expiration(s), e.expireIn, e.draw); exp != Never && e.age(left) > exp {
		return nil, false
	}
	s.region.stats.hit(sc.stripe)
	return e, true
}

func (c *Cache[V]) getOrCreate(ctx context.Context, key string, create func(context.Context) (V, error)) (v V, err error) {
	s, err := c.region.use("get")
	if err != nil {
		return v, err
	}
	if create == nil {
		return v, &KeyError{"get", key, errNilCreator}
	}
	mangled, err := s.key("get", key)
	if err != nil {
		return v, err
	}
	f := new(found[V])
	if !s.caps.Discards {
		if f, err = c.read(ctx, s, "get", key, mangled, nil, nil); err == nil && f.band == fresh {
			s.told(ctx, countHits, s.o.Hooks.Hit, "get", key)
			return f.value, nil
		}
	}
	cr := c.creation(ctx, s, "get", key, mangled, create)
	f, created, err := cr.took(ctx, f, err)
	if err != nil {
		return v, err
	}
	if f.band == missing {
		s.told(ctx, countMisses, s.o.Hooks.Miss, "get", key)
	}
	cr.unseen = s.o.Runner != nil && f.band == stale
	began := now()
	got, err := cr.lock().DoRead(ctx, f, created)
	return cr.result(ctx, f, got, began, err)
}

var errNilCreator = errors.New("creator is nil")

func (c *Cache[V]) creation(ctx context.Context, s *state, op, key, mangled string, create func(context.Context) (V, error)) *creation[V] {
	cr := &creation[V]{
		c: c, s: s, op: op, key: key, mangled: mangled, create: create,
		nested: s.region.flights.Creating(ctx), offline: s.caps.Discards, last: new(found[V]),
	}
	switch {
	case s.caps.Discards:
		cr.apart = "\x00" + strconv.FormatInt(s.serial.Add(1), 10) // no two callers meet
	case cr.nested && s.slots != nil:
		// A flight of callers that are not nested may be waiting for the place
		// that the creator around this one has.
		cr.apart = "\x00nested"
	}
	return cr
}

// result tells the hooks how the caller came to its value.
func (cr *creation[V]) result(ctx context.Context, first, got *found[V], began int64, err error) (v V, _ error) {
	s := cr.s
	waited := err != nil || got != first
	err, failed := ownError(err)
	if failed && cr.standsIn(first) {
		s.region.flights.Rest(cr.mangled, backOff)
		got, err = first, nil
	}
	cr.tell(ctx, first, got, waited, began, err)
	if err != nil {
		return v, lockError(cr.op, cr.key, err)
	}
	return got.value, nil
}

// tell tells the hooks how a caller came to its value, who had found first, and
// nothing fresh.
func (cr *creation[V]) tell(ctx context.Context, first, got *found[V], waited bool, began int64, err error) {
	s := cr.s
	if first.band != missing { // what was missing has been told of
		if err == nil && got != nil && got.band != fresh {
			s.told(ctx, countStale, s.o.Hooks.Stale, cr.op, cr.key)
		} else {
			s.told(ctx, countMisses, s.o.Hooks.Miss, cr.op, cr.key)
		}
	}
	if waited && !cr.ran.Load() {
		s.region.stats.add(countWaits, 1)
		s.event(ctx, s.o.Hooks.Wait, Event{Op: cr.op, Key: cr.key, Duration: time.Duration(now() - began), Err: err})
	}
}

// told counts something and tells a hook of it.
func (s *state) told(ctx context.Context, n counter, hook func(context.Context, Event), op, key string) {
	s.region.stats.add(n, 1)
	s.event(ctx, hook, Event{Op: op, Key: key})
}

// Refresh creates the value of key now, under the lock, stores it and returns
// it, whether or not there is a fresh one. It waits for a creation in progress
// to end but does not take its value. If it fails, the entry stays as it is.
func (c *Cache[V]) Refresh(ctx context.Context, key string, create func(context.Context) (V, error)) (v V, err error) {
	s, err := c.region.use("refresh")
	if err != nil {
		return v, err
	}
	if create == nil {
		return v, &KeyError{"refresh", key, errNilCreator}
	}
	mangled, err := s.key("refresh", key)
	if err != nil {
		return v, err
	}
	cr := c.creation(ctx, s, "refresh", key, mangled, create)
	cr.renew = true
	began := now()
	got, err := cr.lock().Renew(ctx)
	return cr.result(ctx, new(found[V]), got, began, err)
}
