package dogpile

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// What follows is for [Near.Exact] over a backend that does not tell of changes at once.
//
//  1. R asks the backend, at r, and is proved by the answer that its copy is right.
//  2. W changes the entry, and is told so by the backend, at w. R's question came before
//     that, or its answer would have come behind the news of the change: r < w.
//  3. R serves the copy until r + Lag at the latest.
//  4. W returns at w + Lag: a read that begins from then on finds no copy.
//
// R and W look at clocks of their own that only go forward, each for a distance of Lag. So
// the clocks need not agree, and may run by one part in a hundred apart. A process that was
// stopped meanwhile finds that its clock has gone on.
//
// W has to know the Lag of R, which may be another process. So the region's version tokens
// tell the Lag of copies, and whether there are processes with Exact, for as long as there are
// any: these see to that a few times in agreedFor, and a token that has been written anew is
// heard of for as long, by the clock of who hears. At the first look alone nobody knows but
// by wall clocks when the token was written.

// agreedFor is how long a token tells the Lag after the last process with copies wrote it.
const agreedFor = 2 * time.Minute

// agreement is what a token tells of copies anywhere.
type agreement struct {
	lag   time.Duration // of those that keep them; 0: nobody does
	exact bool          // one of them is Exact, so that writers wait for lag
	until int64         // token.LagUntil
}

// heard is what was last heard of copies by a token.
type heard struct {
	agreement
	ends time.Duration // when it is not in force any more, on the clock of driver.Now
}

// waitForCopies returns when no process serves a copy from before what the backend has done by
// now. The error is that of ctx.
func (s *state) waitForCopies(ctx context.Context) error {
	lag := s.lagOfCopies(ctx)
	if lag == 0 {
		return nil
	}
	timer := time.NewTimer(lag + lag/64 + time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("done, but other processes may serve copies from before for up to %v: %w", lag, ctx.Err())
	}
}

// lagOfCopies returns the Lag that is to be waited for; 0: no process is Exact.
func (s *state) lagOfCopies(ctx context.Context) (lag time.Duration) {
	if s.near.records() && s.near.exact {
		lag = s.near.lag
	}
	s.listen(ctx)
	if a := s.agreed(); a.exact {
		lag = max(lag, a.lag)
	}
	return lag
}

// listen reads the tokens if this process keeps no copies and has read none lately: one that
// only deletes would never hear of those that keep some.
func (s *state) listen(ctx context.Context) {
	if last := s.listened.Load(); s.near != nil || !s.caps.Shared || last != 0 && now()-last < int64(agreedFor/2) {
		return
	}
	all := s.regionTokens()
	err := cmp.Or(each(len(all), softenAtOnce, func(i int) error {
		_, err := all[i].read(ctx, nil)
		return err
	})...)
	if err != nil && !gaveUp(ctx, err) {
		s.failed(ctx, Event{Op: "version", Err: fmt.Errorf("read the Lag of copies: %w", err)})
	}
}

// heardAt notes that a token was asked for at a moment of the clock of now.
func (s *state) heardAt(asked int64) {
	// All readers write it, but not each time: it would go from one processor to the other.
	if last := s.listened.Load(); last == 0 || asked-last > int64(time.Second) {
		s.listened.Store(asked)
	}
}

// agreed returns what all tokens together have told of copies.
func (s *state) agreed() (a agreement) {
	for _, ts := range s.regionTokens() {
		h := ts.inForce()
		a = agreement{max(a.lag, h.lag), a.exact || h.exact, max(a.until, h.until)}
	}
	return a
}

// inForce returns what was last heard of copies if it still is in force, and zero otherwise.
func (ts *tokens) inForce() (h heard) {
	if last := ts.heard.Load(); last != nil && driver.Now() < last.ends {
		return *last
	}
	return heard{}
}

// records reports whether copies may be behind, so that others have to know for how long.
func (n *near) records() bool { return n != nil && !n.atOnce }

// stamp returns t, which is new, with what this process knows of copies.
func (s *state) stamp(t *token) *token {
	if t.Lag != 0 {
		return t // tell has stamped it
	}
	a := s.agreed()
	if s.near.records() {
		a = s.near.agrees(a)
	}
	return a.on(t)
}

