package flight

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// together is how long a batch that waits for several locks waits for more of them
// once it has one: what was locked together is given back together, or nearly so.
const together = time.Millisecond

// wait waits for the locks of the tasks, each by itself, and ends the flights of those
// whose values others have made. It returns when there are locks to be tried again.
func (b *batch[V]) wait() error {
	b.step = locking
	if len(b.tasks) == 1 {
		b.waitFor(b.ctx, &b.tasks[0])
		if err := b.tasks[0].err; err != nil {
			return err
		}
		missing, err := b.readFreed(b.tasks)
		if err == nil {
			b.tasks = missing
		}
		return err
	}
	// A deferred Wait, so that no waiter is left behind when the batch goes on: it could
	// take a lock that nobody gives back.
	ctx, stop := context.WithCancel(b.ctx)
	var waiters sync.WaitGroup
	defer waiters.Wait() // they end with ctx
	defer stop()
	freed := make(chan task[V], len(b.tasks))
	for _, t := range b.tasks {
		waiters.Go(func() {
			defer func() { freed <- t }()
			b.waitFor(ctx, &t)
		})
	}
	for len(b.tasks) > 0 {
		some := gather(freed, len(b.tasks))
		still := without(b.tasks, some)
		missing, err := b.readFreed(b.dropFailed(some))
		if err != nil {
			b.finish(some, err) // that is no error of those that still wait
		}
		if b.tasks = still; len(missing) > 0 {
			// What is missing is created now. Those that have to wait longer must not be
			// held up by that, nor hold it up.
			// 1. The flight of one of them gives back its lock: it has none.  2. A waiter
			// takes it.  3. The flight ends. So the waiters have to be done by now.
			stop()
			waiters.Wait()
			b.startOver(still)
			b.tasks = missing
			return nil
		}
	}
	return nil
}

// waitFor waits until the task's lock may be free, or is taken.
func (b *batch[V]) waitFor(ctx context.Context, t *task[V]) {
	t.err = ErrGoexit // what remains if nothing returns and nothing panics
	defer func() {
		if p := recover(); p != nil {
			t.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	on := &blocker{holder: t.busy}
	if on.holder == nil {
		on.lock = t.flight.lockID()
	}
	t.flight.block(on)
	defer t.flight.unblock()
	if t.busy != nil {
		// The flight that has the lock within the process may hold the Source's too, or
		// may only be asking for it. In both cases the next step is to try again.
		select {
		case <-t.busy.free:
			t.err = nil
		case <-ctx.Done():
			t.err = ctx.Err()
		}
		return
	}
	held, err := b.call.Source.Wait(ctx, t.at)
	if t.err = err; held && err == nil {
		if t.flight.occupy() != nil {
			// Another flight has the lock within the process. That one must not be waited
			// for while this one is held.
			b.call.Source.Unlock(t.at)
			return
		}
		t.tried = b.call.Table.tick()
		b.holds(t)
	}
}

// gather returns the first task from freed, and those that come within a moment after
// it, n at the most.
func gather[V any](freed <-chan task[V], n int) []task[V] {
	some := []task[V]{<-freed}
	timer := time.NewTimer(together)
	defer timer.Stop()
	for len(some) < n {
		select {
		case t := <-freed:
			some = append(some, t)
		case <-timer.C:
			return some
		}
	}
	return some
}

// without returns the tasks that are not in gone.
func without[V any](tasks, gone []task[V]) (left []task[V]) {
	isGone := make(map[int]bool, len(gone))
	for i := range gone {
		isGone[gone[i].at] = true
	}
	for _, t := range tasks {
		if !isGone[t.at] {
			left = append(left, t)
		}
	}
	return left
}

// dropFailed ends the flights of tasks that have failed, and returns the others.
func (b *batch[V]) dropFailed(tasks []task[V]) (rest []task[V]) {
	for i, t := range tasks {
		if t.err != nil {
			b.finish(tasks[i:i+1], t.err)
		} else {
			rest = append(rest, t)
		}
	}
	return rest
}

// readFreed reads what the holders of the locks may have made, and returns what is
// still missing.
func (b *batch[V]) readFreed(tasks []task[V]) (missing []task[V], err error) {
	if b.call.Renew {
		// A renewer does not take what another has made, since that creation may have
		// begun before the renewer called.
		return tasks, nil
	}
	var free []task[V]
	for _, t := range tasks {
		if t.held {
			missing = append(missing, t) // create reads it, under the lock
		} else {
			free = append(free, t)
		}
	}
	if len(free) == 0 {
		return missing, nil
	}
	if free, err = b.read(free); err != nil {
		return nil, err
	}
	return append(missing, free...), nil
}
