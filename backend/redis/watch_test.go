package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// copied is what is known of a copy of an entry.
type copied struct {
	driver.Item
	asked time.Duration
}

// right reports whether the copy is known to have been right at most lag ago.
func (c *copied) right(lag time.Duration) bool {
	at, ok := c.Mark.Right(c.asked)
	return ok && at >= driver.Now()-lag
}

func (c *copied) changed() bool {
	_, ok := c.Mark.Right(c.asked)
	return !ok
}

// keep reads a key of which a copy is kept.
func keep(t testing.TB, b driver.Backend, key string) *copied {
	t.Helper()
	items := []driver.Item{{Key: key, Keep: true}}
	asked := driver.Now()
	ok(t, b.Get(context.Background(), items))
	ok(t, items[0].Err)
	if items[0].Mark.Count == nil {
		t.Fatal("there is no mark")
	}
	return &copied{items[0], asked}
}

// keepProved is keep, and has the server vouch for the copy.
func keepProved(t testing.TB, b driver.Backend, key string) (c *copied) {
	t.Helper()
	eventually(t, "a copy that the server vouches for", func() bool {
		c = keep(t, b, key)
		return c.Mark.Proof != nil
	})
	return c
}

func watching(t testing.TB, b *redis.Backend, lag time.Duration) {
	t.Helper()
	stop, atOnce := b.Watch(lag)
	if stop == nil || atOnce {
		t.Fatalf("Watch says at once: %v", atOnce)
	}
	t.Cleanup(stop)
}

func put(t testing.TB, b driver.Backend, key, value string) {
	t.Helper()
	ok(t, backendtest.Set(context.Background(), b, driver.Item{Key: key, Data: []byte(value)}))
}

func TestWatchHearsOfEachChange(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	c := s.client(t)
	b := open(t, s.URL(), nil)
	watching(t, b, time.Minute)
	other := open(t, s.URL(), nil)
	for name, change := range map[string]func(key string){
		"SET":               func(key string) { do(t, c, "SET", key, "new") },
		"DEL":               func(key string) { do(t, c, "DEL", key) },
		"UNLINK":            func(key string) { do(t, c, "UNLINK", key) },
		"RENAME":            func(key string) { do(t, c, "RENAME", key, key+"2") },
		"RENAME onto it":    func(key string) { do(t, c, "SET", key+"3", "x"); do(t, c, "RENAME", key+"3", key) },
		"APPEND":            func(key string) { do(t, c, "APPEND", key, "x") },
		"the end of a TTL":  func(key string) { do(t, c, "PEXPIRE", key, "1") },
		"a script":          func(key string) { do(t, c, "EVAL", "redis.call('SET', KEYS[1], 'x')", "1", key) },
		"Set of another":    func(key string) { put(t, other, key, "new") },
		"Delete of another": func(key string) { ok(t, other.Delete(t.Context(), []string{key})) },
		"a Set under the lease of another": func(key string) {
			l, err := other.TryLock(t.Context(), key, time.Minute)
			ok(t, err)
			ok(t, backendtest.Set(t.Context(), other, driver.Item{Key: key, Data: []byte("new"), Lease: l}))
		},
	} {
		key := unique(t) + name
		put(t, b, key, "old")
		kept, untouched := keepProved(t, b, key), keepProved(t, b, key+"untouched")
		if !kept.right(time.Minute) || string(kept.Data) != "old" {
			t.Errorf("%s: the copy is not right to begin with", name)
		}
		change(key)
		eventually(t, name+" to be heard of", kept.changed)
		if untouched.changed() {
			t.Errorf("%s: another key has changed too", name) // with a chance of one in 65536
		}
	}
}

func TestWatchOwnChangesCountAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx := t.Context()
	for name, change := range map[string]func(b *redis.Backend, key string) error{
		"Set":    func(b *redis.Backend, key string) error { put(t, b, key, "new"); return nil },
		"Delete": func(b *redis.Backend, key string) error { return b.Delete(ctx, []string{"a", key}) },
		"Set under a lease": func(b *redis.Backend, key string) error {
			l, err := b.TryLock(ctx, key, time.Minute)
			ok(t, err)
			return backendtest.Set(ctx, b, driver.Item{Key: key, Data: []byte("new"), Lease: l})
		},
	} {
		net := backendtest.NewNetwork(t, s.addr)
		b := open(t, "redis://"+net.Addr, &redis.Options{Poll: true, Breaker: off}) // the server announces nothing
		watching(t, b, time.Minute)
		put(t, b, name, "old")
		kept := keep(t, b, name)
		if kept.Mark.Proof != nil || kept.changed() {
			t.Fatalf("%s: the mark is %+v", name, kept.Mark)
		}
		ok(t, change(b, name))
		if !kept.changed() {
			t.Errorf("%s has not changed the mark when it returns", name)
		}
		// What has failed may have been done all the same.
		kept = keep(t, b, name)
		net.Cut()
		if name != "Set under a lease" && backendtest.Set(ctx, b, driver.Item{Key: name, Data: []byte("x")}) == nil {
			t.Fatal("Set without a network")
		}
		if err := b.Delete(ctx, []string{name}); err == nil {
			t.Fatal("Delete without a network")
		}
		if !kept.changed() {
			t.Errorf("%s: what has failed has not changed the mark", name)
		}
	}
}

// TestWatchProofComesBehindTheNews: when a writer has been told of its change, no copy of what
// was there before is proved to have been right after that. What the server says comes in
// bursts here, so that the news, what was read and the answers to questions come together.
func TestWatchProofComesBehindTheNews(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"": nil, "with I/O threads": {"--io-threads", "4", "--io-threads-do-reads", "yes"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, args...)
			g := newGate(t, s.addr)
			g.pace = 3 * time.Millisecond
			b := open(t, "redis://"+g.addr, nil)
			watching(t, b, 20*time.Millisecond) // it is asked every 5 ms
			writer := s.client(t)
			before, proved := 0, 0
			for i := range 200 {
				key := fmt.Sprint(i % 50)
				do(t, writer, "SET", key, "old")
				var kept *copied
				var reading sync.WaitGroup
				reading.Go(func() { kept = keep(t, b, key) })
				backendtest.Pause(time.Duration(i%60) * 100 * time.Microsecond)
				do(t, writer, "SET", key, "new")
				told := driver.Now()
				reading.Wait()
				if kept.Mark.Proof == nil || string(kept.Data) == "new" {
					continue
				}
				before++
				for {
					at, right := kept.Mark.Right(kept.asked)
					if !right {
						break
					}
					if at > told {
						t.Fatalf("try %d: the copy is said to have been right %v after the change", i, at-told)
					}
					proved++
					runtime.Gosched()
				}
			}
			if before < 20 {
				t.Errorf("only %d copies were older than the change", before)
			}
			t.Logf("%d copies were older than the change; they were looked at %d times before the news", before, proved)
		})
	}
}

// gate is a network that can hold back what goes to and fro on the connections on which
// changes are announced, and leaves the others alone.
type gate struct {
	addr string
	mu   sync.Mutex
	shut chan struct{} // nil: open; closed when it opens
	told atomic.Int64  // connections on which changes are announced
	pace time.Duration // what the server says there is passed on in bursts, so far apart; 0: at once
}

