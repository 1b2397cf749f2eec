package memcache_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// fake is a server at the other end of pipes. Each connection is served by
// serve, whose first is number 0, and closed when that returns.
type fake struct {
	serve func(n int, p *peer)
	dials atomic.Int32
	peers sync.WaitGroup
}

// client returns a client of f, closed when the test ends.
func (f *fake) client(t testing.TB, o memcache.Options) *memcache.Client {
	t.Helper()
	o.Dial = func(context.Context, string, string) (net.Conn, error) {
		n := int(f.dials.Add(1)) - 1
		here, there := net.Pipe()
		f.peers.Go(func() {
			defer there.Close()
			f.serve(n, &peer{Conn: there, in: bufio.NewReader(there)})
		})
		return newRoomy(here), nil
	}
	if o.Conns == 0 {
		o.Conns = 2
	}
	c := memcache.New("fake:1", &o)
	t.Cleanup(func() {
		c.Close()
		f.peers.Wait()
	})
	return c
}

// roomy is a pipe that takes what is written at once, as a socket does.
type roomy struct {
	net.Conn
	written chan []byte
	closed  chan struct{}
	once    sync.Once
}

func newRoomy(c net.Conn) *roomy {
	r := &roomy{Conn: c, written: make(chan []byte, 1000), closed: make(chan struct{})}
	go func() {
		for {
			select {
			case b := <-r.written:
				_, _ = c.Write(b)
			case <-r.closed:
				return
			}
		}
	}()
	return r
}

func (r *roomy) Write(b []byte) (int, error) {
	select {
	case r.written <- bytes.Clone(b):
		return len(b), nil
	case <-r.closed:
		return 0, net.ErrClosed
	}
}

func (r *roomy) Close() error {
	r.once.Do(func() { close(r.closed) })
	return r.Conn.Close()
}

// peer is the server's end of a connection.
type peer struct {
	net.Conn
	in *bufio.Reader
}

// command is what came over a connection.
type command struct {
	name, key, opaque string
	flags             []string
	value             []byte
}

func (p *peer) line() (string, error) {
	line, err := p.in.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

// greet answers the greeting as a server does.
func (p *peer) greet() bool {
	line, err := p.line()
	return err == nil && line == "mn" && p.say("MN\r\n")
}

func (p *peer) say(text string) bool {
	_, err := io.WriteString(p, text)
	return err == nil
}

// next reads a command; false at the end of the connection.
func (p *peer) next() (cmd command, ok bool) {
	line, err := p.line()
	words := strings.Split(line, " ")
	if err != nil || len(words) < 2 {
		return cmd, false
	}
	cmd = command{name: words[0], key: words[1], flags: words[2:]}
	if cmd.name == "ms" {
		size, err := strconv.Atoi(words[2])
		if err != nil {
			panic(line)
		}
		cmd.flags = words[3:]
		cmd.value = make([]byte, size+2)
		if _, err := io.ReadFull(p.in, cmd.value); err != nil {
			return cmd, false
		}
		cmd.value = cmd.value[:size]
	}
	for _, f := range cmd.flags {
		if o, ok := strings.CutPrefix(f, "O"); ok {
			cmd.opaque = o
		}
	}
	return cmd, true
}

// answer says what a server says that has, for every key, the key as value.
func (p *peer) answer(cmd command) bool {
	switch cmd.name {
	case "mg":
		return p.say(fmt.Sprintf("VA %d c1 f0 O%s\r\n%s\r\n", len(cmd.key), cmd.opaque, cmd.key))
	case "ms":
		return p.say(fmt.Sprintf("HD c2 O%s\r\n", cmd.opaque))
	}
	return p.say("HD O" + cmd.opaque + "\r\n")
}

// behave serves as a server should.
func behave(_ int, p *peer) {
	if !p.greet() {
		return
	}
	for {
		cmd, ok := p.next()
		if !ok || !p.answer(cmd) {
			return
		}
	}
}

// isFor fails the test unless op is the answer of a server that behaves.
func isFor(t testing.TB, op memcache.Op, key string) {
	t.Helper()
	if op.Status != memcache.Done || string(op.Value) != key || op.Err != nil {
		t.Errorf("the answer for %s is %v, %q, %v", key, op.Status, op.Value, op.Err)
	}
}

// fillIn puts the opaque tokens of cmds in the places of {0}, {1} ….
func fillIn(script string, cmds []command) string {
	for i, cmd := range cmds {
		script = strings.ReplaceAll(script, fmt.Sprintf("{%d}", i), cmd.opaque)
	}
	return script
}

var errRefused = errors.New("connection refused")
