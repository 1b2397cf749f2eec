package memcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// patience is how long at least a caller reads, if its context can end,
	// before it leaves reading to run. The deadline is set for twice that and
	// serves several calls, since to set one costs as much as a short read.
	patience = time.Millisecond

	// maxSolos is how many calls in a row have to be alone before run leaves
	// reading to the callers.
	maxSolos = 4

	// chunk is how much of a value is allocated before it has come.
	chunk = 1 << 20

	maxLine = 4 << 10
)

// errLarge is why a caller leaves a reply to run: it may take longer than the
// caller's context lasts.
var errLarge = errors.New("reply larger than the buffer")

// run reads replies until the connection fails, except while callers do.
func (c *conn) run() {
	defer c.tasks.Wait()
	for {
		if !c.limit.IsZero() { // that of the caller that has read last
			c.limit = time.Time{}
			_ = c.nc.SetReadDeadline(c.limit)
		}
		c.solos = 0
		for again := true; again; {
			cl, err := c.readReply(true)
			if err != nil {
				c.fail(err)
				return
			}
			again = cl == nil || c.pop(cl, false)
		}
		<-c.wake
		if c.broken.Load() {
			return
		}
	}
}

// lead reads for a caller that is alone, until it has its answer or run takes
// over.
func (c *conn) lead(limited bool) {
	if limited {
		if now := time.Now(); c.limit.Sub(now) < patience {
			c.limit = now.Add(2 * patience)
			_ = c.nc.SetReadDeadline(c.limit)
		}
	}
	for again := true; again; {
		cl, err := c.readReply(false)
		switch {
		case err == nil:
			again = cl == nil || c.pop(cl, true)
		case err == errLarge, errors.Is(err, os.ErrDeadlineExceeded):
			c.handOver()
			return
		default:
			c.fail(err)
			return
		}
	}
}

// pop takes cl, which is answered, from the queue, and reports whether its
// caller has to go on reading.
func (c *conn) pop(cl *call, lead bool) (again bool) {
	c.solos++
	if !cl.solo {
		c.solos = 0
	}
	c.mu.Lock()
	if c.err != nil { // fail has taken the queue
		c.mu.Unlock()
		return false
	}
	c.worked = true
	c.load.Add(-int64(cl.size))
	c.first = cl.next
	switch {
	case c.first != nil && lead:
		// The caller has its answer and returns. Others wait for theirs.
		c.handOver()
	case c.first == nil && (lead || c.solos >= maxSolos):
		// The next caller reads for itself.
		c.reading = false
	default:
		again = true
	}
	c.mu.Unlock()
	cl.finish(nil)
	return again
}

// readReply reads a reply and answers an op with it. It returns the call whose
// last reply that was, or nil. Unless large, it reads no reply that does not
// fit into the buffer. With an error nothing has been taken from the input, if
// the error is errLarge or a passed deadline.
func (c *conn) readReply(large bool) (*call, error) {
	line, err := c.peekLine()
	if err != nil {
		return nil, ReadError(err)
	}
	r, err := parseReply(line[:len(line)-2])
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	cl := c.first
	c.mu.Unlock()
	if cl == nil {
		return nil, fmt.Errorf("reply %q that nobody asked for", clip(line))
	}
	// Were a reply taken for that of another command, a key would have another
	// key's value. The connection is closed instead.
	var want [8]byte
	if r.code != serverError && !bytes.Equal(r.opaque, appendOpaque(want[:0], cl.opaque)) {
		return nil, errMismatch
	}
	if r.code != value {
		err = cl.answer(&r, nil)
		c.in.Discard(len(line))
	} else if size := len(line) + r.size + 2; size <= c.in.Size() && r.size <= c.maxValue {
		err = c.readValue(cl, &r, len(line))
	} else if large {
		c.load.Add(int64(size))
		err = c.readLarge(cl, &r, len(line))
		c.load.Add(-int64(size))
	} else {
		err = errLarge
	}
	if err != nil || cl.left > 0 {
		return nil, err
	}
	return cl, nil
}

// peekLine returns the next line and leaves it in the input.
func (c *conn) peekLine() ([]byte, error) {
	for seen := 0; ; {
		b, _ := c.in.Peek(c.in.Buffered())
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			line := b[:seen+i+1]
			if !bytes.HasSuffix(line, crlf) {
				return nil, unexpected(line)
			}
			return line, nil
		}
		if seen = len(b); seen > maxLine {
			return nil, errors.New("reply without an end")
		}
		if _, err := c.in.Peek(seen + 1); err != nil {
			return nil, err
		}
	}
}

var (
	crlf      = []byte("\r\n")
	errLonger = errors.New("value that is longer than was said")
)

// readValue reads a reply that fits into the buffer and whose line has so many
// bytes.
func (c *conn) readValue(cl *call, r *reply, line int) error {
	size := line + r.size + 2
	b, err := c.in.Peek(size)
	if err != nil {
		return ReadError(err)
	}
	if !bytes.HasSuffix(b, crlf) {
		return errLonger
	}
	data := make([]byte, r.size)
	copy(data, b[line:])
	c.in.Discard(size)
	return cl.answer(r, data)
}

// readLarge reads a reply of any size. A value that is too large, or that
// nobody waits for, is dropped.
func (c *conn) readLarge(cl *call, r *reply, line int) (err error) {
	c.in.Discard(line)
	var data []byte
	switch {
	case r.size > c.maxValue:
		r.tooLarge = true
		_, err = c.in.Discard(r.size)
	case !cl.waited():
		_, err = c.in.Discard(r.size)
	case r.size <= chunk:
		data = make([]byte, r.size)
		_, err = io.ReadFull(c.in, data)
	default:
		// The buffer grows with what comes, not with what was announced.
		var b bytes.Buffer
		b.Grow(chunk)
		_, err = io.CopyN(&b, c.in, int64(r.size))
		data = b.Bytes()
	}
	if err != nil {
		return ReadError(err)
	}
	end, err := c.in.Peek(2)
	if err != nil {
		return ReadError(err)
	}
	if !bytes.Equal(end, crlf) {
		return errLonger
	}
	c.in.Discard(2)
	return cl.answer(r, data)
}

// waited reports whether the caller is still there.
func (cl *call) waited() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.ops != nil
}

// answer puts a reply into the op that it is for.
func (cl *call) answer(r *reply, data []byte) error {
	cl.opaque++
	cl.left--
	cl.mu.Lock()
	defer cl.mu.Unlock()
	for len(cl.ops) > 0 && cl.ops[0].Err != nil {
		cl.ops = cl.ops[1:] // was not sent
	}
	if len(cl.ops) == 0 {
		return nil
	}
	op := &cl.ops[0]
	cl.ops = cl.ops[1:]
	return r.answer(op, data)
}
