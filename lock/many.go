package lock

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Many is the dogpile lock of several values that are read, created and stored
// together. Each value may at the same time be created by a Lock or by another
// Many with the same Flights and mutexes: no order of keys can make them wait
// for each other in a circle, because locks are only tried, never waited for,
// while others are held.
//
// Functions are given the positions in Locks of the values that they are to deal
// with, and answer in the same order. A Many serves one call of Do.
type Many[V any] struct {
	// Locks tells Key, Mutex, Version and Stale or Expiration of each value; the
	// other fields are not used. The keys differ, and Flights is the same for all.
	Locks []*Lock[V]
	// Read returns values and when they were made, as Lock.Read. It may be called
	// for different values at the same time.
	Read func(ctx context.Context, at []int) ([]V, []time.Time, error)
	// Create makes values anew. It may leave some out.
	Create func(ctx context.Context, at []int) (v []V, made []bool, err error)
	// Store stores what Create made, and reports for each whether its mutex was
	// held until then.
	Store func(ctx context.Context, at []int, v []V) (held []bool)
	// Enter is called before mutexes are taken, and the function it returns when
	// the creator has returned, or has outlived its time, or is not to run. It
	// returns nil where it would have to wait and may not. Optional.
	Enter func(ctx context.Context, wait bool) (leave func(), err error)

	Runner  func(task func())
	Timeout time.Duration

	renew bool
}

// task is one value on its way through a Many.
type task[V any] struct {
	at      int
	v       V
	created time.Time
	version string
	f       *flight
	ours    bool  // f was launched by us
	tried   int64 // when the lock was tried last, on the clock of flights
}

func (t *task[V]) stale() bool { return !t.created.IsZero() }

