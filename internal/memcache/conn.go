package memcache

import (
	"bufio"
	"context"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBuffer = 32 << 10
	maxQueued  = 1 << 20 // bytes to be written, above which callers wait
	maxWrites  = 4       // writes that a caller makes, its own and for others

	// busy is how many bytes may be under way before a connection counts as
	// busy. Below it a write does not block: the kernel takes as much, whether
	// or not the server reads.
	busy = 16 << 10
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
// order, so that calls wait in a queue. The opaque token in each reply tells
// whether client and server are still in step.
//
// Callers write. A caller that finds nobody writing writes for all that have
// something to send by then. One goroutine at a time reads, the one that has set
// reading: the connection's own, in run, or a caller that is alone, in lead. That
// spares a lone caller the way to another goroutine and back.
type conn struct {
	nc       net.Conn
	raw      net.Conn      // to be closed: it carries TLS, if there is TLS
	timeout  time.Duration // 0: none
	maxValue int
	noted    bool           // Client.health has been told of its end; guarded by Client.mu
	broken   atomic.Bool    // err and wasted are set, and stay as they are
	load     atomic.Int64   // bytes under way, as far as is known
	used     atomic.Int64   // Unix time in ns of the last call; 0: there was none
	wake     chan struct{}  // has run read, or end
	tasks    sync.WaitGroup // goroutines other than run

	// These belong to the goroutine that reads.
	in    *bufio.Reader
	limit time.Time // read deadline; zero: none
	solos int       // calls in a row that were solo

	mu       sync.Mutex
	err      error         // why it is of no use any more
	worked   bool          // has answered a call
	wasted   bool          // has failed under its first call
	out      batch         // to be written
	spare    batch         // empty
	flushing bool          // somebody is writing, or about to
	reading  bool          // somebody is reading, or about to
	space    chan struct{} // closed when out has been taken
	first    *call         // the oldest that is unanswered
	last     *call
	opaque   uint32
	watch    *time.Timer // nil: never needed
	watching bool
}

func newConn(nc, raw net.Conn, o *Options) *conn {
	none := batch{secured: o.TLS != nil}
	return &conn{
		out:      none,
		spare:    none,
		nc:       nc,
		raw:      raw,
		timeout:  max(o.Timeout, 0),
		maxValue: o.MaxValue,
		wake:     make(chan struct{}, 1),
		in:       bufio.NewReaderSize(nc, readBuffer),
		reading:  true,
		opaque:   rand.Uint32(),
	}
}

// do has the commands of cl carried out. After an error the connection may still
// use cl, and does not touch the ops any more.
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
		// The replies will come all the same, and have to be read in order. They are
		// dropped, because the ops belong to the caller from now on.
		cl.mu.Lock()
		cl.ops = nil
		cl.mu.Unlock()
		return ctx.Err()
	}
}

// lockWithSpace locks c.mu when there is room for more to be written: while a
// server does not read, callers wait here before their commands are copied.
func (c *conn) lockWithSpace(ctx context.Context) error {
	c.mu.Lock()
	for c.err == nil && c.out.size > maxQueued {
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
	before := c.out.size
	cl.opaque = c.opaque
	for i := range cl.ops {
		if op := &cl.ops[i]; op.Err == nil {
			c.out.add(op, c.opaque)
			c.opaque++
		}
	}
	cl.size = c.out.size - before
	c.load.Add(int64(cl.size))
	cl.solo = c.first == nil
	if cl.solo {
		c.first = cl
	} else {
		c.last.next = cl
	}
	c.last = cl
	cl.at = time.Now()
	c.used.Store(cl.at.UnixNano())
	c.lookIn(c.timeout)
}

// flush writes what is queued until nothing is. If shared, it lets other callers
// run first, whose commands then travel in the same write. Unless apart, it runs
// in a caller: it does not write often, nor what might block, but leaves that to
// a goroutine, because a caller has to return when its context is done.
func (c *conn) flush(shared, apart bool) {
	if shared {
		runtime.Gosched()
	}
	c.mu.Lock()
	for n := 0; c.out.size > 0; n++ {
		if !apart && (n == maxWrites || c.load.Load() > busy) {
			c.tasks.Add(1)
			c.mu.Unlock()
			go c.flushApart()
			return
		}
		// Two buffers take turns: callers fill one while the other is written.
		b := c.out
		c.out = c.spare
		c.gotSpace()
		c.mu.Unlock()

		if err := b.write(c.nc); err != nil {
			c.fail(err)
		}

		c.mu.Lock()
		c.spare = b.empty()
	}
	c.flushing = false
	c.mu.Unlock()
}

func (c *conn) flushApart() {
	defer c.tasks.Done()
	c.flush(true, true)
}

// gotSpace lets the callers go on that wait for space. c.mu is held.
func (c *conn) gotSpace() {
	if c.space != nil {
		close(c.space)
		c.space = nil
	}
}

// lookIn has look called after d, or earlier if that was arranged before. One
// timer serves all calls of the connection. c.mu is held.
func (c *conn) lookIn(d time.Duration) {
	if c.watching {
		return
	}
	if d == 0 {
		d = defaultTimeout
	}
	c.watching = true
	c.tasks.Add(1)
	if c.watch == nil {
		c.watch = time.AfterFunc(d, c.look)
	} else {
		c.watch.Reset(d)
	}
}

// look closes a connection that does not answer. If nobody uses the connection,
// look has run read, to notice when the server closes it.
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
		// Replies come in order, so no call waits longer than the first.
		left := time.Until(c.first.at.Add(c.timeout))
		if late = left <= 0; !late {
			c.lookIn(left)
		}
	}
	c.mu.Unlock()
	if late {
		c.fail(&TimeoutError{c.timeout})
	}
}

// ended reports whether the server has closed the connection while nobody used
// it, and fails it if so. For the first second after a call nobody reads, and
// would notice.
func (c *conn) ended() bool {
	if !Idle(time.Unix(0, c.used.Load())) {
		return false
	}
	c.mu.Lock()
	busy := c.first != nil // then what is to be read is an answer, and its reader notices
	c.mu.Unlock()
	if busy || !Ended(c.raw) {
		return false
	}
	c.fail(errEnded)
	return true
}

// fail closes the connection and ends all its calls. Only the first reason
// counts.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	cl := c.first
	c.err = err
	c.wasted = cl != nil && !c.worked
	c.broken.Store(true)
	c.first, c.last, c.out = nil, nil, batch{}
	c.gotSpace()
	if c.watching && c.watch.Stop() {
		c.watching = false
		c.tasks.Done()
	}
	c.handOver()
	c.mu.Unlock()

	// Closing ends a Read or Write that is under way. From here on no reply can
	// reach the calls, so that they end with ops that are complete or Unanswered.
	c.raw.Close()
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
