package dogpile

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
	"unsafe"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// entry is what an object backend keeps. It is never changed once stored. The
// fields that a hit needs come first, so that they share a cache line.
type entry[V any] struct {
	room     [32]byte // holds the key, if it is short enough; see keyed
	made     int64    // when its creation ended, on the clock of now
	ends     int64    // when its TTL ends, on the clock of now; 0: it has none
	version  string
	expireIn time.Duration // its own expiration; 0: none
	draw     float64       // its share of Jitter, from 0 to 1
	marks    *marks        // nil: it has none, as most
	took     time.Duration // how long its creation took
	value    V
}

// marks are what few entries of an object backend have. They are never changed.
type marks struct {
	schema   string
	staleFor time.Duration // how long past its expiration it may be served; 0: as the region says
	standIn  time.Duration // how long it may stand in for a creator that fails; 0: as the region says
	notFound bool          // it stands for CacheOptions.NotFound
	tags     []seenTag
}

// marksOf returns the marks for an entry with such metadata.
func marksOf(m *stored.Meta) *marks {
	if m.Schema == "" && m.StaleFor == 0 && m.StaleIfError == 0 && !m.NotFound && len(m.Tags) == 0 {
		return nil
	}
	return &marks{m.Schema, m.StaleFor, m.StaleIfError, m.NotFound, seenTags(m.Tags)}
}

// ofSchema reports whether the entry, of whatever type, has that schema.
func (e *entry[V]) ofSchema(schema string) bool {
	if e.marks == nil {
		return schema == ""
	}
	return e.marks.schema == schema
}

// unmarked are the marks of an entry that has none.
var unmarked marks

// tags returns the names of the entry's tags.
func (e *entry[V]) tags() []string {
	if e.marks == nil {
		return nil
	}
	return tagNames(e.marks.tags)
}

// holds reports whether an entry with these marks holds a value of that schema.
func (m *marks) holds(schema string) bool {
	if m == nil {
		return schema == ""
	}
	return m.schema == schema && !m.notFound
}

// keyed returns key in the memory of the entry itself. A map compares a key
// before it returns what is stored under it; this way both cost one cache miss
// instead of two. Maps replace the key together with the value, so that it does
// not keep an old entry in memory.
func (e *entry[V]) keyed(key string) string {
	if len(key) == 0 || len(key) > len(e.room) {
		return key
	}
	copy(e.room[:], key)
	return unsafe.String(&e.room[0], len(key))
}

// age returns how old the entry is. A backend that has just looked at its clock
// tells what is left of the TTL, which spares us a look at ours.
func (e *entry[V]) age(left time.Duration) time.Duration {
	if left > 0 && e.ends != 0 {
		return time.Duration(e.ends-e.made) - left
	}
	return time.Duration(now() - e.made)
}

// lookup is what was found under a key.
type lookup[V any] struct {
	value   V
	created time.Time
	took    time.Duration // how long its creation took; 0: unknown
	age     time.Duration
	left    time.Duration // of its TTL, as the backend tells; 0: it does not, or there is none
	size    int           // in the backend, in bytes; 0: unknown

	// What is small stands together: a batch has many of these.

	found bool // there was an entry at all
	near  bool // in a copy
	// damaged: there was one that cannot be decoded. tagged: it is its tags that make it no
	// good.
	damaged, tagged bool
	state           State
	// use is what a caller may do with the value: return it (Fresh), return it while
	// somebody creates the next one (Stale), or neither (Missing). ifError is true of a
	// missing value that may be returned if the creator fails.
	use     flight.State
	ifError bool
	early   bool // it is fresh, and to be renewed in the background

	notFound bool  // there is an answer, that there is no value
	lapsed   bool  // there was such an answer, which is not believed any more: it is not found
	unsure   bool  // it is made of what has tags whose versions nobody knows
	verdict  State // of the invalidator
	again    bool  // it was read before, and now under the lease
	unjudged bool  // its tags were not looked at, as it is no good anyway

	draw     float64
	expireIn time.Duration
	staleFor time.Duration // its own; 0: it has none
	standIn  time.Duration // its own StaleIfError; 0: it has none
	schema   string

	tags       []seenTag   // that it was stored with
	beforehand *beforehand // nil: no tags are known beforehand

	version string  // the region's when this was read; "" if it has none yet
	stored  string  // the version that it was stored under
	history history // that it belongs to
	token   *token  // that it was judged by, if there was one
	err     error   // the backend did not answer for this entry
}

// beforehand is the tags of an entry that are known before it is read.
type beforehand struct {
	names []string
	seen  []seenTag // the same, with the versions in force; nil: not known
}

// knownTags returns the tags that are known beforehand with the versions in force; nil: they
// are not known.
func (l *lookup[V]) knownTags() []seenTag {
	if l.beforehand == nil {
		return nil
	}
	return l.beforehand.seen
}

// entry returns what was found as users see it.
func (l *lookup[V]) entry(from From) Entry[V] {
	return Entry[V]{Value: l.value, Created: l.created, State: l.state, From: from, Tags: tagNames(l.tags)}
}