// Do returns the values, for a caller who has just read them: each as Lock.Do
// would, but with one creation for all that have to be created. ok tells which
// are there: creators may leave values out. The error of a creator, ours or one
// that was waited for, is the error of the call.
func (m *Many[V]) Do(ctx context.Context, v []V, created []time.Time) (vals []V, ok []bool, err error) {
	vals, ok = make([]V, len(m.Locks)), make([]bool, len(m.Locks))
	tasks := make([]*task[V], len(m.Locks))
	for i := range tasks {
		tasks[i] = &task[V]{at: i, v: v[i], created: created[i]}
	}
	settle := func(t *task[V], v V) { vals[t.at], ok[t.at] = v, true }
	called := m.clock()
	for failed := 0; len(tasks) > 0; {
		lost := false
		waiting, err := m.round(ctx, tasks, settle)
		if err != nil {
			return nil, nil, err
		}
		tasks = tasks[:0]
		for _, t := range waiting {
			select {
			case <-t.f.done:
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
			switch got, same := t.f.value.(box[V]); {
			case errors.Is(t.f.err, ErrLost) && failed < retries:
				lost = true
				tasks = append(tasks, t)
			case t.f.err != nil:
				return nil, nil, t.f.err
			case t.f.kind == absent && t.ours:
				// its creator, which is ours, has left it out
			case same && t.f.serves(called, t.stale(), t.version):
				settle(t, got.v)
			default:
				tasks = append(tasks, t)
			}
		}
		if lost {
			failed++
		}
		if err := m.reread(ctx, tasks); err != nil {
			return nil, nil, err
		}
	}
	return vals, ok, nil
}

// Renew creates the values even while they are fresh, as Lock.Renew.
func (m *Many[V]) Renew(ctx context.Context) (vals []V, ok []bool, err error) {
	m.renew = true
	return m.Do(ctx, make([]V, len(m.Locks)), make([]time.Time, len(m.Locks)))
}

func (m *Many[V]) reread(ctx context.Context, tasks []*task[V]) error {
	if len(tasks) == 0 {
		return nil
	}
	v, created, err := m.Read(ctx, positions(tasks))
	if err != nil {
		return err
	}
	for i, t := range tasks {
		if t.v = v[i]; !m.renew {
			t.created = created[i] // what is to be renewed counts as missing
		}
	}
	return nil
}

func positions[V any](tasks []*task[V]) []int {
	at := make([]int, len(tasks))
	for i, t := range tasks {
		at[i] = t.at
	}
	return at
}

// round settles what can be settled at once, launches flights for what nobody
// creates, and returns what has to be waited for.
func (m *Many[V]) round(ctx context.Context, tasks []*task[V], settle func(*task[V], V)) (waiting []*task[V], err error) {
	// What can go wrong for this caller does so before it has flights that others
	// may have joined.
	todo := make([]*task[V], 0, len(tasks))
	for _, t := range tasks {
		l := m.Locks[t.at]
		fs := l.flights()
		switch {
		case !m.renew && l.fresh(t.v, t.created), t.stale() && fs.Resting(l.Key):
			settle(t, t.v)
			continue
		case creating(ctx, fs, l.Key):
			return nil, ErrRecursive
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		t.version = l.version(t.v, m.renew)
		todo = append(todo, t)
	}
	var now, later []*task[V] // flights of our own; later: those a Runner may have
	for _, t := range todo {
		l := m.Locks[t.at]
		if t.f, t.ours, err = l.flights().start(l.Key, t.version, m.renew); err != nil {
			for _, t := range append(now, later...) {
				t.f.abandon(err) // ErrClosed, as for everybody
			}
			return nil, err
		}
		switch {
		case !t.ours && t.stale():
			settle(t, t.v)
		case !t.ours:
			t.f.urge()
			waiting = append(waiting, t)
		case t.stale() && m.Runner != nil:
			settle(t, t.v)
			later = append(later, t)
		default:
			waiting = append(waiting, t)
			now = append(now, t)
		}
	}
	m.launch(ctx, now, nil)
	m.launch(ctx, later, m.Runner)
	return waiting, nil
}

// launch gives flights a goroutine in common, or hands them to runner.
func (m *Many[V]) launch(ctx context.Context, tasks []*task[V], runner func(func())) {
	if len(tasks) == 0 {
		return
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	// The tasks belong to the caller, who goes on with them.
	own := make([]*task[V], len(tasks))
	for i, t := range tasks {
		c := *t
		own[i] = &c
	}
	var begun atomic.Bool
	run := func() {
		if begun.Swap(true) {
			return
		}
		var aboard []*task[V]
		for _, t := range own {
			if t.f.board() {
				aboard = append(aboard, t)
			}
		}
		if len(aboard) > 0 {
			m.run(ctx, cancel, aboard)
		}
	}
	for _, t := range own {
		t.f.departs(cancel, m.timeout())
	}
	if runner == nil {
		go run()
		return
	}
	for _, t := range own {
		t.f.offers(run)
	}
	handed := false
	defer func() {
		if !handed {
			for _, t := range own {
				t.f.ground(errRunner)
			}
		}
	}()
	runner(run)
	handed = true
}

// run carries flights through, whatever way the creator leaves.
func (m *Many[V]) run(ctx context.Context, cancel context.CancelCauseFunc, tasks []*task[V]) {
	err := ErrGoexit
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		err = cause(ctx, err)
		for _, t := range tasks {
			t.f.release()
			t.f.finish(outcome[V]{kind: absent, err: err}.publish(t.f))
			t.f.lands()
		}
		cancel(nil)
	}()
	err = m.fly(ctx, tasks)
}

// fly tries all locks in one pass and creates what it has won. If it has won
// none, it waits for what others hold.
func (m *Many[V]) fly(ctx context.Context, tasks []*task[V]) error {
	leave, err := m.enter(ctx, tasks)
	if err != nil {
		return err
	}
	entered := leave != nil
	var won, lost []*task[V]
	defer func() {
		for _, t := range won {
			t.f.release()
		}
		if entered {
			leave()
		}
	}()
	won, lost, err = m.take(ctx, tasks, entered)
	if err == nil && len(won) > 0 {
		// What others hold is no part of this creation, and not of its failure.
		for _, t := range lost {
			t.finish(outcome[V]{kind: again})
		}
		return m.create(ctx, won, leave)
	}
	if err != nil || len(lost) == 0 {
		return err
	}
	if entered {
		leave()
	}
	return m.await(ctx, lost)
}

// enter takes a place for the creator; it is left once, at the latest when ctx
// ends.
func (m *Many[V]) enter(ctx context.Context, tasks []*task[V]) (leave func(), err error) {
	if m.Enter == nil {
		return func() {}, nil
	}
	wait := false
	for _, t := range tasks {
		wait = wait || !t.stale()
	}
	leave, err = m.Enter(ctx, wait)
	if leave == nil || err != nil {
		return nil, err
	}
	leave = sync.OnceFunc(leave)
	context.AfterFunc(ctx, leave)
	return leave, nil
}

func (t *task[V]) finish(o outcome[V]) { t.f.finish(o.publish(t.f)) }

// create reads again what the locks have been won for, and creates what nobody
// has made in the meantime.
func (m *Many[V]) create(ctx context.Context, won []*task[V], leave func()) error {
	if len(won) == 0 {
		return nil
	}
	todo, err := m.fresh(ctx, won)
	if err != nil || len(todo) == 0 {
		return err
	}
	var v []V
	var there []bool
	inTime := timed(ctx, m.timeout(), flights(todo), func(ctx context.Context) error {
		for _, t := range todo {
			ctx = entering(ctx, t.f.set, t.f.key)
		}
		defer leave()
		v, there, err = m.Create(ctx, positions(todo))
		return err
	})
	switch {
	case !inTime:
		return ErrTimeout
	case err != nil:
		return err
	}
	m.store(ctx, todo, v, there)
	return nil
}

func flights[V any](tasks []*task[V]) []*flight {
	fs := make([]*flight, len(tasks))
	for i, t := range tasks {
		fs[i] = t.f
	}
	return fs
}

// fresh reads again, finishes the flights of values that are there by now, and
// returns the others.
func (m *Many[V]) fresh(ctx context.Context, tasks []*task[V]) (todo []*task[V], err error) {
	for _, t := range tasks {
		t.f.mark()
	}
	if err := m.reread(ctx, tasks); err != nil {
		return nil, err
	}
	for _, t := range tasks {
		if !m.renew && m.Locks[t.at].fresh(t.v, t.created) {
			t.f.markAt(t.tried) // taking the lock may have been the reading already
			t.f.release()
			t.finish(outcome[V]{v: t.v, kind: read})
		} else {
			todo = append(todo, t)
		}
	}
	return todo, nil
}

func (m *Many[V]) store(ctx context.Context, todo []*task[V], v []V, there []bool) {
	var at []int
	var vals []V
	var stored []*task[V]
	for i, t := range todo {
		if !there[i] {
			t.finish(outcome[V]{kind: absent})
			continue
		}
		t.f.detach()
		at, vals, stored = append(at, t.at), append(vals, v[i]), append(stored, t)
	}
	if len(at) == 0 {
		return
	}
	var held []bool
	timed(ctx, m.timeout(), flights(stored), func(ctx context.Context) error {
		held = m.Store(ctx, at, vals)
		return nil
	})
	for i, t := range stored {
		t.f.release()
		t.finish(outcome[V]{v: vals[i], kind: made, lost: !held[i]})
	}
}

// cause returns, for an error that ctx may have brought about by ending, why it
// ended: one flight that is abandoned ends the others of its batch.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// await waits for values that others are creating, without holding a lock. What
// is missing afterwards goes round.
func (m *Many[V]) await(ctx context.Context, tasks []*task[V]) error {
	var all sync.WaitGroup
	for _, t := range tasks {
		all.Go(func() { m.awaitOne(ctx, t) })
	}
	all.Wait()
	return nil
}

func (m *Many[V]) awaitOne(ctx context.Context, t *task[V]) {
	out := outcome[V]{kind: again, err: ErrGoexit}
	defer func() {
		if p := recover(); p != nil {
			out.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		out.err = cause(ctx, out.err)
		t.f.release()
		t.finish(out)
	}()
	if _, out.err = m.Locks[t.at].await(ctx, t.f); out.err != nil {
		return
	}
	t.tried = t.f.set.clock.Add(1)
	_, out.err = m.fresh(ctx, []*task[V]{t}) // finishes it, if the value is there
}

func (m *Many[V]) clock() int64 {
	if len(m.Locks) == 0 {
		return 0
	}
	return m.Locks[0].flights().clock.Add(1)
}

func (m *Many[V]) timeout() time.Duration {
	if m.Timeout == 0 {
		return DefaultTimeout
	}
	return m.Timeout
}
