//go:build !arm

package file

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dogpile-go/dogpile/driver"
)

const changesShared = true

// mapped is the counters that this process has mapped into its memory, by the lock files that
// they are in.
var mapped struct {
	sync.Mutex
	of map[fileID]*counters
}

const mappedSize = changesAt + changesSize

// fileID tells a file from all others.
type fileID struct{ dev, ino uint64 }

// counters is the counters of one lock file. All stores in this process that have the file
// open share them.
type counters struct {
	*driver.Changes
	id     fileID
	memory unsafe.Pointer
	users  int
}

// counters returns the counters in the lock file, which the caller closes. It is called while
// no other process opens the cache.
func (l *lockFile) counters() (*counters, error) {
	fi, err := l.Stat()
	if err != nil {
		return nil, err
	}
	if err := l.makeRoom(fi.Size()); err != nil {
		return nil, err
	}
	st, _ := fi.Sys().(*syscall.Stat_t)
	mapped.Lock()
	defer mapped.Unlock()
	id := fileID{st.Dev, st.Ino}
	c := mapped.of[id]
	if c == nil {
		if c, err = l.mmap(); err != nil {
			return nil, &os.PathError{Op: "mmap", Path: l.Name(), Err: err}
		}
		c.id = id
		if mapped.of == nil {
			mapped.of = make(map[fileID]*counters)
		}
		mapped.of[id] = c
	}
	c.users++
	if l.first = l.alone(); l.first {
		c.Settle() // what killed processes have begun
	}
	return c, nil
}

// makeRoom writes the counters where there are none. It writes all of them, since room in a
// file that was never written to may turn out not to be there when it is first used, and that
// ends the process. None is 0; see close. They begin with a number of their own each time, so
// that no mark is right again that was made before somebody cut the file off.
func (l *lockFile) makeRoom(size int64) error {
	if size >= mappedSize {
		return nil
	}
	slots := make([]uint64, changeSlots)
	n := uint64(rand.Uint32() | 1)
	for i := range slots {
		slots[i] = n<<32 | n
	}
	_, err := l.WriteAt(unsafe.Slice((*byte)(unsafe.Pointer(&slots[0])), changesSize), changesAt)
	return err
}

// mmap maps the counters. It opens the file anew for that: the mapping keeps what was opened,
// and with it the locks that it has, although it is closed. It maps the file from its
// beginning, since there are systems with pages of more than changesAt.
func (l *lockFile) mmap() (*counters, error) {
	f, err := os.OpenFile(l.Name(), os.O_RDWR|noFollow, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if mine, err := l.Stat(); err != nil {
		return nil, err
	} else if there, err := f.Stat(); err != nil || !os.SameFile(mine, there) {
		return nil, errors.Join(errMoved, err)
	}
	memory, err := unix.MmapPtr(int(f.Fd()), 0, nil, mappedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	slots := unsafe.Slice((*atomic.Uint64)(unsafe.Add(memory, changesAt)), changeSlots)
	return &counters{Changes: driver.ChangesIn(slots), memory: memory}, nil
}

// close ends one use. After the last one the file is let go. Marks may still be read, so the
// memory stays where it is, without the file and with all counters 0: no mark is right then.
func (c *counters) close() error {
	mapped.Lock()
	defer mapped.Unlock()
	if c.users--; c.users > 0 {
		return nil
	}
	delete(mapped.of, c.id)
	at, err := unix.MmapPtr(-1, 0, c.memory, mappedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	if err == nil && at != c.memory {
		err = errors.New("the memory has moved")
	}
	return err
}

// whole reports whether there is room for the counters: nobody has cut the file off.
func (l *lockFile) whole() bool {
	fi, err := l.Stat()
	return err == nil && fi.Size() >= mappedSize
}

// alone reports whether no other store is alive.
func (l *lockFile) alone() bool {
	at := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: setup + 1} // up to the end
	return l.fcntl(unix.F_OFD_GETLK, &at) == nil && at.Type == unix.F_UNLCK
}