// expires returns the expiration that counts for an entry, after its own wishes
// and the jitter.
func (s *state) expires(exp, own time.Duration, draw float64) time.Duration {
	if own != 0 {
		exp = own
	}
	if exp > 0 && s.o.Jitter > 0 {
		exp -= time.Duration(float64(exp) * s.o.Jitter * draw)
	}
	return exp
}

// classify fills in what the value is good for, from its age and from the verdict of
// the invalidator.
func (l *lookup[V]) classify(s *state, exp time.Duration, verdict State) {
	full := exp
	if l.expireIn != 0 {
		full = l.expireIn
	}
	exp = s.expires(exp, l.expireIn, l.draw)
	l.state, l.use = Fresh, flight.Fresh
	if exp != Never && l.age > exp {
		l.state = Stale
		l.use, l.ifError = l.past(s, full)
	}
	switch {
	case verdict == Invalidated:
		l.state, l.use, l.ifError = Invalidated, flight.Missing, false
	case verdict == Stale && l.state == Fresh:
		l.state, l.use = Stale, flight.Stale
	}
	l.early = l.state == Fresh && s.early(l.age, exp)
	if l.notFound && l.state != Fresh {
		// That there is no value is believed for as long as NotFoundFor says, and not
		// while somebody asks again.
		l.lapsed = true
		l.found, l.notFound, l.use, l.ifError = false, false, flight.Missing, false
	}
}

// past returns the use of an entry that is past its expiration. StaleFor counts from
// the full expiration, which jitter has shortened.
func (l *lookup[V]) past(s *state, exp time.Duration) (use flight.State, ifError bool) {
	exp = max(exp, 0)
	if within(l.age, exp, s.staleFor(exp, l.staleFor)) {
		return flight.Stale, false
	}
	standIn := cmp.Or(l.standIn, s.o.StaleIfError)
	return flight.Missing, standIn != 0 && within(l.age, exp, standIn)
}

// age makes an entry stale from the beginning, which is to be served for as long as others
// are once they are stale. exp is the expiration of those that say nothing of it, and ended
// when its creation ended, on the clock of now.
func (s *state) age(m *stored.Meta, exp time.Duration, ended *int64) {
	if m.ExpireIn != 0 {
		exp = m.ExpireIn
	}
	if exp < Never {
		exp = 0 // noTime: the others are stale from the beginning too
	}
	m.StaleFor = s.staleFor(exp, m.StaleFor)
	if m.StaleFor != Never {
		m.StaleFor = max(m.StaleFor, 1) // the least that is not 0, which stands for no wish
	}
	m.ExpireIn = 1
	// It is past that also if it is read before any clock has moved, and although Created
	// is stored to a quarter of a microsecond.
	const past = time.Microsecond
	m.Created -= int64(past)
	*ended -= int64(past)
}

// staleFor returns how long past its expiration an entry may be served.
func (s *state) staleFor(exp, own time.Duration) time.Duration {
	switch {
	case own != 0:
		return own
	case s.o.StaleFor != 0:
		return s.o.StaleFor
	}
	return exp
}

// usableOnError reports whether the entry may be returned in place of a value that could
// not be made: it is stale, and no longer past its expiration than StaleIfError.
func (l *lookup[V]) usableOnError(s *state, exp time.Duration) bool {
	if l.expireIn != 0 {
		exp = l.expireIn
	}
	more := cmp.Or(l.standIn, s.o.StaleIfError)
	usable := l.use != flight.Missing || l.ifError
	return usable && more != 0 && (exp == Never || within(l.age, max(exp, 0), more))
}

func within(age, exp, more time.Duration) bool {
	return more == Never || age-exp <= more
}

// ttl returns how long the backend is to keep an entry, when exp counts for those that
// say nothing of it themselves.
func (s *state) ttl(exp time.Duration, m *stored.Meta) time.Duration {
	if m.NotFound {
		return max(m.ExpireIn, 0)
	}
	if m.ExpireIn != 0 {
		exp = m.ExpireIn
	}
	staleFor := s.staleFor(exp, m.StaleFor)
	standIn := cmp.Or(m.StaleIfError, s.o.StaleIfError)
	if exp <= 0 || staleFor == Never || standIn == Never {
		return 0
	}
	more := max(staleFor, standIn, 0)
	if exp > math.MaxInt64-more {
		return 0
	}
	return exp + more
}

// noTime is a duration of none at all, where 0 stands for a default: as an expiration,
// that of entries that are stale however young they are, and as StaleFor, that they are
// not returned past their expiration.
const noTime time.Duration = math.MinInt64

// expiration returns what counts for the entries of c on this call: more than
// 0, Never, or noTime.
func (c *Cache[V]) expiration(s *state) time.Duration {
	exp := c.o.Expiration
	if c.o.ExpirationFunc != nil {
		exp = c.o.ExpirationFunc()
	}
	switch {
	case exp == 0:
		return s.o.Expiration
	case exp < Never:
		return noTime // the moment that ExpirationFunc told of has passed
	}
	return exp
}

