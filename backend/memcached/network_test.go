package memcached_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
)

// network is a TCP proxy between a backend and a server. It counts round trips,
// can be cut, can hold commands up and can lose answers.
type network struct {
	addr   string
	target string
	trips  atomic.Int64
	deaf   atomic.Bool                           // answers are lost, and the connection with them
	before atomic.Pointer[func(commands string)] // called with what is about to be sent

	mu    sync.Mutex
	lines []int64 // see expect
	since int64   // trips before
	down  bool
	conns map[net.Conn]bool
}

func newNetwork(t testing.TB, target string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{addr: l.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { n.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.cut()
		all.Wait()
	})
	return n
}

// carry takes bytes to and fro. What goes to the server after an answer has
// come from it is another round trip. The answer is held back until as many lines
// have been sent as the trip is to have, so that it does not matter how a batch
// is cut to pieces.
func (n *network) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", n.target)
	if err != nil || !n.enter(client, server) {
		return
	}
	defer server.Close()
	var answered atomic.Bool
	var lines atomic.Int64 // of this trip
	answered.Store(true)
	go func() {
		defer client.Close()
		buf := make([]byte, 1<<20)
		for {
			k, err := server.Read(buf)
			for err == nil && lines.Load() < n.expected() {
				pause(time.Millisecond)
			}
			if err != nil || n.deaf.Load() {
				return
			}
			answered.Store(true)
			if _, err := client.Write(buf[:k]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<20)
	for {
		k, err := client.Read(buf)
		if k > 0 {
			commands := string(buf[:k])
			if f := n.before.Load(); f != nil {
				(*f)(commands)
			}
			if answered.Swap(false) {
				n.trips.Add(1)
				lines.Store(0)
			}
			lines.Add(int64(strings.Count(commands, "\n")))
			if _, err := server.Write(buf[:k]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// expect says how many lines each of the next round trips is to have, at least.
func (n *network) expect(lines []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines, n.since = lines, n.trips.Load()
}

func (n *network) expected() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if trip := n.trips.Load() - n.since - 1; trip >= 0 && trip < int64(len(n.lines)) {
		return n.lines[trip]
	}
	return 0
}

func (n *network) enter(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range conns {
		if n.down {
			c.Close()
		} else {
			n.conns[c] = true
		}
	}
	return !n.down
}

// cut ends all connections and lets none come about.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// once calls f, once, before commands with text in them are sent.
func (n *network) once(text string, f func()) {
	var done atomic.Bool
	hook := func(commands string) {
		if strings.Contains(commands, text) && !done.Swap(true) {
			f()
		}
	}
	n.before.Store(&hook)
}

// through returns a backend that reaches s by a network.
func through(t testing.TB, s *server, o *memcached.Options) (*memcached.Backend, *network) {
	t.Helper()
	n := newNetwork(t, s.addr)
	return open(t, "memcached://"+n.addr, o), n
}
