package memcached

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/proxy"
)

// fencedLease is a lease that was granted. Two items stand for it: that of its
// own name, with its token, which keeps others from taking it; and that of the
// key, which is the entry or, where there is none, an empty placeholder.
//
// The CAS of each was made by a command of this lease, so that no other lease
// knows it. Another program that takes the lease, or deletes or sets the key,
// changes the CAS of the second item. What is stored under this lease names that
// CAS, and so is stored only if none of this has happened:
//
//  1. P takes the lease.  2. P is stopped, and its lease runs out.
//  3. N takes the lease, which gives the item of the key another CAS.
//  4. P goes on and stores with the CAS that it knows: refused.
//
// CAS is compared only over a connection to the process that made it. A server
// that was started again counts from 1, and an item that another lease has made
// there may have a CAS that this one knows.
type fencedLease struct {
	reading
	c           *core
	s           *server
	lock, token string

	mu      sync.Mutex // of one call at a time; guards what follows
	state   state
	on      session   // the connection over which the CAS are known
	lockCAS uint64    // of the lease's item
	cas     uint64    // of the key's item
	value   []byte    // of the key's item
	flags   uint32    // of the key's item
	lasts   time.Time // the key's item does not run out before; zero: it never does
	until   time.Time // by this clock, the lease runs out
}

type state int

const (
	held   state = iota
	unsure       // a command was not answered: sync finds out what became of it
	lost         // and its item may still be there, to be deleted by Release
	over         // released, or used up by a Set
)

var (
	errUnsure = errors.New("lease in doubt")
	errNoCAS  = errors.New("the server was started with -C; leases need CAS")
	errNoRoom = errors.New("the server has no room for the placeholder of a lease")
)

// take tries to take the lease, and reads what is under the key, or makes a
// placeholder there, in the same round trip. A program that does not get the
// lease makes one as well: own does not take it for its own. The second time it
// may find that it has taken the lease the first time.
func (l *fencedLease) take(ctx context.Context, ttl time.Duration, second bool) (bool, error) {
	secs := seconds(ttl)
	if !second {
		// Counted from before the command was sent: the holder gives up before the
		// server lets another have the lease.
		l.until = time.Now().Add(ttl)
	}
	ops := [...]memcache.Op{
		{Kind: memcache.Set, Key: l.lock, Value: lockValue(l.token, ttl), TTL: secs, Add: true},
		{Kind: memcache.Get, Key: l.key, Vivify: secs},
	}
	err := l.on.Do(ctx, ops[:])
	switch {
	case ops[0].Status == memcache.Refused && !second:
		// An answer, even if the connection ended before the next one.
		return false, nil
	case err != nil:
		return false, err
	case ops[0].Status == memcache.Refused:
		var mine bool
		if l.lockCAS, mine, err = lockItem(ctx, l.on, l.lock, l.token); !mine || err != nil {
			return false, err
		}
	case ops[0].Err != nil:
		return false, ops[0].Err
	case ops[0].CAS == 0:
		return false, errNoCAS
	default:
		l.lockCAS = ops[0].CAS
	}
	found, err := l.own(ctx, &ops[1], ttl)
	if err != nil {
		return false, err
	}
	l.keep(found)
	return true, nil
}

