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
// come from it is another round trip. Answers are held back until nothing has
// been sent for a while, so that a batch that is written in pieces is one.
func (n *network) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", n.target)
	if err != nil || !n.enter(client, server) {
		return
	}
	defer server.Close()
	var answered, sent atomic.Int64
	answered.Store(1)
	go func() {
		defer client.Close()
		buf := make([]byte, 1<<20)
		for {
			k, err := server.Read(buf)
			for before := int64(-1); before != sent.Load(); {
				before = sent.Load()
				if before > 1 {
					pause(50 * time.Millisecond)
				}
			}
			sent.Store(0)
			answered.Store(1)
			if n.deaf.Load() {
				return
			}
			if k > 0 {
				if _, err := client.Write(buf[:k]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<20)
	for {
		k, err := client.Read(buf)
		if k > 0 {
			if f := n.before.Load(); f != nil {
				(*f)(string(buf[:k]))
			}
			n.trips.Add(answered.Swap(0))
			sent.Add(1)
			if _, err := server.Write(buf[:k]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
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
