package dogpile

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/internal/sieve"
)

// near is the copies of entries that a region keeps in this process.
//
// A copy answers for an entry while three things hold. Each of them is known without asking
// anybody, and was so at most Lag ago:
//
//   - the entry has not changed: the mark that came with it says so (see driver.Mark);
//   - the version token of the region that it was judged by has not changed either;
//   - nor have the tokens of its tags.
//
// So an invalidation reaches a copy as it reaches the entry: it changes a token. Everything
// else is asked of the backend: what has no copy, or no fresh one, and all that is read under
// a lease. So is what a creator reads, unless the backend tells of changes at once:
//
//  1. A product is changed by another process, and the call of that returns.
//  2. A creator here reads the product. Its copy here may be as old as Lag.
//  3. The page that is made of it would have the old product for as long as pages are kept.
type near struct {
	lag      time.Duration
	exact    bool
	copies   *sieve.Map // of *copied[V], by key with prefix, before mangling
	readings readings

	atOnce bool // see driver.Watcher

	mu       sync.Mutex
	stop     func()        // of what goes on in the background; nil: nothing does
	tellSoon chan struct{} // has room for one signal: a token lacks the claim of this process
	telling  atomic.Bool   // the claim is being told
}

// copied is a copy of an entry that was fresh when it was read. It is never changed. The
// fields that a hit needs come first.
type copied[V any] struct {
	sieve.Entry
	mark   driver.Mark
	asked  time.Duration // when the backend was asked for it
	tokens *tokens       // of the region; nil: it is judged by history
	judged string        // the version of the token that it was judged by; "": there was none
	entry[V]
	tags    []copiedTag
	history history
}

// copiedTag is a token of a tag, as an entry has it.
type copiedTag struct {
	tokens  *tokens
	version string
}

// copyOverhead is what a copy takes besides its key and its value, as
// BenchmarkNearEntrySize measures it.
const copyOverhead = 288

// behind reports whether a copy may be older than what another process has changed by a call
// that has returned.
func (n *near) behind() bool { return !n.atOnce }

// tooOld reports whether what is known by copies may be too old for a caller: it is a creator.
func (n *near) tooOld(ctx context.Context) bool { return n.behind() && Creation(ctx) != nil }

// chooseNear makes the copies, if there are to be any. A backend that discards has none.
func (s *state) chooseNear() error {
	o := s.o.Near
	if o == nil || s.caps.Discards {
		return nil
	}
	name := cmp.Or(s.caps.Name, "it")
	if !s.caps.Shared {
		return &optionError{"Near", "copies are kept of a backend that processes share, and " + name + " is none"}
	}
	var stop func()
	atOnce := false
	if w, ok := s.chain.(driver.Watcher); ok {
		stop, atOnce = w.Watch(o.Lag)
	}
	if stop == nil {
		return &optionError{"Near", "copies need a backend that tells of changes, a driver.Watcher, and " + name + " is none"}
	}
	stop() // it begins when the configuration is in force
	if o.Exact && !atOnce && !s.tags.fenced {
		return &optionError{"Near.Exact", "needs leases that keep others from deleting (Caps.Fenced), as the Lag is kept under one, and those of " + name + " do not"}
	}
	s.near = &near{lag: o.Lag, exact: o.Exact, atOnce: atOnce, copies: sieve.New(o.MaxEntries, o.MaxBytes), tellSoon: make(chan struct{}, 1)}
	return nil
}

