package redis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const secret = "geheim"
	for _, tt := range []struct{ url, want string }{
		{"redis://u:" + secret + "@h/x", "no database number"},
		{"redis://h/-1", "no database number"},
		{"redis://h/1?db=2", "another one than db"},
		{"redis://h?db=-2", `"db" is negative`},
		{"redis://h1,h2", "redis+cluster"},
		{"redis://h?timeout=soon", `"timeout" is neither a duration`},
		{"redis://h?timeout=-3", "Timeout (timeout) is -3s"},
		{"redis://h?lock_prefix={x}", "LockPrefix (lock_prefix) contains a brace"},
		{"redis://h?ca_file=/x", `"ca_file" is unknown`},
		{"rediss://h?ca_file=/nonexistent/x", "ca_file: open"},
		{"rediss://h?cert_file=/nonexistent/x", "go together"},
		{"redis://h?tiemout=1&breaker=maybe", `"tiemout" is unknown`},
		{"redis+sentinel://h", "names the master in its path"},
		{"redis+cluster://h/1", "no databases"},
		{"redis+unix://h/s", "the path of the socket and no host"},
		{"memory://", `"memory" is no scheme of this backend`},
	} {
		_, err := redis.Open(t.Context(), tt.url, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "dogpile: open ") || strings.Contains(err.Error(), secret) {
			t.Errorf("Open(%s) = %v, want %q in it", tt.url, err, tt.want)
		}
	}
}

func TestOpenOfAServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://u:geheim@", "redis+cluster://u:geheim@", "rediss://u:geheim@"} {
		_, err := redis.Open(t.Context(), url+"127.0.0.1:"+freePort(t), nil)
		if err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Open = %v", err)
		}
	}
}

func TestOpenOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // and nobody answers
	ok(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() { _, err := redis.Open(context.Background(), "redis://"+l.Addr().String(), nil); done <- err }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("Open succeeded")
		}
	case <-time.After(10 * time.Second): // the default is 1 s
		t.Error("Open hangs")
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.args = append(s.args, "--requirepass", "p@ss:%/", "--user", "ann", "on", ">secret", "~*", "+@all")
	s.start(t)
	for _, tt := range []struct {
		user string
		ok   bool
	}{{":p%40ss%3A%25%2F@", true}, {"ann:secret@", true}, {"", false}, {"ann:wrong@", false}} {
		b, err := redis.Open(t.Context(), "redis://"+tt.user+s.addr, nil)
		if err == nil {
			err = b.Get(t.Context(), []driver.Item{{Key: "k"}})
			b.Close()
		}
		if (err == nil) != tt.ok || err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("%q: %v", tt.user, err)
		}
	}
}

func TestDatabases(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	key := unique(t)
	for _, url := range []string{"redis://" + s.addr + "/5", "valkey://" + s.addr + "?db=5&client_name=me&connect_timeout=3&timeout=4s"} {
		b, err := driver.Open(t.Context(), url)
		ok(t, err)
		items := []driver.Item{{Key: key}}
		ok(t, b.Get(t.Context(), items))
		if items[0].Found() != strings.HasPrefix(url, "valkey") {
			t.Errorf("%s: found %v", url, items[0].Found())
		}
		ok(t, b.Set(t.Context(), []driver.Item{{Key: key, Data: []byte("v")}}))
		ok(t, driver.Close(b))
	}
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := sharedServer(t).client(t)
	if _, err := redis.New(nil, nil); err == nil {
		t.Error("a nil client was taken")
	}
	for _, o := range []*redis.Options{{Timeout: -2}, {LockPrefix: "}"}, {NoBreaker: true, Breaker: &proxy.BreakerOptions{}}} {
		if b, err := redis.New(c, o); err == nil || b != nil {
			t.Errorf("New(%+v) = %v, %v", o, b, err)
		}
	}
}

func TestServerThatHangsCostsNothingAfterAWhile(t *testing.T) {
	t.Parallel()
	// 1. The server stops.  2. Calls time out, until the breaker opens.  3. Calls
	// fail at once, without the network.  4. The server goes on.  5. So do calls.
	s := startServer(t)
	b := open(t, "redis://"+s.addr, &redis.Options{Timeout: 100 * time.Millisecond, Breaker: &proxy.BreakerOptions{Failures: 3, Rest: 500 * time.Millisecond}})
	get := func() error { return b.Get(t.Context(), []driver.Item{{Key: "k"}}) }
	ok(t, get())
	s.signal(t, stop)
	for i := range 3 {
		if err := get(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call %d of a server that hangs = %v", i, err)
		}
	}
	for range 100 {
		if err := get(); !errors.Is(err, proxy.ErrOpen) {
			t.Fatalf("Get while open = %v", err)
		}
	}
	if err := b.Delete(t.Context(), []string{"k"}); !errors.Is(err, proxy.ErrOpen) {
		t.Errorf("Delete while open = %v: it has to tell that it was not done", err)
	}
	s.signal(t, cont)
	eventually(t, "the breaker to close", func() bool { return get() == nil })
	ok(t, b.Delete(t.Context(), []string{"k"}))
}

func TestNewHasNoBreakerUnlessAsked(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := newNetwork(t, s.addr)
	for _, tt := range []struct {
		o    *redis.Options
		open bool
	}{{nil, false}, {&redis.Options{Breaker: &proxy.BreakerOptions{Failures: 1}}, true}} {
		n.mend()
		own := open(t, "redis://"+n.addr, nil)
		b, err := redis.New(own.Client(), tt.o)
		ok(t, err)
		n.cut()
		for range 20 {
			err = b.Get(t.Context(), []driver.Item{{Key: "k"}})
		}
		if err == nil || errors.Is(err, proxy.ErrOpen) != tt.open {
			t.Errorf("Options %+v: after many failures, Get = %v", tt.o, err)
		}
		ok(t, b.Close())
	}
}
