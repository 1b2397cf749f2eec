package dogpile

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dogpile-go/dogpile/driver"
)

// ErrPending is what errors.Is finds in the error of a Delete or Invalidate that has failed
// and will be tried again; see [Options.RetryDeletes].
var ErrPending = errors.New("it is tried again until it is done")

// pending is the deletes, and the invalidation, that have failed and are tried again. Until
// one is done this region takes what it was for as missing. A nil pending keeps nothing.
//
// What was stored since is better than nothing stored. Each kept delete has a moment on a
// clock that counts events, and so has the beginning of each creation and each Set:
//
//  1. A creates.  2. A delete fails: kept at moment 7.  3. A, which began at 6, stores.
//     What A has read may be from before the change: the delete remains to be done, and
//     what A has stored is taken as missing until then.
//
//  1. A delete fails: kept at moment 7.  2. B creates, from 7 on, and stores.  What was to
//     be deleted is replaced: nothing remains to be done.
//
// Other processes know nothing of what is kept here:
//
//  1. A delete fails.  2. Another process reads the old entry: its caller was not told that
//     the delete was done.  3. It creates the entry anew.  4. The delete is tried again, and
//     takes the new entry with it. That costs a creation, and no more.
//
// What a tag is on is invalid here until its token is deleted, also what is made in the
// meantime: it has the version that is going to be deleted.
//
// A reading takes what is missing as it was when the reading began:
//
//  1. The old entry is read.  2. The delete is done at last, and no longer kept.  3. What was
//     read is judged: nothing is kept that would tell that it is old.
type pending struct {
	s     *state
	most  int
	n     atomic.Int64 // how much is kept
	clock atomic.Int64

	mu    sync.Mutex
	order *list.List // of *kept, the oldest first
	keys  map[string]*list.Element
	inv   *kept    // the invalidation; nil: none
	lost  []kept   // that the next configuration does not keep, and nobody was told of yet
	heir  *pending // of the region's next configuration
	over  bool     // nothing is kept any more
	stop  context.CancelFunc
	ended chan struct{} // closed when no goroutine tries again; nil: none does
	turn  int           // where the next round begins, if one had to be given up
}

// kept is a delete of one key or of one token of a tag, or an invalidation.
type kept struct {
	key, mangled string    // key is the tag, of a token
	token        byte      // which one it is; 0: this is no token
	mode         Mode      // of an invalidation
	left         []*tokens // that it has not reached; nil: it may have reached none
	at           int64     // when it was kept; see pending
	err          error     // what it failed with last
}

// failed notes what k has failed with, and what is left to be done by that.
func (k *kept) failed(err error) {
	k.err = err
	if part := (*partError)(nil); errors.As(err, &part) {
		k.left = part.left
	}
}

func newPending(s *state) *pending {
	if s.o.RetryDeletes == 0 || s.direct || s.caps.Discards {
		return nil
	}
	return &pending{s: s, most: s.o.RetryDeletes, order: list.New(), keys: make(map[string]*list.Element)}
}

// pendingError is an error of what is kept.
type pendingError struct{ err error }

// Error returns the text of what has failed, and that it is tried again.
func (e *pendingError) Error() string { return e.err.Error() + "; " + ErrPending.Error() }

// Unwrap returns what has failed, and ErrPending.
func (e *pendingError) Unwrap() []error { return []error{e.err, ErrPending} }

// now returns the moment at which something begins.
func (p *pending) now() int64 {
	if p == nil {
		return 0
	}
	return p.clock.Load()
}

// len returns how much is kept.
func (p *pending) len() int64 {
	if p == nil {
		return 0
	}
	return p.n.Load()
}

// adopt makes what another configuration has kept what s is to delete.
func (k *kept) adopt(s *state) (err error) {
	if k.token != 0 {
		k.mangled, err = s.tags.key(k.token, k.key)
	} else {
		k.mangled, err = s.key("delete", k.key)
	}
	return err
}

