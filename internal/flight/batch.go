package flight

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// batch is the flights that a caller has started together, and that one goroutine
// carries.
type batch[V any] struct {
	call   *Call[V]
	caller context.Context // the caller's, without its cancellation
	base   context.Context // ends when the group is abandoned
	ctx    context.Context // base, with the keys of the batch held in it
	group  *group
	step   step
	tasks  []task[V]
}

// step is what a batch does next; see the picture in the package comment.
type step uint8

const (
	locking  step = iota
	waiting       // for locks that were refused, to read what their holders have made
	creating      // under the locks
)

// task is one key on its way through the algorithm.
type task[V any] struct {
	at      int
	reading Reading[V]
	flight  *flight
	held    bool        // its lock is taken
	revoked bool        // its lock was taken, and given back because the flight was forgotten
	tried   int64       // when its lock was tried, on the table's clock
	busy    *holder     // the lock within this process, which another flight has; nil: it was not that
	err     error       // what trying or waiting for its lock, or reading it, failed with
	alone   bool        // err is no error of the others
	out     *outcome[V] // what came of it
}

func newBatch[V any](ctx context.Context, c *Call[V]) *batch[V] {
	ctx = context.WithoutCancel(ctx)
	unseen := func(at []int, err error) { c.Source.Unseen(ctx, at, err) }
	return &batch[V]{call: c, caller: ctx, group: &group{table: c.Table, space: c.Space, unseen: unseen}}
}

// launch gives the batch its goroutine, or hands it to runner.
func (b *batch[V]) launch(runner func(func())) {
	if len(b.tasks) == 0 {
		return
	}
	var cancel context.CancelCauseFunc
	b.base, cancel = context.WithCancelCause(b.caller)
	b.hold()
	b.group.launch(cancel, b.call.timeout(), b.run, runner)
}

// hold makes the batch's context one in which its keys, and no others, are held.
func (b *batch[V]) hold() {
	keys := make([]string, len(b.tasks))
	for i := range b.tasks {
		keys[i] = b.call.Keys[b.tasks[i].at]
	}
	b.ctx = holding(b.base, b.group, keys)
}

// run carries the flights to their ends, whichever way the creator leaves.
func (b *batch[V]) run() {
	err := ErrGoexit // what remains if nothing returns and nothing panics
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		b.finish(b.tasks, err)
		b.group.end()
	}()
	err = b.carry()
}

// carry is the algorithm of the package comment from step 4 on. It leaves behind
// the tasks that its error is for.
func (b *batch[V]) carry() (err error) {
	for len(b.tasks) > 0 && err == nil {
		switch b.step {
		case locking:
			err = b.lock()
		case waiting:
			err = b.wait()
		case creating:
			err = b.create()
		}
	}
	return err
}

// finish gives back the locks of tasks and then publishes what came of them, or err: a
// caller that gets the error of a creation may try for the lock at once.
func (b *batch[V]) finish(tasks []task[V], err error) {
	releaseAll(flightsOf(tasks))
	var unseen []int
	for i := range tasks {
		if tasks[i].flight.finish(tasks[i].out, err) {
			unseen = append(unseen, tasks[i].at)
		}
	}
	if len(unseen) > 0 {
		b.group.unseen(unseen, err)
	}
}

func flightsOf[V any](tasks []task[V]) []*flight {
	flights := make([]*flight, len(tasks))
	for i := range tasks {
		flights[i] = tasks[i].flight
	}
	return flights
}

func positions[V any](tasks []task[V]) []int {
	at := make([]int, len(tasks))
	for i := range tasks {
		at[i] = tasks[i].at
	}
	return at
}

// lock takes a slot among the creators, tries all locks, and tells the tasks apart
// by what came of it.
func (b *batch[V]) lock() error {
	entered, err := b.enter()
	if err == nil && entered {
		err = b.tryLocks()
	}
	if err != nil {
		return err
	}
	all := len(b.tasks)
	b.tasks = b.dropFailed(b.tasks)
	held, refused := b.divide(entered)
	if len(held) > 0 {
		// With a lock in hand nothing is waited for any more: that would be how two
		// batches with the same keys in another order wait for each other.
		b.tasks, b.step = held, creating
		if len(held) < all {
			// What others are creating is no part of this creation: that must not fail it,
			// and must not hold it up. Its creator may ask for it, too, and for keys that
			// keep their stale values.
			b.startOver(refused)
			b.hold()
		}
		return nil
	}
	b.tasks, b.step = refused, waiting
	b.group.leaveSlot() // the holder of a lock may itself be waiting for it
	return nil
}

