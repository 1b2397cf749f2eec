package memcache

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// quiet is how long a connection has to be unused for a caller to ask whether the
// server has closed it. It is shorter than any server takes to be started again,
// and spares busy connections the system call.
const quiet = 5 * time.Millisecond

var errEnded = errors.New("the server closed the connection")

// Lost reports whether err is that of a call whose connection the server has
// closed, or that was not sent because its connection was gone. What was sent over
// such a connection was carried out or never will be, since the server drops what
// it has not read when it closes. After a time-out that is not known: a server that
// hangs may still carry out what it finds in its buffer.
func Lost(err error) bool {
	return errors.Is(err, errEnded) || errors.Is(err, ErrGone) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Idle reports whether a connection that was last used then is to be asked by
// [Ended] before it is used again.
func Idle(used time.Time) bool { return time.Since(used) >= quiet }

// Ended reports whether the server has closed a connection, as far as is known
// without waiting. It reads nothing, and may be called while another goroutine
// does.
func Ended(nc net.Conn) bool {
	if nc, ok := nc.(syscall.Conn); ok {
		raw, err := nc.SyscallConn()
		return err == nil && ended(raw)
	}
	return false
}
