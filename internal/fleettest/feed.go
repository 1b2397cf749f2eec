//go:build unix

package fleettest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// feed hands on what a backend tells of changes, later than that does: as a slow network
// that keeps the order.
type feed struct {
	delay   time.Duration
	late    bool                 // own changes come as late as those of others
	renewal func() time.Duration // until when a proof vouches; nil: until the backend's does

	mu     *sync.Mutex
	counts map[string]*count // by key
	proofs map[*driver.Proof]*driver.Proof
}

// count is a counter of the backend.
type count struct {
	of    *atomic.Uint64
	noted uint64        // what it was when it was last looked at
	known atomic.Uint64 // changed when a change comes through
}

// news is what a feed has seen at some time.
type news struct {
	at      time.Duration
	changed []*count
	until   map[*driver.Proof]time.Duration // by the backend's
}

// fed returns backends with feeds as f. All regions over one backend have the same feed.
func fed(f feed) func(driver.Backend) driver.Backend {
	var mu sync.Mutex
	feeds := make(map[driver.Backend]*feed)
	return func(b driver.Backend) driver.Backend {
		mu.Lock()
		defer mu.Unlock()
		if feeds[b] == nil {
			g := f
			g.mu, g.counts, g.proofs = new(sync.Mutex), make(map[string]*count), make(map[*driver.Proof]*driver.Proof)
			feeds[b] = &g
			go g.run()
		}
		return feeds[b].over(b)
	}
}

func (f *feed) over(b driver.Backend) driver.Backend {
	m := proxyOf(b)
	m.get = func(ctx context.Context, items []driver.Item) error {
		before := f.known(items)
		err := b.Get(ctx, items)
		for i := range items {
			if it := &items[i]; it.Mark.Count != nil {
				it.Mark = f.mark(it.Key, it.Mark, before)
			}
		}
		return err
	}
	m.set = func(ctx context.Context, items []driver.Item) error {
		err := b.Set(ctx, items)
		for i := range items {
			f.note(items[i].Key)
		}
		return err
	}
	m.delete = func(ctx context.Context, keys []string) error {
		err := b.Delete(ctx, keys)
		for _, key := range keys {
			f.note(key)
		}
		return err
	}
	return m
}

// known returns what is known of the entries' counters before they are read.
func (f *feed) known(items []driver.Item) map[*count]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := make(map[*count]uint64)
	for i := range items {
		if c := f.counts[items[i].Key]; c != nil {
			before[c] = c.known.Load()
		}
	}
	return before
}

// mark returns a mark for one that the backend has given.
func (f *feed) mark(key string, given driver.Mark, before map[*count]uint64) driver.Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counts[key]
	switch {
	case given.Count.Load() != given.Seen:
		return driver.Mark{} // this process may have changed it, of which no news comes
	case c != nil && c.of == given.Count:
	case c != nil:
		c.known.Add(1) // nobody looks at it any more
		fallthrough
	default:
		c = &count{of: given.Count, noted: given.Seen}
		f.counts[key] = c
		before[c] = 0
	}
	seen, ok := before[c]
	if !ok {
		return driver.Mark{} // another reader has begun to look at it meanwhile
	}
	mark := driver.Mark{Count: &c.known, Seen: seen}
	if given.Proof != nil {
		if f.proofs[given.Proof] == nil {
			f.proofs[given.Proof] = new(driver.Proof)
		}
		mark.Proof = f.proofs[given.Proof]
	}
	return mark
}

// note notes a change of its own process.
func (f *feed) note(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.counts[key]; c != nil && !f.late {
		c.known.Add(1)
	}
}

// run hands on what there is to be told, until the process ends.
func (f *feed) run() {
	var way []news
	for ; ; pause(2 * time.Millisecond) {
		way = append(way, f.look())
		for len(way) > 0 && way[0].at+f.delay <= driver.Now() {
			f.tell(way[0])
			way = way[1:]
		}
	}
}

// look returns what has changed since it was called last.
func (f *feed) look() news {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := news{at: driver.Now(), until: make(map[*driver.Proof]time.Duration)}
	for p := range f.proofs {
		n.until[p] = min(p.Until(), n.at) // before the counters: it vouches for what they are later
	}
	for _, c := range f.counts {
		if now := c.of.Load(); now != c.noted {
			c.noted = now
			n.changed = append(n.changed, c)
		}
	}
	return n
}

func (f *feed) tell(n news) {
	for _, c := range n.changed {
		c.known.Add(1)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, until := range n.until {
		if f.renewal != nil {
			until = f.renewal()
		}
		f.proofs[p].Renew(until)
	}
}
