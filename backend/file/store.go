package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"zombiezen.com/go/sqlite"

	"github.com/dogpile-go/dogpile/driver"
)

// store is one file with the connections to it. A Backend has one at a time.
type store struct {
	path   string // without symbolic links
	pin    *pin
	lock   *lockFile
	owner  int64 // the byte of lock that says that this store is alive
	limits limits

	readers, writer, keeper chan *conn // each is where its connections wait for use

	changes *counters
	proof   driver.Proof // that changes has what all processes have changed

	moved   atomic.Bool // others use another lock file, so it has to be opened anew
	broken  atomic.Bool // nothing may be read or written any more
	faulted atomic.Bool // nothing may be done at all
}

// limits is what a store is held to; zero values are no bounds.
type limits struct {
	pages int64 // of the file
	log   int64 // bytes written before a checkpoint
}

const (
	pageSize = 4096
	logSize  = 4 << 20
)

// openStore opens the file at path, and makes it if there is none. While it
// does so no other openStore does anything to this file. old is the store that
// it takes the place of, if any.
func openStore(ctx context.Context, path string, o *Options, old *store) (s *store, err error) {
	path, err = locate(path)
	if err != nil {
		return nil, err
	}
	lock, err := openLockFile(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && lock.created {
			_ = os.Remove(lock.Name()) // there was nothing before
		}
		lock.release(setup)
		if err != nil {
			_ = lock.Close()
		}
	}()
	if old != nil && old.broken.Load() && old.pin.at(path) {
		if !o.Reset {
			return nil, errDamaged
		}
		if err := discard(path); err != nil {
			return nil, err
		}
	}
	s, err = newStore(ctx, path, lock, o)
	// 1. A uses the file.  2. B, of another version, is started: it replaces the file.  3. A
	// opens it anew. If A replaced it too, each would empty the cache of the other, again and
	// again. So who was started last has it, until nobody else is left.
	ours := old == nil || lock.first
	if o.Reset && (errors.Is(err, errVersion) && ours || lost(err) && lock.marked()) {
		if err := discard(path); err != nil {
			return nil, err
		}
		s, err = newStore(ctx, path, lock, o)
	}
	switch {
	case damaged(err) && lock.marked():
		err = fmt.Errorf("%w: %w", errDamaged, err)
	case damaged(err):
		err = fmt.Errorf("the file is no cache; it is left as it is: %w", err)
	case err == nil:
		// A file that cannot be marked may not be reset, and is good otherwise.
		_ = lock.mark()
	}
	return s, err
}

// newStore opens the file at path. The store has taken over lock unless there
// is an error.
func newStore(ctx context.Context, path string, lock *lockFile, o *Options) (s *store, err error) {
	readers := min(max(2, runtime.GOMAXPROCS(0)), 8)
	s = &store{
		path:    path,
		lock:    lock,
		limits:  limits{log: logSize},
		readers: make(chan *conn, readers),
		writer:  make(chan *conn, 1),
		keeper:  make(chan *conn, 1),
	}
	if o.MaxBytes > 0 {
		s.limits = limits{pages: int64(o.MaxBytes / pageSize), log: min(logSize, int64(o.MaxBytes/8))}
	}
	if s.changes, err = lock.counters(); err != nil {
		return nil, err
	}
	if err := s.open(ctx, o); err != nil {
		_ = s.changes.close()
		if s.pin != nil {
			s.pin.close()
		}
		return nil, errors.Join(err, s.closeConns())
	}
	return s, nil
}

