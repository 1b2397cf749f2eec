package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// startsLater is each kind of server, with what starts it.
func startsLater(t *testing.T) map[string]struct {
	url   string
	start func()
} {
	id := backendtest.NewIdentity(t)
	plain, socket, secure := newServer(t), newServer(t), newServer(t)
	socket.args = append(socket.args, "--unixsocket", socket.dir+"/s")
	secure.secure(id)
	sentinel, cluster := newSentinel(t, nil), newCluster(t, nil)
	return map[string]struct {
		url   string
		start func()
	}{
		"one server":     {plain.URL(), func() { plain.Start(t) }},
		"a unix socket":  {"redis+unix://" + socket.dir + "/s", func() { socket.Start(t) }},
		"over TLS":       {backendtest.WithArgs("rediss://"+secure.addr, id.Args()...), func() { secure.Start(t) }},
		"Sentinel":       {sentinel.url(), func() { sentinel.start(t) }},
		"a Cluster":      {cluster.url(), func() { cluster.start(t) }},
		"Cluster by one": {"redis+cluster://" + cluster[1].addr, func() {}},
	}
}

func TestStartWithoutTheServer(t *testing.T) {
	t.Parallel()
	// 1. The program starts.  2. Callers get what the creator makes.  3. The server
	// comes up.  4. Values are kept.
	var starts []func() // later, as some of them are of the same servers
	for name, k := range startsLater(t) {
		b := open(t, k.url, nil)
		cache := dogpile.NewCache[string](configured(t, unique(t), b, nil), nil)
		if v, err := cache.GetOrCreate(t.Context(), "k", made("v")); v != "v" || err != nil {
			t.Errorf("%s: without a server, GetOrCreate = %q, %v", name, v, err)
		}
		if err := cache.Delete(t.Context(), "k"); err == nil {
			t.Errorf("%s: without a server, Delete returned no error", name)
		}
		if b.Client() != nil {
			t.Errorf("%s: there is a client before there is a connection", name)
		}
		starts = append(starts, k.start)
		defer eventually(t, name+": values to be kept", func() bool {
			v, err := cache.GetOrCreate(t.Context(), "k", made("v"))
			_, found, e := cache.Get(t.Context(), "k")
			return v == "v" && err == nil && found && e == nil && b.Client() != nil
		})
	}
	var started sync.WaitGroup
	for _, start := range starts {
		started.Go(start)
	}
	started.Wait()
}

func TestServerThatIsDownIsNotFloodedWithConnections(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer l.Close()
	var conns atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			c.Close()
		}
	}()
	b := open(t, "redis://"+l.Addr().String()+"?breaker=false", nil)
	var wg sync.WaitGroup
	start := time.Now()
	for range 20 {
		wg.Go(func() {
			for range 200 {
				if b.Get(t.Context(), []driver.Item{{Key: "k"}}) == nil {
					t.Error("Get succeeded")
				}
				pause(time.Millisecond)
			}
		})
	}
	wg.Wait()
	// Each attempt makes a connection, and one that asks for TLS; pauses are 100 ms
	// or more.
	if n, most := conns.Load(), 2*(2+int64(time.Since(start)/(100*time.Millisecond))); n > most {
		t.Errorf("%d connections in %v, want at most %d", n, time.Since(start), most)
	}
}

func TestCallersLeaveAnAttemptThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // and nobody answers
	ok(t, err)
	defer l.Close()
	b := open(t, "redis://"+l.Addr().String()+"?timeout=30s&connect_timeout=30s&breaker=false", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := b.Get(ctx, []driver.Item{{Key: "k"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get = %v", err)
	}
	done := make(chan error, 10)
	for range cap(done) {
		go func() { done <- b.Get(context.Background(), []driver.Item{{Key: "k"}}) }()
	}
	pause(50 * time.Millisecond) // for them to wait
	ok(t, b.Close())
	for range cap(done) {
		if err := <-done; err == nil {
			t.Error("a call succeeded")
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Get after Close = %v", err)
	}
}

func TestCloseLeavesNoConnection(t *testing.T) {
	t.Parallel()
	// 1. Calls connect, or wait for that.  2. The backend is closed meanwhile.
	s := startServer(t)
	c := s.client(t)
	for range 50 {
		b, err := redis.Open(t.Context(), s.URL()+"?client_name=leak", nil)
		ok(t, err)
		go func() { _ = b.Get(context.Background(), []driver.Item{{Key: "k"}}) }()
		pause(time.Duration(time.Now().UnixNano() % int64(time.Millisecond)))
		ok(t, b.Close())
	}
	eventually(t, "all connections to be closed", func() bool {
		list, err := do(t, c, "CLIENT", "LIST").ToString()
		return err == nil && !strings.Contains(list, "name=leak")
	})
}

func TestCloseWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, err := redis.Open(t.Context(), s.URL()+"?timeout=1m&connect_timeout=1m", nil)
	ok(t, err)
	ok(t, b.Get(t.Context(), []driver.Item{{Key: "k"}}))
	s.Stop(t)
	defer s.Resume(t)
	done := make(chan error, 20)
	for range cap(done) {
		go func() { done <- b.Delete(context.Background(), []string{"k"}) }()
	}
	pause(50 * time.Millisecond) // for them to wait
	start := time.Now()
	ok(t, b.Close())
	for range cap(done) {
		if <-done == nil {
			t.Error("a call succeeded")
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestOpenUnderAContextThatIsDone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := driver.Open(ctx, "redis://127.0.0.1:"+freePort(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v", err)
	}
}

// TestHasteOfOthers has calls that give up before they have connected. 1. A hasty
// call begins to connect.  2. A patient one joins it.  3. The time of the hasty
// one is up, and the patient one goes on.
func TestHasteOfOthers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, s.URL()+"?breaker=false", nil)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				hasty, cancel := context.WithTimeout(ctx, time.Duration(i)*100*time.Microsecond)
				_ = b.Get(hasty, []driver.Item{{Key: "k"}})
				cancel()
			}
		})
	}
	c := s.client(t)
	for i := range 300 {
		if i%10 == 9 {
			do(t, c, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}
		key := fmt.Sprint("k", i)
		if err := b.Set(ctx, []driver.Item{{Key: key, Data: []byte("v")}}); err != nil {
			t.Fatalf("Set %d = %v", i, err)
		}
	}
}
