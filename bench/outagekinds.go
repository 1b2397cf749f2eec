package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/dogpile-go/dogpile/backend/memcached" // registers its URL schemes
	_ "github.com/dogpile-go/dogpile/backend/redis"     // registers its URL schemes
)

// outages are what operators are asked about, by kind of backend.
var outages = []outage{
	{"dies and is restarted empty", "Redis", oneRedis, killFirst, restartFirst},
	{"hangs", "Redis", oneRedis, stopFirst, resumeFirst},
	{"restarts empty within 50 ms", "Redis", oneRedis, bounceFirst, nil},
	{"is full (noeviction)", "Redis", oneRedis, fill, drain},
	{"master dies, Sentinel fails over", "Redis", sentinels, killFirst, nil},
	{"one shard of three dies and is restarted empty", "Cluster", cluster, killFirst, restartFirst},
	{"one shard of three hangs", "Cluster", cluster, stopFirst, resumeFirst},
	{"dies and is restarted", "memcached", memcacheds(1), killFirst, restartFirst},
	{"hangs", "memcached", memcacheds(1), stopFirst, resumeFirst},
	{"restarts within 50 ms", "memcached", memcacheds(1), bounceFirst, nil},
	{"one of four dies and is restarted", "memcached", memcacheds(4), killFirst, restartFirst},
	{"one of four hangs", "memcached", memcacheds(4), stopFirst, resumeFirst},
}

func oneRedis() (*installation, error) {
	s, err := startRedis()
	if err != nil {
		return nil, err
	}
	return &installation{url: "redis://" + s.addr, servers: []*server{s}}, nil
}

func memcacheds(n int) func() (*installation, error) {
	return func() (*installation, error) {
		in := new(installation)
		var hosts []string
		for range n {
			s, err := startMemcached()
			if err != nil {
				in.Close()
				return nil, err
			}
			in.servers, hosts = append(in.servers, s), append(hosts, s.addr)
		}
		in.url = "memcached://" + strings.Join(hosts, ",")
		return in, nil
	}
}

// redisWith starts a Redis server with arguments of its own.
func redisWith(more ...string) (*server, error) {
	return startServer("redis-server", "redis-server", func(host, port string) []string {
		args := []string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no"}
		for _, a := range more {
			args = append(args, strings.ReplaceAll(a, "$port", port))
		}
		return args
	})
}

// cluster starts three nodes that share the slots, without replicas. A node that was
// killed knows its slots again from its file of nodes.
func cluster() (in *installation, err error) {
	in = new(installation)
	if in.dir, err = os.MkdirTemp("", "dogpile-bench"); err != nil {
		return in, err
	}
	defer func() {
		if err != nil {
			in.Close()
		}
	}()
	var hosts, buses []string
	for i := range 3 {
		bus := freePort()
		s, err := redisWith("--cluster-enabled", "yes", "--cluster-port", bus, "--dir", in.dir,
			"--cluster-config-file", fmt.Sprint("nodes", i), "--cluster-node-timeout", "60000", "--cluster-require-full-coverage", "no")
		if err != nil {
			return in, err
		}
		in.servers, hosts, buses = append(in.servers, s), append(hosts, s.addr), append(buses, bus)
		if err := s.command(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*16384/3, (i+1)*16384/3-1)); err != nil {
			return in, err
		}
		if err := s.command(fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1)); err != nil {
			return in, err
		}
		if i > 0 {
			host, port, _ := net.SplitHostPort(in.servers[0].addr)
			if err := s.command("CLUSTER MEET " + host + " " + port + " " + buses[0]); err != nil {
				return in, err
			}
		}
	}
	in.url = "redis+cluster://" + strings.Join(hosts, ",")
	return in, in.servers[2].says("CLUSTER INFO", "cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3")
}

