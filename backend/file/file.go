// Package file keeps a cache in a file of this host, which several processes
// read and write at once without a server, by way of zombiezen.com/go/sqlite.
// They share the entries and elect one creator for each key among them.
//
//	backend, err := file.Open(ctx, "/var/cache/app.db", nil)
//
// or by its URL scheme:
//
//	file:///var/cache/app.db?max_bytes=1GiB
//	file://app.db                           in the working directory
//
// Three more files are in the same directory, with the same name and -wal, -shm
// or -lock behind it. To empty the cache, remove all four, even while programs
// use it: they notice, and go on with a new one.
package file

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/watching"
)

const (
	// DefaultTimeout is how long a call takes at most unless Options.Timeout
	// says otherwise.
	DefaultTimeout = time.Second
	// MinBytes is the least that Options.MaxBytes may be.
	MinBytes = 128 << 10

	// maxValue bounds a value: while one is written, all other writers wait.
	maxValue = 32 << 20
	// openTimeout bounds Open, which waits for others that open the same file.
	openTimeout = 30 * time.Second
	// refusal is for how long a file of another version is not looked at again: to open it
	// takes a thousand times as long as to be told so.
	refusal = time.Second
)

// Options says how a Backend keeps its file. The zero value is ready to use. A
// Backend copies its Options.
type Options struct {
	// MaxBytes bounds the size of the file, in bytes. Once it is reached, the
	// entries that were written first make room for others. The -wal file comes on
	// top, with up to about half of that or 16 MiB, whichever is less. 0: no bound.
	// Less than MinBytes is an error. Of several processes that use a file each
	// keeps to its own bound when it writes.
	MaxBytes int

	// Timeout bounds each call. What may take time is waiting for other processes
	// that write. 0: DefaultTimeout; -1: the caller's context alone.
	Timeout time.Duration

	// Reset replaces a file by an empty one if it is damaged, if Open finds that it was
	// written by another version of this package, or if nothing more can be written to it
	// because the disk is full. A call that finds this out fails; Open does not.
	// Without Reset it is an error, and the file is left as it is. A file that is no
	// cache is left as it is in any case.
	//
	// Programs of two versions, as there are during a deployment, do not replace each other's
	// file in turns: the one that was opened last has it. Calls of the others return an error
	// that names both versions. On Linux they go on with an empty file once nobody else uses
	// it; elsewhere once the file is removed, or they are started again.
	Reset bool
}

// Backend keeps entries in a file. Its leases are held across processes, and
// its Set under a lease is fenced. It is safe for concurrent use, as are several
// Backends on one file.
type Backend struct {
	path    string // as given, made absolute
	o       Options
	timeout time.Duration // 0: none
	serial  atomic.Int64  // of the last lease
	waiters waiters
	janitor janitor

	watchers watching.Watchers
	asking   sync.WaitGroup // the goroutine of watchers

	ctx  context.Context // done once closed
	stop context.CancelFunc

	mu    sync.RWMutex // held while store is used, and for writing to replace it
	store *store       // nil once closed

	refused   error     // why the file could not be opened anew: it is of another version
	refusedAt time.Time // when; written with mu held for writing, as refused is
}

var (
	_ driver.Backend   = (*Backend)(nil)
	_ driver.Locker    = (*Backend)(nil)
	_ driver.Describer = (*Backend)(nil)
	_ driver.Watcher   = (*Backend)(nil)
	_ driver.Holders   = (*Backend)(nil)
	_ driver.Scanner   = (*Backend)(nil)

	errClosed  = errors.New("file: the backend is closed")
	errDamaged = errors.New("the cache file is damaged; remove it, or open it with Reset (reset=true)")
)

func (o *Options) check() error {
	switch {
	case o.MaxBytes < 0 || o.MaxBytes > 0 && o.MaxBytes < MinBytes:
		return fmt.Errorf("the bound MaxBytes (max_bytes) is %d; it is 0 or at least %d", o.MaxBytes, MinBytes)
	case o.Timeout < 0 && o.Timeout != -1:
		return fmt.Errorf("the Timeout (timeout) is %v; it is positive, 0 or -1", o.Timeout)
	}
	return nil
}

