package dogpile

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// GetOrCreate returns the value of key, which create makes if there is no fresh
// one. At most one creator of a key runs at a time among all that share the
// backend.
//
// A fresh entry is returned at once, and so is a stale one, unless this caller
// is the one to renew it. Callers without an entry to return wait for the one
// creator, until ctx ends. Its error goes to all of them as it is; a panic goes to them
// as a *[PanicError] in an *[OpError].
//
// create gets a context with the values of ctx, which ends when the creation
// has taken [Options.CreateTimeout] or its lock is lost, but not when ctx does.
// Creation finds the creation's Control in it.
func (c *Cache[V]) GetOrCreate(ctx context.Context, key string, create func(context.Context) (V, error)) (V, error) {
	if s := c.region.current.Load(); s != nil && s.quick && flagsOf(ctx)&(bypass|renew) == 0 {
		// What direct does, in place: to call it is 3 % of a hit.
		sc := s.scratch()
		sc.key = append(sc.key, key...)
		e, age, ok := c.hit(ctx, s, sc, true)
		s.free(sc)
		if ok {
			if s.o.Hooks.Hit != nil {
				e.tell(ctx, s, c.o.Name, key, age)
			}
			return e.value, c.errorOf(e)
		}
	}
	return c.getOrCreate(ctx, key, create)
}

// GetOrCreateEntry is GetOrCreate for those who want to know how old the value is and
// where it comes from, for a response's headers say: Entry.From tells. With an error
// there is no entry, except that with [CacheOptions.NotFound] it tells when that was
// found out.
func (c *Cache[V]) GetOrCreateEntry(ctx context.Context, key string, create func(context.Context) (V, error)) (Entry[V], error) {
	if s := c.region.current.Load(); s != nil && s.quick && flagsOf(ctx)&(bypass|renew) == 0 {
		if e := c.direct(ctx, s, key, true); e != nil {
			return Entry[V]{Value: e.value, Created: time.Now().Add(-e.age(0)), State: Fresh, From: Hit, Tags: e.tags()}, c.errorOf(e)
		}
	}
	l, from, err := c.find(ctx, key, create)
	if err != nil {
		return Entry[V]{}, err
	}
	_, err = c.answer(l)
	return l.entry(from), err
}

// direct is the short way to a fresh entry: one look into the memory of this process.
// It returns nil where the long way has to be taken. creates tells that the caller has a
// creator at hand.
func (c *Cache[V]) direct(ctx context.Context, s *state, key string, creates bool) *entry[V] {
	sc := s.scratch()
	sc.key = append(sc.key, key...)
	e, age, ok := c.hit(ctx, s, sc, creates)
	s.free(sc)
	if !ok {
		return nil
	}
	if s.o.Hooks.Hit != nil {
		e.tell(ctx, s, c.o.Name, key, age)
	}
	return e
}

// tell tells Hooks.Hit of a hit that took the short way. age is 0 if nobody has asked for it yet:
// a clock costs as much as the hook.
func (e *entry[V]) tell(ctx context.Context, s *state, name, key string, age time.Duration) {
	if age == 0 {
		age = e.age(0)
	}
	defer s.contain(ctx, "hook")
	s.o.Hooks.Hit(ctx, Event{
		Op: "get", Region: s.region.name, Name: name, Key: key, Backend: s.caps.Name, Near: s.near != nil, Age: age,
	})
}

// hit is a look into the memory of this process for a fresh entry under
// sc.key. It allocates nothing. age is how old that is; 0: it did not matter.
func (c *Cache[V]) hit(ctx context.Context, s *state, sc *scratch, creates bool) (_ *entry[V], age time.Duration, ok bool) {
	if s.near != nil {
		return c.nearHit(ctx, s, sc, creates)
	}
	object, left, err := s.lookup(ctx, sc, sc.text())
	if err != nil {
		return nil, 0, false // the reading that follows will return the error
	}
	e, ok := object.(*entry[V])
	if !ok || e.version != s.local.token().Version || !e.marks.holds(c.o.Schema) {
		return nil, 0, false
	}
	if exp := s.expires(c.expiration(s), e.expireIn, e.draw); exp != Never {
		age = e.age(left)
		if age > exp || creates && s.early(age, exp) && !s.flights.Busy(sc.text()) {
			return nil, 0, false
		}
	}
	if e.marks != nil && e.marks.tags != nil && (Creation(ctx) != nil || !s.tags.inForce(ctx, sc, e.marks.tags)) {
		return nil, 0, false // or there is a creation to inherit them
	}
	s.region.stats.hit(sc.stripe)
	return e, age, true
}

func (c *Cache[V]) getOrCreate(ctx context.Context, key string, create func(context.Context) (V, error)) (v V, err error) {
	l, _, err := c.find(ctx, key, create)
	if err != nil {
		return v, err
	}
	return c.answer(l)
}