// agrees returns a with what n does.
func (n *near) agrees(a agreement) agreement {
	return agreement{max(a.lag, n.lag), a.exact || n.exact, time.Now().Add(agreedFor).Unix()}
}

// on returns t with the agreement.
func (a agreement) on(t *token) *token {
	stamped := *t
	stamped.Lag, stamped.LagUntil, stamped.Exact = int64(a.lag), a.until, a.exact
	return &stamped
}

// hear notes what a token tells of copies, and reports whether this process keeps them by
// another Lag where one of the processes is Exact: then it serves none.
func (ts *tokens) hear(t *token) (disagrees bool) {
	n := ts.s.near
	// A token that tells of none was made by a process that knew of none.
	if a := (agreement{time.Duration(t.Lag), t.Exact, t.LagUntil}); a.lag != 0 {
		last := ts.heard.Load()
		if last == nil || last.agreement != a {
			left := agreedFor
			if last == nil {
				left = min(left, time.Until(time.Unix(a.until, 0)))
			}
			ts.heard.Store(&heard{a, driver.Now() + left})
		}
	}
	if !n.records() {
		return false
	}
	h := ts.inForce()
	if t.Lag == 0 || h.lag < n.lag || n.exact && !h.exact {
		n.tellAgain()
	}
	return h.lag != 0 && h.lag != n.lag && (h.exact || n.exact)
}

// regionTokens returns the tokens that tell the Lag; nil: the region has none.
func (s *state) regionTokens() []*tokens {
	switch v := s.versions.(type) {
	case *tokens:
		return []*tokens{v}
	case *anchors:
		return v.all[:]
	}
	return nil
}

// agree finds out whether other processes keep copies by another Lag, and tells them this one.
// Where the backend cannot be asked it is found out later: until a token was read there are
// no copies, and none by a token that tells of another Lag.
func (s *state) agree() error {
	all := s.regionTokens()
	if s.near == nil || len(all) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(s.o.BackendTimeout, defaultBackendTimeout))
	defer cancel()
	t, err := all[0].read(ctx, nil)
	if err == nil && t != nil && all[0].hear(t) {
		return &optionError{"Near.Lag", fmt.Sprintf("is %v, and other processes over the same backend have one of %v; as one of all is Exact they have to agree", s.near.lag, time.Duration(t.Lag))}
	}
	if err == nil && s.near.records() {
		s.tell(ctx)
	}
	return nil
}

// tell has the tokens tell the Lag. Where an invalidation could be undone by that, as leases
// do not keep others from deleting, only new tokens do.
func (s *state) tell(ctx context.Context) {
	all := s.regionTokens()
	if !s.tags.fenced {
		return
	}
	err := cmp.Or(each(len(all), softenAtOnce, func(i int) error {
		_, _, err := all[i].tryUpdate(ctx, func(old *token) *token {
			switch {
			case old == nil:
				return all[i].first()
			case all[i].inForce().covers(s.near):
				return nil // another process was here
			}
			return s.near.agrees(agreement{}).on(old)
		})
		return err
	})...)
	if err != nil && ctx.Err() == nil {
		s.failed(ctx, Event{Op: "version", Err: fmt.Errorf("tell the Lag of copies: %w", err)})
	}
}

// covers reports whether n need not tell of its copies, since others have a short while ago.
func (h heard) covers(n *near) bool {
	return h.lag >= n.lag && (h.exact || !n.exact) && h.ends-driver.Now() > agreedFor/2
}

// keepTelling tells the Lag now and then, and when a token was read that does not tell it, until
// ctx ends.
func (s *state) keepTelling(ctx context.Context) {
	ticker := time.NewTicker(agreedFor / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.near.untold:
		case <-ctx.Done():
			return
		}
		bounded, cancel := context.WithTimeout(ctx, max(s.o.BackendTimeout, defaultBackendTimeout))
		s.tell(bounded)
		cancel()
	}
}

// tellAgain has the Lag told soon.
func (n *near) tellAgain() {
	select {
	case n.untold <- struct{}{}:
	default:
	}
}
