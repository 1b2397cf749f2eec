package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
)

var (
	errNoTracking = errors.New("the server does not tell of changes on this connection")
	errNoNode     = errors.New("the client does not know the node of the key")
)

// feeds are the connections on which servers announce that leases and entries have changed:
// one, or on a Cluster one to each primary with leases that are waited for, or with entries
// of which copies are kept.
type feeds struct {
	core *core
	off  atomic.Bool // there are none: waiters poll

	mu     sync.Mutex
	byAddr map[string]*feed     // "": the only one
	moved  map[uint16]string    // the nodes of slots of a Cluster, as far as learned
	resume map[string]time.Time // by address: none is opened before for the sake of copies
}

// feed is one such connection.
type feed struct {
	core  *core
	addr  string
	ready chan struct{} // closed once conn or err is set
	conn  rueidis.DedicatedClient
	err   error
	quit  chan struct{} // closed when the connection is to be given up
	over  sync.Once     // closes quit

	client *client                      // whose connection it is
	hosts  string                       // of the client, with Sentinel
	proof  atomic.Pointer[driver.Proof] // of what was announced, and is read from now on
	asking atomic.Bool                  // a question is under way
	late   atomic.Bool                  // the last answer was, or is: read in another way
	mute   atomic.Bool                  // the server does not tell its role
	said   string                       // which slots the node has; for who asks

	mu      sync.Mutex
	waiters map[string]map[chan struct{}]struct{} // by the lease's key; nil: the connection is gone
}

// of returns the feed that announces changes of lock, and opens it if there is
// none.
func (fs *feeds) of(ctx context.Context, lock string) (*feed, error) {
	if _, err := fs.core.link.get(ctx); err != nil {
		return nil, failed(err)
	}
	addr := fs.addr(lock)
	fs.mu.Lock()
	f := fs.byAddr[addr]
	if f == nil {
		if f = fs.start(addr); f == nil {
			fs.mu.Unlock()
			return nil, errClosed
		}
	}
	fs.mu.Unlock()
	select {
	case <-f.ready:
		return f, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// addr returns the address of the feed that announces changes of key.
func (fs *feeds) addr(key string) string {
	if !fs.core.cluster {
		return ""
	}
	return fs.node(uint16(slot(key)))
}

// start opens a feed; nil: the backend is closed. mu is held.
func (fs *feeds) start(addr string) *feed {
	f := &feed{core: fs.core, addr: addr, ready: make(chan struct{}), quit: make(chan struct{}), waiters: map[string]map[chan struct{}]struct{}{}}
	f.proof.Store(new(driver.Proof))
	if !fs.core.life.Go(f.open) {
		return nil
	}
	if fs.byAddr == nil {
		fs.byAddr = make(map[string]*feed)
	}
	fs.byAddr[addr] = f
	return f
}

// ready returns the feed that announces changes of key, if it is open and has answered
// lately. Otherwise it has it opened, and returns nil.
func (fs *feeds) ready(key string) *feed {
	if fs.off.Load() || fs.core.link.now.Load() == nil {
		return nil
	}
	addr := fs.addr(key)
	fs.mu.Lock()
	f := fs.byAddr[addr]
	if f == nil {
		if now := time.Now(); now.After(fs.resume[addr]) {
			if fs.resume == nil {
				fs.resume = make(map[string]time.Time)
			}
			fs.resume[addr] = now.Add(firstPause)
			fs.start(addr)
		}
		fs.mu.Unlock()
		return nil
	}
	fs.mu.Unlock()
	select {
	case <-f.ready:
	default:
		return nil
	}
	if f.err != nil || f.late.Load() || f.proof.Load().Until() < driver.Now()-fs.core.watch.Lag() {
		return nil
	}
	return f
}

// all returns the feeds that are open.
func (fs *feeds) all() []*feed {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var open []*feed
	for _, f := range fs.byAddr {
		select {
		case <-f.ready:
			if f.err == nil {
				open = append(open, f)
			}
		default:
		}
	}
	return open
}

// giveUp closes the connection.
func (f *feed) giveUp() { f.over.Do(func() { close(f.quit) }) }

// node returns the address of the node to ask about a slot. A guess will do: a
// node that does not have the slot names the one that does.
func (fs *feeds) node(slot uint16) string {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if addr, ok := fs.moved[slot]; ok {
		return addr
	}
	if m := fs.core.topology.now.Load(); m != nil && m.of[slot] != 0 {
		return m.names[m.of[slot]]
	}
	for addr := range fs.byAddr {
		return addr
	}
	if cl := fs.core.link.now.Load(); cl != nil {
		for addr := range cl.Nodes() {
			return addr
		}
	}
	return ""
}

// renew has waiters come back on connections of a new client.
func (fs *feeds) renew() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for addr, f := range fs.byAddr {
		delete(fs.byAddr, addr)
		f.giveUp()
	}
	clear(fs.moved)
}

// learn notes which node has a slot.
func (fs *feeds) learn(slot uint16, addr string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.moved == nil {
		fs.moved = make(map[uint16]string)
	}
	fs.moved[slot] = addr
}

// forget takes out a feed whose connection is gone.
func (fs *feeds) forget(f *feed) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.byAddr[f.addr] == f {
		delete(fs.byAddr, f.addr)
	}
	// The node may be gone for good, and its slots with another.
	clear(fs.moved)
}

