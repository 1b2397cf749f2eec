package binary

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/couchbase/gomemcached"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

func opcode(op *memcache.Op) gomemcached.CommandCode {
	switch {
	case op.Kind == memcache.Delete:
		return gomemcached.DELETE
	case op.Kind == memcache.Get:
		return gomemcached.GET
	case op.Add:
		return gomemcached.ADD
	}
	return gomemcached.SET
}

// command makes op the next request.
func (c *conn) command(op *memcache.Op) {
	r := &c.req
	r.Opcode = opcode(op)
	r.Key = append(r.Key[:0], op.Key...)
	r.Cas, r.Extras, r.Body = op.CAS, nil, nil
	switch {
	case op.Kind == memcache.Get, op.Kind == memcache.Set && op.Add:
		r.Cas = 0
	}
	if op.Kind == memcache.Set {
		r.Extras = c.extras[:]
		binary.BigEndian.PutUint32(r.Extras, op.Flags)
		binary.BigEndian.PutUint32(r.Extras[4:], op.TTL)
		r.Body = op.Value
	}
}

// header is what has to be known of a reply before it is read.
type header struct {
	opcode gomemcached.CommandCode
	opaque uint32
	size   int64 // bytes that follow the header
	value  int64 // of those, bytes of the value
}

func (h header) String() string { return fmt.Sprintf("to %s", h.opcode) }

// peek waits for a reply and returns its header.
func (c *conn) peek() (h header, err error) {
	b, err := c.in.Peek(gomemcached.HDR_LEN)
	if err != nil {
		return h, memcache.ReadError(err)
	}
	h.opcode = gomemcached.CommandCode(b[1])
	h.opaque = binary.BigEndian.Uint32(b[12:])
	h.size = int64(binary.BigEndian.Uint32(b[8:]))
	h.value = h.size - int64(binary.BigEndian.Uint16(b[2:])) - int64(b[4])
	if b[0] != gomemcached.RES_MAGIC || h.value < 0 || h.value > memcache.MaxSize {
		return h, errors.New("reply that is not of the binary protocol")
	}
	return h, nil
}

// receive reads the reply that h has announced, which has to be one to opcode and
// opaque. It returns nil for a value that is too large, and drops that.
func (c *conn) receive(h header, opcode gomemcached.CommandCode, opaque uint32) (*gomemcached.MCResponse, error) {
	if h.opcode != opcode || h.opaque != opaque {
		return nil, errors.New("reply to another command")
	}
	if h.value > int64(c.max) {
		_, err := c.in.Discard(gomemcached.HDR_LEN + int(h.size))
		return nil, memcache.ReadError(err)
	}
	res := new(gomemcached.MCResponse)
	if _, err := res.Receive(c.in, c.header[:]); err != nil {
		return nil, memcache.ReadError(err)
	}
	return res, nil
}

// answer reads the reply that h has announced into op.
func (c *conn) answer(op *memcache.Op, h header, opaque uint32) error {
	res, err := c.receive(h, opcode(op), opaque)
	if err != nil {
		return err
	}
	if res == nil {
		op.Err = memcache.ErrTooLarge
		return nil
	}
	switch {
	case res.Status == gomemcached.SUCCESS:
		return success(op, res)
	case res.Status == gomemcached.AUTH_ERROR:
		return errAuth
	case res.Status == gomemcached.E2BIG && op.Kind == memcache.Set:
		op.Err = memcache.ErrTooLarge
	default:
		if op.Status = refusal(op, res.Status); op.Status == memcache.Unanswered {
			op.Err = serverError(res)
		}
	}
	return nil
}

// refusal returns what it means for op that the server did nothing, or
// Unanswered if that is an error.
func refusal(op *memcache.Op, status gomemcached.Status) memcache.Status {
	switch {
	case op.Kind == memcache.Set && op.Add && (status == gomemcached.KEY_EEXISTS || status == gomemcached.NOT_STORED):
		return memcache.Refused
	case status == gomemcached.KEY_ENOENT:
		return memcache.Missing
	case status == gomemcached.KEY_EEXISTS && op.Kind != memcache.Get:
		return memcache.Changed
	}
	return memcache.Unanswered
}

func success(op *memcache.Op, res *gomemcached.MCResponse) error {
	if op.Kind == memcache.Get {
		if len(res.Extras) != 4 {
			return errors.New("reply that lacks the flags")
		}
		op.Flags = binary.BigEndian.Uint32(res.Extras)
		if !op.NoValue {
			op.Value = res.Body
		}
	}
	if op.Kind != memcache.Delete {
		op.CAS = res.Cas
	}
	op.Status = memcache.Done
	return nil
}

func serverError(res *gomemcached.MCResponse) error {
	return fmt.Errorf("server error %s: %q", res.Status, res.Body[:min(len(res.Body), 80)])
}
