package memcache

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBuffer = 32 << 10
	maxSpare   = 64 << 10 // a larger write buffer is not kept
	maxQueued  = 1 << 20  // bytes to be written, above which callers wait
	maxWrites  = 4        // writes that a caller makes, its own and for others

	// busy is how many bytes may be under way before a connection counts as
	// busy. Below it a write does not block: the kernel takes as much, whether
	// or not the server reads.
	busy = 16 << 10

	// maxRecord is how many bytes of whole commands go into a TLS record, and
	// with it into the server's buffer. A larger command has records of its own:
	// memcached 1.6.18 does not look at what is left of a record in which a value
	// ends, until more arrives.
	maxRecord = 8 << 10
)

// call is what one Do has a connection do.
type call struct {
	next   *call // in the queue
	at     time.Time
	size   int           // bytes of its commands
	solo   bool          // nothing was before it in the queue
	opaque uint32        // of the next reply
	left   int           // replies to come
	done   chan struct{} // has room for the one signal that it is over
	err    error         // set before done

	mu  sync.Mutex
	ops []Op // from the first that is unanswered; nil once the caller has left
}

// conn is a connection that has been greeted. Its commands are answered in
// order, so that calls wait in a queue; the opaque token in each reply tells
// whether that still holds.
//
// Callers write. The first one to find that nobody does writes for all who have
// something to send by then. Who reads is whoever has set reading: the
// connection's own goroutine, which runs run, or a caller that is alone, whom
// another goroutine between it and the answer would cost as much as all the
// rest.
type conn struct {
	nc       net.Conn
	timeout  time.Duration // 0: none
	maxValue int
	secured  bool           // TLS
	broken   atomic.Bool    // err is set
	load     atomic.Int64   // bytes under way, as far as is known
	wake     chan struct{}  // has run read, or end
	tasks    sync.WaitGroup // goroutines beside run

	// These belong to whoever reads.
	in    *bufio.Reader
	limit time.Time // read deadline; zero: none
	solos int       // calls in a row that were solo

	mu       sync.Mutex
	err      error         // why it is of no use any more
	worked   bool          // has answered a call
	wasted   bool          // has failed under a call before it had answered any
	out      []byte        // to be written
	cuts     []int         // where out is cut into writes
	spare    []byte        // the buffer that was out before
	flushing bool          // somebody is writing, or about to
	reading  bool          // somebody is reading, or about to
	space    chan struct{} // closed when out has been taken
	first    *call         // the oldest that is unanswered
	last     *call
	opaque   uint32
	watch    *time.Timer // nil: never needed
	watching bool
}

func newConn(nc net.Conn, o *Options) *conn {
	return &conn{
		nc:       nc,
		timeout:  max(o.Timeout, 0),
		maxValue: o.MaxValue,
		wake:     make(chan struct{}, 1),
		in:       bufio.NewReaderSize(nc, readBuffer),
		reading:  true,
		opaque:   rand.Uint32(),
	}
}

// do has the commands of cl carried out. After an error cl is the connection's
// for as long as that likes, and the ops are the caller's.
func (c *conn) do(ctx context.Context, cl *call) error {
	if err := c.lockWithSpace(ctx); err != nil {
		return err
	}
	c.enqueue(cl)
	lead, flush := !c.reading, !c.flushing
	c.reading, c.flushing = true, true
	c.mu.Unlock()

	if flush {
		c.flush(!lead, false)
	}
	done := ctx.Done()
	if lead {
		c.lead(done != nil)
	}
	if done == nil {
		<-cl.done
		return cl.err
	}
	select {
	case <-cl.done:
		return cl.err
	case <-done:
		cl.mu.Lock()
		cl.ops = nil
		cl.mu.Unlock()
		return ctx.Err()
	}
}

// lockWithSpace locks c.mu when there is room for more to be written.
func (c *conn) lockWithSpace(ctx context.Context) error {
	c.mu.Lock()
	for c.err == nil && len(c.out) > maxQueued {
		if c.space == nil {
			c.space = make(chan struct{})
		}
		space := c.space
		c.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
	}
	if err := c.err; err != nil {
		c.mu.Unlock()
		return err
	}
	return nil
}

// enqueue appends the commands of cl to what is to be written. c.mu is held.
func (c *conn) enqueue(cl *call) {
	before := len(c.out)
	cl.opaque = c.opaque
	for i := range cl.ops {
		op := &cl.ops[i]
		if op.Err != nil {
			continue
		}
		start := len(c.out)
		c.out = slices.Grow(c.out, len(op.Value)+len(op.Key)+maxCommand)
		c.out = appendOp(c.out, op, c.opaque)
		c.opaque++
		if c.secured {
			c.cut(start)
		}
	}
	cl.size = len(c.out) - before
	c.load.Add(int64(cl.size))
	cl.solo = c.first == nil
	if cl.solo {
		c.first = cl
	} else {
		c.last.next = cl
	}
	c.last = cl
	cl.at = time.Now()
	c.lookIn(c.timeout)
}

