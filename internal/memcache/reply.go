package memcache

import (
	"bytes"
	"errors"
	"fmt"
)

// reply is one line of the server. Its slices are valid until the next is read.
type reply struct {
	code   code
	text   []byte // serverError
	size   int    // value
	opaque []byte
	cas    uint64
	flags  uint32
	left   int64
	hasCAS, hasFlags,
	won, stale,
	tooLarge bool // the value was dropped
}

// MaxSize is how many bytes a value can have at any server.
const MaxSize = 1 << 30

// code is the two letters that a reply begins with.
type code uint16

const (
	value       code = 'V'<<8 | 'A'
	head        code = 'H'<<8 | 'D'
	absent      code = 'E'<<8 | 'N'
	notFound    code = 'N'<<8 | 'F'
	notStored   code = 'N'<<8 | 'S'
	exists      code = 'E'<<8 | 'X'
	serverError code = 'S'<<8 | 'E' // stands for SERVER_ERROR
)

var serverErrorPrefix = []byte("SERVER_ERROR ")

// parseReply parses a line without its end.
func parseReply(line []byte) (r reply, err error) {
	if text, ok := bytes.CutPrefix(line, serverErrorPrefix); ok {
		return reply{code: serverError, text: text}, nil
	}
	if len(line) < 2 {
		return r, unexpected(line)
	}
	r.code = code(line[0])<<8 | code(line[1])
	rest := line[2:]
	switch r.code {
	case value:
		var word []byte
		word, rest = cutWord(rest)
		size, ok := parseUint(word, MaxSize)
		if !ok {
			return r, unexpected(line)
		}
		r.size = int(size)
	case head, absent, notFound, notStored, exists:
	default:
		return r, unexpected(line)
	}
	for len(rest) > 0 {
		var word []byte
		word, rest = cutWord(rest)
		if len(word) == 0 || !r.flag(word[0], word[1:]) {
			return r, unexpected(line)
		}
	}
	if r.opaque == nil {
		return r, fmt.Errorf("reply %q without the opaque token that it was asked for", clip(line))
	}
	return r, nil
}

// flag notes one flag and reports whether it is well-formed. Flags that are not
// known are ignored.
func (r *reply) flag(name byte, arg []byte) (ok bool) {
	switch name {
	case 'O':
		ok = r.opaque == nil
		r.opaque = arg
		return ok
	case 'c':
		again := r.hasCAS
		r.cas, ok = parseUint(arg, 1<<64-1)
		r.hasCAS = true
		return ok && !again
	case 'f':
		again := r.hasFlags
		n, ok := parseUint(arg, 1<<32-1)
		r.flags, r.hasFlags = uint32(n), true
		return ok && !again
	case 't':
		if string(arg) == "-1" {
			r.left = -1
			return true
		}
		n, ok := parseUint(arg, 1<<32)
		r.left = int64(n)
		return ok
	case 'W':
		r.won = true
		return len(arg) == 0
	case 'X':
		r.stale = true
		return len(arg) == 0
	}
	return true
}

// cutWord cuts off the first word of b, which a space precedes.
func cutWord(b []byte) (word, rest []byte) {
	if len(b) == 0 || b[0] != ' ' {
		return nil, nil
	}
	b = b[1:]
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return b[:i], b[i:]
	}
	return b, nil
}

// parseUint reads a decimal number of at most limit.
func parseUint(b []byte, limit uint64) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > limit/10 || n*10 > limit-d {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

var (
	tooLarge    = []byte("object too large for cache")
	errMismatch = errors.New("reply to another command")
)

// answer puts r, with the data that came with it, into op. An error means that
// r is no answer to op.
func (r *reply) answer(op *Op, data []byte) error {
	if r.code == serverError {
		op.Err = fmt.Errorf("server error %q", clip(r.text))
		if op.Kind == Set && bytes.Equal(r.text, tooLarge) {
			op.Err = ErrTooLarge
		}
		return nil
	}
	status, ok := statusOf(op, r.code)
	if !ok {
		return errMismatch
	}
	if r.tooLarge {
		op.Err = ErrTooLarge
		return nil
	}
	if status == Done && op.Kind != Delete {
		if !r.hasCAS || op.Kind == Get && !r.hasFlags {
			return errors.New("reply that lacks what was asked for")
		}
		op.CAS = r.cas
	}
	if status == Done && op.Kind == Get {
		op.Value, op.Flags = data, r.flags
		op.Left, op.Won, op.Stale = r.left, r.won, r.stale
	}
	op.Status = status
	return nil
}

func statusOf(op *Op, c code) (s Status, ok bool) {
	switch c {
	case value:
		return Done, op.Kind == Get && !op.NoValue
	case head:
		return Done, op.Kind != Get || op.NoValue
	case absent:
		return Missing, op.Kind == Get
	case notFound:
		return Missing, op.Kind != Get
	case notStored:
		return Refused, op.Kind == Set
	case exists:
		return Changed, op.Kind != Get
	}
	return Unanswered, false
}

func unexpected(line []byte) error { return fmt.Errorf("unexpected reply %q", clip(line)) }

// clip keeps error texts short.
func clip(b []byte) []byte { return b[:min(len(b), 80)] }
