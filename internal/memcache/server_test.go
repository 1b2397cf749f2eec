package memcache_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// server is a memcached that a test has started, and that is stopped with it.
type server struct {
	addr string // as Client wants it
	args []string
	log  *bytes.Buffer
	cmd  *exec.Cmd
	done chan struct{}
}

// startServer starts a memcached with nothing in it.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &server{addr: "127.0.0.1:" + port}
	s.args = append([]string{"-l", "127.0.0.1", "-p", port, "-U", "0"}, args...)
	s.start(t)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	args := s.args
	if os.Getuid() == 0 {
		// Another user's process would not die with this one.
		args = append(slices.Clip(args), "-u", "root")
	}
	s.log = new(bytes.Buffer)
	s.cmd = exec.Command("/usr/bin/memcached", args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("memcached cannot be started: %v; apt-get install memcached", err)
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(s.kill)
	network, addr := "tcp", s.addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	eventually(t, "memcached to listen on "+s.addr, func() bool {
		select {
		case <-s.done:
			t.Fatalf("memcached %v ended:\n%s", args, s.log)
		default:
		}
		conn, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the process at once; it may be started again, empty.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > 60*time.Second {
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

// outliving starts what is stopped by TestMain, and not with the test that
// happened to need it first.
type outliving struct{ testing.TB }

var atExit []func()

func (o outliving) Cleanup(f func()) { atExit = append(atExit, f) }

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range atExit {
		f()
	}
	os.Exit(code)
}

// patient is how tests wait for a server on a machine that has other things to
// do.
const patient = 20 * time.Second

// newClient returns a client that is closed when the test ends. Timeouts that
// are not set are patient.
func newClient(t testing.TB, addr string, o memcache.Options) *memcache.Client {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patient
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = patient
	}
	c := memcache.New(addr, &o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return c
}

// do carries out ops and fails the test if that fails.
func do(t testing.TB, c *memcache.Client, ops ...memcache.Op) []memcache.Op {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patient)
	defer cancel()
	if err := c.Do(ctx, ops); err != nil {
		t.Fatal(err)
	}
	return ops
}
