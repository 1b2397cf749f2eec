package dogpile

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/internal/stored"
)

// tagScope is the tags that all regions with one [Options.TagScope] over one backend
// share, as one region sees them.
//
// A tag is two version tokens: a hard one and a soft one. An entry is stored with its
// tags, and with the versions that their tokens had before its creator read what they
// stand for. It is missing if the hard token of a tag has another version by now or is
// gone, and stale if the soft one has or is. So an invalidation deletes one of the two:
// without looking at it, in one call of the backend for any number of tags. It cannot be
// overtaken:
//
//  1. A's creator tags its value: it reads the token, T, and then the origin.
//  2. The origin changes, and somebody deletes the token.
//  3. B tags another value, and makes a new token, U.
//  4. A stores under T. Whether or not 3 has happened, T is not in force: versions are
//     random, and none comes back.
//
// What 3 writes is written once, and under a lease that the delete of another
// invalidation revokes: see tokens.update and tokens.item.
//
// A token that the backend has evicted is one that was deleted. So it needs no room where
// none is left, and what remains of a tag that no entry carries is nothing. Tokens have a
// TTL, which is prolonged for entries that outlive it; see prolong.
type tagScope struct {
	s      *state
	name   string        // with what separates it from tags escaped
	life   time.Duration // of a token, in TTLs of the entry for which it is made
	fenced bool          // a token can be written so that no invalidation is undone

	dropping atomic.Bool // what carries an invalidated tag will be dropped in a moment

	mu      sync.Mutex
	known   map[string]*tokens // by key; what many goroutines look for or may trust for a while
	related map[any]bool       // whether another backend, as this process sees them, is the same one
}

const (
	// maxKnown bounds how many tokens a process knows. One that it forgets is read again.
	maxKnown = 1 << 14
	// maxTagKey is the length up to which a tag can be read in the key of its token.
	maxTagKey = 200
	// tagLife is how many TTLs of the entry a token lives for which it is made. So it is
	// prolonged once in a TTL at the most.
	tagLife = 2
	// tagLifeUnfenced is the same where a token cannot be prolonged.
	tagLifeUnfenced = 16
	// tagsAtOnce is how many leases on tokens are asked for at the same time.
	tagsAtOnce = 16
)

func newTagScope(s *state, fenced bool) *tagScope {
	sc := &tagScope{s: s, name: escapeScope.Replace(s.o.TagScope), life: tagLife, fenced: fenced, known: make(map[string]*tokens)}
	if !fenced {
		sc.life = tagLifeUnfenced
	}
	return sc
}

// escapeScope keeps the tag "b:c" of scope "a" and the tag "c" of scope "a:b" apart.
var escapeScope = strings.NewReplacer("%", "%25", ":", "%3A", "~", "%7E", "#", "%23")

// A token's key has one of these between scope and tag.
const (
	hardToken = ':'
	softToken = '~'
)

// key returns the key of a token of a tag. It has no prefix and no mangling of the
// region's: all regions of the scope have to find the same.
func (sc *tagScope) key(kind byte, tag string) (string, error) {
	key, plain := sc.appendKey(nil, kind, tag)
	if !plain {
		sum := sha256.Sum256([]byte(sc.name + ":" + tag))
		key = append(append(key[:0], tokenWord+"#"...), kind) // no scope has a #
		key = hex.AppendEncode(key, sum[:])
	}
	return sc.fitted(string(key))
}

// appendKey appends the key of a token as it is where nothing keeps it from being that; not
// plain means that something does.
func (sc *tagScope) appendKey(dst []byte, kind byte, tag string) (key []byte, plain bool) {
	from := len(dst)
	dst = append(dst, tokenWord...)
	dst = append(dst, sc.name...)
	dst = append(append(dst, kind), tag...)
	if len(dst)-from > maxTagKey {
		return dst, false
	}
	for _, c := range dst[from:] {
		if c <= ' ' || c > '~' {
			return dst, false
		}
	}
	return dst, true
}

// fitted returns a key as the backend would like to have it.
func (sc *tagScope) fitted(key string) (string, error) {
	if sc.s.caps.Mangle != nil {
		key = sc.s.caps.Mangle(key)
	}
	if limit := sc.s.caps.MaxKeyLen; limit > 0 && len(key) > limit {
		return "", fmt.Errorf("the token of a tag needs a key of %d bytes, the backend takes %d", len(key), limit)
	}
	return key, nil
}

// seenTag is a tag with the versions of its tokens, as they were seen by a creation.
type seenTag struct {
	name, hard, soft string

	until int64 // when the first of the tokens goes, Unix seconds; 0: neither does
}

func sameTag(a, b seenTag) bool { return a.name == b.name && a.hard == b.hard && a.soft == b.soft }

// mergeTags appends to tags those of more that it lacks. A tag may be in it twice, with
// different versions: then it was invalidated between two readings, and whatever was made
// of both is invalid.
func mergeTags(tags, more []seenTag) []seenTag {
	for _, t := range more {
		if !slices.ContainsFunc(tags, func(other seenTag) bool { return sameTag(t, other) }) {
			tags = append(tags, t)
		}
	}
	return tags
}

