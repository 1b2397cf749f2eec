//go:build unix

package memcache

import "syscall"

// ended looks at what the socket has received. It has no deadline and does not
// wait for another reader, as raw.Read would.
func ended(raw syscall.RawConn) (ended bool) {
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		ended = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return ended && err == nil
}
