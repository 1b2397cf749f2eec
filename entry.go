package dogpile

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// entry is what an object backend keeps. It is never changed once stored. The
// fields that a hit needs come first, so that they share a cache line.
type entry[V any] struct {
	room     [32]byte // holds the key, if it is short enough; see keyed
	made     int64    // when its creation began, on the clock of now
	ends     int64    // when its TTL ends, on the clock of now; 0: it has none
	version  string
	expireIn time.Duration // its own expiration; 0: none
	draw     float64       // its share of Jitter, from 0 to 1
	value    V
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

// band is what an entry is worth to a caller who could create it anew.
type band uint8

const (
	missing band = iota
	standby      // may stand in for a creator that fails
	stale
	fresh
)

// found is what has been read under a key.
type found[V any] struct {
	value   V
	there   bool // there was an entry at all
	created time.Time
	state   State
	band    band
	age     time.Duration

	draw     float64
	expireIn time.Duration

	version string // the region's when this was read; "" if it has none yet
	token   *token // that it was judged by, if it is a shared one
	err     error  // the backend did not answer for this entry
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

// classify fills in state and band of an entry from its age and from what the
// invalidator says of it.
func (f *found[V]) classify(s *state, exp time.Duration, verdict State) {
	full := exp
	if f.expireIn != 0 {
		full = f.expireIn
	}
	exp = s.expires(exp, f.expireIn, f.draw)
	f.state, f.band = Fresh, fresh
	if exp != Never && f.age > exp {
		f.state, f.band = Stale, s.past(f.age, full)
	}
	switch {
	case verdict == Invalidated:
		f.state, f.band = Invalidated, missing
	case verdict == Stale && f.state == Fresh:
		f.state, f.band = Stale, stale
	}
}

// past returns the band of an entry that is past its expiration.
func (s *state) past(age, exp time.Duration) band {
	exp = max(exp, 0)
	staleFor := s.o.StaleFor
	if staleFor == 0 {
		staleFor = exp
	}
	switch {
	case within(age, exp, staleFor):
		return stale
	case s.o.StaleIfError != 0 && within(age, exp, s.o.StaleIfError):
		return standby
	}
	return missing
}

func within(age, exp, more time.Duration) bool {
	return more == Never || age-exp <= more
}

// ttl returns how long the backend is to keep an entry.
func (s *state) ttl(exp, own time.Duration) time.Duration {
	if own != 0 {
		exp = own
	}
	staleFor := s.o.StaleFor
	if staleFor == 0 {
		staleFor = exp
	}
	if exp <= 0 || staleFor == Never || s.o.StaleIfError == Never {
		return 0
	}
	more := max(staleFor, s.o.StaleIfError)
	if exp > math.MaxInt64-more {
		return 0
	}
	return exp + more
}

// overdue is the expiration of entries that are stale however young they are.
const overdue time.Duration = -2

// expiration returns what counts for the entries of c on this call: more than
// 0, Never, or overdue.
func (c *Cache[V]) expiration(s *state) time.Duration {
	exp := c.o.Expiration
	if c.o.ExpirationFunc != nil {
		exp = c.o.ExpirationFunc()
	}
	switch {
	case exp == 0:
		return s.o.Expiration
	case exp < Never:
		return overdue // the moment that ExpirationFunc told of has passed
	}
	return exp
}

// draw returns a number from 0 to 1 that an entry keeps for its life, in
// whichever process it is read: FNV-1a over key and time.
func (s *state) draw(key string, created int64) float64 {
	if s.o.Jitter == 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	for range 8 {
		h = (h ^ uint64(created&0xff)) * 1099511628211
		created >>= 8
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return float64(h>>11) / (1 << 53)
}

// pack puts a value into an item for the backend.
func (c *Cache[V]) pack(s *state, it *driver.Item, v V, m stored.Meta, made int64) error {
	it.TTL = s.ttl(c.expiration(s), m.ExpireIn)
	draw := s.draw(it.Key, m.Created)
	if s.caps.Objects {
		e := &entry[V]{value: v, made: made, expireIn: m.ExpireIn, version: m.Version, draw: draw}
		if it.TTL > 0 {
			e.ends = now() + int64(it.TTL)
		}
		it.Key, it.Object = e.keyed(it.Key), e
		return nil
	}
	data, err := c.codec(s).Append(stored.Append(nil, m), v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	it.Data = data
	return nil
}

// unpack reads what the backend returned into f. An entry that cannot be read,
// or holds another type, is not there.
func (c *Cache[V]) unpack(s *state, it *driver.Item, f *found[V]) (version string, err error) {
	if it.Err != nil {
		return "", it.Err
	}
	if s.caps.Objects {
		e, ok := it.Object.(*entry[V])
		if !ok {
			if it.Object != nil {
				err = fmt.Errorf("%w: entry is a %T", driver.ErrCorrupt, it.Object)
			}
			return "", err
		}
		f.value, f.there = e.value, true
		left := it.TTL
		if !s.exact {
			left = 0
		}
		f.age = e.age(left)
		f.created = time.Now().Add(-f.age)
		f.expireIn, f.draw = e.expireIn, e.draw
		return e.version, nil
	}
	if it.Data == nil {
		return "", nil
	}
	m, payload, err := stored.Parse(it.Data)
	if err != nil {
		return "", errors.Join(driver.ErrCorrupt, err)
	}
	var v V
	if err := c.codec(s).Decode(payload, &v); err != nil {
		return "", errors.Join(driver.ErrCorrupt, err)
	}
	f.value, f.there = v, true
	f.created = time.Unix(0, m.Created)
	// A time in the future, because a clock was set back, counts as one that is
	// as far in the past: no entry lives longer for it.
	f.age = time.Since(f.created).Abs()
	f.expireIn, f.draw = m.ExpireIn, s.draw(it.Key, m.Created)
	return m.Version, nil
}

func (c *Cache[V]) codec(s *state) Codec {
	if c.o.Codec != nil {
		return c.o.Codec
	}
	return s.o.Codec
}
