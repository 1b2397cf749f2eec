package file

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// These locks belong to the open file description. POSIX locks belong to the
// process: they do not exclude two stores of one process, and are gone when any
// descriptor of the file is closed.

// try locks byte n and reports whether it could.
func (l *lockFile) try(n int64) (bool, error) {
	err := l.fcntl(unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: n, Len: 1})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// release unlocks byte n.
func (l *lockFile) release(n int64) {
	_ = l.fcntl(unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart, Start: n, Len: 1})
}

// taken reports whether another store has locked byte n. What cannot be found
// out counts as taken.
func (l *lockFile) taken(n int64) bool {
	at := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: n, Len: 1}
	return l.fcntl(unix.F_OFD_GETLK, &at) != nil || at.Type != unix.F_UNLCK
}

func (l *lockFile) fcntl(cmd int, at *unix.Flock_t) (err error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	err2 := raw.Control(func(fd uintptr) {
		err = ignoringEINTR(func() error { return unix.FcntlFlock(fd, cmd, at) })
	})
	return errors.Join(err, err2)
}

func inode(fi os.FileInfo) int64 {
	st, _ := fi.Sys().(*syscall.Stat_t)
	return int64(st.Ino)
}