func (s *store) open(ctx context.Context, o *Options) error {
	err := create(s.path)
	if err != nil {
		return err
	}
	if s.pin, err = newPin(s.path); err != nil {
		return err
	}
	if err := s.connect(ctx, s.writer, func(c *conn) error { return c.prepare(o, s.lock.first) }); err != nil {
		return err
	}
	nothing := func(*conn) error { return nil }
	for range cap(s.readers) {
		if err := s.connect(ctx, s.readers, nothing); err != nil {
			return err
		}
	}
	if err := s.connect(ctx, s.keeper, nothing); err != nil {
		return err
	}
	if !s.pin.at(s.path) {
		return errors.New("the file was replaced while it was opened")
	}
	if err := checkCompanions(s.path); err != nil {
		return err
	}
	for s.owner == 0 {
		n := setup + 1 + rand.Int64N(1<<62)
		free, err := s.lock.try(n)
		if err != nil {
			return err
		}
		if free {
			s.owner = n
		}
	}
	return nil
}

// connect opens a connection and does what makes it ready.
func (s *store) connect(ctx context.Context, to chan *conn, ready func(*conn) error) error {
	raw, err := sqlite.OpenConn(s.path, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	c := &conn{Conn: raw}
	to <- c
	c.SetBlockOnBusy()
	c.SetInterrupt(ctx.Done())
	if err = c.settings(s.limits.log); err == nil {
		err = ready(c)
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	c.SetInterrupt(nil)
	c.SetBusyTimeout(0) // see patiently
	return err
}

// gone reports whether the store has to be replaced before it is used.
func (s *store) gone() bool { return s.broken.Load() || s.moved.Load() || s.pin.gone() }

func (s *store) take(l *limit, from chan *conn) (*conn, error) {
	c, err := take(l, from)
	if err == nil && s.broken.Load() {
		from <- c
		return nil, errDamaged
	}
	return c, err
}

func (s *store) give(to chan *conn, c *conn) { to <- c }

// write calls f in a transaction, which is rolled back if f fails. Writes of one
// store take turns here. If each asked SQLite for its lock, all would be refused
// and try again, and none would wait in order. If the disk is full, f is called
// again after the log was started anew.
func (s *store) write(l *limit, f func(*conn) error) error {
	c, err := s.take(l, s.writer)
	if err != nil {
		return err
	}
	defer s.give(s.writer, c)
	if err = c.transact(l, f); sqlite.ErrCode(err) == sqlite.ResultFull && c.startLog() == nil {
		err = c.transact(l, f)
	}
	return err
}

func (c *conn) transact(l *limit, f func(*conn) error) error {
	if err := patiently(l, func() error { return c.run(beginWrite) }); err != nil {
		return err
	}
	err := f(c)
	if err == nil {
		err = c.run(commit)
	}
	if err != nil && !c.AutocommitEnabled() {
		err = errors.Join(err, c.run(rollback))
	}
	return err
}

// close closes the file, when nobody uses the store any more.
func (s *store) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), DefaultTimeout)
	defer cancel()
	l := limit{ctx: ctx}
	if !s.gone() {
		// If that fails the leases end because their owner is gone. Where the store has moved
		// they stay: they are held in the new one.
		_ = s.write(&l, func(c *conn) error { return c.run(giveUp, s.owner) })
	}
	// 1. The file is removed, and another process makes a new one with a new log.
	// 2. SQLite closes the old file, and removes its log, by name. It must not be
	// the new one.
	if s.lock.await(ctx, setup) == nil {
		defer s.lock.release(setup)
	}
	defer s.pin.close()
	return errors.Join(s.closeConns(), s.changes.close(), s.lock.Close())
}

func (s *store) closeConns() (err error) {
	for _, pool := range []chan *conn{s.readers, s.keeper, s.writer} {
		for range len(pool) {
			err = errors.Join(err, s.closeConn(<-pool))
		}
	}
	return err
}

// closeConn closes a connection, unless a fault has interrupted it: then it may
// hold locks of SQLite's own, and closing it could wait for them for ever.
func (s *store) closeConn(c *conn) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if isFault(p) {
			s.faulted.Store(true)
			err = errDamaged
		} else if p != nil {
			panic(p)
		}
	}()
	if s.faulted.Load() {
		return nil
	}
	return c.Close()
}