// keep keeps the delete of keys, which has failed with err, and reports whether it did: all
// of them, or none. token is 0, or tells which tokens of tags they are.
func (p *pending) keep(ctx context.Context, token byte, keys, mangled []string, err error) bool {
	if p == nil {
		return false
	}
	all := make([]*kept, len(keys))
	for i := range keys {
		all[i] = &kept{key: keys[i], mangled: mangled[i], token: token, err: err}
	}
	return p.keepAll(ctx, all)
}

func (p *pending) keepAll(ctx context.Context, all []*kept) bool {
	p.mu.Lock()
	if heir := p.heir; heir != nil {
		p.mu.Unlock()
		for _, k := range all {
			if k.adopt(heir.s) != nil {
				return false
			}
		}
		return heir.keepAll(ctx, all)
	}
	if p.over || len(all) > p.most {
		p.mu.Unlock()
		return false
	}
	at := p.clock.Add(1)
	for _, k := range all {
		k.at = at
		p.put(k)
	}
	lost := p.crowdedOut()
	p.start()
	p.mu.Unlock()
	p.giveUp(ctx, lost)
	return true
}

// put keeps the delete of one key, in the place of an earlier one. mu is held.
func (p *pending) put(k *kept) {
	if e := p.keys[k.mangled]; e != nil {
		p.order.Remove(e)
		p.n.Add(-1)
	}
	p.keys[k.mangled] = p.order.PushBack(k)
	p.n.Add(1)
}

// crowdedOut removes the oldest of what is too much. mu is held.
func (p *pending) crowdedOut() (lost []kept) {
	for p.order.Len() > p.most {
		k := p.order.Front().Value.(*kept)
		p.remove(k)
		lost = append(lost, *k)
	}
	return lost
}

// remove forgets k, unless it was kept anew. mu is held.
func (p *pending) remove(k *kept) (removed bool) {
	e := p.keys[k.mangled]
	if e == nil || e.Value.(*kept) != k {
		return false
	}
	p.order.Remove(e)
	delete(p.keys, k.mangled)
	p.n.Add(-1)
	return true
}

// keepInvalidation is keep for an invalidation. Of two the newer counts, and a hard one is
// not replaced by a soft one.
func (p *pending) keepInvalidation(mode Mode, err error) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.heir != nil:
		return p.heir.keepInvalidation(mode, err)
	case p.over:
		return false
	}
	k := &kept{mode: mode}
	k.failed(err)
	p.putInvalidation(k)
	p.start()
	return true
}

// putInvalidation notes an invalidation, which happens now. mu is held.
func (p *pending) putInvalidation(k *kept) {
	if p.inv == nil {
		p.n.Add(1)
	} else {
		if p.inv.mode == Hard {
			k.mode = Hard
		}
		if p.inv.left == nil || k.left == nil {
			k.left = nil
		} else {
			k.left = slices.Clone(k.left)
			for _, ts := range p.inv.left {
				if !slices.Contains(k.left, ts) {
					k.left = append(k.left, ts)
				}
			}
		}
	}
	k.at = p.clock.Add(1)
	p.inv = k
}

// settle forgets the delete of a key of which something has been stored, or which was
// deleted, by what began at a moment.
func (p *pending) settle(began int64, mangled ...string) {
	if p.len() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range mangled {
		if e := p.keys[key]; e != nil && e.Value.(*kept).at <= began {
			p.remove(e.Value.(*kept))
		}
	}
}

// settleInvalidation forgets the invalidation if one that began at a moment was carried out.
func (p *pending) settleInvalidation(began int64, mode Mode) {
	if p.len() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inv != nil && p.inv.at <= began && (mode == Hard || p.inv.mode == Soft) {
		p.inv = nil
		p.n.Add(-1)
	}
}