// own sees to it that the item under the key, which is found, has a CAS that
// no other lease knows. If this lease has not made it, a former holder may know
// its CAS, and store with it still. So it is stored again as it is, which gives
// it a new CAS. That fails if it was changed since it was read, and then the item
// that is there now is owned instead.
func (l *fencedLease) own(ctx context.Context, found *memcache.Op, ttl time.Duration) (*memcache.Op, error) {
	for {
		switch {
		case found.Err != nil:
			return nil, found.Err
		case found.Status != memcache.Done:
			return nil, errNoRoom
		}
		l.value, l.flags, l.cas, l.lasts = found.Value, found.Flags, found.CAS, l.until
		if found.Won && !found.Stale {
			// The mark is that of the first to see a placeholder: this command has
			// made it. An item that another program has invalidated gives the mark to
			// its next reader as well, but is stale.
			return found, nil
		}
		// 1. The entry, which is stale to the region, runs out on the server.
		// 2. The creator is done, and stores with the CAS of an item that is gone.
		// So the entry lasts as long as the item of the lease.
		secs := uint32(0)
		if found.Left >= 0 {
			secs = clamp(max(found.Left, ceil(ttl)+slack))
		}
		began := time.Now()
		again, err := do1(ctx, l.on, l.setOp(l.value, l.flags, secs))
		if err != nil {
			return nil, err
		}
		if again.Status == memcache.Done {
			l.cas = again.CAS
			l.lasts = time.Time{}
			if secs > 0 {
				l.lasts = began.Add(time.Duration(max(found.Left-slack, ceil(ttl))) * time.Second)
			}
			return found, nil
		}
		got, err := do1(ctx, l.on, memcache.Op{Kind: memcache.Get, Key: l.key, Vivify: seconds(ttl)})
		if err != nil {
			return nil, err
		}
		found = &got
	}
}

func (l *fencedLease) setOp(value []byte, flags, secs uint32) memcache.Op {
	return memcache.Op{Kind: memcache.Set, Key: l.key, Value: value, Flags: flags, TTL: secs, CAS: l.cas}
}

// sync finds out whether the lease is still held, over a connection that
// works, and takes the CAS of its item there. The token tells: a server that was
// started again does not have it. The CAS of the key's item is not asked for: if
// that was changed, be it by an Extend that was not answered, a Set with the old
// one is refused, and nothing worse happens. l.mu is held.
func (l *fencedLease) sync(ctx context.Context) error {
	on, err := l.s.session(ctx)
	if err != nil {
		return err
	}
	cas, mine, err := lockItem(ctx, on, l.lock, l.token)
	switch {
	case err != nil:
		return err
	case !mine:
		l.state = over
		return driver.ErrLeaseLost
	}
	l.on, l.lockCAS, l.state = on, cas, held
	return nil
}

// ready returns an error unless the lease is held. l.mu is held.
func (l *fencedLease) ready(ctx context.Context) error {
	switch {
	case l.state == lost, l.state == over:
		return driver.ErrLeaseLost
	case !time.Now().Before(l.until):
		// The server, whose clock has whole seconds, may keep it a little longer.
		l.state = lost
		return driver.ErrLeaseLost
	case l.state == unsure:
		return l.sync(ctx)
	}
	return nil
}

// twice calls do, and calls it again if its connection has ended. What do sends
// may have been carried out the first time. Then the CAS that it names are those
// of before, and the second time changes nothing. l.mu is held.
func (l *fencedLease) twice(ctx context.Context, do func() error) error {
	err := do()
	if l.again(ctx, err) {
		err = do()
	}
	return err
}

// again reports whether to try again after err: not if the server was not asked,
// because its breaker is open or the backend is closed. l.mu is held.
func (l *fencedLease) again(ctx context.Context, err error) bool {
	return err != nil && l.state == unsure && ctx.Err() == nil &&
		!errors.Is(err, proxy.ErrOpen) && !errors.Is(err, memcache.ErrClosed)
}

// Extend makes the lease last for ttl from now, if it is still held.
func (l *fencedLease) Extend(ctx context.Context, ttl time.Duration) error {
	return l.c.extend(ctx, ttl, &l.mu, func(ctx context.Context) error {
		return l.twice(ctx, func() error { return l.extend(ctx, ttl) })
	})
}