// startOver ends the flights of tasks that the batch parts with. Their callers start
// over: those of this batch when it is done, all others at once.
func (b *batch[V]) startOver(tasks []task[V]) {
	for i := range tasks {
		tasks[i].out = &outcome[V]{kind: unsettled}
	}
	b.finish(tasks, nil)
}

// enter takes a slot among the creators. It waits for one if a key is missing.
func (b *batch[V]) enter() (entered bool, err error) {
	wait := false // what is renewed counts as missing
	for i := range b.tasks {
		wait = wait || b.tasks[i].reading.State == Missing
	}
	leave, err := b.call.Source.Enter(b.ctx, wait)
	if leave == nil || err != nil {
		return false, err
	}
	b.group.enter(leave)
	return true, nil
}

// Locks are tried by several goroutines, so that a thousand do not cost a thousand
// round trips one after another: by at most maxTriers, each for at least perTrier.
const (
	maxTriers = 32
	perTrier  = 4
)

// tryLocks tries all locks that are not held yet.
func (b *batch[V]) tryLocks() error {
	n := len(b.tasks)
	if n <= perTrier {
		for i := range b.tasks {
			if b.tryLock(&b.tasks[i]); b.tasks[i].fatal() {
				return b.tasks[i].err
			}
		}
		return nil
	}
	var next atomic.Int64
	var failed atomic.Bool
	var triers sync.WaitGroup
	for range min(maxTriers, (n+perTrier-1)/perTrier) {
		triers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if b.tryLock(&b.tasks[i]); b.tasks[i].fatal() {
					failed.Store(true)
				}
			}
		})
	}
	triers.Wait()
	for i := range b.tasks {
		if t := &b.tasks[i]; t.fatal() {
			return t.err
		}
	}
	return nil
}

// fatal reports whether the task has failed in a way that ends the others too.
func (t *task[V]) fatal() bool { return t.err != nil && !t.alone }

