package ring_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache/ring"
)

// patience is how long a test waits for another process.
const patience = 2 * time.Minute

// packages names what to install for each program.
var packages = map[string]string{
	"memcached":        "memcached",
	"/usr/bin/python3": "python3-memcache python3-pylibmc python3-pymemcache",
}

func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", program, packages[program])
	}
	return path
}

// startServer starts a memcached that ends with the test, and returns its
// host:port.
func startServer(t *testing.T) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	// The server takes a port that is free and writes it there.
	portFile := filepath.Join(t.TempDir(), "port")
	var log bytes.Buffer
	cmd := exec.Command(need(t, "memcached"), "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-u", me.Username)
	cmd.Env = append(os.Environ(), "MEMCACHED_PORT_FILENAME="+portFile)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	deadline := time.After(patience)
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for {
		if written, err := os.ReadFile(portFile); err == nil {
			return "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(string(written), "TCP INET:"))
		}
		select {
		case <-ended:
			t.Fatalf("memcached ended:\n%s", &log)
		case <-deadline:
			t.Fatal("memcached does not say its port")
		case <-retry.C:
		}
	}
}

// python runs testdata/where.py and returns the lines that it printed.
func python(t *testing.T, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, need(t, "/usr/bin/python3"), append([]string{"testdata/where.py"}, args...)...)
	cmd.SysProcAttr = dieWithParent()
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("where.py %s: %v\n%s\nIt needs the packages %s", args, err, &log, packages["/usr/bin/python3"])
	}
	return strings.Fields(string(out))
}

// server is a connection to one memcached, for tests to see what is in it.
type server struct {
	conn net.Conn
	r    *bufio.Reader
}

func connect(t *testing.T, addr string) *server {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &server{conn, bufio.NewReader(conn)}
}

// ask sends a command and returns the reply without its end of line.
func (s *server) ask(t *testing.T, command string) string {
	t.Helper()
	if _, err := s.conn.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	line, err := s.r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// Python writes 1000 keys and each is where the ring says; each of 1000 others
// is written where the ring says, and Python finds it.
func TestPythonFindsKeysWhereTheRingPutsThem(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, hash string
		weights    []int
	}{
		{"ketama", "ketama", []int{1, 1, 1}},
		{"ketama with weights", "ketama", []int{1, 2, 5}},
		{"ketama_weighted", "ketama_weighted", []int{1, 1, 1}},
		{"ketama_weighted with weights", "ketama_weighted", []int{3, 2, 1}},
		{"modula", "modula", []int{1, 1, 1}},
		{"rendezvous", "rendezvous", []int{1, 1, 1}},
		{"crc32", "crc32", []int{1, 1, 1}},
		{"crc32 with weights", "crc32", []int{2, 1, 4}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var list []ring.Server
			var servers []*server
			args := []string{"set", tc.hash}
			for _, weight := range tc.weights {
				addr := startServer(t)
				servers = append(servers, connect(t, addr))
				list = append(list, ring.Server{Addr: addr, Weight: weight})
				args = append(args, fmt.Sprintf("%s*%d", addr, weight))
			}
			r, err := ring.New(tc.hash, list)
			if err != nil {
				t.Fatal(err)
			}
			python(t, args...)
			used := make(map[int]int)
			for i := range 1000 {
				key := fmt.Sprint("p", i)
				used[r.Pick(key)]++
				if got := servers[r.Pick(key)].ask(t, "mg "+key); got != "HD" {
					t.Fatalf("%s: the server that the ring says answers %q", key, got)
				}
				key = fmt.Sprint("g", i)
				if got := servers[r.Pick(key)].ask(t, "set "+key+" 0 0 7\r\nfrom Go"); got != "STORED" {
					t.Fatalf("set %s: %s", key, got)
				}
			}
			if len(used) != len(list) {
				t.Errorf("keys by server: %v; each should have some", used)
			}
			args[0] = "get"
			if missing := python(t, args...); len(missing) != 0 {
				t.Errorf("Python does not find %d keys: %.10q", len(missing), missing)
			}
		})
	}
}
