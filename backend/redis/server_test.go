package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

var (
	ok         = backendtest.OK
	eventually = backendtest.Eventually
	pause      = backendtest.Pause
	unique     = backendtest.Unique
	made       = backendtest.Made
	configured = backendtest.Region
	freePort   = backendtest.FreePort
)

func TestMain(m *testing.M) { backendtest.Main(m) }

// kind is what these tests share with those of other backends over servers.
var kind = backendtest.Kind{
	Name:   "redis",
	Start:  func(t testing.TB) backendtest.Server { return startServer(t) },
	Shared: func(t testing.TB) backendtest.Server { return sharedServer(t) },
	Python: true,
}

// server is a redis-server, or another program that speaks its protocol.
type server struct {
	backendtest.Process
	addr string // host:port
	port string
	dir  string
	bin  string
	args []string
	id   *backendtest.Identity // nil: no TLS
}

// startServer starts a redis-server with nothing in it, which is stopped when
// the test ends.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := newServer(t, args...)
	s.Start(t)
	return s
}

func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	port := freePort(t)
	s := &server{addr: "127.0.0.1:" + port, port: port, dir: t.TempDir(), bin: "redis-server"}
	s.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir}, args...)
	s.Command = func() []string { return append([]string{s.bin}, s.args...) }
	s.Ready = func() bool {
		ready := listens("tcp", s.addr)
		// It listens on a socket after it does on the port.
		if i := slices.Index(s.args, "--unixsocket"); ready && i >= 0 {
			ready = listens("unix", s.args[i+1])
		}
		return ready
	}
	t.Cleanup(s.Kill)
	return s
}

