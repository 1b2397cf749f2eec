package redis_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// proved reads a key, and reports whether the server vouches for the copy.
func proved(b driver.Backend, key, value string) bool {
	items := []driver.Item{{Key: key, Keep: true}}
	return b.Get(context.Background(), items) == nil && items[0].Err == nil && items[0].Mark.Proof != nil && string(items[0].Data) == value
}

// ends waits until a copy is not known to have been right in the last lag, for a while that is
// much longer than that.
func ends(t *testing.T, c *copied, lag time.Duration) {
	t.Helper()
	for until := time.Now().Add(10 * lag); c.right(lag); backendtest.Pause(lag / 20) {
		if time.Now().After(until) {
			t.Fatal("the copy does not end")
		}
	}
}

// TestWatchAfterAServerWasBusy: what a server refuses for now is not what it does not know.
func TestWatchAfterAServerWasBusy(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--busy-reply-threshold", "1")
	b := open(t, s.URL(), &redis.Options{Breaker: off})
	watching(t, b, time.Second)
	ok(t, b.Get(t.Context(), []driver.Item{{Key: "k"}})) // connects
	put(t, b, "k", "v")
	c := s.client(t)
	killer := s.client(t)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Do(context.Background(), c.B().Eval().Script("while true do end").Numkeys(0).Build()).Error()
	}()
	eventually(t, "the server to be busy", func() bool {
		err := killer.Do(context.Background(), killer.B().Get().Key("k").Build()).Error()
		return err != nil && strings.HasPrefix(err.Error(), "BUSY")
	})
	for range 50 { // the connection for announcements is tried meanwhile
		_ = b.Get(context.Background(), []driver.Item{{Key: "k", Keep: true}})
		backendtest.Pause(5 * time.Millisecond)
	}
	do(t, killer, "SCRIPT", "KILL")
	if err := <-ended; err == nil {
		t.Error("the script was not killed")
	}
	for until := time.Now().Add(10 * time.Second); !proved(b, "k", "v"); backendtest.Pause(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the server never vouches for copies after it was busy")
		}
	}
}

// TestWatchOfAReplicaThatDoesNotTellItsRole: it need not be allowed to.
func TestWatchOfAReplicaThatDoesNotTellItsRole(t *testing.T) {
	t.Parallel()
	a, b := startServer(t), startServer(t)
	for _, s := range []*server{a, b} {
		s.do(t, "ACL", "SETUSER", "roleless", "on", ">secret", "~*", "+@all", "-role")
	}
	n := newName(t, a.addr)
	const lag = 500 * time.Millisecond
	backend := open(t, "redis://roleless:secret@"+n.addr, nil)
	watching(t, backend, lag)
	put(t, backend, "k", "old")
	kept := keepProved(t, backend, "k")
	b.do(t, "SET", "k", "new")
	n.now.Store(&b.addr)
	a.do(t, "REPLICAOF", "127.0.0.1", freePort(t)) // it never hears of what its master has
	ends(t, kept, lag)
	eventually(t, "the new master to vouch for copies", func() bool { return proved(backend, "k", "new") })
}

// TestWatchOfAMasterThatSentinelHasReplaced: the one that it has replaced goes on as a master,
// as one does that the sentinels cannot reach, and this process can.
func TestWatchOfAMasterThatSentinelHasReplaced(t *testing.T) {
	t.Parallel()
	const lag = 500 * time.Millisecond
	w := newSentinel(t, nil)
	w.servers[0].args = append(w.servers[0].args, "--rename-command", "SLAVEOF", "", "--rename-command", "REPLICAOF", "")
	w.start(t)
	b := open(t, w.url(), &redis.Options{Breaker: off})
	watching(t, b, lag)
	put(t, b, "k", "old")
	kept := keepProved(t, b, "k")
	w.sentinels[0].do(t, "SENTINEL", "FAILOVER", "mymaster")
	eventually(t, "the client to go to the new master", func() bool {
		_, is := b.Client().Nodes()[w.servers[1].addr]
		return is
	})
	w.servers[1].do(t, "SET", "k", "new")
	if role, err := w.servers[0].do(t, "ROLE").ToArray(); err != nil {
		t.Fatal(err)
	} else if is, _ := role[0].ToString(); is != "master" {
		t.Fatalf("the old master is a %s", is)
	}
	ends(t, kept, lag)
	eventually(t, "the new master to vouch for copies", func() bool { return proved(b, "k", "new") })
}

// TestWatchOfANodeWithoutItsCluster: a node that sees no majority serves nothing, since the
// others may have replaced it, and copies are no better.
func TestWatchOfANodeWithoutItsCluster(t *testing.T) {
	t.Parallel()
	const lag = 500 * time.Millisecond
	c := startCluster(t, nil)
	b := open(t, c.url(), &redis.Options{Breaker: off, Timeout: time.Second})
	watching(t, b, lag)
	key := ""
	for i := 0; redis.Slot(key)*3/16384 != 0 || key == ""; i++ {
		key = fmt.Sprint(i)
	}
	put(t, b, key, "old")
	kept := keepProved(t, b, key)
	for _, s := range c {
		s.do(t, "CONFIG", "SET", "cluster-node-timeout", "1000")
	}
	for _, s := range c[1:] {
		s.Stop(t)
		t.Cleanup(func() { s.Resume(t) })
	}
	own := c[0].client(t)
	eventually(t, "the node to serve nothing", func() bool {
		err := own.Do(context.Background(), own.B().Get().Key(key).Build()).Error()
		return err != nil && strings.HasPrefix(err.Error(), "CLUSTERDOWN")
	})
	ends(t, kept, lag)
	for _, s := range c[1:] {
		s.Resume(t)
	}
	eventually(t, "the node to vouch for copies again", func() bool { return proved(b, key, "old") })
}

