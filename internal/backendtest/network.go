//go:build unix

package backendtest

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Network is a TCP proxy between a backend and a server. It counts round trips,
// can be cut, can be slow, can hold commands up, can lose answers, and can leave connections
// half-open.
type Network struct {
	Addr  string       // where to connect to
	Trips atomic.Int64 // round trips
	Deaf  atomic.Bool  // answers are lost, and the connection with them

	target string
	before atomic.Pointer[func(commands string)] // called with what is about to be sent

	mu    sync.Mutex
	lines []int64 // see Expect
	since int64   // trips before
	down  bool
	conns map[net.Conn]bool
	ways  map[*way]bool
	slow  map[*slow]bool
}

// NewNetwork returns a network to the server at target, which lasts until the
// test ends.
func NewNetwork(t testing.TB, target string) *Network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	OK(t, err)
	n := &Network{Addr: l.Addr().String(), target: target, conns: map[net.Conn]bool{}, ways: map[*way]bool{}, slow: map[*slow]bool{}}
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
		n.Cut()
		all.Wait()
	})
	return n
}

// carry takes bytes to and fro. What goes to the server after an answer has
// come from it is another round trip.
func (n *Network) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", n.target)
	if err != nil || !n.enter(client, server) {
		return
	}
	defer server.Close()
	w := &way{client: client, server: server}
	n.add(w)
	defer n.remove(w)
	var answered atomic.Bool
	var lines atomic.Int64 // of this trip
	answered.Store(true)
	go func() {
		defer func() {
			if !w.isHalf() {
				client.Close()
			}
		}()
		buf := make([]byte, 1<<20)
		for {
			k, err := server.Read(buf)
			n.await(w)
			for err == nil && lines.Load() < n.expected() {
				Pause(time.Millisecond)
			}
			if err != nil || n.Deaf.Load() {
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
			w.note(commands)
			if f := n.before.Load(); f != nil {
				(*f)(commands)
			}
			if answered.Swap(false) {
				n.Trips.Add(1)
				lines.Store(0)
			}
			lines.Add(int64(strings.Count(commands, "\n")))
			if _, err := server.Write(buf[:k]); err != nil && !w.isHalf() {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Expect says how many lines each of the next round trips is to have, at least.
// An answer is held back until its trip has as many, so that a batch that is
// sent in pieces counts once.
func (n *Network) Expect(lines []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines, n.since = lines, n.Trips.Load()
}

func (n *Network) expected() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if trip := n.Trips.Load() - n.since - 1; trip >= 0 && trip < int64(len(n.lines)) {
		return n.lines[trip]
	}
	return 0
}

func (n *Network) enter(conns ...net.Conn) bool {
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

// Cut ends all connections and lets none come about.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

// Mend ends Cut.
func (n *Network) Mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// Once calls f, once, before commands with text in them are sent.
func (n *Network) Once(text string, f func()) {
	var done atomic.Bool
	hook := func(commands string) {
		if strings.Contains(commands, text) && !done.Swap(true) {
			f()
		}
	}
	n.before.Store(&hook)
}
