package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// Invalidations do not tell of everything at once: a lease that runs out is
	// announced only when the server happens upon it, and one that is held by a
	// node that was replaced is not announced at all. So no waiter sleeps for
	// longer than the lease lasts, nor for longer than this.
	longestNap = 10 * time.Second

	firstPoll = 10 * time.Millisecond
	slowPoll  = 250 * time.Millisecond
)

// Wait implements driver.Locker. The server announces that the lease was
// released; a timer tells when it has run out.
func (c *core) Wait(ctx context.Context, key string) error {
	if c.closed.Load() {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	lock := c.lockKey(key)
	if c.feeds.off.Load() {
		return c.poll(ctx, lock)
	}
	f, err := c.feeds.of(ctx, lock)
	switch {
	case errors.Is(err, errNoTracking) || errors.Is(err, errNoNode):
		return c.poll(ctx, lock)
	case err != nil:
		return err
	}
	return f.wait(ctx, lock)
}

// poll asks whether the lease is free, ever less often.
func (c *core) poll(ctx context.Context, lock string) error {
	for pause := firstPoll; ; pause = min(pause*3/2, slowPoll) {
		left, err := c.left(ctx, lock, func(ctx context.Context) rueidis.RedisResult { return c.do(ctx, c.pttl(lock)) })
		if left <= 0 || err != nil {
			return err
		}
		if err := c.sleep(ctx, min(left, jitter(pause)), nil); err != nil {
			return err
		}
	}
}

func (c *core) pttl(lock string) rueidis.Completed {
	return c.client.B().Arbitrary("PTTL").Keys(lock).Build()
}

// left asks how long the lease may last; 0 for one that nobody holds.
func (c *core) left(ctx context.Context, lock string, ask func(context.Context) rueidis.RedisResult) (time.Duration, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	switch ms, err := ask(ctx).AsInt64(); {
	case err != nil:
		return 0, failed("wait", err)
	case ms == -2:
		return 0, nil
	case ms == -1: // Python sets no limit unless it is told to
		return longestNap, nil
	default:
		return min(longestNap, time.Duration(ms+1)*time.Millisecond), nil
	}
}

// sleep returns after d, or when woken is closed, or with ctx's error.
func (c *core) sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return errClosed
	}
}

// jitter returns d, more or less.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2)
}

var (
	errNoTracking = errors.New("the server does not tell of changes on this connection")
	errNoNode     = errors.New("the client does not know the node of the key")
)

// feeds are the connections on which servers tell that leases have changed:
// one, or on a Cluster one to each primary that has a lease waited for.
type feeds struct {
	core *core
	off  atomic.Bool // waiters poll

	mu     sync.Mutex
	byAddr map[string]*feed  // "": the only one
	moved  map[uint16]string // where slots of a Cluster are, as far as known
}

// feed is one such connection.
type feed struct {
	core  *core
	addr  string
	ready chan struct{} // closed once conn or err is set
	conn  rueidis.DedicatedClient
	err   error

	mu      sync.Mutex
	waiters map[string]map[chan struct{}]struct{} // by the lease's key; nil: the connection is gone
}

