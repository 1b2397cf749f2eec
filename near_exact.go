package dogpile

import (
	"cmp"
	"context"
	"fmt"
	"time"
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
// any: these see to that a few times in agreedFor. How long that is goes by wall clocks, which
// should not be more than a minute apart.

// agreedFor is how long a token tells the Lag after the last process with copies wrote it.
const agreedFor = 2 * time.Minute

// agreement is what a token tells of copies anywhere.
type agreement struct {
	lag   time.Duration // of those that keep them; 0: nobody does
	exact bool          // one of them is Exact, so that writers wait for lag
}

// settle returns when no process serves a copy from before what the backend has done by now.
// The error is that of ctx.
func (s *state) settle(ctx context.Context) error {
	lag := s.settles()
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

// settles returns the Lag that is to be waited for; 0: none.
func (s *state) settles() (lag time.Duration) {
	if s.near.records() && s.near.exact {
		lag = s.near.lag
	}
	if heard := s.heard(); heard.exact {
		lag = max(lag, heard.lag)
	}
	return lag
}

// heard returns what the last token that was read has told.
func (s *state) heard() agreement {
	if a := s.agreed.Load(); a != nil {
		return *a
	}
	return agreement{}
}

// records reports whether copies may be behind, so that others have to know for how long.
func (n *near) records() bool { return n != nil && !n.atOnce }

// stamp returns t, which is new, with what this process knows of copies.
func (s *state) stamp(t *token) *token {
	if t.Lag != 0 {
		return t // tell has stamped it
	}
	a := s.heard()
	if s.near.records() {
		a = agreement{max(a.lag, s.near.lag), a.exact || s.near.exact}
	}
	return a.on(t)
}

// on returns t with the agreement.
func (a agreement) on(t *token) *token {
	stamped := *t
	stamped.Lag, stamped.LagUntil, stamped.Exact = int64(a.lag), 0, a.exact
	if a.lag != 0 {
		stamped.LagUntil = time.Now().Add(agreedFor).Unix()
	}
	return &stamped
}

// hear notes what a token tells of copies, and reports whether this process keeps them by
// another Lag where one of the processes is Exact: then it serves none.
func (s *state) hear(t *token) (disagrees bool) {
	a := agreement{time.Duration(t.Lag), t.Exact}
	if time.Now().Unix() >= t.LagUntil {
		a = agreement{}
	}
	// A process that reads nothing any more goes by what it has heard last. Of several tokens
	// one may tell of none, as its server was down.
	if a.lag > 0 || s.sharder == nil {
		if a != s.heard() {
			s.agreed.Store(&a)
		}
	}
	if !s.near.records() {
		return false
	}
	if a.lag < s.near.lag || s.near.exact && !a.exact {
		s.near.tellAgain() // another process has invalidated, which knew of no Lag
	}
	return a.lag != 0 && a.lag != s.near.lag && (a.exact || s.near.exact)
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

// agree finds out whether other processes keep copies by another Lag, and tells them this one. Where the backend cannot be asked it is found out later: until a token was
// read there are no copies, and none by a token that tells of another Lag.
func (s *state) agree() error {
	all := s.regionTokens()
	if s.near == nil || len(all) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(s.o.BackendTimeout, defaultBackendTimeout))
	defer cancel()
	t, err := all[0].read(ctx, nil)
	if err == nil && t != nil && s.hear(t) {
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
			case old.Lag >= int64(s.near.lag) && (old.Exact || !s.near.exact) && time.Until(time.Unix(old.LagUntil, 0)) > agreedFor/2:
				return nil // another process was here
			}
			return agreement{s.near.lag, s.near.exact}.on(old)
		})
		return err
	})...)
	if err != nil && ctx.Err() == nil {
		s.failed(ctx, Event{Op: "version", Err: fmt.Errorf("tell the Lag of copies: %w", err)})
	}
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