// beginNear has the backend tell of changes, for a configuration that comes into force.
func (s *state) beginNear() {
	n := s.near
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stop != nil {
		return
	}
	unwatch, _ := s.chain.(driver.Watcher).Watch(n.lag)
	if unwatch == nil {
		return // it could tell of changes a moment ago; without, there are no copies
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = func() {
		cancel()
		unwatch()
	}
	if n.claims() {
		s.region.telling.Go(func() { s.keepTelling(ctx) })
	}
}

// endNear ends what beginNear began. Copies end with their proofs.
func (s *state) endNear() {
	n := s.near
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// right reports whether what was asked for then is known to have been right at most Lag
// before at.
func (n *near) right(m *driver.Mark, asked, at time.Duration) bool {
	proved, ok := m.Right(asked)
	return ok && proved >= at-n.lag
}

// nearHit is a look at the copies in this process for a fresh entry under sc.key. It allocates
// nothing for an entry without tags.
func (c *Cache[V]) nearHit(ctx context.Context, s *state, sc *scratch, creates bool) (_ *entry[V], age time.Duration, ok bool) {
	if s.near.tooOld(ctx) {
		return nil, 0, false
	}
	cp, age := c.copyOf(s, sc, creates)
	if cp == nil {
		return nil, 0, false
	}
	if cp.marks != nil && len(cp.marks.tags) > 0 {
		s.gives(ctx, cp.marks.tags, false, false)
	}
	s.region.stats.nearHits(sc.stripe, 1)
	return &cp.entry, age, true
}

// copyOf returns the copy that may answer for the entry under sc.key, and how old the entry is;
// nil: there is none. creates tells that the caller has a creator at hand.
func (c *Cache[V]) copyOf(s *state, sc *scratch, creates bool) (*copied[V], time.Duration) {
	cp, ok := s.near.copies.Get(sc.text()).(*copied[V])
	// A delete that is tried again may be one of this key.
	if !ok || s.pending.len() > 0 {
		return nil, 0
	}
	age, ok := c.usable(s, cp, sc, creates)
	if !ok {
		return nil, 0
	}
	return cp, age
}

// lookup returns what was found in a copy.
func (cp *copied[V]) lookup(age time.Duration) *lookup[V] {
	l := &lookup[V]{value: cp.value, found: true, near: true, created: time.Now().Add(-age), age: age, took: cp.took, use: flight.Fresh}
	if m := cp.marks; m != nil {
		l.notFound, l.schema, l.tags = m.notFound, m.schema, slices.Clone(m.tags)
	}
	return l
}

// readNear reads keys: those that have a copy there, and the others in one call of the
// backend.
func (c *Cache[V]) readNear(ctx context.Context, s *state, op string, keys, mangled []string, creates bool) ([]*lookup[V], error) {
	if s.near.tooOld(ctx) {
		return c.readFar(ctx, s, op, keys, mangled)
	}
	lookups := make([]*lookup[V], len(keys))
	var far, farMangled []string
	sc := s.scratch()
	for i, key := range keys {
		sc.key = append(sc.key[:len(s.o.Prefix)], key...)
		if cp, age := c.copyOf(s, sc, creates); cp != nil {
			lookups[i] = cp.lookup(age)
		} else {
			far, farMangled = append(far, key), append(farMangled, mangled[i])
		}
	}
	s.free(sc)
	if len(far) == 0 {
		return lookups, nil
	}
	read, err := c.readFar(ctx, s, op, far, farMangled)
	if err != nil {
		return nil, err
	}
	for i, n := 0, 0; i < len(lookups); i++ {
		if lookups[i] == nil {
			lookups[i] = read[n]
			n++
		}
	}
	return lookups, nil
}

// usable reports whether a copy may answer for the entry under sc.key, and how old that is.
func (c *Cache[V]) usable(s *state, cp *copied[V], sc *scratch, creates bool) (age time.Duration, ok bool) {
	if m := cp.marks; m == nil && c.o.Schema != "" || m != nil && !c.reads(m.schema, m.notFound) {
		return 0, false
	}
	at := driver.Now()
	if cp.ends != 0 && int64(at) >= cp.ends || !s.near.right(&cp.mark, cp.asked, at) || !cp.inForce(s, sc, at) {
		return 0, false
	}
	age = at - time.Duration(cp.made)
	exp := s.expires(c.expiration(s), cp.expireIn, cp.draw)
	if exp == Never {
		return age, true
	}
	if age > exp {
		return 0, false
	}
	if creates && s.early(age, exp) {
		mangled, err := s.key("get", string(sc.key[len(s.o.Prefix):]))
		return age, err == nil && s.flights.Busy(mangled)
	}
	return age, true
}

// inForce reports whether the tokens by which the entry was found fresh are still those in
// force.
func (cp *copied[V]) inForce(s *state, sc *scratch, at time.Duration) bool {
	for i := range cp.tags {
		t := &cp.tags[i]
		if seen := t.tokens.proved(at); seen == nil || seen.version() != t.version {
			return false
		}
	}
	if cp.tokens != nil {
		seen := cp.tokens.proved(at)
		return seen != nil && seen.version() == cp.judged && !seen.disagrees
	}
	t, _ := cp.history.known()
	key := ""
	if _, asks := cp.history.(*customVersions); asks { // others do not look at it
		key = string(sc.key[len(s.o.Prefix):])
	}
	began := time.Now().Add(-(at - time.Duration(cp.made)) - cp.took)
	return cp.history.judge(t, key, cp.version, began) == Fresh
}

// keep keeps copies of what readAll has read without a lease, and found fresh.
func (c *Cache[V]) keep(s *state, keys []string, items []driver.Item, lookups []*lookup[V], asked time.Duration) {
	at := driver.Now()
	for i, l := range lookups {
		it := &items[i]
		if !l.found || l.state != Fresh || l.err != nil || !it.Keep || !s.near.right(&it.Mark, asked, at) {
			continue
		}
		cp := &copied[V]{mark: it.Mark, asked: asked, history: l.history}
		cp.entry = entry[V]{
			value: l.value, made: int64(at - l.age), took: l.took, version: l.stored,
			expireIn: l.expireIn, draw: l.draw,
		}
		if l.schema != "" || l.notFound || len(l.tags) > 0 {
			cp.marks = &marks{schema: l.schema, notFound: l.notFound, tags: l.tags}
		}
		if it.TTL > 0 {
			cp.ends = int64(asked + it.TTL) // the backend has said what was left after that
		}
		if cp.tokens, _ = l.history.(*tokens); cp.tokens != nil && l.token != nil {
			cp.judged = l.token.Version
		}
		var err error
		if cp.tags, err = s.tags.copied(l.tags); err != nil {
			continue
		}
		key := s.o.Prefix + keys[i]
		s.near.copies.Set(cp.keyed(key), cp, &cp.Entry, len(key)+len(it.Data)+copyOverhead)
	}
}

// copied returns the tokens of tags, which an entry has that is valid by them.
func (sc *tagScope) copied(tags []seenTag) ([]copiedTag, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	all := make([]copiedTag, 0, 2*len(tags))
	for _, t := range tags {
		for _, half := range []struct {
			kind    byte
			version string
		}{{hardToken, t.hard}, {softToken, t.soft}} {
			key, err := sc.key(half.kind, t.name)
			if err != nil {
				return nil, err
			}
			all = append(all, copiedTag{sc.tokens(key), half.version})
		}
	}
	return all, nil
}

// proved returns the token that was read last if it is known to have been in force at most
// Near.Lag before at; nil: it is not, or there are no copies.
func (ts *tokens) proved(at time.Duration) *readToken {
	seen, n := ts.last.Load(), ts.s.near
	if seen == nil || n == nil || !n.right(&seen.mark, time.Duration(seen.at), at) {
		return nil
	}
	return seen
}

// version returns that of the token, or "" where there was none.
func (r *readToken) version() string {
	if r.token == nil {
		return ""
	}
	return r.token.Version
}