// of returns the feed that tells of lock, after opening it if need be.
func (fs *feeds) of(ctx context.Context, lock string) (*feed, error) {
	addr := ""
	if fs.core.cluster {
		addr = fs.node(uint16(slot(lock)))
	}
	fs.mu.Lock()
	f := fs.byAddr[addr]
	if f == nil {
		f = &feed{core: fs.core, addr: addr, ready: make(chan struct{}), waiters: map[string]map[chan struct{}]struct{}{}}
		if !fs.core.background(f.open) {
			fs.mu.Unlock()
			return nil, errClosed
		}
		if fs.byAddr == nil {
			fs.byAddr = make(map[string]*feed)
		}
		fs.byAddr[addr] = f
	}
	fs.mu.Unlock()
	select {
	case <-f.ready:
		return f, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// node returns where to ask about a slot. A guess will do: a node that has not
// got the slot tells who has.
func (fs *feeds) node(slot uint16) string {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if addr, ok := fs.moved[slot]; ok {
		return addr
	}
	for addr := range fs.byAddr {
		return addr
	}
	for addr := range fs.core.client.Nodes() {
		return addr
	}
	return ""
}

func (fs *feeds) learn(slot uint16, addr string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.moved == nil {
		fs.moved = make(map[uint16]string)
	}
	fs.moved[slot] = addr
}

func (fs *feeds) forget(f *feed) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.byAddr[f.addr] == f {
		delete(fs.byAddr, f.addr)
	}
	clear(fs.moved)
}

// open connects, and stays until the connection is gone.
func (f *feed) open() {
	gone, err := f.connect()
	f.err = err
	close(f.ready)
	switch {
	case err == nil:
		select {
		case <-gone:
		case <-f.core.ctx.Done():
		}
		f.conn.Close()
	case errors.Is(err, errNoTracking):
		f.core.feeds.off.Store(true)
	}
	f.core.feeds.forget(f)
	f.wake(nil)
	f.mu.Lock()
	f.waiters = nil
	f.mu.Unlock()
}

func (f *feed) connect() (gone <-chan error, err error) {
	client := f.core.client
	if f.core.cluster {
		if client = client.Nodes()[f.addr]; client == nil {
			return nil, errNoNode
		}
	}
	conn, _ := client.Dedicate()
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	ctx, cancel := f.core.bound(f.core.ctx)
	defer cancel()
	hello, err := conn.Do(ctx, conn.B().Arbitrary("HELLO").Build()).AsMap()
	if err := refusal(err); err != nil {
		return nil, err
	}
	if proto := hello["proto"]; protocol(&proto) < 3 {
		return nil, errNoTracking
	}
	gone = conn.SetOnInvalidations(f.invalidated)
	for _, res := range conn.DoMulti(ctx,
		// The client has turned it on for commands that ask for it.
		conn.B().Arbitrary("CLIENT", "TRACKING", "OFF").Build(),
		conn.B().Arbitrary("CLIENT", "TRACKING", "ON").Build(),
	) {
		if err := refusal(res.Error()); err != nil {
			return nil, err
		}
	}
	f.conn = conn
	return gone, nil
}

func protocol(m *rueidis.RedisMessage) int64 {
	n, _ := m.AsInt64()
	return n
}

// refusal makes errNoTracking of what the server answers when it does not
// know or does not allow a command.
func refusal(err error) error {
	if _, ok := rueidis.IsRedisErr(err); ok {
		return errNoTracking
	}
	if err != nil {
		return failed("wait", err)
	}
	return nil
}

// invalidated is told the keys that have changed; nil for all of them.
func (f *feed) invalidated(keys []rueidis.RedisMessage) {
	if keys == nil {
		f.wake(nil)
		return
	}
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			f.wake(&key)
		}
	}
}

// wake wakes who waits for lock; all waiters if it is nil.
func (f *feed) wake(lock *string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, waiters := range f.waiters {
		if lock != nil {
			key, waiters = *lock, f.waiters[*lock]
		}
		for woken := range waiters {
			close(woken)
		}
		delete(f.waiters, key)
		if lock != nil {
			return
		}
	}
}

// enter notes a waiter. One that comes when the connection is gone is woken at
// once.
func (f *feed) enter(lock string) (woken chan struct{}) {
	woken = make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.waiters == nil:
		close(woken)
	case f.waiters[lock] == nil:
		f.waiters[lock] = map[chan struct{}]struct{}{woken: {}}
	default:
		f.waiters[lock][woken] = struct{}{}
	}
	return woken
}

func (f *feed) leave(lock string, woken chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if waiters := f.waiters[lock]; waiters != nil {
		delete(waiters, woken)
		if len(waiters) == 0 {
			delete(f.waiters, lock)
		}
	}
}

// wait waits for a change of lock. The question how long the lease lasts is
// what makes the server tell.
func (f *feed) wait(ctx context.Context, lock string) error {
	woken := f.enter(lock)
	defer f.leave(lock, woken)
	left, err := f.core.left(ctx, lock, func(ctx context.Context) rueidis.RedisResult { return f.conn.Do(ctx, f.core.pttl(lock)) })
	switch e, ok := rueidis.IsRedisErr(errors.Unwrap(err)); {
	case ok:
		if addr, moved := e.IsMoved(); moved {
			f.core.feeds.learn(uint16(slot(lock)), addr)
			return nil
		}
		return err
	case err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errClosed):
		// The connection is gone. Whether the server is, the caller's next call
		// will tell.
		return f.core.sleep(ctx, jitter(firstPoll), nil)
	case left <= 0 || err != nil:
		return err
	}
	return f.core.sleep(ctx, left, woken)
}
