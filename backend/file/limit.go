package file

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"zombiezen.com/go/sqlite"
)

// limit is how long a call may take.
type limit struct {
	ctx     context.Context
	closing <-chan struct{}
	until   time.Time // zero: none
	total   time.Duration
}

// limit returns how long a call with ctx may take.
func (b *Backend) limit(ctx context.Context) limit {
	l := limit{ctx: ctx, closing: b.ctx.Done(), total: b.timeout}
	if l.total > 0 {
		l.until = time.Now().Add(l.total)
	}
	return l
}

// err returns why the call may not go on; nil if it may.
func (l *limit) err() error {
	select {
	case <-l.closing:
		return errClosed
	default:
	}
	if err := l.ctx.Err(); err != nil {
		return err
	}
	if !l.until.IsZero() && !time.Now().Before(l.until) {
		return l.late()
	}
	return nil
}

func (l *limit) late() error {
	return fmt.Errorf("not done within %v: %w", l.total, context.DeadlineExceeded)
}

// take receives from ch.
func take[T any](l *limit, ch <-chan T) (v T, err error) {
	select {
	case v = <-ch:
		return v, nil
	default:
	}
	var late <-chan time.Time
	if !l.until.IsZero() {
		timer := time.NewTimer(time.Until(l.until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case v = <-ch:
		return v, nil
	case <-l.ctx.Done():
		return v, l.ctx.Err()
	case <-l.closing:
		return v, errClosed
	case <-late:
		return v, l.late()
	}
}

// patiently calls try until it is no longer refused because of a lock that
// another process holds.
//
// A call waits here and not in SQLite, so that its ctx can end the wait. To
// interrupt SQLite when a context is done costs a goroutine for each call.
func patiently(l *limit, try func() error) error {
	err := try()
	for pause := 50 * time.Microsecond; busy(err); pause = min(2*pause, 2*time.Millisecond) {
		if err := l.err(); err != nil {
			return fmt.Errorf("the file is locked by another process: %w", err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			timer.Stop()
		case <-l.closing:
			timer.Stop()
		}
		err = try()
	}
	return err
}

func busy(err error) bool {
	return err != nil && sqlite.ErrCode(err).ToPrimary() == sqlite.ResultBusy
}
