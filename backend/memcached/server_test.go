package memcached_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// server is a memcached that these tests have started, and stop.
type server struct {
	addr     string // host:port, or the path of a socket
	args     []string
	env      []string
	portFile string
	log      *bytes.Buffer
	cmd      *exec.Cmd
	done     chan struct{}
}

// packages names what to install for each program.
var packages = map[string]string{
	"memcached":             "memcached",
	"openssl":               "openssl",
	"/usr/sbin/saslpasswd2": "sasl2-bin libsasl2-modules libsasl2-modules-db",
	"/usr/bin/python3":      "python3-dogpile.cache python3-memcache python3-pylibmc python3-pymemcache",
}

// need returns the path of a program, and fails the test if it is missing: a
// test that skips proves nothing.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", program, packages[program])
	}
	return path
}

// nobody is an address where nothing listens.
const nobody = "127.0.0.1:1"

// startServer starts a memcached that is stopped when the test ends.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := newServer(t, args...)
	s.start(t)
	return s
}

// newServer returns one that is not started yet. It takes values of 8 MiB.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{log: new(bytes.Buffer), portFile: filepath.Join(t.TempDir(), "port")}
	s.args = append([]string{"-t", "2", "-I", "8m"}, args...)
	if os.Geteuid() == 0 {
		s.args = append(s.args, "-u", "root")
	}
	t.Cleanup(s.kill)
	return s
}

// network is what s.addr is dialled on.
func (s *server) network() string {
	if strings.HasPrefix(s.addr, "/") {
		return "unix"
	}
	return "tcp"
}

// start starts the server on a port that is free, or where it was before.
func (s *server) start(t testing.TB) {
	t.Helper()
	eventually(t, "memcached to be started", func() bool { return s.run(t) })
}

// run reports whether the process, once started, has found its port free.
func (s *server) run(t testing.TB) bool {
	t.Helper()
	args, again := s.args, s.addr != ""
	switch {
	case s.network() == "unix":
		args = append([]string{"-s", s.addr}, args...)
	case again:
		_, port, _ := net.SplitHostPort(s.addr)
		args = append([]string{"-l", "127.0.0.1", "-p", port}, args...)
	default:
		args = append([]string{"-l", "127.0.0.1", "-p", "-1"}, args...)
	}
	_ = os.Remove(s.portFile)
	s.cmd = exec.Command(need(t, "memcached"), args...)
	s.cmd.Env = append(append(os.Environ(), "MEMCACHED_PORT_FILENAME="+s.portFile), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait()
	}()
	ended := false
	eventually(t, "memcached to listen", func() bool {
		select {
		case <-s.done:
			if !again {
				t.Fatalf("memcached %v ended:\n%s", args, s.log)
			}
			ended = true
			return true
		default:
		}
		if s.network() == "tcp" {
			said, err := os.ReadFile(s.portFile)
			if err != nil {
				return false
			}
			s.addr = "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(string(said), "TCP INET:"))
		}
		conn, err := net.DialTimeout(s.network(), s.addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return !ended
}

// kill ends the process at once; it may be started again, empty.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

// stop stops the process until resume; when it returns, no thread of it runs.
func (s *server) stop(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	threads := fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid)
	eventually(t, "the server to stop", func() bool {
		files, _ := filepath.Glob(threads)
		for _, file := range files {
			stat, err := os.ReadFile(file)
			if _, state, found := strings.Cut(string(stat), ") "); err != nil || !found || state[0] != 'T' {
				return false
			}
		}
		return true
	})
}

func (s *server) resume(t testing.TB) { t.Helper(); s.signal(t, syscall.SIGCONT) }

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
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
	conn, err := net.DialTimeout(s.network(), s.addr, 10*time.Second)
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

// eventually waits for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("waited in vain for %s", what)
		}
		pause(5 * time.Millisecond)
	}
}

// pause lets real time pass, for the programs outside.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// shared is a server for all tests that only use keys of their own.
var shared struct {
	sync.Once
	*server
}

func sharedServer(t testing.TB) *server {
	t.Helper()
	shared.Do(func() { shared.server = startServer(outliving{t}) })
	return shared.server
}

// outliving starts things that are stopped by TestMain and not with the test
// that happened to need them first.
type outliving struct{ testing.TB }

var atExit []func()

func (o outliving) Cleanup(f func()) { atExit = append(atExit, f) }

func (o outliving) TempDir() string {
	dir, err := os.MkdirTemp("", "dogpile-memcached")
	if err != nil {
		o.Fatal(err)
	}
	atExit = append(atExit, func() { os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	fleettest.Play()
	// Most tests wait, for memcached's clock, and keep no processor busy.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	code := m.Run()
	for i := len(atExit) - 1; i >= 0; i-- {
		atExit[i]()
	}
	os.Exit(code)
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

// configured returns a region over b.
func configured(t testing.TB, name string, b driver.Backend, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	r := dogpile.NewRegion(name)
	if err := r.Configure(b, o); err != nil {
		t.Fatal(err)
	}
	return r
}

// unique returns a key that no other run of a test uses on a shared server.
func unique(t testing.TB) string {
	return strings.NewReplacer("/", ".", " ", "-").Replace(t.Name()) + rand.Text()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// try returns what became of a Set of one item.
func try(ctx context.Context, b driver.Backend, it driver.Item) error {
	items := []driver.Item{it}
	if err := b.Set(ctx, items); err != nil {
		return err
	}
	return items[0].Err
}

// get returns what is under key, "(none)" for nothing.
func get(t testing.TB, b driver.Backend, key string) string {
	t.Helper()
	items := []driver.Item{{Key: key}}
	ok(t, b.Get(t.Context(), items))
	ok(t, items[0].Err)
	if !items[0].Found() {
		return "(none)"
	}
	return string(items[0].Data)
}

func wantValue(t testing.TB, b driver.Backend, key, want string) {
	t.Helper()
	if got := get(t, b, key); got != want {
		t.Errorf("%s = %q, want %q", key, got, want)
	}
}

// hold takes the lease on key.
func hold(t testing.TB, b *memcached.Backend, key string, ttl time.Duration) driver.Lease {
	t.Helper()
	l, err := b.TryLock(t.Context(), key, ttl)
	ok(t, err)
	if l == nil {
		t.Fatalf("the lease on %s is not free", key)
	}
	return l
}

// certificates makes a CA and a certificate for 127.0.0.1 that it has signed,
// in files.
func certificates(t testing.TB) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	ca, cert, key = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "s.crt"), filepath.Join(dir, "s.key")
	ext := filepath.Join(dir, "ext")
	err := os.WriteFile(ext, []byte("subjectAltName=IP:127.0.0.1,DNS:localhost"), 0o600)
	for _, args := range [][]string{
		{"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca", "-keyout", filepath.Join(dir, "ca.key"), "-out", ca},
		{"req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", key, "-out", filepath.Join(dir, "s.csr")},
		{"x509", "-req", "-in", filepath.Join(dir, "s.csr"), "-CA", ca, "-CAkey", filepath.Join(dir, "ca.key"), "-CAcreateserial", "-days", "2", "-extfile", ext, "-out", cert},
	} {
		out, e := exec.Command(need(t, "openssl"), args...).CombinedOutput()
		if e != nil {
			err = errors.Join(err, fmt.Errorf("openssl %v: %w\n%s", args, e, out))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return ca, cert, key
}
