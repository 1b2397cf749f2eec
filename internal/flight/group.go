package flight

import (
	"context"
	"sync"
	"time"
)

// group is the flights that one goroutine carries, and the time that they have for
// it. Its end is theirs: when the time is up, all callers are freed.
type group struct {
	table *Table
	space any // of the Call

	mu      sync.Mutex
	flights []*flight
	over    bool  // abandoned or ended
	cause   error // what it was abandoned for
	cancel  context.CancelCauseFunc
	leave   func()                    // gives back the slot among the creators; nil: it has none
	unseen  func(at []int, err error) // told of errors that no caller waits for

	timer  *time.Timer // abandons the group; nil: no limit
	timers int         // how many timers there have been; only the last one counts

	task    func() // carries the flights; nil: not launched yet, or taken
	begun   bool   // a goroutine runs the task, or has run it
	hurried bool   // a caller cannot do without the result
}

// add adds a flight that was just made. The shard's mu of the flight is held.
func (g *group) add(f *flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flights = append(g.flights, f)
	f.group = g
}

// launch gives the group its time and its task, which is run by runner. Without one,
// or once a caller cannot do without the result, it gets a goroutine of its own.
func (g *group) launch(cancel context.CancelCauseFunc, timeout time.Duration, task func(), runner func(func())) {
	g.mu.Lock()
	g.cancel = cancel
	g.setTimer(timeout)
	run := func() {
		if g.begin() {
			task()
		}
	}
	g.task = run
	g.runIfHurried()
	g.mu.Unlock()
	if runner == nil {
		g.hasten()
		return
	}
	handed := false
	defer func() {
		if !handed {
			// The Runner panicked. The panic goes to its caller alone: others that have
			// joined the flights start over, unless a goroutine has begun.
			g.abandonIf(ErrLost, func() bool { return !g.begun })
		}
	}()
	runner(run)
	handed = true
}

// hasten runs the task in a goroutine of its own, now or when it is launched.
func (g *group) hasten() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hurried = true
	g.runIfHurried()
}

// runIfHurried is for when the task comes, and for when it becomes urgent. mu is held.
func (g *group) runIfHurried() {
	if g.hurried && g.task != nil && !g.begun && !g.over {
		go g.task()
		g.task = nil
	}
}

// begin reports whether the caller is the one to run the task: it is run once, and
// not any more when the group was abandoned before.
func (g *group) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.begun {
		return false
	}
	g.begun = true
	return true
}

// setTimer gives the group its full time from now on, unless it is over. mu is held.
func (g *group) setTimer(timeout time.Duration) {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	// A timer that was stopped too late must not end what was given more time.
	g.timers++
	if n := g.timers; timeout > 0 && !g.over {
		g.timer = time.AfterFunc(timeout, func() {
			g.abandonIf(ErrTimeout, func() bool { return g.timers == n })
		})
	}
}

// restart gives the group its full time again; a timeout of 0 stops the clock. If the
// group was abandoned before that, it returns the cause.
func (g *group) restart(timeout time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.setTimer(timeout)
	return g.cause
}

// enter notes how to give back the slot among the creators. If the group is over,
// that is done at once.
func (g *group) enter(leave func()) {
	g.mu.Lock()
	over := g.over
	if !over {
		g.leave = leave
	}
	g.mu.Unlock()
	if over && leave != nil {
		leave()
	}
}

// leaveSlot gives back the slot among the creators, if the group has one.
func (g *group) leaveSlot() {
	g.mu.Lock()
	leave := g.leave
	g.leave = nil
	g.mu.Unlock()
	if leave != nil {
		leave()
	}
}

// abandon frees the callers of flights that are not to go on, cancels them and
// gives their locks back.
func (g *group) abandon(cause error) { g.abandonIf(cause, func() bool { return true }) }

func (g *group) abandonIf(cause error, still func() bool) { g.freeIf(cause, still)() }

// free is abandon without giving back the locks, which is left to giveBack: that may take
// as long as the Source's Unlock does.
func (g *group) free(cause error) (giveBack func()) {
	return g.freeIf(cause, func() bool { return true })
}

func (g *group) freeIf(cause error, still func() bool) (giveBack func()) {
	g.mu.Lock()
	if g.over || !still() {
		g.mu.Unlock()
		return func() {}
	}
	g.over, g.cause = true, cause
	g.setTimer(0)
	flights, begun, cancel := g.flights, g.begun, g.cancel
	g.mu.Unlock()
	var unseen []int
	// The order matters. Callers are freed first: nothing that follows is sure to end soon.
	// Then the creator is told, which may be about to store. Then the lock goes: from now
	// on another creator may run, while this one may not have listened.
	for _, f := range flights {
		if f.finish(nil, cause) {
			unseen = append(unseen, f.at)
		}
	}
	// What ends with the table, or with a Runner that panics, has been asked for.
	if len(unseen) > 0 && cause == ErrTimeout {
		g.unseen(unseen, cause)
	}
	if cancel != nil {
		cancel(cause)
	}
	g.leaveSlot()
	return func() {
		releaseAll(flights)
		if !begun {
			g.table.ended(g) // no goroutine will say so
		}
	}
}

// end ends a group whose results are out.
func (g *group) end() {
	g.mu.Lock()
	g.over = true
	g.setTimer(0)
	cancel := g.cancel
	g.mu.Unlock()
	cancel(nil)
	g.leaveSlot()
	g.table.ended(g)
}
