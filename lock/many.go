package lock

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
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
	// Read returns values and when they were made, as Lock.Read.
	Read func(ctx context.Context, at []int) ([]V, []time.Time, error)
	// Create makes values anew. It may leave some out.
	Create func(ctx context.Context, at []int) (v []V, made []bool, err error)
	// Store stores what Create made, and reports for each whether its mutex was
	// held until then.
	Store func(ctx context.Context, at []int, v []V) (held []bool)
	// Enter is called before mutexes are taken, and Leave after they were given
	// back. Enter returns false where it would have to wait and may not.
	Enter func(ctx context.Context, wait bool) (bool, error)
	Leave func()

	Runner  func(task func())
	Timeout time.Duration

	renew bool
}

// task is one value on its way through a Many.
type task[V any] struct {
	at      int
	v       V
	created time.Time
	f       *flight
	late    bool // see Flights.start
	ours    bool // f was launched by us
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
	for failed := 0; len(tasks) > 0; {
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
				failed++
				tasks = append(tasks, t)
			case t.f.err != nil:
				return nil, nil, t.f.err
			case t.f.kind == absent && t.ours:
				// its creator, which is ours, has left it out
			case same && t.f.serves(t.late, t.stale()):
				settle(t, got.v)
			default:
				tasks = append(tasks, t)
			}
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
	var now, later []*task[V] // flights of our own; later: those a Runner may have
	defer func() {
		if err != nil {
			for _, t := range append(now, later...) {
				t.f.abandon(err)
			}
		}
	}()
	for _, t := range tasks {
		l := m.Locks[t.at]
		fs := l.flights()
		switch {
		case l.fresh(t.v, t.created):
			settle(t, t.v)
			continue
		case creating(ctx, fs, l.Key):
			return nil, ErrRecursive
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case t.stale() && fs.Resting(l.Key):
			settle(t, t.v)
			continue
		}
		if t.f, t.ours, t.late, err = fs.start(l.Key, l.version(t.v, m.renew), m.renew); err != nil {
			return nil, err
		}
		switch {
		case !t.ours && t.stale():
			settle(t, t.v)
		case !t.ours:
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
	ctx = context.WithoutCancel(ctx)
	for _, t := range tasks {
		ctx = entering(ctx, t.f.set, t.f.key)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// The tasks belong to the caller, who goes on with them.
	own := make([]*task[V], len(tasks))
	for i, t := range tasks {
		c := *t
		own[i] = &c
		t.f.departs(cancel, m.timeout())
	}
	run := func() {
		aboard := own[:0]
		for _, t := range own {
			if t.f.board() {
				aboard = append(aboard, t)
			}
		}
		m.run(ctx, cancel, aboard)
	}
	if runner == nil {
		go run()
		return
	}
	handed := false
	defer func() {
		if !handed {
			for _, t := range own {
				t.f.abandon(errRunner)
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
		for _, t := range tasks {
			t.f.release()
			t.f.finish(outcome[V]{kind: absent, err: err}.publish(t.f))
			t.f.lands()
		}
		cancel(nil)
	}()
	err = m.fly(ctx, tasks)
}

// fly tries all locks in one pass, creates what it has won, and then waits for
// what others hold.
func (m *Many[V]) fly(ctx context.Context, tasks []*task[V]) error {
	var wait bool
	for _, t := range tasks {
		wait = wait || !t.stale()
	}
	entered, err := m.Enter(ctx, wait)
	if err != nil {
		return err
	}
	leave := func() {}
	if entered {
		leave = sync.OnceFunc(m.Leave)
		defer context.AfterFunc(ctx, leave)() // should the creator outlive its time
	}
	won, lost, err := m.take(ctx, tasks, entered)
	if err == nil {
		err = m.create(ctx, won)
	}
	for _, t := range won {
		t.f.release()
	}
	leave()
	if err != nil || len(lost) == 0 {
		return err
	}
	return m.await(ctx, lost)
}

func (m *Many[V]) take(ctx context.Context, tasks []*task[V], entered bool) (won, lost []*task[V], err error) {
	for _, t := range tasks {
		held := false
		if entered {
			if held, err = m.Locks[t.at].tryLock(ctx, t.f); err != nil {
				return won, nil, err
			}
		}
		switch {
		case held:
			won = append(won, t)
		case t.stale():
			t.f.set.Rest(t.f.key, elsewhere)
			t.finish(outcome[V]{v: t.v, kind: seen})
		default:
			t.f.stop() // until it is awaited
			lost = append(lost, t)
		}
	}
	return won, lost, nil
}

func (t *task[V]) finish(o outcome[V]) { t.f.finish(o.publish(t.f)) }

// create reads again what the locks have been won for, and creates what nobody
// has made in the meantime.
func (m *Many[V]) create(ctx context.Context, won []*task[V]) error {
	if len(won) == 0 {
		return nil
	}
	todo, err := m.fresh(ctx, won)
	if err != nil || len(todo) == 0 {
		return err
	}
	cctx := ctx
	if timeout := m.timeout(); timeout > 0 {
		var cancel context.CancelFunc
		cctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	for _, t := range todo {
		if !t.f.restart(m.timeout()) {
			return ErrTimeout
		}
	}
	at := positions(todo)
	v, made, err := m.Create(cctx, at)
	for _, t := range todo {
		if !t.f.stop() {
			return ErrTimeout
		}
	}
	if err != nil {
		return err
	}
	m.store(ctx, todo, v, made)
	return nil
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
		if m.Locks[t.at].fresh(t.v, t.created) {
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
	held := m.Store(ctx, at, vals)
	for i, t := range stored {
		t.f.release()
		t.finish(outcome[V]{v: vals[i], kind: made, lost: !held[i]})
	}
}

// await waits for values that others are creating, one lock after the other and
// without holding any. What is missing afterwards goes round.
func (m *Many[V]) await(ctx context.Context, tasks []*task[V]) error {
	for _, t := range tasks {
		t.f.restart(m.timeout())
	}
	for _, t := range tasks {
		l := m.Locks[t.at]
		held, err := l.await(ctx, t.f)
		if err != nil {
			return err
		}
		if held {
			t.f.release()
		}
	}
	todo, err := m.fresh(ctx, tasks)
	for _, t := range todo {
		t.finish(outcome[V]{kind: again})
	}
	return err
}

func (m *Many[V]) timeout() time.Duration {
	if m.Timeout == 0 {
		return DefaultTimeout
	}
	return m.Timeout
}
