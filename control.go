package dogpile

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// A Control is a creator's say in what becomes of its value; see [Creation]. Its
// methods may be called from any goroutine until the creator returns. On a nil
// Control they do nothing.
type Control struct {
	mu    sync.Mutex
	asked wishes
	keys  map[string]*Control // in a creation of several keys: what concerns one of them

	previous any // a *V: the value that is being replaced; nil: there is none
}

// wishes are what a creator asks for a value.
type wishes struct {
	expireIn time.Duration // 0: as the region or the cache says
	staleFor time.Duration // 0: as the region says
	noStore  bool
}

type controlKey struct{}

// Creation returns the control of the creation that ctx belongs to: the innermost
// one, if creators are nested. Outside of a creator it returns nil.
func Creation(ctx context.Context) *Control {
	c, _ := ctx.Value(controlKey{}).(*Control)
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
		one = new(Control)
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
	if d <= 0 && d != Never {
		d = 1 // the least that is not 0, which stands for no wish
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.staleFor = d
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

// of returns what the creator has asked for concerning key: what was said of the key
// alone, and else what was said of all.
func (c *Control) of(key string) wishes {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.asked
	if one := c.keys[key]; one != nil {
		own := one.of("")
		w.expireIn = cmp.Or(own.expireIn, w.expireIn)
		w.staleFor = cmp.Or(own.staleFor, w.staleFor)
		w.noStore = w.noStore || own.noStore
	}
	return w
}
