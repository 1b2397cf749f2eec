package ring_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache/ring"
)

// patience is how long a test waits for another process.
const patience = 2 * time.Minute

// python runs testdata/where.py and returns the lines that it printed.
func python(t *testing.T, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, backendtest.Need(t, "/usr/bin/python3"), append([]string{"testdata/where.py"}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("where.py %s: %v\n%s", args, err, &log)
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
				addr := backendtest.StartMemcached(t).Addr()
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