func newGate(t testing.TB, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	g := &gate{addr: l.Addr().String()}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			var announces atomic.Bool
			cut := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
			for _, way := range []struct{ from, to net.Conn }{{client, server}, {server, client}} {
				all.Go(func() {
					defer cut()
					defer client.Close()
					defer server.Close()
					g.carry(ctx, way.from, way.to, &announces, way.from == server)
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		stop()
		all.Wait()
	})
	return g
}

func (g *gate) carry(ctx context.Context, from net.Conn, to io.Writer, announces *atomic.Bool, answers bool) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if g.pace > 0 && answers && announces.Load() && err == nil {
			backendtest.Pause(g.pace)
			_ = from.SetReadDeadline(time.Now().Add(time.Millisecond / 10))
			more, _ := from.Read(buf[n:])
			_ = from.SetReadDeadline(time.Time{})
			n += more
		}
		if bytes.Contains(buf[:n], []byte("TRACKING\r\n$2\r\nON")) && !announces.Swap(true) {
			g.told.Add(1)
		}
		for announces.Load() {
			g.mu.Lock()
			shut := g.shut
			g.mu.Unlock()
			if shut == nil {
				break
			}
			select {
			case <-shut:
			case <-ctx.Done():
				return
			}
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

// TestWatchWithoutNews: a connection that is held back, or is open on one side only, proves
// nothing. Copies end within the lag, and entries are read in another way, at once.
func TestWatchWithoutNews(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	g := newGate(t, s.addr)
	const lag = 2 * time.Second
	b := open(t, "redis://"+g.addr, &redis.Options{Breaker: off})
	watching(t, b, lag)
	key := unique(t)
	put(t, b, key, "old")
	kept := keepProved(t, b, key)
	g.close()
	do(t, s.client(t), "SET", key, "new")
	told := driver.Now()
	for kept.right(lag) {
		if at, _ := kept.Mark.Right(kept.asked); at > told {
			t.Fatalf("the copy is said to have been right %v after the change", at-told)
		}
		if driver.Now()-told > lag+time.Second {
			t.Fatal("the copy does not end")
		}
		backendtest.Pause(time.Millisecond)
	}
	again := keep(t, b, key)
	if string(again.Data) != "new" || again.Mark.Proof != nil {
		t.Errorf("while nothing is announced %q is read, with the mark %+v", again.Data, again.Mark)
	}
	g.open()
	eventually(t, "the copy to be known as changed, or its connection to be given up", kept.changed)
	if c := keepProved(t, b, key); string(c.Data) != "new" {
		t.Errorf("afterwards %q is read", c.Data)
	}
}

// TestWatchOutlivesTrouble: after each kind of trouble a copy from before is not right any
// more than a lag later, and copies are vouched for again.
func TestWatchOutlivesTrouble(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	for name, trouble := range map[string]func(s *server, key string){
		"FLUSHALL":      func(s *server, _ string) { s.do(t, "FLUSHALL") },
		"FLUSHDB ASYNC": func(s *server, _ string) { s.do(t, "FLUSHDB", "ASYNC") },
		"CLIENT KILL":   func(s *server, key string) { s.do(t, "CLIENT", "KILL", "TYPE", "normal"); s.do(t, "SET", key, "new") },
		"a restart":     func(s *server, key string) { s.Kill(); s.Start(t); s.do(t, "SET", key, "new") },
		"a server that hangs": func(s *server, key string) {
			s.Stop(t)
			backendtest.Pause(3 * lag / 2)
			s.Resume(t)
			s.do(t, "SET", key, "new")
		},
		"tracking of too many keys": func(s *server, key string) {
			s.do(t, "CONFIG", "SET", "tracking-table-max-keys", "1")
			for i := range 1000 {
				s.do(t, "SET", fmt.Sprint("more", i), "x")
			}
			s.do(t, "SET", key, "new")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			b := open(t, s.URL(), &redis.Options{Timeout: time.Second, Breaker: off})
			watching(t, b, lag)
			put(t, b, "k", "old")
			kept := keepProved(t, b, "k")
			trouble(s, "k")
			backendtest.Pause(lag + 10*time.Millisecond) // longer, and it would be wrong all the more
			if kept.right(lag) {
				t.Error("the copy is still right")
			}
			var c *copied
			eventually(t, "copies to be vouched for again", func() bool {
				items := []driver.Item{{Key: "k", Keep: true}}
				asked := driver.Now()
				if b.Get(context.Background(), items) != nil || items[0].Err != nil {
					return false
				}
				c = &copied{items[0], asked}
				return c.Mark.Proof != nil
			})
			s.do(t, "SET", "k", "newer")
			eventually(t, "a change to be heard of", c.changed)
		})
	}
}

// TestWatchOfAReplica: a master that has become a replica proves nothing.
func TestWatchOfAReplica(t *testing.T) {
	t.Parallel()
	a, b := startServer(t), startServer(t)
	n := newName(t, a.addr)
	const lag = time.Second
	backend := open(t, "redis://"+n.addr, nil)
	watching(t, backend, lag)
	put(t, backend, "k", "old")
	kept := keepProved(t, backend, "k")
	n.failOver(t, a, b)
	b.do(t, "SET", "k", "new")
	backendtest.Pause(lag + 10*time.Millisecond)
	if kept.right(lag) {
		t.Error("the copy is still right")
	}
	eventually(t, "the new master's entry to be read", func() bool {
		items := []driver.Item{{Key: "k", Keep: true}}
		return backend.Get(context.Background(), items) == nil && string(items[0].Data) == "new"
	})
}

func TestWatchOnACluster(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: off})
	watching(t, b, lag)
	var kept []*copied
	for i := range 20 {
		key := fmt.Sprint(i)
		put(t, b, key, "old")
		kept = append(kept, keepProved(t, b, key))
	}
	other := open(t, m.url(), nil)
	for i, c := range kept {
		if c.changed() {
			t.Errorf("copy %d is not right", i)
		}
		put(t, other, fmt.Sprint(i), "new")
		eventually(t, "a change to be heard of", c.changed)
	}
	// A slot that moves: what was read of the old node ends, whether its key moves or not.
	put(t, b, "{tag}k", "old")
	before := keepProved(t, b, "{tag}k")
	m.begin()
	if !m.move("{tag}k") {
		t.Fatal("the key was not there")
	}
	m.end()
	put(t, other, "{tag}k", "new")
	backendtest.Pause(lag + 10*time.Millisecond)
	if before.right(lag) {
		t.Error("a copy of a key that has moved is still right")
	}
	var c *copied
	eventually(t, "the new node to vouch for copies", func() bool {
		c = keep(t, b, "{tag}k")
		return c.Mark.Proof != nil && string(c.Data) == "new"
	})
	put(t, other, "{tag}k", "newer")
	eventually(t, "a change on the new node to be heard of", c.changed)
}

