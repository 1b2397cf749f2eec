package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// name is a name of a server, behind which another may come. Connections stay with
// the one that they were made to.
type name struct {
	addr  string
	now   atomic.Pointer[string]
	conns atomic.Int64 // made so far
}

func newName(t testing.TB, target string) *name {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	n := &name{addr: l.Addr().String()}
	n.now.Store(&target)
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			n.conns.Add(1)
			all.Go(func() { carry(ctx, client, *n.now.Load()) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		stop()
		all.Wait()
	})
	return n
}

func carry(ctx context.Context, client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })()
	go func() {
		defer client.Close()
		_, _ = io.Copy(client, server)
	}()
	_, _ = io.Copy(server, client)
}

// failOver makes a replica of the server that a name stands for, and gives the
// name to another.
func (n *name) failOver(t testing.TB, from, to *server) {
	t.Helper()
	n.now.Store(&to.addr)
	from.do(t, "REPLICAOF", "127.0.0.1", to.port)
}

// write makes each call that writes, on keys of its own.
func write(b *redis.Backend, key string) map[string]error {
	ctx := context.Background()
	errs := map[string]error{
		"Delete":         b.Delete(ctx, []string{key}),
		"Delete of many": b.Delete(ctx, []string{key + "1", key + "2", key + "3"}),
	}
	one, many := []driver.Item{{Key: key, Data: []byte("v")}}, []driver.Item{{Key: key + "1", Data: []byte("v")}, {Key: key + "2", Data: []byte("v")}}
	errs["Set"] = errors.Join(b.Set(ctx, one), one[0].Err)
	errs["Set of many"] = errors.Join(b.Set(ctx, many), many[0].Err, many[1].Err)
	l, err := b.TryLock(ctx, key, time.Minute)
	errs["TryLock"] = err
	if l == nil {
		return errs
	}
	errs["Extend"] = l.Extend(ctx, time.Minute)
	one = []driver.Item{{Key: key, Data: []byte("v"), Lease: l}}
	errs["Set under a lease"] = errors.Join(b.Set(ctx, one), one[0].Err)
	return errs
}

func TestNameThatMovesToAnotherMaster(t *testing.T) {
	t.Parallel()
	// 1. The master behind a name becomes a replica, and the name another's.  2. The
	// connections stay.  3. Each kind of write goes to the new master at once.
	for call := range map[string]bool{"Delete": true, "Delete of many": true, "Set": true, "Set of many": true, "TryLock": true} {
		a, b := startServer(t), startServer(t)
		n := newName(t, a.addr)
		backend := open(t, "redis://"+n.addr, nil)
		for what, err := range write(backend, "before") {
			if err != nil {
				t.Fatalf("%s before = %v", what, err)
			}
		}
		n.failOver(t, a, b)
		ctx := t.Context()
		many := []driver.Item{{Key: "x1", Data: []byte("v")}, {Key: "x2", Data: []byte("v")}}
		var err error
		switch call {
		case "Delete":
			err = backend.Delete(ctx, []string{"x"})
		case "Delete of many":
			err = backend.Delete(ctx, []string{"x1", "x2", "x3"})
		case "Set":
			err = errors.Join(backend.Set(ctx, many[:1]), many[0].Err)
		case "Set of many":
			err = errors.Join(backend.Set(ctx, many), many[0].Err, many[1].Err)
		case "TryLock":
			_, err = backend.TryLock(ctx, "x", time.Minute)
		}
		if err != nil {
			t.Errorf("the first %s after a fail-over = %v", call, err)
		}
		for what, err := range write(backend, "after") {
			if err != nil {
				t.Errorf("after %s, %s = %v", call, what, err)
			}
		}
	}
}