// errorOf returns the error that a fresh entry stands for, if any.
func (c *Cache[V]) errorOf(e *entry[V]) error {
	if e.marks != nil && e.marks.notFound {
		return c.o.NotFound
	}
	return nil
}

// answer returns the value that was found, or the error that stands for none.
func (c *Cache[V]) answer(l *lookup[V]) (V, error) {
	if l.notFound {
		return l.value, c.o.NotFound
	}
	return l.value, nil
}

// find is GetOrCreate, and returns what the value is made of.
//
// What it returns gives to a creation around the caller; see state.gives.
func (c *Cache[V]) find(ctx context.Context, key string, create func(context.Context) (V, error)) (*lookup[V], From, error) {
	flags := flagsOf(ctx)
	if flags&renew != 0 {
		return c.renew(ctx, "get", key, create)
	}
	s, err := c.enter("get")
	if err != nil {
		return nil, 0, err
	}
	defer s.leave()
	if create == nil {
		return nil, 0, c.region.wrap("get", key, errNilCreator)
	}
	mangled, err := s.key("get", key)
	if err != nil {
		return nil, 0, err
	}
	var l *lookup[V]
	called := s.flights.Now()
	if !s.caps.Discards && flags&bypass == 0 {
		if l, err = c.read(ctx, s, "get", key, mangled, nil, nil); err == nil {
			switch flights := s.flights; {
			case l.use == flight.Fresh:
				c.tell(ctx, s, countHits, s.o.Hooks.Hit, "get", key, l)
				if l.early {
					c.renewEarly(ctx, s, called, key, mangled, l, create)
				}
				l.gives(ctx, s)
				return l, Hit, nil
			case l.use == flight.Stale && flags&noStale == 0 && !flights.Recursive(ctx, mangled) && flights.Busy(mangled):
				// The algorithm would say so too. This is said before anything is built.
				c.tell(ctx, s, countStale, s.o.Hooks.Stale, "get", key, l)
				l.gives(ctx, s)
				return l, StaleHit, nil
			}
		}
	}
	return c.createOne(ctx, s, called, key, mangled, create, l, err)
}

var errNilCreator = errors.New("creator is nil")

// createOne is the rest of GetOrCreate for a caller that has read nothing fresh: l, or
// with an error.
func (c *Cache[V]) createOne(ctx context.Context, s *state, called int64, key, mangled string, create func(context.Context) (V, error), l *lookup[V], err error) (*lookup[V], From, error) {
	const op = "get"
	cr := c.creation(ctx, s, op, called, []creationKey[V]{{key: key, mangled: mangled}})
	cr.one = create
	if !cr.keys[0].offline {
		if err = cr.note(ctx, only, []*lookup[V]{l}, err); err == nil {
			err = cr.keys[0].err
		}
		if err != nil {
			return nil, 0, c.region.wrap(op, key, err)
		}
	}
	if l == nil || l.use == flight.Missing && !l.ifError {
		c.tell(ctx, s, countMisses, s.o.Hooks.Miss, op, key, l)
	}
	return cr.doOne(ctx)
}

// only is the position of a creation's only key.
var only = []int{0}

// doOne carries out a creation of one key whose first reading has been taken.
func (cr *creation[V]) doOne(ctx context.Context) (*lookup[V], From, error) {
	k := &cr.keys[0]
	first := k.last
	began := now()
	results, err := cr.call().Do(ctx, cr.readings(only))
	var got *lookup[V]
	waited, stoodIn := true, false
	if err = causeOf(err); err == nil {
		got = results[0].Value
		waited = got != first
	} else if cr.mayFallBack(err, first) {
		cr.fellBack(ctx, only, err, false)
		got, err, stoodIn = first, nil, true
	}
	err = cr.s.region.wrap(cr.op, k.key, err)
	cr.tellResult(ctx, k, first, got, waited, began, err)
	if err != nil {
		return nil, 0, err
	}
	got.gives(ctx, cr.s)
	return got, k.from(first, got, stoodIn), nil
}

// from tells where got comes from, for a caller that had read first. What was made is
// looked at last: while a stale value is returned a Runner may be making the next one.
func (k *creationKey[V]) from(first, got *lookup[V], stoodIn bool) From {
	switch {
	case stoodIn || got.ifError:
		return StoodIn
	case got.use == flight.Stale:
		return StaleHit
	case got == first:
		return Hit
	case got == k.made:
		return Created
	}
	return Waited
}

// mayFallBack reports whether a caller that has read l may return it after all, because
// err means that the creator has failed or taken too long.
func (cr *creation[V]) mayFallBack(err error, l *lookup[V]) bool {
	_, failed := err.(*creatorError)
	return (failed || err == flight.ErrTimeout) && !cr.renew && !cr.noStale && l.usableOnError(cr.s, cr.c.expiration(cr.s))
}

