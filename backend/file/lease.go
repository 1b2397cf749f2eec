package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/dogpile-go/dogpile/driver"
	holding "github.com/dogpile-go/dogpile/internal/holder"
)

// A lease is a row in the table of that name. It holds while the row is there
// and neither its time has run out nor its owner is dead. Whether that is so
// and what follows from it is always one transaction.
//
// The owner of a lease is a store. As long as the store is alive it keeps a byte
// of the -lock file locked, which the kernel unlocks when the process ends,
// however it ends. One byte for each store, locked once, does for all its leases,
// so that a lease costs no descriptor and no system call, and there is one record
// of a lease and not two that could differ. A process that is stopped keeps its
// locks, so a lease also has an end in time.
type lease struct {
	b             *Backend
	key           string
	owner, serial int64
	read          atomic.Pointer[entry] // by TryLock; nil once used
}

// answered answers a read under a lease from what TryLock has read, once, and
// reports whether it could.
func answered(it *driver.Item) bool {
	l, ok := it.Lease.(*lease)
	if !ok || l.key != it.Key {
		return false
	}
	e := l.read.Swap(nil)
	if e == nil {
		return false
	}
	e.fill(it, time.Now())
	return true
}

// TryLock takes the lease on key for ttl, in milliseconds, and returns nil if
// another holds it. In the same transaction the entry is read, for the Get that
// follows. A ttl that is not positive is an error.
func (b *Backend) TryLock(ctx context.Context, key string, ttl time.Duration) (_ driver.Lease, err error) {
	if ttl <= 0 {
		return nil, ttlError(ttl)
	}
	v, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer v.leave(&err)
	lim := b.limit(ctx)
	var granted *lease
	err = v.write(&lim, func(c *conn) error {
		now := time.Now()
		h, err := c.holder(key)
		if err != nil || v.holds(h, now) {
			return err
		}
		l := &lease{b: b, key: key, owner: v.owner, serial: b.serial.Add(1)}
		if err := c.grant(key, after(now, ttl), l, v.lock.home, now); err != nil {
			return err
		}
		e, err := c.get(key)
		l.read.Store(&e)
		granted = l
		return err
	})
	if err != nil || granted == nil {
		return nil, failed(err)
	}
	return granted, nil
}

// held is what a row of the table says of a lease.
type held struct {
	expires     int64 // in milliseconds since 1970; 0: there is no row
	owner, home int64
	since, pid  int64
	host        string
}

func (h *held) read(s *sqlite.Stmt) {
	*h = held{
		expires: s.ColumnInt64(0), owner: s.ColumnInt64(1), home: s.ColumnInt64(2),
		since: s.ColumnInt64(3), pid: s.ColumnInt64(4), host: text(s, 5),
	}
}

// text returns the bytes of a column.
func text(s *sqlite.Stmt, column int) string {
	data := make([]byte, s.ColumnLen(column))
	s.ColumnBytes(column, data)
	return string(data)
}

// grant writes the row of a lease that is taken now.
func (c *conn) grant(key string, expires int64, l *lease, home int64, now time.Time) error {
	s, err := c.stmt(grant)
	if err != nil {
		return err
	}
	self := holding.Self()
	s.BindBytes(1, []byte(key))
	for i, n := range []int64{expires, l.owner, home, l.serial, now.UnixMilli(), int64(self.PID)} {
		s.BindInt64(i+2, n)
	}
	s.BindBytes(8, []byte(self.Host))
	return finish(s)
}

func (c *conn) holder(key string) (h held, err error) {
	s, err := c.stmt(holder)
	if err != nil {
		return h, err
	}
	s.BindBytes(1, []byte(key))
	found, err := s.Step()
	if err == nil && found {
		h.read(s)
	}
	s.Reset()
	return h, err
}

// holds reports whether a lease is in force.
func (s *store) holds(h held, now time.Time) bool {
	return now.UnixMilli() < h.expires && (h.owner == s.owner || s.lock.alive(h.owner, h.home))
}

// ask returns what holds the lease on key now; the zero held for nothing.
func (b *Backend) ask(ctx context.Context, key string) (h held, err error) {
	err = b.look(ctx, func(c *conn, v visit) error {
		h, err = c.holder(key)
		if err != nil || !v.holds(h, time.Now()) {
			h = held{}
		}
		return err
	})
	return h, err
}

