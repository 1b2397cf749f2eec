package dogpile

import (
	"cmp"
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// Cache is a view of a region in which all values are of type V. A region may
// have many; an entry that holds another type is missing in them. All methods
// may be called from many goroutines.
//
// Keys are any strings but those that begin with "_lock", "_inv:" or "_tag:". A backend
// that keeps objects, as package memory does, hands the same value to everyone:
// what it points to must not be changed.
//
// A backend that keeps bytes needs a codec that gives values back as they were. A type
// with which the codec cannot do that is refused: every use of the cache is an error
// that names the field.
type Cache[V any] struct {
	region  *Region
	o       CacheOptions[V]
	checked atomic.Pointer[state] // under which V was found to be fit for the codec
	raw     bool                  // it is that of Region.Inspect, and reads entries of all types and schemas
}

// enter is Region.enter for an operation on values.
func (c *Cache[V]) enter(op string) (*state, error) {
	s, err := c.region.enter(op)
	if err != nil || s.caps.Objects || s.caps.Discards || c.checked.Load() == s {
		return s, err
	}
	if err := checkType(c.codec(s), reflect.TypeFor[V]()); err != nil {
		s.leave()
		return nil, c.region.wrap(op, "", err)
	}
	c.checked.Store(s)
	return s, nil
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
	// ShouldCache decides whether a new value is stored. Callers that waited for it get
	// it in any case. nil: it is. If it panics, the value is not stored.
	ShouldCache func(V) bool
	// Codec makes bytes of values. nil: the region's.
	Codec Codec
	// NotFound is the error of a creator that is an answer, as sql.ErrNoRows is: an error
	// for which errors.Is(err, NotFound) is kept for NotFoundFor, and returned to all
	// callers, as NotFound itself. Creators of several keys give that answer for those
	// that they leave out of their map; such keys are in no caller's map. ShouldCache is
	// not asked. Programs without this option, or written in Python, find a null. nil:
	// there is none.
	NotFound error
	// NotFoundFor is how long that answer holds: whatever StaleFor and the like say, it
	// is missing from then on, and it is never served while it is stale. Never: until
	// it is replaced, deleted or invalidated. It goes with NotFound: one without the
	// other is a fault.
	NotFoundFor time.Duration
	// Schema is stored with each entry. An entry of another schema is missing, so that a
	// program whose values have changed is not given those of the version before, nor
	// that version those of this one. It should be short. "" is a schema like any other:
	// that of entries written in Python.
	Schema string
	// Tags returns the tags of the entry of a key, as far as they are known before it is
	// read: their tokens come with it in one round trip. The key is the caller's, without
	// [Options].Prefix; of a function it is what [Func.Key] returns. The creator may add more
	// tags; see [Control.Tag]. Tags is asked on every call and has to be quick and safe for
	// concurrent use; its slice is only read, and tags that are in it twice count once. An
	// entry is judged by the tags that it was stored with: one that was stored without them,
	// before there was this function or by Python, is reached by no invalidation of tags.
	// nil: no tags are known.
	Tags func(key string) []string
	// Name appears in events, to tell the caches of a region apart. A [Func] has its
	// own.
	Name string
}

// Entry is a value as it is stored.
type Entry[V any] struct {
	Value   V
	Created time.Time // when its creation ended, by the clock of its creator
	State   State
	From    From     // how GetOrCreateEntry came to it; 0 in what Peek returns
	Tags    []string // that it carries, its own and those it has inherited; the caller's to keep
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
	if problem := c.o.fault(); problem != "" {
		panic("dogpile: NewCache: " + problem)
	}
	return c
}

// fault returns what is wrong with o, or "".
func (o *CacheOptions[V]) fault() string {
	switch {
	case o.Expiration < Never:
		return "Expiration " + o.Expiration.String() + " is negative"
	case o.Expiration != 0 && o.ExpirationFunc != nil:
		return "both Expiration and ExpirationFunc are set"
	case o.NotFoundFor < Never:
		return "NotFoundFor " + o.NotFoundFor.String() + " is negative"
	case o.NotFoundFor != 0 && o.NotFound == nil:
		return "NotFoundFor is set, and NotFound, which says for what, is not"
	case o.NotFound != nil && o.NotFoundFor == 0:
		return "NotFound is set, and NotFoundFor, which says for how long, is not"
	}
	return ""
}

// With returns a view of the same region in which the options that o sets replace
// those of c; all others stay. It shares all entries and creations with c, except those of
// another Schema, and answers that there is no value if it has no NotFound. It panics if o
// is at fault.
func (c *Cache[V]) With(o CacheOptions[V]) *Cache[V] {
	merged := c.o.with(o)
	return NewCache(c.region, &merged)
}

// with returns o with what more sets. One kind of expiration replaces the other.
func (o CacheOptions[V]) with(more CacheOptions[V]) CacheOptions[V] {
	if more.Expiration != 0 || more.ExpirationFunc != nil {
		o.Expiration, o.ExpirationFunc = more.Expiration, more.ExpirationFunc
	}
	if more.ShouldCache != nil {
		o.ShouldCache = more.ShouldCache
	}
	if more.Codec != nil {
		o.Codec = more.Codec
	}
	if more.Tags != nil {
		o.Tags = more.Tags
	}
	if more.NotFound != nil {
		o.NotFound = more.NotFound
	}
	o.NotFoundFor = cmp.Or(more.NotFoundFor, o.NotFoundFor)
	o.Schema = cmp.Or(more.Schema, o.Schema)
	o.Name = cmp.Or(more.Name, o.Name)
	return o
}

// Get returns the value of key if there is a fresh one. It never creates and
// never waits for a creation. If the answer is known that there is no value, the error is
// [CacheOptions.NotFound].
func (c *Cache[V]) Get(ctx context.Context, key string) (v V, ok bool, err error) {
	if s := c.region.current.Load(); s != nil && s.quick && flagsOf(ctx)&bypass == 0 {
		if e := c.direct(ctx, s, key, false); e != nil {
			err = c.errorOf(e)
			return e.value, err == nil, err
		}
	}
	return c.get(ctx, key)
}

// get is Get by the long way.
func (c *Cache[V]) get(ctx context.Context, key string) (v V, ok bool, err error) {
	s, err := c.enter("get")
	if err != nil {
		return v, false, err
	}
	defer s.leave()
	if flagsOf(ctx)&bypass != 0 {
		if _, err := s.key("get", key); err != nil {
			return v, false, err
		}
		c.tell(ctx, s, countMisses, s.o.Hooks.Miss, "get", key, nil)
		return v, false, nil
	}
	l, err := c.look(ctx, s, "get", key)
	if err != nil {
		return v, false, err
	}
	if l.use == flight.Fresh {
		l.gives(ctx, s)
		c.tell(ctx, s, countHits, s.o.Hooks.Hit, "get", key, l)
		v, err = c.answer(l)
		return v, err == nil, err
	}
	c.tell(ctx, s, countMisses, s.o.Hooks.Miss, "get", key, l)
	return v, false, nil
}

// Peek returns the entry of key, whatever its state. It counts as no access. If the entry
// is the answer that there is no value, ok is false and the error is
// [CacheOptions.NotFound]; e tells when that was found out.
func (c *Cache[V]) Peek(ctx context.Context, key string) (e Entry[V], ok bool, err error) {
	s, err := c.enter("peek")
	if err != nil {
		return e, false, err
	}
	defer s.leave()
	if flagsOf(ctx)&bypass != 0 {
		_, err := s.key("peek", key)
		return e, false, err
	}
	l, err := c.look(ctx, s, "peek", key)
	if err != nil || !l.found {
		return e, false, err
	}
	// 1. A tag is invalidated.  2. The creator looks at the old entry, and makes a new one. If
	// that had the tag as the old one has it, it would be invalid, and so would all be that
	// come after it.
	if ctl := Creation(ctx); ctl == nil || ctl.tagger == nil || !ctl.tagger.creates(s, key) {
		l.gives(ctx, s)
	}
	_, err = c.answer(l)
	return l.entry(0), err == nil, err
}

func (c *Cache[V]) look(ctx context.Context, s *state, op, key string) (*lookup[V], error) {
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

// Delete removes the entries of keys, as [Region.Delete] does. When it returns nil no
// read that begins from then on returns a value whose creation had begun before.
func (c *Cache[V]) Delete(ctx context.Context, keys ...string) error {
	return c.region.Delete(ctx, keys...)
}
