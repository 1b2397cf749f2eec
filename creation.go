package dogpile

import (
	"context"
	"sync"
	"time"
)

// A Control is a creator's say in what becomes of its value; see Creation. Its
// methods may be called from any goroutine until the creator returns. On a nil
// Control they do nothing.
type Control struct {
	previous any
	hasPrev  bool

	mu       sync.Mutex
	expireIn time.Duration
	noStore  bool
}

type controlKey struct{}

// Creation returns the control of the creation that ctx belongs to: the
// innermost one, if creators are nested. Outside of a creator it returns nil.
func Creation(ctx context.Context) *Control {
	c, _ := ctx.Value(controlKey{}).(*Control)
	return c
}

// ExpireIn gives the value an expiration of its own, in place of the region's or
// the cache's and for all its readers: d after its creation began. Never: it
// does not expire. Any other d that is not positive means that the value is not
// worth storing, as NoStore.
func (c *Control) ExpireIn(d time.Duration) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d > 0 || d == Never {
		c.expireIn = d
	} else {
		c.noStore = true
	}
}

// NoStore keeps the value from being stored. All who wait for it get it.
func (c *Control) NoStore() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noStore = true
}

// said returns what the creator has asked for.
func (c *Control) said() (expireIn time.Duration, noStore bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expireIn, c.noStore
}

// Previous returns the value that is being replaced, for creators that can ask
// their origin whether it still holds. It is stale, never invalidated, and not
// to be changed. ok is false if there is none, and in creators of several keys.
func (c *Control) Previous() (value any, ok bool) {
	if c == nil {
		return nil, false
	}
	return c.previous, c.hasPrev
}
