package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// server is a process that these tests have started, and stop.
type server struct {
	addr string // host:port
	port string
	dir  string
	bin  string
	args []string
	log  *bytes.Buffer
	id   *identity // nil: no TLS
	cmd  *exec.Cmd
	done chan struct{}
}

// packages names what to install for each program.
var packages = map[string]string{
	"redis-server":     "redis-server",
	"redis-sentinel":   "redis-sentinel",
	"openssl":          "openssl",
	"/usr/bin/python3": "python3-dogpile.cache python3-redis",
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

// freePort returns a port of the loopback interface that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// startServer starts a redis-server with nothing in it, which is stopped when
// the test ends.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := newServer(t, args...)
	s.start(t)
	return s
}

func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	port := freePort(t)
	s := &server{addr: "127.0.0.1:" + port, port: port, dir: t.TempDir(), bin: need(t, "redis-server"), log: new(bytes.Buffer)}
	s.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir}, args...)
	t.Cleanup(s.kill)
	return s
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.bin, s.args...)
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
	eventually(t, s.bin+" to listen on "+s.addr, func() bool {
		select {
		case <-s.done:
			t.Fatalf("%s %v ended:\n%s", s.bin, s.args, s.log)
		default:
		}
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the process at once; it may be started again, empty.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

const (
	stop = syscall.SIGSTOP
	cont = syscall.SIGCONT
)

// client returns a client for looking at the server and making things happen
// there.
func (s *server) client(t testing.TB) rueidis.Client {
	t.Helper()
	return newClient(t, rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true, TLSConfig: s.id.config(t)})
}

func newClient(t testing.TB, o rueidis.ClientOption) rueidis.Client {
	t.Helper()
	var c rueidis.Client
	eventually(t, "a connection to "+strings.Join(o.InitAddress, ","), func() bool {
		var err error
		c, err = rueidis.NewClient(o)
		if err != nil && c != nil {
			c.Close()
		}
		return err == nil
	})
	t.Cleanup(c.Close)
	return c
}

func (s *server) do(t testing.TB, words ...string) rueidis.RedisResult {
	t.Helper()
	return do(t, s.client(t), words...)
}

func do(t testing.TB, c rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res := c.Do(ctx, c.B().Arbitrary(words...).Build())
	if err := res.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%v: %v", words, err)
	}
	return res
}

// eventually waits for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > 30*time.Second {
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
	dir, err := os.MkdirTemp("", "dogpile-redis")
	if err != nil {
		o.Fatal(err)
	}
	atExit = append(atExit, func() { os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	fleettest.Play()
	code := m.Run()
	for i := len(atExit) - 1; i >= 0; i-- {
		atExit[i]()
	}
	os.Exit(code)
}

// open opens a backend that is closed when the test ends.
func open(t testing.TB, url string, o *redis.Options) *redis.Backend {
	t.Helper()
	b, err := redis.Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return b
}

// cluster is three nodes that share the slots, without replicas.
type cluster []*server

func startCluster(t testing.TB, id *identity) cluster {
	t.Helper()
	var c cluster
	for range 3 {
		s := newServer(t)
		s.secure(id, "--tls-cluster", "yes")
		s.args = append(s.args, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "2000")
		s.start(t)
		c = append(c, s)
	}
	for i, s := range c {
		from, to := i*16384/3, (i+1)*16384/3-1
		s.do(t, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from), fmt.Sprint(to))
		s.do(t, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		if i > 0 {
			bus := c[0].args[len(c[0].args)-3]
			s.do(t, "CLUSTER", "MEET", "127.0.0.1", c[0].port, bus)
		}
	}
	for _, s := range c {
		client := s.client(t)
		eventually(t, "the cluster to form", func() bool {
			info, err := do(t, client, "CLUSTER", "INFO").ToString()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return c
}

func (c cluster) hosts() string {
	var hosts []string
	for _, s := range c {
		hosts = append(hosts, s.addr)
	}
	return strings.Join(hosts, ",")
}

func (c cluster) url() string { return "redis+cluster://" + c.hosts() }

// watched is a master and a replica that three sentinels watch.
type watched struct {
	servers   [2]*server
	sentinels []*server
}

func startSentinel(t testing.TB, id *identity) *watched {
	t.Helper()
	w := new(watched)
	for i := range w.servers {
		s := newServer(t)
		s.secure(id, "--tls-replication", "yes")
		if i > 0 {
			s.args = append(s.args, "--replicaof", "127.0.0.1", w.servers[0].port)
		}
		s.start(t)
		w.servers[i] = s
	}
	for range 3 {
		s := newServer(t)
		s.bin = need(t, "redis-sentinel")
		s.secure(id, "--tls-replication", "yes")
		conf := filepath.Join(s.dir, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor mymaster 127.0.0.1 %s 2\n"+
			"sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 2000\n", w.servers[0].port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = append([]string{conf}, s.args...)
		s.start(t)
		w.sentinels = append(w.sentinels, s)
	}
	for _, s := range w.sentinels {
		client := s.client(t)
		eventually(t, "the sentinels to know each other and the replica", func() bool {
			info, err := do(t, client, "SENTINEL", "MASTER", "mymaster").AsStrMap()
			return err == nil && info["num-other-sentinels"] == "2" && info["num-slaves"] == "1" && info["flags"] == "master"
		})
	}
	return w
}

func (w *watched) url() string { return "redis+sentinel://" + w.hosts() + "/mymaster/0" }

func (w *watched) hosts() string {
	var hosts []string
	for _, s := range w.sentinels {
		hosts = append(hosts, s.addr)
	}
	return strings.Join(hosts, ",")
}