// Caps says that entries and leases are shared among the processes of this host,
// and fenced; how large a value may be; and that no call but Wait and Scan
// takes longer than Options.Timeout.
func (b *Backend) Caps() driver.Caps {
	return driver.Caps{
		Name:     "file",
		Shared:   true,
		Locks:    true,
		Fenced:   true,
		MaxValue: b.maxValue(),
		TTLUnit:  time.Millisecond,
		Timeout:  b.timeout,
	}
}

// maxValue leaves room for several values within the bound.
func (b *Backend) maxValue() int {
	if b.o.MaxBytes > 0 {
		return min(maxValue, b.o.MaxBytes/4)
	}
	return maxValue
}

// Path returns where the file is, as an absolute path.
func (b *Backend) Path() string { return b.path }

// Close gives up the leases of b and closes its file. Calls made afterwards
// return an error. It may be repeated.
func (b *Backend) Close() error {
	b.stop()
	b.mu.Lock()
	s := b.store
	b.store = nil
	b.mu.Unlock()
	if s == nil {
		return nil
	}
	b.janitor.tasks.Wait()
	b.asking.Wait()
	if err := s.close(); err != nil {
		return fmt.Errorf("file: close: %w", err)
	}
	return nil
}

// visit is the use of a store by one call.
type visit struct {
	*store
	b      *Backend
	before bool // what debug.SetPanicOnFault was
}

// enter is where every call begins. The caller defers leave.
func (b *Backend) enter(ctx context.Context) (visit, error) {
	for {
		if err := ctx.Err(); err != nil {
			return visit{}, err
		}
		b.mu.RLock()
		s := b.store
		switch {
		case s == nil:
			b.mu.RUnlock()
			return visit{}, errClosed
		case !s.gone():
			return visit{s, b, debug.SetPanicOnFault(true)}, nil
		}
		b.mu.RUnlock()
		if err := b.reopen(ctx, s); err != nil {
			return visit{}, err
		}
	}
}

// leave ends what enter began. A file whose parts are truncated while they are
// mapped into memory makes their use panic; leave turns that into an error.
func (v visit) leave(err *error) {
	p := recover()
	debug.SetPanicOnFault(v.before)
	if isFault(p) {
		v.broken.Store(true)
		v.faulted.Store(true)
		*err = fmt.Errorf("file: %w: a part of it was cut off while it was in use", errDamaged)
		p = nil
	}
	if lost(*err) && v.b.o.Reset {
		v.broken.Store(true)
	}
	if damaged(*err) {
		*err = fmt.Errorf("%w: %w", errDamaged, *err)
	}
	v.b.mu.RUnlock()
	if p != nil {
		panic(p)
	}
}

func isFault(p any) bool {
	f, ok := p.(interface{ Addr() uintptr })
	return ok && f.Addr() >= 1<<12
}

// damaged reports whether err says that the file is not as it was written.
func damaged(err error) bool {
	code := sqlite.ErrCode(err)
	switch code.ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return true
	}
	return code == sqlite.ResultIOErrShortRead
}

// lost reports whether err is one for which a file is reset.
func lost(err error) bool {
	return damaged(err) || sqlite.ErrCode(err) == sqlite.ResultFull
}

// reopen replaces old, whose file was removed or is to be reset.
func (b *Backend) reopen(ctx context.Context, old *store) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.store != old:
		return nil
	case b.refused != nil && time.Since(b.refusedAt) < refusal:
		return b.refused
	}
	if old.broken.Load() {
		_ = old.closeConns() // an open file keeps its place on the disk
	}
	limit := openTimeout
	if b.timeout > 0 {
		limit = min(b.timeout, openTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := openStore(ctx, b.path, &b.o, old)
	b.refused = nil
	if err != nil {
		err = fmt.Errorf("file: open %s anew, which was removed or damaged: %w", b.path, err)
		if errors.Is(err, errVersion) {
			b.refused, b.refusedAt = err, time.Now()
			// Nothing of the old one is there any more. Of several that wait for the others
			// to end, none keeps another from being the only one.
			old.lock.release(old.owner)
		}
		return err
	}
	b.store = s
	safely(old.changes.NoteAll) // no copy outlives the file
	// What goes wrong in closing the old one matters to nobody: it was replaced.
	_ = old.close()
	return nil
}

// failed says where a call failed. The caller adds which call it was and for
// which key.
func failed(err error) error {
	if err == nil || err == errClosed {
		return err
	}
	return fmt.Errorf("file: %w", err)
}
