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
// knows it. Whoever takes the lease next, or deletes or sets the key, changes
// the second: what is stored under this lease with that CAS is stored only if
// none of this has happened. CAS is compared only over a connection to the
// process that made it, since a server that starts again counts from 1.
type fencedLease struct {
	reading
	c           *core
	s           *server
	lock, token string

	mu      sync.Mutex // of one call at a time; guards what follows
	state   state
	on      session
	lockCAS uint64
	cas     uint64
	value   []byte // what is under the key
	flags   uint32
	lasts   time.Time // until then that does not run out; zero: it never does
	until   time.Time // by this clock, the lease runs out
}

type state int

const (
	held   state = iota
	unsure       // the answer to a command has not come: sync finds out
	lost         // but its item may still be there, to be deleted by Release
	over         // released, or used up
)

var (
	errUnsure = errors.New("lease in doubt")
	errNoCAS  = errors.New("the server was started with -C; leases need CAS")
	errNoRoom = errors.New("the server has no room for the placeholder of a lease")
)

// take tries to take the lease.
func (l *fencedLease) take(ctx context.Context, ttl time.Duration) (bool, error) {
	began, secs := time.Now(), seconds(ttl)
	ops := [...]memcache.Op{
		{Kind: memcache.Set, Key: l.lock, Value: []byte(l.token), TTL: secs, Mode: memcache.Add},
		{Kind: memcache.Get, Key: l.key, Vivify: secs},
	}
	err := l.on.Do(ctx, ops[:])
	switch {
	case ops[0].Status == memcache.Refused:
		return false, nil
	case err != nil:
		return false, err
	case ops[0].Err != nil:
		return false, ops[0].Err
	case ops[0].CAS == 0:
		return false, errNoCAS
	}
	l.lockCAS = ops[0].CAS
	l.until = began.Add(whole(ttl))
	found, err := l.own(ctx, &ops[1], ttl)
	if err != nil {
		return false, err
	}
	l.keep(found)
	return true, nil
}

// own sees to it that the item under the key, which is found, has a CAS that
// no other lease knows. One who held the lease before, and was stopped while it
// ran out, may know the CAS that it has; it is stored again then.
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
			return found, nil // made by this very command
		}
		// It must not run out while the lease is held.
		secs := uint32(0)
		if found.Left >= 0 {
			secs = clamp(max(found.Left, ceil(ttl)+1))
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
				l.lasts = began.Add(time.Duration(max(found.Left-1, ceil(ttl))) * time.Second)
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

// whole returns d in whole seconds, rounded up.
func whole(d time.Duration) time.Duration {
	const most = time.Duration(1<<63-1) / time.Second
	return min(time.Duration(ceil(d)), most) * time.Second
}

// sync finds out whether the lease is still held, over a connection that
// works. The token tells: a server that was started again does not have it.
// l.mu is held.
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
		l.state = lost
		return driver.ErrLeaseLost
	case l.state == unsure:
		return l.sync(ctx)
	}
	return nil
}

// twice does something with the lease, and once more if it turns out that the
// connection has ended. All of it compares CAS, so that nothing happens twice.
// l.mu is held.
func (l *fencedLease) twice(ctx context.Context, do func() error) error {
	err := do()
	if l.again(ctx, err) {
		err = do()
	}
	return err
}

// again reports whether to try again after err. l.mu is held.
func (l *fencedLease) again(ctx context.Context, err error) bool {
	return err != nil && l.state == unsure && ctx.Err() == nil &&
		!errors.Is(err, proxy.ErrOpen) && !errors.Is(err, memcache.ErrClosed)
}

// Extend implements driver.Lease.
func (l *fencedLease) Extend(ctx context.Context, ttl time.Duration) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	if err := l.c.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := l.c.bound(ctx)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.twice(ctx, func() error { return l.extend(ctx, ttl) })
	if err != nil && err != driver.ErrLeaseLost {
		err = failed("extend", err)
	}
	return err
}

func (l *fencedLease) extend(ctx context.Context, ttl time.Duration) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	until := time.Now().Add(whole(ttl))
	ops := append(make([]memcache.Op, 0, 2),
		memcache.Op{Kind: memcache.Set, Key: l.lock, Value: []byte(l.token), TTL: seconds(ttl), CAS: l.lockCAS})
	if !l.lasts.IsZero() && l.lasts.Before(until) {
		ops = append(ops, l.setOp(l.value, l.flags, seconds(ttl)))
	}
	l.state = unsure
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

// use returns what stores it and releases the lease, and marks the lease as
// used up; used has to be called with the answer.
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
	return [2]memcache.Op{set, {Kind: memcache.Delete, Key: l.lock, CAS: l.lockCAS}}
}

// used judges how a Set was answered that use has returned. The error is
// errUnsure if setAlone may do better.
func (l *fencedLease) used(ctx context.Context, set *memcache.Op, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.judge(set, err); l.again(ctx, err) {
		err = errUnsure
	}
	return err
}

func (l *fencedLease) judge(set *memcache.Op, err error) error {
	switch {
	case err != nil && set.Err == nil:
		l.state = unsure
		return err
	case err != nil || set.Status == memcache.Done:
		l.state = over
		return err
	}
	l.state = over
	return driver.ErrLeaseLost
}

// setAlone stores it under a lease of which more has to be known first.
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

// Release implements driver.Lease. It does its work under a ctx that is done as
// well, within what a call may take.
func (l *fencedLease) Release(ctx context.Context) error {
	if l.c.closed.Load() {
		return errClosed
	}
	ctx, cancel := l.c.bound(context.WithoutCancel(ctx))
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.twice(ctx, func() error { return l.release(ctx) }); err != nil {
		return failed("release", err)
	}
	return nil
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
