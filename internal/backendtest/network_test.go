//go:build unix

package backendtest_test

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// echo starts a server that sends back what it gets, and tells of connections that end.
func echo(t *testing.T) (addr string, ended chan bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	backendtest.OK(t, err)
	t.Cleanup(func() { l.Close() })
	ended = make(chan bool, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
				ended <- true
			}()
		}
	}()
	return l.Addr().String(), ended
}

// dial connects to a network and sends a word.
func dial(t *testing.T, n *backendtest.Network, word string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr)
	backendtest.OK(t, err)
	t.Cleanup(func() { c.Close() })
	say(t, c, word)
	hear(t, c, word)
	return c
}

func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	_, err := io.WriteString(c, word)
	backendtest.OK(t, err)
}

// hear fails unless the next thing that arrives is a word.
func hear(t *testing.T, c net.Conn, word string) {
	t.Helper()
	backendtest.OK(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	buf := make([]byte, len(word))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != word {
		t.Fatalf("%q arrived, %v; want %q", buf, err, word)
	}
}

// hearNothing fails if something arrives in a short time, or the connection ends.
func hearNothing(t *testing.T, c net.Conn) {
	t.Helper()
	backendtest.OK(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := c.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Fatalf("%d bytes arrived, %v", n, err)
	}
}

func TestSlowNetwork(t *testing.T) {
	t.Parallel()
	addr, _ := echo(t)
	n := backendtest.NewNetwork(t, addr)
	tracking, other := dial(t, n, "client tracking on"), dial(t, n, "get")
	undo := n.Slow("TRACKING", time.Hour)
	say(t, tracking, "a")
	hearNothing(t, tracking)
	say(t, other, "b")
	hear(t, other, "b")
	say(t, tracking, "c")
	undo()
	hear(t, tracking, "ac")

	began := time.Now()
	defer n.Slow("", 30*time.Millisecond)()
	say(t, other, "d")
	if hear(t, other, "d"); time.Since(began) < 30*time.Millisecond {
		t.Errorf("an answer that is to be later by 30ms arrived after %v", time.Since(began))
	}
}

func TestHalfOpenNetwork(t *testing.T) {
	t.Parallel()
	addr, ended := echo(t)
	n := backendtest.NewNetwork(t, addr)
	tracking, other := dial(t, n, "client tracking on"), dial(t, n, "get")
	undo := n.HalfOpen("TRACKING")
	<-ended // the server knows
	say(t, tracking, "a")
	hearNothing(t, tracking)
	say(t, tracking, "a")
	say(t, other, "b")
	hear(t, other, "b")
	dial(t, n, "client tracking on")
	undo()
	backendtest.OK(t, tracking.SetReadDeadline(time.Now().Add(20*time.Second)))
	if k, err := tracking.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the client got %d bytes, %v, and not the end", k, err)
	}
}
