package dogpile

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Control is a creator's say in what becomes of its value; see [Creation]. Its
// methods may be called from any goroutine until the creator returns. On a nil
// Control they do nothing.
type Control struct {
	mu    sync.Mutex
	asked wishes
	has   map[seenTag]bool    // the tags of asked, whenever they go: a page may be made of thousands of products
	keys  map[string]*Control // in a creation of several keys: what concerns one of them

	previous any    // a *V: the value that is being replaced; nil: there is none
	tagger   tagger // the creation
	began    uint64 // when it began, for invalidated.since
	offline  bool   // it goes on without the backend

	// up has the say on tags where what comes of this creation is stored nowhere: it is that
	// of the creation around it. nil: this one has it.
	up *Control
}

// wishes are what becomes of a value: what its creator has asked for, and what follows
// from the values that it was made of.
type wishes struct {
	expireIn time.Duration // 0: as the region or the cache says
	staleFor time.Duration // 0: as the region says
	ifError  time.Duration // StaleIfError; 0: as the region says
	noStore  bool

	tags   []seenTag
	unsure bool  // it has tags whose versions nobody knows
	err    error // why, if the backend has failed
	stale  bool  // it was made of a stale value
}

// tagger is a creation, as its control knows it.
type tagger interface {
	// scope returns the tags that the creation knows.
	scope() *tagScope
	// seen returns tags with the versions in force, for the value that is created, or an
	// error for each of which nobody knows. nil: they are not needed.
	seen(ctx context.Context, tags []string) ([]seenTag, []error)
	// creates reports whether it creates the entry of a key.
	creates(s *state, key string) bool
}

type controlKey struct{}

// Creation returns the control of the creation that ctx belongs to: the innermost
// one, if creators are nested. Outside of a creator it returns nil.
func Creation(ctx context.Context) *Control {
	c, _ := ctx.Value(controlKey{}).(*Control)
	return c
}

// tagged returns the control that has the say on the tags of what is created under ctx.
func tagged(ctx context.Context) *Control {
	c := Creation(ctx)
	if c != nil && c.up != nil {
		c = c.up
	}
	if c == nil || c.tagger == nil {
		return nil
	}
	return c
}

// Previous returns the value that the creator which ctx belongs to is about to
// replace, so that it can ask its origin whether that still holds. The value may be
// stale but is never invalidated, and must not be changed. V is the type of the cache's
// values. ok is false if there is none, outside of a creator, and in creators of
// several keys.
func Previous[V any](ctx context.Context) (v V, ok bool) {
	if c := Creation(ctx); c != nil {
		if p, is := c.previous.(*V); is {
			return *p, true
		}
	}
	return v, false
}

// Key returns the control of one key, for creators of several: what is said to it
// concerns that key alone. key is a string as the creator was given it; for the
// creator of a [MultiFunc] that is what [MultiFunc.Key] returns.
func (c *Control) Key(key string) *Control {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.keys[key]
	if one == nil {
		if c.keys == nil {
			c.keys = make(map[string]*Control)
		}
		one = &Control{tagger: c.tagger, began: c.began, offline: c.offline, up: c.up}
		c.keys[key] = one
	}
	return one
}

// ExpireIn gives the value an expiration of its own, in place of the region's or the
// cache's and for all its readers: d after its creation ends. [Never]: it does not
// expire. Any other d that is not positive means that the value is not worth storing,
// as [Control.NoStore] does.
func (c *Control) ExpireIn(d time.Duration) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d > 0 || d == Never {
		c.asked.expireIn = d
	} else {
		c.asked.noStore = true
	}
}

// StaleFor says how long past its expiration the value may be served while it is stale,
// in place of the region's [Options.StaleFor] and for all its readers. [Never]: without
// bound. Any other d that is not positive: not at all. [Options.StaleIfError] is as ever,
// and so is a value that never expires.
func (c *Control) StaleFor(d time.Duration) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.staleFor = wish(d)
}

// StaleIfError says how long past its expiration the value may stand in for a creator that
// fails, in place of the region's [Options.StaleIfError] and for all its readers; it is kept
// for so long, and [Previous] returns it. [Never]: without bound. Any other d that is not
// positive: not at all.
func (c *Control) StaleIfError(d time.Duration) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.ifError = wish(d)
}