// tagNames returns the names of tags, each once. It is quick also for a page that is made
// of thousands of products.
func tagNames(tags []seenTag) []string {
	if len(tags) == 0 {
		return nil
	}
	names, has := make([]string, 0, len(tags)), make(map[string]bool, len(tags))
	for _, t := range tags {
		if !has[t.name] {
			has[t.name] = true
			names = append(names, t.name)
		}
	}
	return names
}

// storedTags returns tags as they are stored.
func storedTags(tags []seenTag) []stored.Tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]stored.Tag, len(tags))
	for i, t := range tags {
		out[i] = stored.Tag{Name: t.name, Hard: t.hard, Soft: t.soft}
	}
	return out
}

// seenTags is the reverse of storedTags.
func seenTags(tags []stored.Tag) []seenTag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]seenTag, len(tags))
	for i, t := range tags {
		out[i] = seenTag{name: t.Name, hard: t.Hard, soft: t.Soft}
	}
	return out
}

// newTagVersion returns 72 random bits in letters and digits: enough for no version of a
// tag ever to come back, and short, as every entry has it.
func newTagVersion() string {
	var bits [9]byte
	_, _ = rand.Read(bits[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(bits[:])
}

// InvalidateTags makes invalid every entry that carries one of tags and was stored before,
// or whose creation had begun before: missing with Hard, stale with Soft. It reaches all
// regions that have the same [Options.TagScope] over the same backend, in all processes,
// and entries that were made of tagged ones; see [Control.Tag]. It is one call of the
// backend, however many entries there are. Any strings are tags.
//
// Under Hard a [driver.Dropper] drops the entries a second later, in the background.
//
// An error means that some of the entries may be valid still, of any of the tags; its Key is
// the first of them in alphabetical order. It wraps [ErrPending] where [Options.RetryDeletes]
// has the tags invalidated later.
func (r *Region) InvalidateTags(ctx context.Context, mode Mode, tags ...string) error {
	s, err := r.enter("invalidate")
	if err != nil {
		return err
	}
	defer s.leave()
	if mode != Hard && mode != Soft {
		return r.wrap("invalidate", "", fmt.Errorf("unknown mode %d", mode))
	}
	if len(tags) == 0 {
		return nil
	}
	tags = distinct(tags)
	kind := byte(hardToken)
	if mode == Soft {
		kind = softToken
	}
	keys, err := s.tags.keys(kind, tags)
	if err != nil {
		return r.wrap("invalidate", tags[0], err)
	}
	places, err := s.tags.places(tags)
	if err != nil {
		return r.wrap("invalidate", tags[0], err)
	}
	_ = s.listen(ctx) // what is not known then is asked for again
	done := sync.OnceFunc(invalidated.begin(places))
	defer done() // also if a proxy panics
	began := s.pending.now()
	if err = s.tags.delete(ctx, keys); err == nil {
		r.stats.add(countInvalidations, 1)
		s.pending.settle(began, keys...)
		if mode == Hard {
			s.dropUntagged()
		}
		done()
		err = r.wrap("invalidate", tags[0], s.waitForCopies(ctx))
	} else {
		oe := r.backendError(ctx, "invalidate", tags[0], err)
		if s.pending.keep(ctx, kind, tags, keys, err) {
			oe = &OpError{oe.Region, oe.Op, oe.Key, &pendingError{oe.Err}}
		}
		err = oe
	}
	s.event(ctx, s.o.Hooks.Invalidate, Event{Op: "invalidate", Keys: tags, Err: err})
	return err
}

// keys returns the keys of one kind of token.
func (sc *tagScope) keys(kind byte, tags []string) ([]string, error) {
	keys := make([]string, len(tags))
	for i, tag := range tags {
		var err error
		if keys[i], err = sc.key(kind, tag); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// delete deletes tokens. What this process knows of them is forgotten in any case: the
// delete may be carried out although its answer is lost.
func (sc *tagScope) delete(ctx context.Context, keys []string) error {
	bounded, cancel := sc.s.bound(ctx)
	defer cancel()
	defer sc.forget(keys)
	err := sc.s.remove(bounded, keys)
	if of := (interface{ Reason() error })(nil); errors.As(err, &of) {
		err = of.Reason() // without the keys, of which nobody has heard
	}
	return err
}

// forget lets nobody trust what was known of tokens.
func (sc *tagScope) forget(keys []string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, key := range keys {
		// Those who look for the token at this moment keep what they have found to
		// themselves.
		delete(sc.known, key)
	}
}

// forgetKept is forget for deletes that have been kept, and are done.
func (sc *tagScope) forgetKept(done []*kept) {
	for _, k := range done {
		if k.token != 0 {
			sc.forget([]string{k.mangled})
		}
	}
}

// tokens returns the tokens under a key.
func (sc *tagScope) tokens(key string) *tokens {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	ts := sc.known[key]
	if ts == nil {
		for old := range sc.known {
			if len(sc.known) < maxKnown {
				break
			}
			delete(sc.known, old)
		}
		ts = newTokens(sc.s, key)
		ts.tag = true
		sc.known[key] = ts
	}
	return ts
}
