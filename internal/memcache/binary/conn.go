package binary

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/couchbase/gomemcached"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

const (
	readBuffer  = 32 << 10
	writeBuffer = 8 << 10
)

var errLeft = errors.New("the caller has left")

// call is what one Do has a connection do.
type call struct {
	ops     []memcache.Op
	next    int          // index of the op whose reply is next
	opaque  uint32       // of that reply
	unasked atomic.Int32 // replies minus commands
	done    chan error   // has room for the one result
}

// skip goes on to the next op that is sent and reports whether there is one.
func (cl *call) skip() bool {
	for cl.next < len(cl.ops) && cl.ops[cl.next].Err != nil {
		cl.next++
	}
	return cl.next < len(cl.ops)
}

// conn is one connection. One call at a time writes to it; a goroutine of its
// own reads from it, and so notices also when the server closes it.
type conn struct {
	raw    net.Conn // carries TLS, if there is TLS
	in     *bufio.Reader
	out    *bufio.Writer
	max    int // bytes of a value
	header [gomemcached.HDR_LEN]byte
	req    gomemcached.MCRequest
	extras [8]byte
	worked bool      // a call was answered; belongs to the reading goroutine
	used   time.Time // when it became idle; guarded by Client.mu

	mu   sync.Mutex
	call *call // under way
	err  error // why it is of no use any more
}

func newConn(stream, raw net.Conn, maxValue int) *conn {
	c := &conn{
		raw: raw,
		in:  bufio.NewReaderSize(stream, readBuffer),
		out: bufio.NewWriterSize(stream, writeBuffer),
		max: maxValue,
	}
	c.req.Opaque = rand.Uint32()
	return c
}

// ended reports whether the server has closed the connection while it was idle.
// The goroutine that reads would find out as well, but perhaps too late.
func (c *conn) ended() bool { return memcache.Idle(c.used) && memcache.Ended(c.raw) }

func (c *conn) works() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil
}

// fail closes the connection. Only the first reason counts. The reading
// goroutine tells the call that is under way.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.raw.Close()
	}
}

// do sends ops and returns when they are answered or the connection has failed.
// A timeout of 0 or less is none.
func (c *conn) do(ctx context.Context, ops []memcache.Op, timeout time.Duration) error {
	cl := &call{ops: ops, opaque: c.req.Opaque, done: make(chan error, 1)}
	cl.skip()
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.call = cl
	c.mu.Unlock()

	stays := context.AfterFunc(ctx, func() { c.fail(errLeft) })
	inTime := func() bool { return true }
	if timeout > 0 {
		inTime = time.AfterFunc(timeout, func() { c.fail(&memcache.TimeoutError{After: timeout}) }).Stop
	}
	if err := c.write(cl); err != nil {
		c.fail(err)
	}
	err := <-cl.done
	if a, b := stays(), inTime(); !a || !b {
		// 1. The answer comes.  2. The time is up as well, and a goroutine is about
		// to close the connection.  3. The next call would find it closed under it.
		c.fail(errLeft)
	}
	if errors.Is(err, errLeft) {
		return ctx.Err()
	}
	return err
}

func (c *conn) write(cl *call) error {
	for i := range cl.ops {
		op := &cl.ops[i]
		if op.Err != nil {
			continue
		}
		c.command(op)
		cl.unasked.Add(-1)
		if err := c.transmit(); err != nil {
			return err
		}
	}
	return c.out.Flush()
}

// transmit buffers c.req.
func (c *conn) transmit() error {
	_, err := c.req.Transmit(c.out)
	c.req.Opaque++
	return err
}

// read reads replies until the connection fails, and returns why.
func (c *conn) read() error {
	err := c.readReply()
	for err == nil {
		err = c.readReply()
	}
	c.fail(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.call != nil {
		c.call.done <- c.err
	}
	return c.err
}

func (c *conn) readReply() error {
	h, err := c.peek()
	if err != nil {
		return err
	}
	c.mu.Lock()
	cl := c.call
	c.mu.Unlock()
	// A server that answers what it was not asked yet is out of step.
	if cl == nil || cl.unasked.Add(1) > 0 {
		return fmt.Errorf("reply %s that nobody asked for", h)
	}
	op := &cl.ops[cl.next]
	if err := c.answer(op, h, cl.opaque); err != nil {
		return err
	}
	c.worked = true
	cl.next++
	cl.opaque++
	if cl.skip() {
		return nil
	}
	c.mu.Lock()
	c.call = nil
	c.mu.Unlock()
	cl.done <- nil
	return nil
}
