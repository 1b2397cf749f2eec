package lock

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Flights is the part of the lock inside the process: the creations that are
// in the air, at most one for each key and version, and the keys that rest.
// Locks that share a Flights share their flights. The zero value is ready; all
// methods may be called from many goroutines. It must not be copied.
type Flights struct {
	shards [16]shard
	clock  atomic.Int64 // orders the calls of users and the marks of flights

	mu      sync.Mutex
	running map[*flight]struct{} // flights whose goroutine has not ended
	closed  bool
	idle    chan struct{} // closed when running becomes empty after Close
}

type shard struct {
	mu      sync.Mutex
	flights map[string]*flight // by key; further versions hang on flight.next
	rests   map[string]*time.Timer
}

var seed = maphash.MakeSeed()

func (fs *Flights) shard(key string) *shard {
	return &fs.shards[maphash.String(seed, key)%uint64(len(fs.shards))]
}

// start returns the flight of key and version, and whether the caller has just
// made it and must launch it. With renew a flight that has been marked is not
// joined but replaced.
func (fs *Flights) start(key, version string, renew bool) (f *flight, made bool, err error) {
	sh := fs.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for f := sh.flights[key]; f != nil; f = f.next {
		if f.version != version && version != AnyVersion {
			continue
		}
		if !renew || f.marked == 0 {
			return f, false, nil
		}
		sh.remove(f)
		break
	}
	f = &flight{set: fs, key: key, version: version, done: make(chan struct{})}
	if err := fs.add(f); err != nil {
		return nil, false, err
	}
	if sh.flights == nil {
		sh.flights = make(map[string]*flight)
	}
	f.next = sh.flights[key]
	sh.flights[key] = f
	return f, true, nil
}

// Rest makes callers who find a stale value under key return it for the next
// d, without trying for the lock.
func (fs *Flights) Rest(key string, d time.Duration) {
	sh := fs.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.rests == nil {
		sh.rests = make(map[string]*time.Timer)
	}
	if old := sh.rests[key]; old != nil {
		old.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if sh.rests[key] == t {
			delete(sh.rests, key)
		}
	})
	sh.rests[key] = t
}

// Resting reports whether Rest has been called for key and its time is not
// over.
func (fs *Flights) Resting(key string) bool {
	sh := fs.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.rests[key] != nil
}

// Forget takes the flights of keys out of sight: their callers still get their
// results, later callers start new ones. It ends the rest of keys as well. It is
// for those who have changed the values: what has been locked stays so, for them
// to revoke.
func (fs *Flights) Forget(keys ...string) {
	for _, key := range keys {
		sh := fs.shard(key)
		sh.mu.Lock()
		sh.forget(key)
		sh.mu.Unlock()
	}
}

// ForgetAll is Forget for every key, and unlocks what the flights have locked.
// It returns when that is done, or ctx ends: then it goes on beside.
func (fs *Flights) ForgetAll(ctx context.Context) {
	var all []*flight
	for i := range fs.shards {
		sh := &fs.shards[i]
		sh.mu.Lock()
		for key, f := range sh.flights {
			for ; f != nil; f = f.next {
				all = append(all, f)
			}
			sh.forget(key)
		}
		for key := range sh.rests {
			sh.wake(key)
		}
		sh.mu.Unlock()
	}
	if len(all) == 0 {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		each(all, (*flight).release)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// each does something to all flights at the same time.
func each(flights []*flight, do func(*flight)) {
	var all sync.WaitGroup
	for _, f := range flights {
		all.Go(func() { do(f) })
	}
	all.Wait()
}

func (sh *shard) forget(key string) {
	for f := sh.flights[key]; f != nil; f = f.next {
		f.gone = true
	}
	delete(sh.flights, key)
	sh.wake(key)
}

func (sh *shard) wake(key string) {
	if t := sh.rests[key]; t != nil {
		t.Stop()
		delete(sh.rests, key)
	}
}

// remove takes f out of the table.
func (sh *shard) remove(f *flight) {
	if f.gone {
		return
	}
	f.gone = true
	head := sh.flights[f.key]
	if head == f {
		if f.next == nil {
			delete(sh.flights, f.key)
		} else {
			sh.flights[f.key] = f.next
		}
		return
	}
	for ; head != nil; head = head.next {
		if head.next == f {
			head.next = f.next
			return
		}
	}
}

// Running returns how many flights have not ended.
func (fs *Flights) Running() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return len(fs.running)
}

// Close lets no new flight start, waits until those in the air have ended, or
// ctx is done: then it cancels them, frees their callers with ErrClosed, and
// returns ctx's error. Creators that ignore their context may run on. Closing
// twice is allowed.
func (fs *Flights) Close(ctx context.Context) error {
	fs.mu.Lock()
	fs.closed = true
	if fs.idle == nil {
		fs.idle = make(chan struct{})
		if len(fs.running) == 0 {
			close(fs.idle)
		}
	}
	idle := fs.idle
	fs.mu.Unlock()

	select {
	case <-idle:
		return nil
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	fs.mu.Lock()
	left := make([]*flight, 0, len(fs.running))
	for f := range fs.running {
		left = append(left, f)
	}
	fs.mu.Unlock()
	each(left, func(f *flight) { f.abandon(ErrClosed) })
	return ctx.Err()
}

func (fs *Flights) add(f *flight) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return ErrClosed
	}
	if fs.running == nil {
		fs.running = make(map[*flight]struct{})
	}
	fs.running[f] = struct{}{}
	return nil
}

func (fs *Flights) ended(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, ok := fs.running[f]; !ok {
		return
	}
	delete(fs.running, f)
	if fs.closed && len(fs.running) == 0 {
		close(fs.idle)
	}
}