// Locked reports whether anybody holds the lease on key.
func (b *Backend) Locked(ctx context.Context, key string) (bool, error) {
	h, err := b.ask(ctx, key)
	return h != held{}, failed(err)
}

// Holder tells who holds the lease on key, a process of this host or of a container on it.
func (b *Backend) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	h, err := b.ask(ctx, key)
	if err != nil || h == (held{}) {
		return driver.Holder{}, false, failed(err)
	}
	return h.who(), true, nil
}

func (h *held) who() driver.Holder {
	return driver.Holder{Host: h.host, PID: int(h.pid), Since: time.UnixMilli(h.since)}
}

// Wait returns when the lease on key was released or revoked or has run out, or
// with the error of ctx. It may return early. It learns at once what this Backend
// frees, and looks every 7 to 15 milliseconds for what other processes free.
func (b *Backend) Wait(ctx context.Context, key string) error {
	freed, done := b.waiters.join(key)
	defer done()
	for {
		if err := b.waitOnce(ctx, key, freed); err != errHeld {
			return failed(err)
		}
	}
}

var errHeld = errors.New("another holds the lease")

func (b *Backend) waitOnce(ctx context.Context, key string, freed <-chan struct{}) error {
	h, err := b.ask(ctx, key)
	if err != nil || h == (held{}) {
		return err
	}
	pause := 7*time.Millisecond + rand.N(8*time.Millisecond)
	timer := time.NewTimer(min(pause, max(0, time.Until(time.UnixMilli(h.expires)))))
	defer timer.Stop()
	select {
	case <-freed:
		return nil
	case <-timer.C:
		return errHeld
	case <-b.ctx.Done():
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Extend makes the lease last for ttl from now, if it is still held. A ttl that is
// not positive is an error.
func (l *lease) Extend(ctx context.Context, ttl time.Duration) (err error) {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	v, err := l.b.enter(ctx)
	if err != nil {
		return err
	}
	defer v.leave(&err)
	lim := l.b.limit(ctx)
	kept := false
	err = v.write(&lim, func(c *conn) error {
		now := time.Now()
		err := c.runKey(extend, l.key, l.owner, l.serial, now.UnixMilli(), after(now, ttl))
		kept = err == nil && c.Changes() > 0
		return err
	})
	if err == nil && !kept {
		return driver.ErrLeaseLost
	}
	return failed(err)
}

// Release gives the lease up if it is still held. It does so under a ctx that is
// done as well, within the backend's timeout: a caller that was cancelled must not
// leave its lease behind.
func (l *lease) Release(ctx context.Context) (err error) {
	ctx = context.WithoutCancel(ctx)
	v, err := l.b.enter(ctx)
	if err != nil {
		return err
	}
	defer v.leave(&err)
	lim := l.b.limit(ctx)
	err = v.write(&lim, func(c *conn) error {
		return c.runKey(release, l.key, l.owner, l.serial)
	})
	if err == nil {
		l.b.waiters.wake(l.key)
	}
	return failed(err)
}

// yield removes the lease and reports whether it was in force.
func (l *lease) yield(c *conn, now time.Time) (bool, error) {
	err := c.runKey(yield, l.key, l.owner, l.serial, now.UnixMilli())
	return err == nil && c.Changes() > 0, err
}

func ttlError(ttl time.Duration) error {
	return fmt.Errorf("file: the ttl of a lease is %v; it has to be positive", ttl)
}

// waiters are the calls of Wait in this Backend. The zero value is ready.
type waiters struct {
	n  atomic.Int64
	mu sync.Mutex
	by map[string]*waiting
}

type waiting struct {
	freed chan struct{}
	n     int
}

// join returns a channel that is closed when key is woken the next time. done has
// to be called afterwards.
func (w *waiters) join(key string) (freed <-chan struct{}, done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n.Add(1)
	one := w.by[key]
	if one == nil {
		one = &waiting{freed: make(chan struct{})}
		if w.by == nil {
			w.by = make(map[string]*waiting)
		}
		w.by[key] = one
	}
	one.n++
	return one.freed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.n.Add(-1)
		if one.n--; one.n == 0 && w.by[key] == one {
			delete(w.by, key)
		}
	}
}

// wake ends the waiting for key.
func (w *waiters) wake(key string) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.by[key]; one != nil {
		close(one.freed)
		delete(w.by, key)
	}
}
