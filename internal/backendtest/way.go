//go:build unix

package backendtest

import (
	"net"
	"strings"
	"sync"
	"time"
)

// way is a connection through a network.
type way struct {
	client, server net.Conn

	mu   sync.Mutex
	said string // what the client has sent first, in capitals
	half bool   // the client does not learn that the server's end is closed
}

// firstWords is how many bytes that a client sends first are looked at: it says there what
// its connection is for.
const firstWords = 4 << 10

func (w *way) note(commands string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if left := firstWords - len(w.said); left > 0 {
		w.said += strings.ToUpper(commands[:min(left, len(commands))])
	}
}

// is reports whether the client has sent a word there.
func (w *way) is(word string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.said, strings.ToUpper(word))
}

func (w *way) isHalf() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.half
}

func (n *Network) add(w *way) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ways[w] = true
}

func (n *Network) remove(w *way) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ways, w)
}

// slow is what Slow was called with.
type slow struct {
	word string
	by   time.Duration
}

// Slow has what comes from the server arrive later by that much, or by a little more, and in
// order, on the connections over which the client has sent a word, in capitals or not, as it
// began; on all of them for "". It ends with undo, and what was held back arrives.
func (n *Network) Slow(word string, by time.Duration) (undo func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &slow{word, by}
	n.slow[s] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.slow, s)
	}
}

// await returns when what has come from the server on a way may arrive.
func (n *Network) await(w *way) {
	for began := time.Now(); time.Since(began) < n.slowness(w); {
		Pause(time.Millisecond)
	}
}

func (n *Network) slowness(w *way) (by time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.slow {
		if w.is(s.word) {
			by = max(by, s.by)
		}
	}
	return by
}

// HalfOpen closes the server's ends of the connections over which the client has sent a word,
// as for Slow. The client does not learn of it until undo, and what it sends is lost.
// Connections that it makes meanwhile are as any other.
func (n *Network) HalfOpen(word string) (undo func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*way
	for w := range n.ways {
		if !w.is(word) {
			continue
		}
		w.mu.Lock()
		w.half = true
		w.mu.Unlock()
		w.server.Close()
		all = append(all, w)
	}
	return func() {
		for _, w := range all {
			w.client.Close()
		}
	}
}