// sentinels starts a master with a replica, and three sentinels that watch it.
func sentinels() (in *installation, err error) {
	in = new(installation)
	if in.dir, err = os.MkdirTemp("", "dogpile-bench"); err != nil {
		return in, err
	}
	defer func() {
		if err != nil {
			in.Close()
		}
	}()
	for range 2 {
		s, err := redisWith("--dir", in.dir) // a replica writes what it gets into a file
		if err != nil {
			return in, err
		}
		in.servers = append(in.servers, s)
	}
	host, port, _ := net.SplitHostPort(in.servers[0].addr)
	if err := in.servers[1].command("REPLICAOF " + host + " " + port); err != nil {
		return in, err
	}
	if err := in.servers[1].says("INFO replication", "master_link_status:up"); err != nil {
		return in, err
	}
	var hosts []string
	for range 3 {
		s, err := startServer("redis-sentinel", "redis-sentinel", func(host, own string) []string {
			conf, _ := os.CreateTemp(in.dir, "sentinel") // Sentinel writes to it
			fmt.Fprintf(conf, "bind %s\nport %s\nsentinel monitor mymaster %s %s 2\nsentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n",
				host, own, host, port)
			conf.Close()
			return []string{conf.Name()}
		})
		if err != nil {
			return in, err
		}
		in.servers, hosts = append(in.servers, s), append(hosts, s.addr)
	}
	in.url = "redis+sentinel://" + strings.Join(hosts, ",") + "/mymaster/0"
	for _, s := range in.servers[2:] {
		if err := s.says("SENTINEL MASTER mymaster", "num-slaves\r\n$1\r\n1", "num-other-sentinels\r\n$1\r\n2"); err != nil {
			return in, err
		}
	}
	return in, nil
}

func freePort() string {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			continue
		}
		l.Close()
		return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
}

func killFirst(in *installation) error { in.servers[0].Close(); return nil }

func stopFirst(in *installation) error {
	return in.servers[0].cmd.Process.Signal(syscall.SIGSTOP)
}

func resumeFirst(in *installation) error {
	return in.servers[0].cmd.Process.Signal(syscall.SIGCONT)
}

func restartFirst(in *installation) error { return in.servers[0].restart() }

func bounceFirst(in *installation) error {
	in.servers[0].Close()
	time.Sleep(50 * time.Millisecond)
	return in.servers[0].restart()
}

// fill leaves a Redis server no memory for anything new, and takes away what is cached.
func fill(in *installation) error {
	s := in.servers[0]
	for _, c := range []string{"CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1", "FLUSHALL"} {
		if err := s.command(c); err != nil {
			return err
		}
	}
	return nil
}

func drain(in *installation) error { return in.servers[0].command("CONFIG SET maxmemory 0") }

// restart starts a server that was closed, on the port that it had.
func (s *server) restart() error {
	again := exec.Command(s.cmd.Path, s.cmd.Args[1:]...)
	again.SysProcAttr = dieWithParent()
	if err := again.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.cmd, s.ended = again, ended
	go func() {
		defer close(ended)
		again.Wait()
	}()
	return s.listens()
}

// command sends a command to a Redis server, whose answer must be no error.
func (s *server) command(words string) error {
	answer, err := s.ask(words)
	if err == nil && strings.HasPrefix(answer, "-") {
		err = fmt.Errorf("%s: %s", words, answer)
	}
	return err
}

// says asks until the answer contains all of want.
func (s *server) says(words string, want ...string) error {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		answer, err := s.ask(words)
		missing := ""
		for _, w := range want {
			if !strings.Contains(answer, w) {
				missing = w
			}
		}
		if missing == "" {
			return nil
		}
		if time.Since(start) > patience {
			return fmt.Errorf("%s: %q does not contain %q: %w", words, answer, missing, err)
		}
	}
}

// ask sends an inline command to a Redis server and returns what comes back, up to
// the end of the connection.
func (s *server) ask(words string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "%s\r\nQUIT\r\n", words)
	var all strings.Builder
	_, err = bufio.NewReader(conn).WriteTo(&all)
	return all.String(), err
}