// cut gives the command that begins at start a record of its own if it does not
// fit into the last one.
func (c *conn) cut(start int) {
	last := 0
	if n := len(c.cuts); n > 0 {
		last = c.cuts[n-1]
	}
	if len(c.out)-last <= maxRecord {
		return
	}
	if start > last {
		c.cuts = append(c.cuts, start)
	}
	if len(c.out)-start > maxRecord {
		c.cuts = append(c.cuts, len(c.out))
	}
}

// flush writes what is queued until nothing is. If shared, those who are about
// to send something get the chance to have it written along. Unless apart, it
// does not write often, nor what might block, but leaves that to a goroutine.
func (c *conn) flush(shared, apart bool) {
	if shared {
		runtime.Gosched()
	}
	c.mu.Lock()
	for n := 0; len(c.out) > 0; n++ {
		if !apart && (n == maxWrites || c.load.Load() > busy) {
			c.tasks.Add(1)
			c.mu.Unlock()
			go c.flushApart()
			return
		}
		b := c.out
		cuts := c.cuts
		c.out, c.cuts, c.spare = c.spare[:0], nil, nil
		c.gotSpace()
		c.mu.Unlock()

		if err := c.write(b, cuts); err != nil {
			c.fail(err)
		}

		c.mu.Lock()
		if cap(b) <= maxSpare {
			c.spare = b
		}
	}
	c.flushing = false
	c.mu.Unlock()
}

func (c *conn) write(b []byte, cuts []int) error {
	start := 0
	for _, end := range cuts {
		if _, err := c.nc.Write(b[start:end]); err != nil {
			return err
		}
		start = end
	}
	if start == len(b) {
		return nil
	}
	_, err := c.nc.Write(b[start:])
	return err
}

func (c *conn) flushApart() {
	defer c.tasks.Done()
	c.flush(true, true)
}

// gotSpace lets those go on who wait for space. c.mu is held.
func (c *conn) gotSpace() {
	if c.space != nil {
		close(c.space)
		c.space = nil
	}
}

// lookIn sees to it that look is called, after d unless it was arranged before.
// c.mu is held.
func (c *conn) lookIn(d time.Duration) {
	if c.watching {
		return
	}
	if d == 0 {
		d = DefaultTimeout
	}
	c.watching = true
	c.tasks.Add(1)
	if c.watch == nil {
		c.watch = time.AfterFunc(d, c.look)
	} else {
		c.watch.Reset(d)
	}
}

// look closes a connection that does not answer. At one that nobody uses it has
// somebody read, to notice when the server closes it.
func (c *conn) look() {
	defer c.tasks.Done()
	c.mu.Lock()
	c.watching = false
	var late bool
	switch {
	case c.err != nil:
	case c.first == nil:
		if !c.reading {
			c.reading = true
			c.handOver()
		}
	case c.timeout == 0:
		c.lookIn(0)
	default:
		left := time.Until(c.first.at.Add(c.timeout))
		if late = left <= 0; !late {
			c.lookIn(left)
		}
	}
	c.mu.Unlock()
	if late {
		c.fail(&timeoutError{c.timeout})
	}
}

// fail closes the connection and tells everybody who waits for it. Only the
// first reason counts.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.broken.Store(true)
	cl := c.first
	c.wasted = cl != nil && !c.worked
	c.first, c.last, c.out = nil, nil, nil
	c.gotSpace()
	if c.watching && c.watch.Stop() {
		c.watching = false
		c.tasks.Done()
	}
	c.handOver()
	c.mu.Unlock()

	c.nc.Close()
	for cl != nil {
		next := cl.next
		cl.finish(err)
		cl = next
	}
}

// handOver makes run read, or end if the connection has failed.
func (c *conn) handOver() {
	select {
	case c.wake <- struct{}{}:
	default: // it has not taken the last signal yet
	}
}

// finish is called once for each call that was queued.
func (cl *call) finish(err error) {
	cl.mu.Lock()
	cl.ops = nil
	cl.mu.Unlock()
	cl.next = nil
	cl.err = err
	cl.done <- struct{}{}
}

// timeoutError is why a connection is closed that does not answer.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.after) }
func (e *timeoutError) Unwrap() error { return os.ErrDeadlineExceeded }
