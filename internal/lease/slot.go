package lease

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// held is a lease that was granted. It holds while the slot of its key points
// to it and its deadline is ahead.
type held struct {
	shard    *shard
	key      string
	timer    *time.Timer   // runs expire
	deadline time.Duration // since base; guarded by shard.mu, like used
	used     bool          // a Set in progress stores under it
}

// Extend implements driver.Lease. A ttl that is not positive is an error.
func (l *held) Extend(ctx context.Context, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl <= 0 {
		return ttlError(l.key, ttl)
	}
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if l.shard.keys[l.key].lease != l || !l.live() {
		return driver.ErrLeaseLost
	}
	l.deadline = after(ttl)
	l.timer.Reset(ttl)
	return nil
}

// Release implements driver.Lease. It works with a ctx that is done, since it
// waits for nothing.
func (l *held) Release(context.Context) error {
	l.release()
	return nil
}

func (l *held) release() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if e := l.shard.keys[l.key]; e.lease == l {
		e.drop()
		l.shard.put(l.key, e)
	}
}

// expire frees the key of a holder that went away. A lease that was extended
// meanwhile, or under which a Set is storing, is left alone.
func (l *held) expire() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if e := l.shard.keys[l.key]; e.lease == l && !l.used && !l.live() {
		e.drop()
		l.shard.put(l.key, e)
	}
}

// live reports whether the time of l has not run out; a nil lease is not live.
func (l *held) live() bool { return l != nil && time.Since(base) < l.deadline }

func after(ttl time.Duration) time.Duration {
	now := time.Since(base) // negative in a synctest bubble, where it is the year 2000
	if now+ttl < now {
		return math.MaxInt64
	}
	return now + ttl
}

func (e *slot) drop() {
	if e.lease != nil {
		e.lease.timer.Stop()
		e.lease = nil
	}
}

// put writes the slot back, or forgets the key and wakes Wait once nothing
// holds it. A key with nothing that holds it has no writers queued either.
func (s *shard) put(key string, e slot) {
	if e.lease == nil && !e.writing {
		if e.wait != nil && e.wait.free != nil {
			close(e.wait.free)
		}
		delete(s.keys, key)
		return
	}
	if s.keys == nil {
		s.keys = make(map[string]slot)
	}
	s.keys[key] = e
}

// freed returns a channel that is closed once key is free, or nil if it is.
func (s *shard) freed(key string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if !e.writing && !e.lease.live() {
		return nil
	}
	w := s.waiting(key, e)
	if w.free == nil {
		w.free = make(chan struct{})
	}
	return w.free
}

// waiting returns where to wait for key, whose slot is e.
func (s *shard) waiting(key string, e slot) *waiting {
	if e.wait == nil {
		e.wait = new(waiting)
		s.put(key, e)
	}
	return e.wait
}

// begin waits for the turn to write key and reports whether it is leased.
func (s *shard) begin(ctx context.Context, key string) (leased bool, err error) {
	s.mu.Lock()
	e := s.keys[key]
	if !e.writing {
		e.writing = true
		s.put(key, e)
		s.mu.Unlock()
		return e.lease != nil, nil
	}
	turn := make(chan struct{})
	w := s.waiting(key, e)
	w.turns = append(w.turns, turn)
	s.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(w.turns, turn); i >= 0 {
		w.turns = slices.Delete(w.turns, i, i+1)
		return false, ctx.Err()
	}
	return s.keys[key].lease != nil, nil
}

// end hands key to the next writer, or to nobody.
func (s *shard) end(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if e.lease != nil {
		e.lease.used = false
		if !e.lease.live() {
			e.drop()
		}
	}
	if e.wait != nil && len(e.wait.turns) > 0 {
		close(e.wait.turns[0])
		e.wait.turns = slices.Delete(e.wait.turns, 0, 1)
	} else {
		e.writing = false
	}
	s.put(key, e)
}
