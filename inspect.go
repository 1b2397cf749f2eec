package dogpile

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/internal/stored"
)

// Stored is an entry as it is kept, of whatever type and schema; see [Region.Inspect].
type Stored struct {
	// Entry has as its Value what the codec has written, a []byte, or where the backend keeps
	// objects the value itself. It must not be changed.
	Entry[any]
	// Reason tells why the entry is not fresh, or why there is none; empty: it is fresh.
	Reason Reason
	// Size is how many bytes the entry has as the codec has written it, with what the library
	// adds, before proxies: one that compresses keeps less in the backend. 0: it is an object.
	Size int
	// TTL is what is left until the backend drops the entry; 0: no time ends it. Where the
	// backend does not tell, it is reckoned from the options of the region. An entry that is
	// still there though it should be gone by them, since a cache with an expiration of its
	// own has stored it, has a nanosecond left.
	TTL time.Duration
	// Took is how long the creation took; 0: nobody knows.
	Took time.Duration
	// Schema is that of the cache which has stored the entry; see [CacheOptions.Schema].
	Schema string
	// NotFound tells that the entry stands for the answer that there is no value; Value is
	// nil then.
	NotFound bool
}

// Inspect returns what is stored under key, for tools: an entry of any type and any schema,
// whatever its state. It counts as no access, decodes no value, and asks the backend also
// where there is a copy in this process. State and Reason are judged by the expiration of the
// region, or the entry's own: that of a cache or function is not known here. If there is no
// entry ok is false, and Reason is ReasonAbsent, or ReasonDamaged if what there is cannot be
// an entry. That counts as an error in [Stats], as it does for those who ask for the value.
func (r *Region) Inspect(ctx context.Context, key string) (found Stored, ok bool, err error) {
	s, err := r.enter("inspect")
	if err != nil {
		return found, false, err
	}
	defer s.leave()
	c := &Cache[any]{region: r, raw: true}
	c.o.Codec = rawCodec{}
	l, err := c.look(ctx, s, "inspect", key)
	notFound := l != nil && (l.notFound || l.lapsed)
	if err != nil || !l.found && !l.lapsed {
		if err == nil {
			found.Reason = l.reason()
		}
		return found, false, err
	}
	if notFound {
		l.value = nil // that of an object is the zero value of its type
	}
	return Stored{
		Entry: l.entry(0), Reason: l.reason(), Size: l.size, TTL: s.left(l), Took: l.took,
		Schema: l.schema, NotFound: notFound,
	}, true, nil
}

// left returns what is left of the TTL of what was found; 0: it has none.
func (s *state) left(l *lookup[any]) time.Duration {
	if l.left > 0 {
		return l.left
	}
	ttl := s.ttl(s.o.Expiration, &stored.Meta{ExpireIn: l.expireIn, StaleFor: l.staleFor, StaleIfError: l.standIn, NotFound: l.notFound || l.lapsed})
	if ttl == 0 {
		return 0
	}
	return max(ttl-l.age, 1)
}

// rawCodec leaves bytes as they are.
type rawCodec struct{}

// Append refuses: nothing is stored in this form.
func (rawCodec) Append([]byte, any) ([]byte, error) { return nil, errors.ErrUnsupported }

// Decode sets v, a pointer to an any, to a copy of data, which is the caller's to change.
func (rawCodec) Decode(data []byte, v any) error {
	*v.(*any) = bytes.Clone(data)
	return nil
}

// untyped returns the entry as one of any value.
func (e *entry[V]) untyped() *entry[any] {
	return &entry[any]{
		made: e.made, ends: e.ends, version: e.version, expireIn: e.expireIn,
		draw: e.draw, marks: e.marks, took: e.took, value: e.value,
	}
}
