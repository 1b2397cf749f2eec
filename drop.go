package dogpile

import (
	"context"
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