func (l *fencedLease) extend(ctx context.Context, ttl time.Duration) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	until := time.Now().Add(ttl)
	ops := append(make([]memcache.Op, 0, 2),
		memcache.Op{Kind: memcache.Set, Key: l.lock, Value: lockValue(l.token, ttl), TTL: seconds(ttl), CAS: l.lockCAS})
	if !l.lasts.IsZero() && l.lasts.Before(until) {
		// What the lease compares with has to last as long as the lease.
		ops = append(ops, l.setOp(l.value, l.flags, seconds(ttl)))
	}
	l.state = unsure // until the answer is there
	if err := l.on.Do(ctx, ops); err != nil {
		return err
	}
	for i := range ops {
		switch {
		case ops[i].Err != nil:
			return ops[i].Err
		case ops[i].Status != memcache.Done:
			l.state = lost
		case i == 0:
			l.lockCAS = ops[i].CAS
		default:
			l.cas, l.lasts = ops[i].CAS, until
		}
	}
	if l.state == lost {
		return driver.ErrLeaseLost
	}
	l.state, l.until = held, until
	return nil
}

// use returns the commands that store it and release the lease, and marks the
// lease as used up, so that no other Set of the same lease gets as far. used has
// to be called with the answer.
func (l *fencedLease) use(it *driver.Item) (ops [2]memcache.Op, on session, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == unsure {
		return ops, on, errUnsure
	}
	if err := l.ready(context.Background()); err != nil {
		return ops, on, err
	}
	l.state = over
	return l.useOps(it), l.on, nil
}

func (l *fencedLease) useOps(it *driver.Item) [2]memcache.Op {
	set := setOp(it)
	set.CAS = l.cas
	// The entry first. Were the lease freed first, the next holder could change
	// the CAS of the item before the value arrives.
	return [2]memcache.Op{set, {Kind: memcache.Delete, Key: l.lock, CAS: l.lockCAS}}
}

// used returns what became of a Set that use has returned. The error is errUnsure
// if it was not answered and setAlone is to find out.
func (l *fencedLease) used(ctx context.Context, set *memcache.Op, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.judge(set, err); l.again(ctx, err) {
		err = errUnsure
	}
	return err
}

// judge notes how a Set under the lease was answered, and returns its error.
func (l *fencedLease) judge(set *memcache.Op, err error) error {
	switch {
	case err != nil && set.Err == nil:
		// Not answered: it may have stored or not.
		l.state = unsure
		return err
	case err != nil || set.Status == memcache.Done:
		l.state = over
		return err
	}
	l.state = over
	return driver.ErrLeaseLost
}

// setAlone stores it under a lease in doubt, after sync has found out whether
// the lease is held. If it was the Set that was not answered, and that has
// stored, its Delete of the lease was carried out too: the lease is lost.
func (l *fencedLease) setAlone(ctx context.Context, it *driver.Item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.twice(ctx, func() error {
		if err := l.ready(ctx); err != nil {
			return err
		}
		ops := l.useOps(it)
		err := l.on.Do(ctx, ops[:])
		if ops[0].Status != memcache.Unanswered || ops[0].Err != nil {
			err = ops[0].Err
		}
		return l.judge(&ops[0], err)
	})
}

// Release gives the lease up if it is still held.
func (l *fencedLease) Release(ctx context.Context) error {
	return l.c.release(ctx, &l.mu, func(ctx context.Context) error {
		return l.twice(ctx, func() error { return l.release(ctx) })
	})
}

// release deletes the placeholder, if it is one, and frees the lease.
func (l *fencedLease) release(ctx context.Context) error {
	if l.state == unsure {
		if err := l.sync(ctx); err != nil && err != driver.ErrLeaseLost {
			return err
		}
	}
	if l.state == over {
		return nil
	}
	var ops []memcache.Op
	if l.flags == flagNone && len(l.value) == 0 {
		// A placeholder, and no entry. It goes first, so that the next holder makes
		// one of its own, which spares it a round trip.
		ops = append(ops, memcache.Op{Kind: memcache.Delete, Key: l.key, CAS: l.cas})
	}
	ops = append(ops, memcache.Op{Kind: memcache.Delete, Key: l.lock, CAS: l.lockCAS})
	l.state = unsure
	if err := l.on.Do(ctx, ops); err != nil {
		return err
	}
	l.state = over
	return nil
}
