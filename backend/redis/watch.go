package redis

import (
	"context"
	"fmt"
	"strings"
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
// proves nothing any more, and the copies that were read over it end with its last proof. The
// question is what the server's role is: a replica, which a master may have become, proves
// nothing. On a Cluster it is also whether that is up, and who has which slot: a slot that another node has taken is
// not announced, not by all versions, and the keys in it are changed on the other node.
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
		p = &f.proof
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
	limit := w.Lag()
	if t := f.core.timeout; t > 0 {
		limit = min(limit, t/2)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmds := make(rueidis.Commands, 0, len(items)+1)
	for _, it := range items {
		get := one("GET", it.Key)
		cmds = append(cmds, get.build(f.conn.B()))
	}
	role := !f.mute.Load()
	if role {
		// Were the node no master any more, what it has may be older than what a master has
		// told others.
		cmds = append(cmds, f.conn.B().Arbitrary("ROLE").Build())
	}
	results := f.conn.DoMulti(bounded, cmds...)
	proved := !role || f.answered(results[len(items)]) == nil
	for i, it := range items {
		err := fill(it, results[i])
		if err == nil && proved {
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

// ask asks the server what its role is, unless the answer to the last question is
// outstanding. A connection that does not answer is given up.
func (f *feed) ask() {
	if !f.asking.CompareAndSwap(false, true) {
		return
	}
	started := f.core.life.Go(func() {
		defer f.asking.Store(false)
		ctx, cancel := f.core.bound(f.core.life.Context())
		defer cancel()
		asked := driver.Now()
		word := "ROLE"
		if f.mute.Load() {
			word = "PING"
		}
		cmds := rueidis.Commands{f.conn.B().Arbitrary(word).Build()}
		if f.core.cluster {
			cmds = append(cmds, f.conn.B().Arbitrary("CLUSTER", "SLOTS").Build(), f.conn.B().Arbitrary("CLUSTER", "INFO").Build())
		}
		results := f.conn.DoMulti(ctx, cmds...)
		for _, res := range results {
			if res.NonRedisError() != nil {
				f.giveUp()
				return
			}
		}
		if f.core.cluster {
			if !f.sameSlots(results[1]) {
				f.giveUp()
				return
			}
			// A node that is cut off from the others has its slots still, and serves none.
			if info, err := results[2].ToString(); err != nil || !strings.Contains(info, "cluster_state:ok") {
				return
			}
		}
		if word == "PING" {
			if results[0].Error() == nil {
				f.proof.Renew(asked)
			}
			return
		}
		if f.answered(results[0]) == nil { // else copies end
			f.proof.Renew(asked)
		}
	})
	if !started {
		f.asking.Store(false)
	}
}

// answered takes the answer to a question about the server's role. The error tells that it
// proves nothing: a server that is busy with a script answers with one.
func (f *feed) answered(res rueidis.RedisResult) error {
	parts, err := res.ToArray()
	if reply, refused := rueidis.IsRedisErr(err); refused && (begins(reply, "NOPERM") || begins(reply, "ERR unknown command")) {
		f.mute.Store(true) // it is not allowed, or not known: PING has to do
	}
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return errReplica
	}
	if role, _ := parts[0].ToString(); role != "master" {
		return errReplica
	}
	return nil
}

// sameSlots reports whether the node says of the slots of the Cluster what it said when it was
// asked first.
func (f *feed) sameSlots(res rueidis.RedisResult) bool {
	all, err := res.ToAny()
	if err != nil {
		return false
	}
	said := fmt.Sprint(all)
	if f.slots == "" {
		f.slots = said
	}
	return f.slots == said
}
