package lease

import (
	"context"
	"math"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// held is a lease that was granted. It holds while the state of its key points
// to it and its deadline is ahead.
type held struct {
	shard    *shard
	key      string
	timer    *time.Timer   // runs expire
	since    time.Duration // since base
	deadline time.Duration // since base; guarded by shard.mu, like reserved
	reserved bool          // a Set in progress stores under it
}

// Extend implements [driver.Lease]. A ttl that is not positive is an error.
func (l *held) Extend(ctx context.Context, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl <= 0 {
		return ttlError(ttl)
	}
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	// The deadline counts, not the timer, which may fire late: a lease that has
	// run out must not come back to life.
	if l.shard.keys[l.key].lease != l || !l.live() {
		return driver.ErrLeaseLost
	}
	l.deadline = after(ttl)
	l.timer.Reset(ttl)
	return nil
}

// Release implements [driver.Lease]. It works with a ctx that is done, since it
// waits for nothing.
func (l *held) Release(context.Context) error {
	l.release()
	return nil
}

func (l *held) release() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if e := l.shard.keys[l.key]; e.lease == l {
		e.endLease()
		l.shard.save(l.key, e)
	}
}

// expire frees the key of a holder that went away. The lease may still hold:
//  1. The timer fires, and expire waits for the mutex.
//  2. Extend has it, with a moment of the lease left, and moves the deadline.
//  3. expire gets the mutex.
//
// Extend has set the timer again, which fires at the new deadline.
func (l *held) expire() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if e := l.shard.keys[l.key]; e.lease == l && !l.live() {
		e.endLease()
		l.shard.save(l.key, e)
	}
}

// live reports whether the time of l has not run out; a nil lease is not live.
func (l *held) live() bool { return l != nil && time.Since(base) < l.deadline }

// after returns the time since base that is ttl from now; what would overflow is
// the end of time.
func after(ttl time.Duration) time.Duration {
	now := time.Since(base) // negative in a synctest bubble, where it is the year 2000
	if now+ttl < now {
		return math.MaxInt64
	}
	return now + ttl
}
