package memcache

import "net"

const (
	// maxCopied is how many bytes of a value are copied to be sent together with
	// what is before and after it.
	maxCopied = 4 << 10

	// maxRecord is how many bytes of commands go into a TLS record, and with it
	// into the server's buffer. A large value has records of its own: memcached
	// 1.6.18 does not look at what is left of a record in which such a value ends
	// until more arrives.
	maxRecord = 8 << 10

	// maxSpare is how large a buffer may be to be kept.
	maxSpare = 128 << 10
)

// batch is commands that are to be written. Small values are copied into the
// text; large ones are written from where they are.
type batch struct {
	text    []byte
	cuts    []cut
	size    int // bytes
	secured bool
}

// cut is a place in the text of a batch where a value comes that was not
// copied, or, if that is nil, where a TLS record has to end.
type cut struct {
	at    int
	value []byte
}

// add appends the command of op.
func (b *batch) add(op *Op, opaque uint32) {
	start := len(b.text)
	b.text = appendOp(b.text, op, opaque)
	large := false
	if op.Kind == Set {
		if large = len(op.Value) > maxCopied; !large {
			b.text = append(b.text, op.Value...)
		}
	}
	if b.secured && len(b.text)-b.lastCut() > maxRecord {
		b.cuts = append(b.cuts, cut{at: start})
	}
	if large {
		b.cuts = append(b.cuts, cut{len(b.text), op.Value})
		b.size += len(op.Value)
	}
	if op.Kind == Set {
		b.text = append(b.text, crlf...)
	}
	if large && b.secured {
		b.cuts = append(b.cuts, cut{at: len(b.text)})
	}
	b.size += len(b.text) - start
}

func (b *batch) lastCut() int {
	if n := len(b.cuts); n > 0 {
		return b.cuts[n-1].at
	}
	return 0
}

// write sends the batch over nc.
func (b *batch) write(nc net.Conn) error {
	if len(b.cuts) == 0 {
		_, err := nc.Write(b.text)
		return err
	}
	var bufs net.Buffers
	start := 0
	for _, c := range append(b.cuts, cut{at: len(b.text)}) {
		if start < c.at {
			bufs = append(bufs, b.text[start:c.at])
			start = c.at
		}
		if c.value != nil {
			bufs = append(bufs, c.value)
		}
	}
	_, err := bufs.WriteTo(nc)
	return err
}

// empty returns an empty batch that uses the memory of b.
func (b *batch) empty() batch {
	e := batch{secured: b.secured}
	if cap(b.text) <= maxSpare {
		e.text = b.text[:0]
	}
	return e
}