// TestWatchOfASlotThatIsTaken: another node takes a slot, by a newer epoch, though its keys are
// still here. Not all versions announce that they are gone.
func TestWatchOfASlotThatIsTaken(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: off})
	watching(t, b, lag)
	put(t, b, "{tag}k", "old")
	kept := keepProved(t, b, "{tag}k")
	m.begin()
	to, err := m.to.do(t, "CLUSTER", "MYID").ToString()
	ok(t, err)
	m.to.do(t, "CLUSTER", "SETSLOT", m.slot, "NODE", to)
	raw := m.to.client(t)
	eventually(t, "the other node to take a SET", func() bool {
		return raw.Do(context.Background(), raw.B().Set().Key("{tag}k").Value("new").Build()).Error() == nil
	})
	// That the slot is another's has to get around first.
	from := m.from.client(t)
	eventually(t, "the node that had the slot to know", func() bool {
		err := from.Do(context.Background(), from.B().Get().Key("{tag}k").Build()).Error()
		return err != nil && strings.HasPrefix(err.Error(), "MOVED")
	})
	backendtest.Pause(lag + 10*time.Millisecond)
	if kept.right(lag) {
		t.Error("a copy of a key in the slot is still right")
	}
	eventually(t, "the new node to vouch for copies", func() bool {
		c := keep(t, b, "{tag}k")
		return c.Mark.Proof != nil && string(c.Data) == "new"
	})
}

