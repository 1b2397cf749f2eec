package dogpile

import (
	"context"
	"sync"
)

// TagRead is [Control.Tag] for a creator that learns only from what it has read which tags
// that has, as from the header of a response. A tag that is invalidated in this process after
// the creation has begun, by whichever region, makes the value invalid. An invalidation by
// another process that returns between the begin of the creation and the call of TagRead is
// overlooked: tags that may be known before belong in Tag or in [CacheOptions].Tags.
func (c *Control) TagRead(ctx context.Context, tags ...string) {
	if c == nil || c.tagger == nil || len(tags) == 0 {
		return
	}
	since := c.began
	c.tag(ctx, tags, func(t *seenTag) {
		at, err := c.tagger.scope().places([]string{t.name})
		if err != nil || invalidated.since(since, at[0]) {
			t.hard = newTagVersion() // which is in force nowhere
		}
	})
}

// invalidated is what was invalidated in this process.
//
//  1. A creation begins, and its creator reads the origin.
//  2. The origin changes, and somebody invalidates the tag: its token is deleted.
//  3. The creator learns of the tag, and makes a new token.
//
// The new token says nothing of 2, which this remembers. A call that has not returned at 3
// counts too, whenever it began.
var invalidated = invalidations{running: make(map[tagPlace]int), last: make(map[tagPlace]uint64)}

// tagPlace is a tag of a scope. Two clients of one server know nothing of each other, so that
// tags of shared backends are told apart by the keys of their hard tokens alone: that a value
// is invalid in vain is no harm.
type tagPlace struct {
	backend any // nil: a shared one
	key     string
}

// places returns the places of tags.
func (sc *tagScope) places(tags []string) ([]tagPlace, error) {
	keys, err := sc.keys(hardToken, tags)
	at := make([]tagPlace, len(keys))
	for i, key := range keys {
		at[i].key = key
		if !sc.s.caps.Shared {
			at[i].backend = sc.place()
		}
	}
	return at, err
}

// maxInvalidated bounds how many tags are remembered. What came before is taken for having
// concerned all of them.
const maxInvalidated = 1 << 12

// invalidations remembers tags.
type invalidations struct {
	mu      sync.Mutex
	n       uint64 // calls that have returned
	running map[tagPlace]int
	last    map[tagPlace]uint64 // n after the last call that has returned
	floor   uint64              // what was remembered up to here is forgotten
}

// now returns a point in time for since.
func (i *invalidations) now() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n
}

// begin notes that a call begins, and returns the function that notes its return.
func (i *invalidations) begin(tags []tagPlace) (done func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, tag := range tags {
		i.running[tag]++
	}
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.n++
		if len(i.last)+len(tags) > maxInvalidated {
			clear(i.last)
			i.floor = i.n
		}
		for _, tag := range tags {
			i.last[tag] = i.n
			if i.running[tag]--; i.running[tag] == 0 {
				delete(i.running, tag)
			}
		}
	}
}

// since reports whether a tag was invalidated after a point in time, or is being.
func (i *invalidations) since(then uint64, tag tagPlace) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.floor > then || i.last[tag] > then || i.running[tag] > 0
}