// wish makes a wish of a duration, which may be none: 0 stands for no wish.
func wish(d time.Duration) time.Duration {
	if d == Never {
		return d
	}
	return max(d, 1)
}

// NoStore keeps the value from being stored. All who wait for it get it.
func (c *Control) NoStore() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.noStore = true
}

// Tag gives the value tags, by which [Region.InvalidateTags] reaches it and all that is
// made of it. Any strings are tags. The creator calls it before it reads what a tag stands
// for: what is invalidated from then on was made of old data. It takes a round trip, or
// none within [Options.InvalidationLag]; tags that are known beforehand cost less in
// [CacheOptions].Tags.
//
// A creator that reads other cached values with its context inherits their tags, in all
// forms of reading and also in goroutines of its own, without calling Tag: those of
// regions with the same [Options.TagScope] over the same backend, as they were when those
// values were created. It inherits nothing from what it replaces: neither from [Previous]
// nor from a [Cache.Peek] at its own key. A creator of several keys inherits for all of
// them; [Control.Key] and Tag give one key a tag of its own. What a creator stores with
// [Cache.Set] and its context carries the tags that it has by then. A value that was made of
// a stale one, of whatever region, is stale from the beginning.
//
// If the backend fails the value is not stored, as nobody could invalidate it; all who wait
// for it get it. [Hooks].Error is told, or where [Options.Strict] is set the creation fails.
// ctx bounds the round trip.
func (c *Control) Tag(ctx context.Context, tags ...string) {
	if c == nil || c.tagger == nil || len(tags) == 0 {
		return
	}
	c.tag(ctx, tags, nil)
}

// tag is Tag. check is called for each tag with the versions that were seen; it may be nil.
func (c *Control) tag(ctx context.Context, tags []string, check func(*seenTag)) {
	if c.up != nil {
		c.up.tag(ctx, tags, check)
		return
	}
	if c.offline || c.all().unsure {
		c.inherit(wishes{unsure: true}) // the backend would only fail again, one time-out after another
		return
	}
	seen, errs := c.tagger.seen(ctx, tags)
	err := cmp.Or(errs...)
	if err != nil {
		seen = nil
	}
	if check != nil {
		for i := range seen {
			check(&seen[i])
		}
	}
	c.inherit(wishes{tags: seen, unsure: err != nil, err: err})
}

// failure returns what the backend has failed with, for all or for one of the keys.
func (c *Control) failure() (key string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked.err != nil {
		return "", c.asked.err
	}
	for key, one := range c.keys {
		if w := one.all(); w.err != nil {
			return key, w.err
		}
	}
	return "", nil
}

// inherit adds what follows from a value that the new one is made of.
func (c *Control) inherit(w wishes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range w.tags {
		is := seenTag{name: t.name, hard: t.hard, soft: t.soft}
		if !c.has[is] {
			if c.has == nil {
				c.has = make(map[seenTag]bool)
			}
			c.has[is] = true
			c.asked.tags = append(c.asked.tags, t)
		}
	}
	w.tags = nil
	c.asked.inherit(w)
}

// all returns what has been said of all keys so far.
func (c *Control) all() wishes {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.asked
	w.tags = slices.Clip(w.tags) // what comes later goes elsewhere
	return w
}

func (w *wishes) inherit(from wishes) {
	w.tags = mergeTags(w.tags, from.tags)
	w.unsure = w.unsure || from.unsure
	w.err = cmp.Or(w.err, from.err)
	w.stale = w.stale || from.stale
}

// of returns what is to become of key: what was said of the key alone, and else what was
// said of all.
func (c *Control) of(key string) wishes {
	w := c.all()
	c.mu.Lock()
	one := c.keys[key]
	c.mu.Unlock()
	if one != nil {
		own := one.all()
		w.expireIn = cmp.Or(own.expireIn, w.expireIn)
		w.staleFor = cmp.Or(own.staleFor, w.staleFor)
		w.ifError = cmp.Or(own.ifError, w.ifError)
		w.noStore = w.noStore || own.noStore
		w.inherit(own)
	}
	return w
}
