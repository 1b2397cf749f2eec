package lock

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// take tries the locks. What is won is returned with an error, too.
func (m *Many[V]) take(ctx context.Context, tasks []*task[V], entered bool) (won, lost []*task[V], err error) {
	held := make([]bool, len(tasks))
	if entered {
		err = m.tryAll(ctx, tasks, held)
	}
	for i, t := range tasks {
		switch {
		case held[i]:
			won = append(won, t)
		case err != nil:
			// what has failed, fails for all
		case t.stale():
			t.f.set.Rest(t.f.key, elsewhere)
			t.finish(outcome[V]{v: t.v, kind: seen})
		default:
			lost = append(lost, t)
		}
	}
	return won, lost, err
}

// Locks are tried abreast, so that a thousand do not cost a thousand round trips
// to where they are: each of at most abreast goroutines tries at least inTurn.
const (
	abreast = 32
	inTurn  = 4
)

func (m *Many[V]) tryAll(ctx context.Context, tasks []*task[V], held []bool) error {
	errs := make([]error, len(tasks))
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range min(abreast, (len(tasks)+inTurn-1)/inTurn) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(tasks) && !failed.Load(); i = next.Add(1) - 1 {
				held[i], errs[i] = m.try(ctx, tasks[i])
				if errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Many[V]) try(ctx context.Context, t *task[V]) (held bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	t.tried = t.f.set.clock.Add(1)
	return m.Locks[t.at].tryLock(ctx, t.f)
}
