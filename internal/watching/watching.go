// Package watching has a backend asked for proofs, for as long as somebody watches it: see
// driver.Watcher.
package watching

import (
	"sync"
	"sync/atomic"
	"time"
)

// Watchers is those who watch a backend. It is used by pointer.
type Watchers struct {
	// Ask is called again and again while somebody watches.
	Ask func()
	// Go starts a goroutine of the backend's. It returns false when that is closed.
	Go func(task func()) bool
	// Closed is closed when the backend is.
	Closed <-chan struct{}

	lag atomic.Int64 // the least; 0: nobody watches

	mu      sync.Mutex
	lags    map[*time.Duration]struct{}
	changed chan struct{} // tells the goroutine that lag is another; nil: there is none
}

// Lag returns the least lag that somebody watches with, or 0 if nobody watches.
func (w *Watchers) Lag() time.Duration { return time.Duration(w.lag.Load()) }

// Watch adds somebody who watches with a lag, until stop is called. It may be called again.
func (w *Watchers) Watch(lag time.Duration) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lags == nil {
		w.lags = make(map[*time.Duration]struct{})
	}
	w.lags[&lag] = struct{}{}
	w.update()
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.lags, &lag)
		w.update()
	})
}

// update has Ask called as often as is needed. mu is held.
func (w *Watchers) update() {
	least := time.Duration(0)
	for lag := range w.lags {
		if least == 0 || *lag < least {
			least = *lag
		}
	}
	w.lag.Store(int64(least))
	if w.changed == nil && least > 0 {
		changed := make(chan struct{}, 1)
		if w.Go(func() { w.ask(changed) }) {
			w.changed = changed
		}
	}
	if w.changed != nil {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// ask calls Ask every fourth of the lag, so that an answer that takes some time comes within
// a third, until nobody watches.
func (w *Watchers) ask(changed chan struct{}) {
	last := time.Now() // of Ask: when others come and go, the pause is not begun anew
	for {
		w.mu.Lock()
		every := w.Lag() / 4
		if every == 0 {
			w.changed = nil
		}
		w.mu.Unlock()
		if every == 0 {
			return
		}
		timer := time.NewTimer(time.Until(last.Add(every)))
		select {
		case <-timer.C:
			last = time.Now()
			w.Ask()
		case <-changed:
		case <-w.Closed:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}