func listens(network, addr string) bool {
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// secure makes a server that has not been started speak nothing but TLS, and ask
// its clients for certificates.
func (s *server) secure(id *backendtest.Identity, more ...string) {
	if s.id = id; id != nil {
		s.args = append(s.args, "--port", "0", "--tls-port", s.port, "--tls-cert-file", id.Cert, "--tls-key-file", id.Key, "--tls-ca-cert-file", id.CA)
		s.args = append(s.args, more...)
	}
}

func (s *server) URL() string  { return "redis://" + s.addr }
func (s *server) Addr() string { return s.addr }

func (s *server) Flush(t testing.TB) { t.Helper(); s.do(t, "FLUSHALL") }

func (s *server) Item(t testing.TB, name string) (value string, left time.Duration, found bool) {
	t.Helper()
	c := s.client(t)
	value, err := do(t, c, "GET", name).ToString()
	if rueidis.IsRedisNil(err) {
		return "", 0, false
	}
	ok(t, err)
	ms, err := do(t, c, "PTTL", name).AsInt64()
	ok(t, err)
	return value, time.Duration(max(ms, 0)) * time.Millisecond, true
}

func (s *server) TakeAsPython(t testing.TB, key string) string {
	t.Helper()
	token := strings.Repeat("0123456789abcdef", 2)
	s.do(t, "SET", "_lock"+key, token)
	return token
}

func (s *server) TookAndFreed(t testing.TB, key string) bool {
	t.Helper()
	c := s.client(t)
	left, err := do(t, c, "EXISTS", "_lock"+key).AsInt64()
	return err == nil && left == 0 && calls(t, c, "evalsha")+calls(t, c, "eval") >= 2
}

// client returns a client for looking at the server and making things happen
// there.
func (s *server) client(t testing.TB) rueidis.Client {
	t.Helper()
	return newClient(t, rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true, TLSConfig: s.id.Config(t)})
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

// calls returns how often a server has run a command.
func calls(t testing.TB, c rueidis.Client, command string) int {
	t.Helper()
	info, err := do(t, c, "INFO", "commandstats").ToString()
	ok(t, err)
	m := regexp.MustCompile(`cmdstat_` + command + `:calls=(\d+)`).FindStringSubmatch(info)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
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

// off is for tests that want to see each failure.
var off = &proxy.BreakerOptions{Off: true}

// patience is the time-out of backends whose servers are believed to answer, on a
// machine that may be very busy. A server that is asked in vain whether it speaks TLS
// costs a quarter of it.
const patience = 10 * time.Second

// open opens a backend that is patient unless o or url says otherwise, and is closed
// when the test ends.
func open(t testing.TB, url string, o *redis.Options) *redis.Backend {
	t.Helper()
	if !strings.Contains(url, "connect_timeout=") {
		url = backendtest.WithArgs(url, "connect_timeout="+patience.String())
	}
	own := redis.Options{}
	if o != nil {
		own = *o
	}
	if own.Timeout == 0 && !strings.Contains(url, "?timeout=") && !strings.Contains(url, "&timeout=") {
		own.Timeout = patience
	}
	b, err := redis.Open(context.Background(), url, &own)
	ok(t, err)
	t.Cleanup(func() { ok(t, b.Close()) })
	return b
}

// cluster is three nodes that share the slots, without replicas. None of them is taken
// for dead because it was stopped, or because the machine was, for a while; see buries.
type cluster []*server

func startCluster(t testing.TB, id *backendtest.Identity) cluster {
	t.Helper()
	c := newCluster(t, id)
	c.start(t)
	return c
}

func newCluster(t testing.TB, id *backendtest.Identity) (c cluster) {
	t.Helper()
	for range 3 {
		s := newServer(t)
		s.secure(id, "--tls-cluster", "yes")
		s.args = append(s.args, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "60000")
		c = append(c, s)
	}
	return c
}

func (c cluster) start(t testing.TB) {
	t.Helper()
	for _, s := range c {
		s.Start(t)
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
}

// buries has the nodes take one for dead, and the Cluster for down, that has not answered
// for two seconds.
func (c cluster) buries(t testing.TB) {
	t.Helper()
	for _, s := range c {
		s.do(t, "CONFIG", "SET", "cluster-node-timeout", "2000")
	}
}

func (c cluster) hosts() string {
	var hosts []string
	for _, s := range c {
		hosts = append(hosts, s.addr)
	}
	return strings.Join(hosts, ",")
}

func (c cluster) url() string { return "redis+cluster://" + c.hosts() }

// watched is a master and a replica that three sentinels watch. They leave both as they
// are when the machine stands still; see replaces.
type watched struct {
	servers   [2]*server
	sentinels []*server
}

func startSentinel(t testing.TB, id *backendtest.Identity) *watched {
	t.Helper()
	w := newSentinel(t, id)
	w.start(t)
	return w
}

func newSentinel(t testing.TB, id *backendtest.Identity) *watched {
	t.Helper()
	w := new(watched)
	for i := range w.servers {
		s := newServer(t)
		s.secure(id, "--tls-replication", "yes")
		if i > 0 {
			s.args = append(s.args, "--replicaof", "127.0.0.1", w.servers[0].port)
		}
		w.servers[i] = s
	}
	for range 3 {
		s := newServer(t)
		s.bin = "redis-sentinel"
		s.secure(id, "--tls-replication", "yes")
		conf := filepath.Join(s.dir, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor mymaster 127.0.0.1 %s 2\n"+
			"sentinel down-after-milliseconds mymaster 60000\nsentinel failover-timeout mymaster 2000\n", w.servers[0].port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = append([]string{conf}, s.args...)
		w.sentinels = append(w.sentinels, s)
	}
	return w
}

func (w *watched) start(t testing.TB) {
	t.Helper()
	for _, s := range append(w.servers[:], w.sentinels...) {
		s.Start(t)
	}
	for _, s := range w.sentinels {
		client := s.client(t)
		eventually(t, "the sentinels to know each other and the replica", func() bool {
			info, err := do(t, client, "SENTINEL", "MASTER", "mymaster").AsStrMap()
			return err == nil && info["num-other-sentinels"] == "2" && info["num-slaves"] == "1" && info["flags"] == "master"
		})
	}
}

// replaces has the sentinels replace a master that has not answered for half a second.
func (w *watched) replaces(t testing.TB) {
	t.Helper()
	for _, s := range w.sentinels {
		s.do(t, "SENTINEL", "SET", "mymaster", "down-after-milliseconds", "500")
	}
}

func (w *watched) url() string { return "redis+sentinel://" + w.hosts() + "/mymaster/0" }

func (w *watched) hosts() string {
	var hosts []string
	for _, s := range w.sentinels {
		hosts = append(hosts, s.addr)
	}
	return strings.Join(hosts, ",")
}