func TestServerThatBecomesMasterLater(t *testing.T) {
	t.Parallel()
	// 1. The master becomes a replica.  2. Its name becomes another's a while later.
	// 3. Calls fail until then, make few connections, and are well soon after.
	a, b := startServer(t), startServer(t)
	n := newName(t, a.addr)
	backend, looking := open(t, "redis://"+n.addr+"?breaker=false&client_name=mine", nil), a.client(t)
	connected := func() bool {
		list, err := do(t, looking, "CLIENT", "LIST", "TYPE", "normal").ToString()
		ok(t, err)
		return strings.Contains(list, " name=mine ")
	}
	ok(t, backend.Set(t.Context(), []driver.Item{{Key: "k", Data: []byte("v")}}))
	if !connected() {
		t.Fatal("the old master knows of no connection")
	}
	a.do(t, "REPLICAOF", "127.0.0.1", b.port)
	before, start := n.conns.Load(), time.Now()
	for range 300 {
		if backend.Delete(t.Context(), []string{"k"}) == nil {
			t.Fatal("a replica deletes")
		}
		pause(5 * time.Millisecond)
	}
	// A client has two connections, and one in hand while it is replaced.
	if made, most := n.conns.Load()-before, 3*(4+int64(time.Since(start)/(500*time.Millisecond))); made > most {
		t.Errorf("%d connections in %v, want at most %d", made, time.Since(start), most)
	}
	n.now.Store(&b.addr)
	eventually(t, "a Delete", func() bool { return backend.Delete(t.Context(), []string{"k"}) == nil })
	eventually(t, "the connections to the old master to be closed", func() bool { return !connected() })
}

func TestCacheAfterANameHasMoved(t *testing.T) {
	t.Parallel()
	// Waiters too have a connection to the old master, which is to go.
	a, b := startServer(t), startServer(t)
	n := newName(t, a.addr)
	one, two := open(t, "redis://"+n.addr, nil), open(t, "redis://"+n.addr, nil)
	cache := dogpile.NewCache[string](configured(t, "r", one, nil), nil)
	v, err := cache.GetOrCreate(t.Context(), "k", made("v"))
	if v != "v" || err != nil {
		t.Fatalf("GetOrCreate = %q, %v", v, err)
	}
	l, err := two.TryLock(t.Context(), "waited for", time.Minute)
	ok(t, err)
	waiting(t, one, a.client(t), "waited for", 1)
	n.failOver(t, a, b)
	ok(t, cache.Delete(t.Context(), "k"))
	eventually(t, "values to be kept", func() bool {
		v, err := cache.GetOrCreate(t.Context(), "k", made("v2"))
		_, found, e := cache.Get(t.Context(), "k")
		return v == "v2" && err == nil && found && e == nil
	})
	_ = l.Release(t.Context())
	l, err = two.TryLock(t.Context(), "waited for", time.Minute)
	if l == nil || err != nil {
		t.Fatalf("TryLock = %v, %v", l, err)
	}
	done := waiting(t, one, b.client(t), "waited for", 1)
	ok(t, l.Release(t.Context()))
	woken(t, "a waiter at the new master", done)
}

func TestReaderLeavesAServerThatIsNoMasterAnyMore(t *testing.T) {
	t.Parallel()
	// 1. The master becomes a replica, which gets nothing of what the new one has.
	// 2. A process that does nothing but read notices.
	a, b := startServer(t), startServer(t)
	n := newName(t, a.addr)
	reader := open(t, "redis://"+n.addr, nil)
	get := func() string { return value(t, reader, "k") }
	a.do(t, "SET", "k", "old")
	b.do(t, "SET", "k", "new")
	if v := get(); v != "old" {
		t.Fatalf("Get = %q", v)
	}
	n.now.Store(&b.addr)
	a.do(t, "REPLICAOF", "127.0.0.1", "1")
	eventually(t, "the new master to be read", func() bool {
		for range 20 { // over all connections
			if get() != "new" {
				return false
			}
		}
		return true
	})
}