// tryLock takes the lock within the process and then the Source's, or neither.
func (b *batch[V]) tryLock(t *task[V]) {
	// A batch whose time is up must not take what others wait for.
	if t.err = b.ctx.Err(); t.err != nil || t.held {
		return
	}
	if t.busy = t.flight.occupy(); t.busy != nil {
		return
	}
	defer func() {
		// tryLock may run outside the flight's own goroutine, where a panic that
		// nobody catches ends the process.
		if p := recover(); p != nil {
			t.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		if !t.held {
			t.flight.vacate()
		}
	}()
	t.err = ErrGoexit // what remains if nothing returns and nothing panics
	// The moment is taken before the lock is: TryLock may read the entry in the same step,
	// and that reading is not for callers who call after it.
	t.tried = b.call.Table.tick()
	held, err := b.call.Source.TryLock(b.ctx, t.at)
	if t.err = err; held && err == nil {
		b.holds(t)
	}
	if of, is := err.(*KeyError); is {
		t.err, t.alone = of.Err, true
	}
}

// holds notes that the task's lock is taken.
func (b *batch[V]) holds(t *task[V]) {
	at := t.at
	t.held = t.flight.locked(func() { b.call.Source.Unlock(at) })
	t.revoked = !t.held
}

// noSlotBackoff is for how long a stale key is left alone because there was no slot
// among the creators for it.
const noSlotBackoff = 100 * time.Millisecond

// divide tells tasks whose lock is held from those that must wait for it. What has a
// stale value is neither: that value is its result.
func (b *batch[V]) divide(entered bool) (held, refused []task[V]) {
	var revoked []task[V]
	for _, t := range b.tasks {
		switch {
		case t.held:
			held = append(held, t)
		case t.revoked:
			revoked = append(revoked, t)
		case t.reading.State == Stale:
			switch {
			case !entered:
				b.call.Table.BackOff(t.flight.key, noSlotBackoff)
			case t.busy == nil: // nobody tells this process when the other one is done
				b.call.Table.BackOff(t.flight.key, b.call.Source.Backoff(t.at))
			}
			t.flight.finish(&outcome[V]{value: t.reading.Value, kind: keptStale}, nil)
		default:
			refused = append(refused, t)
		}
	}
	// Everything was invalidated since the callers read. They read again, and meet the
	// callers that have come since.
	b.startOver(revoked)
	return held, refused
}

// read reads tasks again, ends the flights of those that others have made in the
// meantime, and returns the rest.
func (b *batch[V]) read(tasks []task[V]) (rest []task[V], err error) {
	// The cutoff comes first:
	// 1. The reading finds a value.  2. It is deleted.  3. A caller joins.  4. The
	// flight ends with the value. The caller has to know that it was late.
	cutoff := b.call.Table.tick()
	for i := range tasks {
		tasks[i].flight.setCutoff(cutoff)
	}
	readings, err := b.call.Source.Read(b.ctx, positions(tasks))
	if err != nil {
		return nil, err
	}
	var settled, failed []task[V]
	for i, t := range tasks {
		t.reading = readings[i]
		switch state := t.reading.State; {
		case t.reading.Err != nil:
			t.err = t.reading.Err
			failed = append(failed, t)
		case b.call.Renew:
			rest = append(rest, t)
		case state == Fresh:
			if t.held {
				// Taking the lock may have been the reading already; see Source.TryLock.
				t.flight.setCutoff(t.tried)
			}
			t.out = &outcome[V]{value: t.reading.Value, kind: found}
			settled = append(settled, t)
		case state == Stale && !t.held:
			t.out = &outcome[V]{value: t.reading.Value, kind: foundStale}
			settled = append(settled, t)
		default:
			rest = append(rest, t)
		}
	}
	b.finish(settled, nil)
	b.dropFailed(failed)
	return rest, nil
}

// create makes and stores, under the locks, what nobody else has made before they
// were taken.
func (b *batch[V]) create() error {
	// 1. This caller reads: missing.  2. Another creator stores, and gives its lock back.
	// 3. This batch takes the lock. Without another reading it would create again.
	tasks, err := b.read(b.tasks)
	if err != nil {
		return err
	}
	if b.tasks = tasks; len(tasks) == 0 {
		return nil
	}
	if failFor := b.call.FailFor; failFor != nil && !b.call.Renew && !b.call.Unshared {
		for i := range tasks {
			tasks[i].flight.creating(failFor)
		}
	}
	var made []Result[V]
	err = b.timed(func(ctx context.Context) (err error) {
		// The slot is for creators: storing, which may hang, needs none.
		defer b.group.leaveSlot()
		made, err = b.call.Source.Create(ctx, positions(tasks))
		return err
	})
	if err != nil {
		return err
	}
	return b.store(tasks, made)
}

// store stores what was made of tasks and ends their flights.
func (b *batch[V]) store(tasks []task[V], made []Result[V]) error {
	var stored, left []task[V]
	var values []Result[V]
	var late []bool
	outs := make([]outcome[V], 2*len(tasks)) // allocated at once
	for i, t := range tasks {
		if !made[i].OK {
			t.out = &outcome[V]{kind: omitted}
			left = append(left, t)
			continue
		}
		// 1. The value is stored.  2. It is deleted.  3. A caller comes: it must not
		// be able to join this flight, which still has the value to give.
		inDoubt := &outs[i]
		*inDoubt = outcome[V]{value: made[i].Value, kind: created, lost: true}
		if t.flight.storing(inDoubt) {
			if late == nil {
				late = make([]bool, len(tasks))
			}
			late[len(stored)] = true
		}
		stored, values = append(stored, t), append(values, made[i])
	}
	b.finish(left, nil)
	if b.tasks = stored; len(stored) == 0 {
		return nil
	}
	var held []bool
	if err := b.timed(func(ctx context.Context) error {
		held = b.call.Source.Store(ctx, positions(stored), values, late)
		return nil
	}); err != nil {
		return err
	}
	for i := range stored {
		stored[i].out = &outs[len(tasks)+i]
		*stored[i].out = outcome[V]{value: values[i].Value, kind: created, lost: !held[i]}
	}
	b.finish(stored, nil)
	b.tasks = nil
	return nil
}

// timed does something within the full time of a flight. What is not done in time
// has failed with ErrTimeout, and so has what failed because the time was up.
func (b *batch[V]) timed(do func(ctx context.Context) error) error {
	ctx, timeout := b.ctx, b.call.timeout()
	if timeout > 0 {
		// The group's timer would do. This lets the creator see its deadline.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	if cause := b.group.restart(timeout); cause != nil {
		return cause
	}
	err := do(ctx)
	if cause := b.group.restart(0); cause != nil {
		return cause
	}
	if err != nil && context.Cause(ctx) == ErrTimeout {
		return ErrTimeout
	}
	return err
}
