package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/watching"
)

// Copies of entries are known to be right by the announcements that feeds get. An entry of
// which a copy is kept is read over the feed of its node: so the server remembers that this
// connection has read the key, and announces the next change of it there. A feed that is
// asked whether it is there, and answers, proves that nothing is outstanding:
//
//  1. W changes the key. While it runs that command the server appends the announcement to
//     what goes out on the feed's connection (trackingInvalidateKey, in tracking.c).
//  2. W reads the answer of the server.
//  3. Here the clock is looked at, and then the feed asks its question.
//  4. The server appends the answer to what goes out on the feed's connection, behind the
//     announcement: what goes out on one connection keeps its order, whichever thread writes
//     it.
//  5. The client hands every announcement to invalidated before it reads on, and so the
//     change is counted before the answer is seen. Every change of which somebody had been
//     told by 3 is.
//
// A script that blocks the server blocks the answer too. A connection that is lost, or hangs,
// proves nothing any more, and the copies that were read over it end with its last proof. A
// server proves nothing either that is not the one to read from any more; see question.
type watch struct {
	core    *core
	changes atomic.Pointer[driver.Changes] // nil: nobody has ever watched
	watching.Watchers
}

// Watch has marks made, and feeds asked, until stop is called.
func (w *watch) Watch(lag time.Duration) (stop func(), atOnce bool) {
	w.changes.CompareAndSwap(nil, driver.NewChanges())
	return w.Watchers.Watch(lag), false
}

// askAll asks all feeds.
func (w *watch) askAll() {
	for _, f := range w.core.feeds.all() {
		f.ask()
	}
}

// noted counts changes of n keys that this backend has made, or may have.
func (w *watch) noted(n int, key func(i int) string) {
	if c := w.changes.Load(); c != nil {
		for i := range n {
			c.Note(key(i))
		}
	}
}

// mark gives it a mark, by the announcements of a feed; nil: there is none.
func (w *watch) mark(it *driver.Item, f *feed) {
	var p *driver.Proof
	if f != nil {
		p = f.proof.Load()
	}
	it.Mark = w.changes.Load().Mark(it.Key, p)
}

// kept reports whether a copy of it is to be kept.
func (w *watch) kept(it *driver.Item) bool { return it.Keep && it.Lease == nil && w.Lag() > 0 }

// get reads those of ask of which copies are kept over the feeds of their nodes, and returns
// what is left to be read in another way: copies of that last for the lag.
func (w *watch) get(ctx context.Context, ask []*driver.Item) (left []*driver.Item) {
	byFeed := make(map[*feed][]*driver.Item, 1)
	for _, it := range ask {
		var f *feed
		if w.kept(it) {
			if f = w.core.feeds.ready(it.Key); f == nil {
				w.mark(it, nil)
			}
		}
		if f == nil {
			left = append(left, it)
		} else {
			byFeed[f] = append(byFeed[f], it)
		}
	}
	var mu sync.Mutex
	var feeds sync.WaitGroup
	for f, items := range byFeed {
		read := func() {
			if failed := f.get(ctx, items); len(failed) > 0 {
				mu.Lock()
				defer mu.Unlock()
				left = append(left, failed...)
			}
		}
		if len(byFeed) == 1 {
			read()
		} else {
			feeds.Go(read)
		}
	}
	feeds.Wait()
	return left
}

// get reads items, and returns those that have to be read in another way.
func (f *feed) get(ctx context.Context, items []*driver.Item) (left []*driver.Item) {
	w := &f.core.watch
	for _, it := range items {
		w.mark(it, f) // before it is read
	}
	// The connection answered a moment ago. If it does not now, there has to be time for
	// another way.
	limit := f.limit()
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d)/2)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmds := make(rueidis.Commands, 0, len(items)+1)
	for _, it := range items {
		get := one("GET", it.Key)
		cmds = append(cmds, get.build(f.conn.B()))
	}
	answered := func([]rueidis.RedisResult) error { return nil }
	if !f.core.cluster { // a node that does not have the slot says so
		// Were the node no master any more, what it has may be older than what a master has
		// told others.
		var question rueidis.Commands
		question, answered = f.question()
		cmds = append(cmds, question...)
	}
	results := f.conn.DoMulti(bounded, cmds...)
	if bounded.Err() != nil && ctx.Err() == nil {
		f.late.Store(true)
	}
	proved := answered(results[len(items):]) == nil
	for i, it := range items {
		err := fill(it, results[i])
		if err == nil && proved {
			if f.core.cluster && it.Data == nil {
				// 1. The slot begins to move.  2. W sets the key, on the node where the slot
				// will be, since it is not on this one.  3. Nothing is announced here, and
				// the slot is here still.
				it.Mark.Proof = nil
			}
			continue
		}
		it.Data, it.Err = nil, nil
		if reply, is := rueidis.IsRedisErr(err); is && f.core.cluster {
			if addr, moved := reply.IsMoved(); moved {
				f.core.feeds.learn(uint16(slot(it.Key)), addr)
			}
		}
		left = append(left, it)
		w.mark(it, nil)
	}
	return left
}

// limit is for how long an answer over the feed is waited for, before another way is taken.
func (f *feed) limit() time.Duration {
	limit := f.core.watch.Lag()
	if t := f.core.timeout; t > 0 {
		limit = min(limit, t/2)
	}
	return limit
}