// veil is what a reading must not see: it is taken before the reading.
type veil struct {
	keys    []bool    // by the position of the item; nil: none
	verdict State     // what entries are worth at most
	left    []*tokens // whose entries those are; nil: all are
}

// veil returns what is not to be seen of items.
func (p *pending) veil(items []driver.Item) (v veil) {
	if p.len() == 0 {
		return v
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inv != nil {
		v.verdict, v.left = Stale, p.inv.left
		if p.inv.mode == Hard {
			v.verdict = Invalidated
		}
	}
	for i := range items {
		if p.keys[items[i].Key] != nil {
			if v.keys == nil {
				v.keys = make([]bool, len(items))
			}
			v.keys[i] = true
		}
	}
	return v
}

// over puts the veil over what was read under the key at position i.
func (v *veil) over(i int, it *driver.Item) {
	if v.keys != nil && v.keys[i] {
		it.Data, it.Object = nil, nil
	}
}

// keeps reports whether the delete of a key is kept.
func (p *pending) keeps(mangled string) bool {
	if p.len() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[mangled] != nil
}

// judge returns what the entries of h are worth at most. One server that is down must not
// take those of the others, which the invalidation has reached.
func (v *veil) judge(h history) State {
	if v.left != nil && !slices.ContainsFunc(v.left, func(ts *tokens) bool { return ts == h }) {
		return Fresh
	}
	return v.verdict
}

// givenUpError is an error of what will not be tried again.
type givenUpError struct{ err error }

// Error returns the text of what has failed, and that it was given up.
func (e *givenUpError) Error() string { return "given up: " + e.err.Error() }

// Unwrap returns what has failed.
func (e *givenUpError) Unwrap() error { return e.err }

// giveUp reports what is not tried again, though its caller was told that it would be.
func (p *pending) giveUp(ctx context.Context, lost []kept) {
	for _, k := range lost {
		op := "delete"
		if k.mangled == "" || k.token != 0 {
			op = "invalidate"
		}
		p.s.failed(ctx, Event{Op: op, Key: k.key, Err: &givenUpError{&backendError{k.err}}})
	}
}

// inherit has p keep what another configuration of the region has kept. If p keeps nothing,
// dropped tells of what is given up by that.
func (p *pending) inherit(before *state) {
	if before == nil || before.pending == nil {
		return
	}
	old := before.pending
	old.mu.Lock()
	defer old.mu.Unlock()
	inv, all := old.takeAll()
	if p == nil {
		for _, k := range all {
			old.lost = append(old.lost, *k)
		}
		if inv != nil {
			old.lost = append(old.lost, *inv)
		}
		return
	}
	old.heir = p
	p.mu.Lock()
	defer p.mu.Unlock()
	if inv != nil {
		p.putInvalidation(&kept{mode: inv.mode, err: inv.err})
	}
	at := p.clock.Add(1)
	for _, k := range all {
		mine := *k
		if err := mine.adopt(p.s); err != nil {
			k.err = err
			old.lost = append(old.lost, *k)
			continue
		}
		mine.at = at
		p.put(&mine)
	}
	old.lost = append(old.lost, p.crowdedOut()...)
	if p.n.Load() > 0 {
		p.start()
	}
}

// takeAll empties p, which keeps nothing any more. mu is held.
func (p *pending) takeAll() (inv *kept, keys []*kept) {
	p.over = true
	if p.ended != nil {
		p.stop()
	}
	inv, p.inv = p.inv, nil
	for e := p.order.Front(); e != nil; e = e.Next() {
		keys = append(keys, e.Value.(*kept))
	}
	p.order.Init()
	clear(p.keys)
	p.n.Store(0)
	return inv, keys
}

// dropped tells of what no later configuration keeps.
func (p *pending) dropped() {
	if p == nil {
		return
	}
	p.mu.Lock()
	lost := p.lost
	p.lost = nil
	p.mu.Unlock()
	p.giveUp(context.Background(), lost)
}
