package dogpile

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// dropAfter is how long after a hard invalidation its entries are dropped. Until then Peek
// still tells of them, and more invalidations cost no more.
const dropAfter = time.Second

// dropInvalid has a backend in this process drop what a hard invalidation has made
// invalid: nobody may ask for it any more, and without a TTL it would stay for ever. That
// is done in the background, since it looks at every entry there is.
func (s *state) dropInvalid() {
	d, ok := driver.As[driver.Dropper](s.chain)
	if !ok || s.local == nil || s.dropping.Swap(true) {
		return
	}
	time.AfterFunc(dropAfter, func() {
		defer s.contain(context.Background(), "drop")
		// The token is read afterwards: an invalidation that comes too late for that one
		// sets a timer of its own.
		s.dropping.Store(false)
		d.Drop(s.local.token().drops)
	})
}

// versioned is an entry of a backend that keeps objects.
type versioned interface{ storedUnder() string }

func (e *entry[V]) storedUnder() string { return e.version }

// drops reports whether an entry is of the invalidator that t belongs to, and invalid for
// good. Those of another region's invalidator, over the same backend, are not.
func (t *token) drops(it *driver.Item) bool {
	version := ""
	if e, ok := it.Object.(versioned); ok {
		version = e.storedUnder()
	} else if m, _, err := stored.ParseExpecting(it.Data, t.Version, ""); err == nil {
		version = m.Version
	}
	id := t.Version[:strings.IndexByte(t.Version, ':')+1]
	return strings.HasPrefix(version, id) && t.judge(version) == Invalidated
}

// youth is for how long dropUntagged leaves an entry alone.
const youth = 100 * time.Millisecond

// dropUntagged is dropInvalid for entries with a tag that was invalidated. Their hard
// tokens are gone, and versions do not come back: so what has one that is under no token
// belongs to no scope any more.
func (s *state) dropUntagged() {
	d, ok := driver.As[driver.Dropper](s.chain)
	if !ok || s.tags.dropping.Swap(true) {
		return
	}
	time.AfterFunc(dropAfter, func() {
		defer s.contain(context.Background(), "drop")
		s.tags.dropping.Store(false)
		// 1. The tokens are collected.  2. A tag gets a new one, and an entry is stored under
		// it.  3. The entry must not be dropped: it is younger than 1, or, if a Set had begun
		// by then, hardly older.
		at, wall := now()-int64(youth), time.Now().Add(-youth).UnixNano()
		inForce := make(map[string]bool)
		d.Drop(func(it *driver.Item) bool {
			if !strings.HasPrefix(it.Key, tokenWord) {
				return false
			}
			if t, is := it.Object.(*token); is {
				inForce[t.Version] = true
			} else if t := decodeTagToken(it.Data); t != nil {
				inForce[t.Version] = true
			}
			return false
		})
		d.Drop(func(it *driver.Item) bool {
			if e, is := it.Object.(carrying); is {
				tags, made := e.carries()
				return made < at && slices.ContainsFunc(tags, func(t seenTag) bool { return !inForce[t.hard] })
			}
			m, _, err := stored.Parse(it.Data)
			return err == nil && m.Created < wall && slices.ContainsFunc(m.Tags, func(t stored.Tag) bool { return !inForce[t.Hard] })
		})
	})
}

// carrying is an entry of a backend that keeps objects.
type carrying interface {
	carries() (tags []seenTag, made int64)
}

func (e *entry[V]) carries() (tags []seenTag, made int64) {
	if e.marks != nil {
		tags = e.marks.tags
	}
	return tags, e.made
}