// fellBack notes that this caller returns what it has read of keys, in place of what could
// not be created because of err. Of all callers that do, the one whose creation it was
// reports the error, unless it returns it all the same, for other keys.
func (cr *creation[V]) fellBack(ctx context.Context, at []int, err error, returned bool) {
	ran := false
	for _, i := range at {
		k := &cr.keys[i]
		cr.s.flights.BackOff(k.mangled, errorBackoff)
		ran = ran || k.ran.Load()
	}
	if ran && !returned {
		cr.Unseen(ctx, at, err)
	}
}

// creation returns a creation of keys for a caller whose context is ctx, and which has
// called at a moment of the clock of the region's flights.
func (c *Cache[V]) creation(ctx context.Context, s *state, op string, called int64, keys []creationKey[V]) *creation[V] {
	none, flags := new(lookup[V]), flagsOf(ctx)
	cr := &creation[V]{c: c, s: s, op: op, caller: ctx, called: called, keys: keys}
	cr.apart, cr.renew, cr.noStale = s.caps.Discards || flags&bypass != 0, flags&renew != 0, flags&noStale != 0
	for i := range keys {
		keys[i].last, keys[i].offline = none, cr.apart
	}
	if s.creators != nil && s.flights.Creating(ctx) {
		// A flight of callers that are not nested may be waiting for the slot that the
		// creator around this one has.
		cr.class = "\x00nested"
	}
	if cr.noStale {
		// What others make may be made of what is stale, which their contexts allow. If it
		// is not, the flight of this class finds it.
		cr.class += "\x00nostale"
	}
	return cr
}

// tellResult tells the hooks how a caller came to its value, after it had found first,
// which is not fresh.
func (cr *creation[V]) tellResult(ctx context.Context, k *creationKey[V], first, got *lookup[V], waited bool, began int64, err error) {
	s := cr.s
	if first.use != flight.Missing || first.ifError { // otherwise it has been told already
		if err == nil && got != nil && got.use != flight.Fresh {
			cr.tellAll(ctx, k, countStale, s.o.Hooks.Stale, got)
		} else {
			cr.tellAll(ctx, k, countMisses, s.o.Hooks.Miss, first)
		}
	}
	if waited && !k.ran.Load() {
		s.region.stats.add(countWaits, 1)
		s.event(ctx, s.o.Hooks.Wait, Event{Op: cr.op, Name: cr.c.o.Name, Key: k.key, Duration: time.Duration(now() - began), Err: err})
	}
}

// tellAll is tell for a key and those that are mangled like it.
func (cr *creation[V]) tellAll(ctx context.Context, k *creationKey[V], n counter, hook func(context.Context, Event), l *lookup[V]) {
	cr.c.tell(ctx, cr.s, n, hook, cr.op, k.key, l)
	for _, alias := range k.aliases {
		cr.c.tell(ctx, cr.s, n, hook, cr.op, alias, l)
	}
}

// tell counts something and tells a hook of it, and of what was found under the key; nil:
// nothing was looked for.
func (c *Cache[V]) tell(ctx context.Context, s *state, n counter, hook func(context.Context, Event), op, key string, l *lookup[V]) {
	s.region.stats.add(n, 1)
	c.event(ctx, s, hook, op, key, l)
}

func (c *Cache[V]) event(ctx context.Context, s *state, hook func(context.Context, Event), op, key string, l *lookup[V]) {
	if hook != nil {
		e := Event{Op: op, Name: c.o.Name, Key: key}
		l.tells(&e)
		s.event(ctx, hook, e)
	}
}

// failed reports an error that no caller gets.
func (c *Cache[V]) failed(ctx context.Context, s *state, op, key string, err error) {
	s.failed(ctx, Event{Op: op, Name: c.o.Name, Key: key, Err: err})
}

// Refresh creates the value of key now, under the lock, stores it and returns it,
// whether or not there is a fresh one. It waits for a creation in progress to end but
// does not take its value. If it fails, the entry stays as it is.
func (c *Cache[V]) Refresh(ctx context.Context, key string, create func(context.Context) (V, error)) (v V, err error) {
	l, _, err := c.renew(ctx, "refresh", key, create)
	if err != nil {
		return v, err
	}
	return c.answer(l)
}

// renew is Refresh, and returns what the value is made of.
func (c *Cache[V]) renew(ctx context.Context, op, key string, create func(context.Context) (V, error)) (*lookup[V], From, error) {
	s, err := c.enter(op)
	if err != nil {
		return nil, 0, err
	}
	defer s.leave()
	if create == nil {
		return nil, 0, c.region.wrap(op, key, errNilCreator)
	}
	mangled, err := s.key(op, key)
	if err != nil {
		return nil, 0, err
	}
	cr := c.creation(ctx, s, op, s.flights.Now(), []creationKey[V]{{key: key, mangled: mangled}})
	cr.one, cr.renew = create, true
	if op == "get" { // under Renew, where every key that is asked for is told of
		c.tell(ctx, s, countMisses, s.o.Hooks.Miss, op, key, nil)
	}
	return cr.doOne(ctx)
}