// TestServersThatRefuse has servers that say that they are not, or no longer, the
// ones to ask.
func TestServersThatRefuse(t *testing.T) {
	t.Parallel()
	for reason, refuse := range map[string]func(a, b *server){
		"MASTERDOWN": func(a, b *server) {
			// Its master cannot be reached, and it may not answer without.
			a.do(t, "CONFIG", "SET", "replica-serve-stale-data", "no")
			a.do(t, "REPLICAOF", "127.0.0.1", "1")
		},
		"LOADING": func(a, b *server) {
			// A replica loads what its master has sent, here slowly.
			b.do(t, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
			b.do(t, "EVAL", "for i = 1, 10000 do redis.call('SET', 'x' .. i, string.rep('v', 100)) end", "0")
			a.do(t, "CONFIG", "SET", "key-load-delay", "1000")
			a.do(t, "REPLICAOF", "127.0.0.1", b.port)
			c := a.client(t)
			eventually(t, "the replica to load", func() bool {
				err := c.Do(t.Context(), c.B().Arbitrary("GET", "k").Build()).Error()
				return err != nil && strings.HasPrefix(err.Error(), "LOADING")
			})
		},
		"NOPERM": func(a, _ *server) { a.do(t, "ACL", "SETUSER", "ann", "-@all", "+acl|setuser", "+hello") },
	} {
		a, b := startServer(t, "--loading-process-events-interval-bytes", "1024"), startServer(t)
		for _, s := range []*server{a, b} {
			s.do(t, "ACL", "SETUSER", "ann", "on", ">secret", "~*", "+@all")
		}
		n := newName(t, a.addr)
		backend := open(t, "redis://ann:secret@"+n.addr, nil)
		get := func() error { return backend.Get(t.Context(), []driver.Item{{Key: "k"}, {Key: "l"}}) }
		ok(t, get())
		n.now.Store(&b.addr)
		refuse(a, b)
		if err := get(); err != nil {
			t.Errorf("%s: Get = %v", reason, err)
		}
		for what, err := range write(backend, "k") {
			if err != nil {
				t.Errorf("%s: %s = %v", reason, what, err)
			}
		}
	}
}

func TestClusterThatIsDownForAWhile(t *testing.T) {
	t.Parallel()
	// 1. A node dies, and the others answer CLUSTERDOWN.  2. It comes back.
	c := startCluster(t, nil)
	c.buries(t)
	b := open(t, c.url(), nil)
	keys := keysOf(c, 1)
	set := func(node int) error {
		return backendtest.Set(t.Context(), b, driver.Item{Key: keys[node][0], Data: []byte("v")})
	}
	ok(t, errors.Join(set(0), set(1), set(2)))
	c[1].Kill()
	eventually(t, "the Cluster to be down", func() bool {
		err := set(0)
		return err != nil && strings.Contains(err.Error(), "CLUSTERDOWN")
	})
	c[1].Start(t)
	eventually(t, "all nodes to answer", func() bool { return set(0) == nil && set(1) == nil && set(2) == nil })
}

func TestServerThatIsFullCanBeReadAndDeletedFrom(t *testing.T) {
	t.Parallel()
	// Its refusals to store do not open the breaker.
	s := startServer(t)
	b := open(t, s.URL(), nil)
	ok(t, backendtest.Set(t.Context(), b, driver.Item{Key: "k", Data: []byte("v")}))
	s.do(t, "CONFIG", "SET", "maxmemory", "1")
	for range 20 {
		if err := backendtest.Set(t.Context(), b, driver.Item{Key: "l", Data: []byte("v")}); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Fatalf("Set = %v", err)
		}
	}
	backendtest.WantValue(t, b, "k", "v")
	ok(t, b.Delete(t.Context(), []string{"k"}))
}

func TestClientOfTheUsersOwnIsNotReplaced(t *testing.T) {
	t.Parallel()
	a, b := startServer(t), startServer(t)
	n := newName(t, a.addr)
	client := newClient(t, rueidis.ClientOption{InitAddress: []string{n.addr}, ForceSingleClient: true, DisableCache: true, DisableRetry: true, PipelineMultiplex: -1})
	backend, err := redis.New(client, nil)
	ok(t, err)
	defer backend.Close()
	ok(t, backend.Delete(t.Context(), []string{"k"}))
	n.failOver(t, a, b)
	if err := backend.Delete(t.Context(), []string{"k"}); err == nil || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("Delete = %v", err)
	}
	if backend.Client() != client {
		t.Error("the client is another one")
	}
	a.do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	eventually(t, "the client to make other connections", func() bool { return backend.Delete(t.Context(), []string{"k"}) == nil })
}

func TestReplacementsAreShared(t *testing.T) {
	t.Parallel()
	// Many calls find that the master is another one, and one of them connects.
	a, b := startServer(t), startServer(t)
	n := newName(t, a.addr)
	backend := open(t, "redis://"+n.addr, nil)
	ok(t, backend.Delete(t.Context(), []string{"k"}))
	n.failOver(t, a, b)
	before := n.conns.Load()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := backend.Delete(t.Context(), []string{fmt.Sprint("k", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made := n.conns.Load() - before; made > 10 {
		t.Errorf("%d connections were made", made)
	}
}