func TestWatchOfAMasterThatIsReplaced(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	w := startSentinel(t, nil)
	b := open(t, w.url(), &redis.Options{Timeout: time.Second, Breaker: off})
	watching(t, b, lag)
	put(t, b, "k", "old")
	kept := keepProved(t, b, "k")
	w.sentinels[0].do(t, "SENTINEL", "FAILOVER", "mymaster")
	writer := open(t, w.url(), &redis.Options{Timeout: time.Second, Breaker: off})
	c := w.servers[1].client(t)
	eventually(t, "the new master to take a Set", func() bool {
		role, err := c.Do(context.Background(), c.B().Arbitrary("ROLE").Build()).ToArray()
		if err != nil {
			return false // it closes its connections when it becomes a master
		}
		if is, _ := role[0].ToString(); is != "master" || backendtest.Set(context.Background(), writer, driver.Item{Key: "k", Data: []byte("new")}) != nil {
			return false
		}
		// The writer may have come to the old one still, which forgets what it has then.
		has, err := c.Do(context.Background(), c.B().Get().Key("k").Build()).ToString()
		return err == nil && has == "new"
	})
	backendtest.Pause(lag + 10*time.Millisecond)
	if kept.right(lag) {
		t.Error("the copy is still right")
	}
	eventually(t, "the new master to vouch for copies", func() bool {
		items := []driver.Item{{Key: "k", Keep: true}}
		return b.Get(context.Background(), items) == nil && string(items[0].Data) == "new" && items[0].Mark.Proof != nil
	})
}

// TestWatchWhereNothingIsAnnounced: nobody vouches for copies, and reading goes on.
func TestWatchWhereNothingIsAnnounced(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.do(t, "ACL", "SETUSER", "mute", "on", ">secret", "~*", "+@all", "-client|tracking", "-role")
	resp2 := newClient(t, rueidis.ClientOption{InitAddress: []string{s.addr}, AlwaysRESP2: true, DisableCache: true})
	given, err := redis.New(resp2, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, given.Close()) })
	for name, b := range map[string]*redis.Backend{
		"RESP2": given, "Poll": open(t, s.URL(), &redis.Options{Poll: true}),
		"not allowed": open(t, "redis://mute:secret@"+s.addr, nil),
	} {
		watching(t, b, time.Minute)
		put(t, b, name, "v")
		var c *copied
		for range 20 {
			if c = keep(t, b, name); c.Mark.Proof != nil || string(c.Data) != "v" {
				t.Errorf("%s: the copy is %q with the mark %+v", name, c.Data, c.Mark)
			}
			backendtest.Pause(5 * time.Millisecond)
		}
		if !c.right(time.Minute) {
			t.Errorf("%s: the copy is not right for the lag", name)
		}
	}
	// Where it may not ask for the role, it asks whether the server is there.
	s.do(t, "ACL", "SETUSER", "roleless", "on", ">secret", "~*", "+@all", "-role")
	b := open(t, "redis://roleless:secret@"+s.addr, nil)
	watching(t, b, 40*time.Millisecond)
	put(t, b, "k", "v")
	kept := keepProved(t, b, "k")
	eventually(t, "another proof", func() bool {
		at, right := kept.Mark.Right(kept.asked)
		return right && at > kept.asked+40*time.Millisecond
	})
}

// TestWatchAsksOneConnection: however many watch, and however many keys were read.
func TestWatchAsksOneConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	g := newGate(t, s.addr)
	b := open(t, "redis://"+g.addr, nil)
	var stops []func()
	for range 8 {
		stop, _ := b.Watch(time.Second)
		stops = append(stops, stop)
	}
	for i := range 100 {
		keep(t, b, fmt.Sprint(i))
	}
	kept := keepProved(t, b, "k")
	roles := func() int { return calls(t, s.client(t), "role") }
	for i := range 100 {
		keep(t, b, fmt.Sprint(i))
	}
	if n := g.told.Load(); n != 1 {
		t.Errorf("%d connections on which changes are announced, want 1", n)
	}
	for _, stop := range stops[1:] {
		stop()
		stop()
	}
	eventually(t, "another proof for the last that watches", func() bool {
		at, _ := kept.Mark.Right(0)
		return at > kept.asked+time.Second
	})
	stops[0]()
	items := []driver.Item{{Key: "k", Keep: true}}
	ok(t, b.Get(t.Context(), items))
	if items[0].Mark.Count != nil {
		t.Error("there are marks though nobody watches")
	}
	before := roles()
	backendtest.Pause(600 * time.Millisecond)
	if n := roles() - before; n > 1 {
		t.Errorf("the server was asked %d times though nobody watches", n)
	}
	stop, _ := b.Watch(time.Second)
	defer stop()
	keepProved(t, b, "k")
}