// TestWatchWhileOtherSlotsMove: copies of keys that stay where they are stay right.
func TestWatchWhileOtherSlotsMove(t *testing.T) {
	t.Parallel()
	const lag = 200 * time.Millisecond
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: off})
	watching(t, b, lag)
	var third *server
	for _, s := range m.cluster {
		if s != m.from && s != m.to {
			third = s
		}
	}
	key := ""
	for i := 0; key == "" || m.cluster[redis.Slot(key)*3/16384] != third; i++ {
		key = fmt.Sprint(i)
	}
	put(t, b, key, "v")
	kept := keepProved(t, b, key)
	m.begin()
	m.end()
	at := third.client(t)
	eventually(t, "the move to get around", func() bool {
		err := at.Do(context.Background(), at.B().Arbitrary("GET", "{tag}").Build()).Error()
		return err != nil && strings.Contains(err.Error(), m.to.addr)
	})
	for until := time.Now().Add(5 * lag); time.Now().Before(until); backendtest.Pause(5 * time.Millisecond) {
		if kept.changed() {
			t.Fatal("the copy has ended")
		}
	}
}

// TestWatchWithTheCommandsThatAreDocumented: a user who is allowed them, and nothing else, has
// copies that are proved, and waits for leases without polling.
func TestWatchWithTheCommandsThatAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operating.md")
	ok(t, err)
	_, text, found := strings.Cut(string(page), "the user needs the commands ")
	text, _, _ = strings.Cut(text, "\n\n")
	if !found {
		t.Fatal("docs/operating.md does not tell the commands")
	}
	rules := []string{"ACL", "SETUSER", "frugal", "on", ">secret", "~*"}
	for _, name := range regexp.MustCompile(`[A-Z]{3,}( [A-Z]{3,})?`).FindAllString(text, -1) {
		if name != "ACL" {
			rules = append(rules, "+"+strings.ReplaceAll(strings.ToLower(name), " ", "|"))
		}
	}
	t.Log(rules)
	url := func(s *server) string { return "redis://frugal:secret@" + s.addr }
	s := startServer(t)
	s.do(t, rules...)
	c := startCluster(t, nil)
	for _, node := range c {
		node.do(t, rules...)
	}
	for name, b := range map[string]*redis.Backend{
		"one server": open(t, url(s), nil),
		"Cluster":    open(t, strings.Replace(url(c[0]), "redis:", "redis+cluster:", 1), nil),
	} {
		watching(t, b, time.Second)
		put(t, b, "k", "v")
		eventually(t, name+" to vouch for copies", func() bool { return proved(b, "k", "v") })
	}
}

// TestWatchTakesNoTimeFromOtherWays: a connection for announcements that hangs must not take
// all the time that a call has, nor some of it from each call.
func TestWatchTakesNoTimeFromOtherWays(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	g := newGate(t, s.addr)
	b := open(t, "redis://"+g.addr, &redis.Options{Breaker: off, Timeout: -1})
	watching(t, b, 8*time.Second)
	put(t, b, "k", "v")
	keepProved(t, b, "k")
	g.close()
	start := time.Now()
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		items := []driver.Item{{Key: "k", Keep: true}}
		if err := b.Get(ctx, items); err != nil || string(items[0].Data) != "v" {
			t.Errorf("call %d: Get = %q, %v", i, items[0].Data, err)
		}
		cancel()
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("20 calls took %v", took)
	}
	g.open()
	eventually(t, "copies to be vouched for again", func() bool { return proved(b, "k", "v") })
}

// TestWatchOfAKeyThatIsAbsentWhileItsSlotMoves: it is set on the other node, which has nothing
// announced on this one, and the slot is still here.
func TestWatchOfAKeyThatIsAbsentWhileItsSlotMoves(t *testing.T) {
	t.Parallel()
	const lag = 500 * time.Millisecond
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: off})
	watching(t, b, lag)
	put(t, b, "{tag}", "v")
	keepProved(t, b, "{tag}")
	absent := keep(t, b, "{tag}k")
	if absent.Data != nil {
		t.Fatalf("there is %q", absent.Data)
	}
	m.begin()
	put(t, open(t, m.url(), nil), "{tag}k", "new")
	ends(t, absent, lag)
	if c := keep(t, b, "{tag}k"); string(c.Data) != "new" {
		t.Errorf("then %q is read", c.Data)
	}
}

// TestWatchEndsWithItsBackend: it is not parallel, since it counts goroutines.
func TestWatchEndsWithItsBackend(t *testing.T) {
	s := startServer(t)
	goroutines := runtime.NumGoroutine()
	for range 8 {
		b, err := redis.Open(t.Context(), backendtest.Patient(s.URL()), nil)
		ok(t, err)
		for range 8 {
			stop, _ := b.Watch(100 * time.Millisecond)
			defer stop()
		}
		put(t, b, "k", "v")
		keepProved(t, b, "k")
		ok(t, b.Close())
		if stop, _ := b.Watch(time.Second); stop != nil {
			stop()
		}
	}
	eventually(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
}
