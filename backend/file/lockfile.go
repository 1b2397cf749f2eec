package file

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"time"
)

// lockFile is the file whose name ends with -lock. Stores lock bytes of it to
// tell each other that they are opening the cache, or that they are alive.
type lockFile struct {
	*os.File
	home    int64 // tells this lock file from one that is made when it was removed
	created bool
	first   bool // it was opened when no other store had it open
}

// setup is the byte that is locked while a file is opened.
const setup = 0

// marker is what a lock file holds once its file has been a cache.
const marker = "The file beside this one is a cache of dogpile.\n"

// openLockFile opens the lock file of the cache at path, and waits until nobody
// else is opening the cache.
func openLockFile(ctx context.Context, path string) (*lockFile, error) {
	mode := os.FileMode(0o600)
	if fi, err := os.Lstat(path); err == nil {
		mode = fi.Mode().Perm()
	}
	for {
		l, err := newLockFile(path+"-lock", mode)
		if err != nil {
			return nil, err
		}
		if err := l.await(ctx, setup); err != nil {
			_ = l.Close()
			return nil, err
		}
		if mine, err := l.Stat(); err == nil && l.there() {
			l.home = inode(mine)
			return l, nil
		}
		l.release(setup)
		_ = l.Close() // it was removed meanwhile
	}
}

func newLockFile(name string, mode os.FileMode) (*lockFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, mode)
	if err == nil {
		if err := f.Chmod(mode); err != nil { // whatever the umask is
			f.Close()
			return nil, err
		}
		return &lockFile{File: f, created: true}, nil
	}
	if !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|noFollow, mode)
	return &lockFile{File: f}, err
}

// await locks byte n.
func (l *lockFile) await(ctx context.Context, n int64) error {
	for {
		switch ok, err := l.try(n); {
		case err != nil:
			return &os.PathError{Op: "lock", Path: l.Name(), Err: err}
		case ok:
			return nil
		}
		timer := time.NewTimer(time.Millisecond + rand.N(4*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(errors.New("another process is opening the file"), ctx.Err())
		}
	}
}

// alive reports whether the store that has locked byte owner of the lock file
// home may be alive.
func (l *lockFile) alive(owner, home int64) bool {
	return home != l.home || l.taken(owner)
}

// there reports whether the lock file is still at its path. If it is not, others may use
// another one.
func (l *lockFile) there() bool {
	mine, err1 := l.Stat()
	there, err2 := os.Lstat(l.Name())
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// mark notes that the file is a cache.
func (l *lockFile) mark() error {
	if l.marked() {
		return nil
	}
	_, err := l.WriteAt([]byte(marker), 0)
	return err
}

// marked reports whether the file has been a cache.
func (l *lockFile) marked() bool {
	text := make([]byte, len(marker))
	_, err := l.ReadAt(text, 0)
	return err == nil && string(text) == marker
}
