package memcache

import (
	"fmt"
	"math"
	"strconv"
)

const maxKey = 250

// CheckKey refuses a key that the text protocol would cut short, split in two or
// take for another command.
func CheckKey(key string) error {
	if len(key) == 0 || len(key) > maxKey {
		return fmt.Errorf("%w: it has %d bytes", ErrKey, len(key))
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] == 0x7f {
			return fmt.Errorf("%w: it has a space or control byte", ErrKey)
		}
	}
	return nil
}

// appendOp appends op as a command, without the value. It asks for the opaque
// token to be in the reply, which every reply but an error then has. A reply
// could carry the key in its place, but two commands for one key would be alike.
func appendOp(b []byte, op *Op, opaque uint32) []byte {
	switch op.Kind {
	case Get:
		b = append(b, "mg "...)
		b = append(b, op.Key...)
		b = append(b, " c f"...)
		if !op.NoValue {
			b = append(b, " v"...)
		}
		if op.Vivify > 0 || op.AskLeft {
			b = append(b, " t"...)
		}
		b = appendFlag(b, 'N', seconds(op.Vivify))
	case Set:
		b = append(b, "ms "...)
		b = append(b, op.Key...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(len(op.Value)), 10)
		b = append(b, " c"...)
		b = appendFlag(b, 'F', uint64(op.Flags))
		b = appendFlag(b, 'T', seconds(op.TTL))
		b = appendFlag(b, 'C', op.CAS)
		if op.Add {
			b = append(b, " ME"...)
		}
	case Delete:
		b = append(b, "md "...)
		b = append(b, op.Key...)
		b = appendFlag(b, 'C', op.CAS)
	}
	b = append(b, " O"...)
	b = appendOpaque(b, opaque)
	return append(b, "\r\n"...)
}

// appendFlag appends a flag with its number, unless that is 0, which is what
// the server takes a missing flag for.
func appendFlag(b []byte, flag byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, ' ', flag), n, 10)
}

// seconds keeps a time within what the server can read. What is beyond it would
// have expired when it is stored.
func seconds(n uint32) uint64 { return uint64(min(n, math.MaxInt32)) }

func appendOpaque(b []byte, opaque uint32) []byte {
	return strconv.AppendUint(b, uint64(opaque), 32)
}