// draw returns a number from 0 to 1 that an entry keeps for its life, in
// whichever process it is read: FNV-1a over key and time.
func (s *state) draw(key string, created int64) float64 {
	if s.o.Jitter == 0 {
		return 0
	}
	h := fnv1a(key)
	for range 8 {
		h = (h ^ uint64(created&0xff)) * 1099511628211
		created >>= 8
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return float64(h>>11) / (1 << 53)
}

// fnv1a is a hash that is the same in all processes.
func fnv1a(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h
}

// pack puts a value into an item for the backend. ended is when its creation ended, on
// the clock of now.
func (c *Cache[V]) pack(s *state, it *driver.Item, v V, m stored.Meta, ended int64) error {
	m.Schema = c.o.Schema
	it.TTL = s.ttl(c.expiration(s), &m)
	draw := s.draw(it.Key, m.Created)
	if s.caps.Objects {
		e := &entry[V]{value: v, made: ended, took: m.Took, expireIn: m.ExpireIn, version: m.Version, draw: draw, marks: marksOf(&m)}
		if it.TTL > 0 {
			e.ends = now() + int64(it.TTL)
		}
		it.Key, it.Object = e.keyed(it.Key), e
		return nil
	}
	if m.NotFound {
		// To a program that knows nothing of the mark, Python's, it is a stored None.
		it.Data = append(stored.Append(nil, m), "null"...)
		return nil
	}
	var arg any = v
	if reflect.TypeFor[V]().Kind() == reflect.Interface {
		// Otherwise the codec would see what v holds, and not what will be read.
		arg = &v
	}
	data, err := encode(c.codec(s), stored.Append(nil, m), arg)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	it.Data = data
	return nil
}

// unpack reads what the backend returned into l, and returns the version that it was
// stored under; l knows which that is likely to be. at is when that was: one look at the
// clock serves a whole batch. An entry that cannot be read, holds another type, or is of
// another schema is not there, and neither is an answer that c has no error for.
func (c *Cache[V]) unpack(s *state, it *driver.Item, l *lookup[V], at time.Time) (version string, err error) {
	if it.Err != nil {
		return "", it.Err
	}
	l.left = it.TTL
	if s.caps.Objects {
		return c.unpackObject(s, it, l, at)
	}
	if it.Data == nil {
		return "", nil
	}
	// Most entries have the version in force, which spares an allocation.
	m, payload, err := stored.ParseExpecting(it.Data, l.version, c.o.Schema)
	if err == nil && !c.reads(m.Schema, m.NotFound) {
		return "", nil
	}
	if err == nil && !m.NotFound {
		// Into the lookup itself, which spares an allocation.
		err = decode(c.codec(s), payload, &l.value)
	}
	if err != nil {
		l.value = *new(V) // it may have been set in part
		return "", errors.Join(driver.ErrCorrupt, err)
	}
	l.found, l.took, l.created, l.size = true, m.Took, time.Unix(0, m.Created), len(it.Data)
	// A time in the future, because a clock was set back, counts as one that is as far
	// in the past: no entry lives longer for it.
	l.age = time.Duration(at.UnixNano() - m.Created).Abs()
	l.expireIn, l.draw = m.ExpireIn, s.draw(it.Key, m.Created)
	l.staleFor, l.standIn, l.schema, l.notFound, l.tags = m.StaleFor, m.StaleIfError, m.Schema, m.NotFound, seenTags(m.Tags)
	return m.Version, nil
}

// unpackObject is unpack for a backend that keeps objects.
func (c *Cache[V]) unpackObject(s *state, it *driver.Item, l *lookup[V], at time.Time) (version string, err error) {
	e, ok := it.Object.(*entry[V])
	if u, is := it.Object.(interface{ untyped() *entry[any] }); c.raw && is {
		e, ok = any(u.untyped()).(*entry[V])
	}
	if !ok {
		if of, is := it.Object.(interface{ ofSchema(string) bool }); is && !of.ofSchema(c.o.Schema) {
			return "", nil // of course it has another type
		}
		if it.Object != nil {
			err = fmt.Errorf("%w: entry is a %T", driver.ErrCorrupt, it.Object)
		}
		return "", err
	}
	more := e.marks
	if more == nil {
		more = &unmarked
	}
	if !c.reads(more.schema, more.notFound) {
		return "", nil
	}
	left := it.TTL
	if !s.exactTTL {
		left = 0
	}
	l.value, l.found, l.age, l.took = e.value, true, e.age(left), e.took
	l.created = at.Add(-l.age)
	l.expireIn, l.draw = e.expireIn, e.draw
	l.staleFor, l.standIn, l.schema, l.notFound = more.staleFor, more.standIn, more.schema, more.notFound
	l.tags = slices.Clone(more.tags)
	return e.version, nil
}

// reads reports whether an entry of that schema, which may stand for "not found", is one
// of c's.
func (c *Cache[V]) reads(schema string, notFound bool) bool {
	return c.raw || schema == c.o.Schema && (!notFound || c.o.NotFound != nil)
}

func (c *Cache[V]) codec(s *state) Codec {
	if c.o.Codec != nil {
		return c.o.Codec
	}
	return s.o.Codec
}
