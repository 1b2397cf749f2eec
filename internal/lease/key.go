package lease

import (
	"context"
	"slices"
)

func (e *keyState) endLease() {
	if e.lease != nil {
		e.lease.timer.Stop()
		e.lease = nil
	}
}

// save writes the state of key back. A key that is neither leased nor being
// written is forgotten, and every Wait for it wakes; no writer is queued for it,
// since the last one clears writing only when the queue is empty.
func (s *shard) save(key string, e keyState) {
	if e.lease == nil && !e.writing {
		if e.waiters != nil && e.waiters.free != nil {
			close(e.waiters.free)
		}
		delete(s.keys, key)
		return
	}
	if s.keys == nil {
		s.keys = make(map[string]keyState)
	}
	s.keys[key] = e
}

// free returns a channel that is closed once key is free, or nil if it is.
// A key that is being written is not: its TryLock would be refused, so a Wait
// that returned then would be called again at once, and spin.
func (s *shard) free(key string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if !e.writing && !e.lease.live() {
		return nil
	}
	w := s.waitersOf(key, e)
	if w.free == nil {
		w.free = make(chan struct{})
	}
	return w.free
}

// waitersOf returns the waiters of key, whose state is e, to add one to them.
func (s *shard) waitersOf(key string, e keyState) *waiters {
	if e.waiters == nil {
		e.waiters = new(waiters)
		s.save(key, e)
	}
	return e.waiters
}

// beginWrite waits for the turn to write key and reports whether it is leased.
func (s *shard) beginWrite(ctx context.Context, key string) (leased bool, err error) {
	s.mu.Lock()
	e := s.keys[key]
	if !e.writing {
		e.writing = true
		s.save(key, e)
		s.mu.Unlock()
		return e.lease != nil, nil
	}
	turn := make(chan struct{})
	w := s.waitersOf(key, e)
	w.queue = append(w.queue, turn)
	s.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A turn that is no longer queued has been handed over, even if ctx is done:
	//  1. W waits; ctx ends, and W wakes.
	//  2. Before W has the mutex, the writer in front ends and hands W the key.
	//  3. W finds itself out of the queue. If it left now, nothing would call
	//     endWrite for this turn, and no other write of key could ever begin.
	// So only a writer that is still queued leaves.
	if i := slices.Index(w.queue, turn); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
		return false, ctx.Err()
	}
	return s.keys[key].lease != nil, nil
}

// endWrite hands key to the next writer, or frees it. writing stays set from one
// writer to the next: no TryLock and no newcomer slips in between.
func (s *shard) endWrite(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[key]
	if e.lease != nil {
		e.lease.reserved = false // its Set was not stored: the holder may try again
	}
	if e.waiters != nil && len(e.waiters.queue) > 0 {
		close(e.waiters.queue[0])
		e.waiters.queue = slices.Delete(e.waiters.queue, 0, 1)
	} else {
		e.writing = false
	}
	s.save(key, e)
}
