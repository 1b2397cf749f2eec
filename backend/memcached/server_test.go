package memcached_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/fleettest"
	"github.com/dogpile-go/dogpile/proxy"
)

var (
	ok         = backendtest.OK
	eventually = backendtest.Eventually
	pause      = backendtest.Pause
	unique     = backendtest.Unique
	configured = backendtest.Region
	try        = backendtest.Set
	get        = backendtest.Value
	wantValue  = backendtest.WantValue
)

func TestMain(m *testing.M) {
	fleettest.Play()
	// Most tests wait, for memcached's clock, and keep no processor busy.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	backendtest.Main(m)
}

// hold takes the lease on key, which has to be free.
func hold(t testing.TB, b *memcached.Backend, key string, ttl time.Duration) driver.Lease {
	t.Helper()
	return backendtest.Hold(t, b, key, ttl)
}

// nobody is an address where nothing listens.
const nobody = "127.0.0.1:1"

// server is a memcached that these tests have started.
type server struct {
	*backendtest.Memcached
	db string // of its users, if it has SASL
}

// startServer starts a memcached that is stopped when the test ends. It takes
// values of 8 MiB unless args say otherwise.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	return &server{Memcached: backendtest.StartMemcached(t, append([]string{"-t", "2", "-I", "8m"}, args...)...)}
}

func (s *server) URL() string {
	if s.Network() == "unix" {
		return "memcached+unix://" + s.Addr()
	}
	return "memcached://" + s.Addr()
}

func (s *server) Flush(t testing.TB) { t.Helper(); s.dial(t).do("flush_all") }

func (s *server) Item(t testing.TB, name string) (value string, left time.Duration, found bool) {
	t.Helper()
	got := s.dial(t).do("mg " + name + " t v")
	if got[0] == "EN" {
		return "", 0, false
	}
	var size, secs int
	if _, err := fmt.Sscanf(got[0], "VA %d t%d", &size, &secs); err != nil {
		t.Fatalf("%s: %q", name, got)
	}
	return got[1], time.Duration(max(secs, 0)) * time.Second, true
}

// TakeAsPython does as python-memcached and pymemcache do.
func (s *server) TakeAsPython(t testing.TB, key string) string {
	t.Helper()
	s.dial(t).do("ms _lock"+key+" 1 F2", "1")
	return "1"
}

func (s *server) TookAndFreed(t testing.TB, key string) bool {
	t.Helper()
	l := s.dial(t)
	return l.stat("cmd_set") >= 1 && l.stat("delete_hits") >= 1 && !l.has("_lock"+key)
}

// line is a connection to a server, for looking at it and making things happen
// there.
type line struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (s *server) dial(t testing.TB) *line {
	t.Helper()
	conn, err := net.DialTimeout(s.Network(), s.Addr(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &line{t, conn, bufio.NewReader(conn)}
}

// do sends commands of the text protocol, and returns the lines of the answer.
func (l *line) do(commands ...string) []string {
	l.t.Helper()
	_ = l.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(l.conn, strings.Join(commands, "\r\n")+"\r\nmn\r\n"); err != nil {
		l.t.Fatal(err)
	}
	var answer []string
	for {
		text, err := l.in.ReadString('\n')
		if err != nil {
			l.t.Fatal(err)
		}
		if text = strings.TrimRight(text, "\r\n"); text == "MN" {
			return answer
		}
		answer = append(answer, text)
	}
}

// one is do of one command with an answer of one line.
func (l *line) one(command ...string) string {
	l.t.Helper()
	answer := l.do(command...)
	if len(answer) != 1 {
		l.t.Fatalf("%q: %q, want one line", command, answer)
	}
	return answer[0]
}

func (l *line) has(key string) bool { l.t.Helper(); return strings.HasPrefix(l.one("mg "+key), "HD") }

// stat returns a number of the server's statistics.
func (l *line) stat(name string) int {
	l.t.Helper()
	for _, text := range l.do("stats") {
		var n int
		if _, err := fmt.Sscanf(text, "STAT "+name+" %d", &n); err == nil {
			return n
		}
	}
	l.t.Fatalf("no statistic %s", name)
	return 0
}

// shared is a server for all tests that only use keys of their own.
var shared struct {
	sync.Once
	*server
}

func sharedServer(t testing.TB) *server {
	t.Helper()
	shared.Do(func() { shared.server = startServer(backendtest.Outliving(t)) })
	return shared.server
}

// patient returns o, or the zero Options, with time-outs for a machine that may
// be very busy.
func patient(o *memcached.Options) *memcached.Options {
	c := memcached.Options{}
	if o != nil {
		c = *o
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 20 * time.Second
	}
	return &c
}

// off is for tests that want to see each failure.
var off = &proxy.BreakerOptions{Off: true}

// open opens a backend that is patient unless o says otherwise, and is closed
// when the test ends.
func open(t testing.TB, url string, o *memcached.Options) *memcached.Backend {
	t.Helper()
	var b *memcached.Backend
	eventually(t, url+" to be opened", func() (opened bool) {
		var err error
		b, err = memcached.Open(context.Background(), url, patient(o))
		return err == nil
	})
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return b
}

// network is one between a backend and a server.
type network = backendtest.Network

// through returns a backend that reaches s by a network.
func through(t testing.TB, s *server, o *memcached.Options) (*memcached.Backend, *network) {
	t.Helper()
	n := backendtest.NewNetwork(t, s.Addr())
	return open(t, "memcached://"+n.Addr, o), n
}