// open connects, and returns when the connection is gone.
func (f *feed) open() {
	gone, err := f.connect()
	f.err = err
	close(f.ready)
	switch {
	case err == nil:
		if f.core.watch.Lag() > 0 {
			f.ask() // it has proved nothing yet
		}
		select {
		case <-gone:
		case <-f.quit:
		case <-f.core.life.Context().Done():
		}
		f.conn.Close()
		if c := f.core.watch.changes.Load(); c != nil {
			c.NoteAll() // nobody tells of changes of what was read over it any more
		}
	case errors.Is(err, errNoTracking):
		f.core.feeds.off.Store(true)
	}
	// Waiters that come from here on get another feed. Those that have got this
	// one already are woken: here if they have entered, and else by enter, which
	// finds the map gone.
	f.core.feeds.forget(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakeAll()
	f.waiters = nil
}

// connect opens a connection on which the server announces changes. gone is
// closed with it.
func (f *feed) connect() (gone <-chan error, err error) {
	ctx, cancel := f.core.bound(f.core.life.Context())
	defer cancel()
	cl, err := f.core.link.get(ctx)
	if err != nil {
		return nil, failed(err)
	}
	f.client, f.hosts = cl, hosts(cl)
	node := cl.Client
	if f.core.cluster {
		if node = node.Nodes()[f.addr]; node == nil {
			return nil, errNoNode
		}
	}
	conn, _ := node.Dedicate()
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	if hosts(cl) != f.hosts { // it may be a connection to either
		return nil, errReplaced
	}
	hello, err := conn.Do(ctx, conn.B().Arbitrary("HELLO").Build()).AsMap()
	if err := noTracking(err); err != nil {
		return nil, err
	}
	if proto := hello["proto"]; protocol(&proto) < 3 {
		return nil, errNoTracking
	}
	gone = conn.SetOnInvalidations(f.invalidated)
	// With a call that has a deadline and is by itself the client may read one answer alone,
	// and pass over announcements before it; a call that can be cancelled and has no deadline
	// has it read all the time from then on.
	endless, cancel := context.WithCancel(f.core.life.Context())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	// A client may have turned tracking on in another mode, which has to be turned off first.
	for _, mode := range []string{"OFF", "ON"} {
		if err := noTracking(conn.Do(endless, conn.B().Arbitrary("CLIENT", "TRACKING", mode).Build()).Error()); err != nil {
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

// noTracking returns errNoTracking for an answer of the server that says that it
// does not know, or does not allow, a command. One that is loading, or busy with a script,
// will do later what it refuses now.
func noTracking(err error) error {
	if reply, ok := rueidis.IsRedisErr(err); ok && begins(reply, "ERR", "NOPERM", "NOPROTO") {
		return errNoTracking
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// invalidated is called with the keys that have changed. nil stands for all, as
// after FLUSHALL, and when the connection is lost.
func (f *feed) invalidated(keys []rueidis.RedisMessage) {
	if c := f.core.watch.changes.Load(); c != nil {
		if keys == nil {
			c.NoteAll()
		}
		for i := range keys {
			if key, err := keys[i].ToString(); err == nil {
				c.Note(key)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if keys == nil {
		f.wakeAll()
	}
	for i := range keys {
		if key, err := keys[i].ToString(); err == nil {
			f.wake(key)
		}
	}
}

// wake wakes those that wait for lock. f.mu is held.
func (f *feed) wake(lock string) {
	for woken := range f.waiters[lock] {
		close(woken)
	}
	delete(f.waiters, lock)
}

// wakeAll wakes all that wait. f.mu is held.
func (f *feed) wakeAll() {
	for lock := range f.waiters {
		f.wake(lock)
	}
}

// enter notes a waiter for lock, and returns what is closed to wake it. One that
// comes when the connection is gone is woken at once.
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

// leave takes a waiter out that enter has noted, if it was not woken.
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
