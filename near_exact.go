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
// tell it, for as long as there are processes with Exact. These see to that a few times in
// agreedFor.

// agreedFor is how long a token tells the Lag after the last process with Exact wrote it.
const agreedFor = 2 * time.Minute

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
	if s.near.records() {
		lag = s.near.lag
	}
	return max(lag, time.Duration(s.agreed.Load()))
}

// records reports whether copies are exact, and are so only after a Lag that others have to
// know.
func (n *near) records() bool { return n != nil && n.exact && !n.atOnce }

// stamp returns t with the Lag that this process knows of.
func (s *state) stamp(t *token) *token {
	stamped := *t
	stamped.Lag, stamped.LagUntil = int64(s.settles()), 0
	if stamped.Lag != 0 {
		stamped.LagUntil = time.Now().Add(agreedFor).Unix()
	}
	return &stamped
}

// hear notes the Lag that a token tells of, and reports whether this process keeps copies
// by another one: it must not then.
func (s *state) hear(t *token) (disagrees bool) {
	lag := time.Duration(t.Lag)
	if time.Now().Unix() >= t.LagUntil {
		lag = 0
	}
	// A process that reads nothing any more goes by what it has heard last. Of several tokens
	// one may tell of none, as its server was down.
	if lag > 0 || s.sharder == nil {
		s.agreed.Store(int64(lag))
	}
	if s.near.records() && lag < s.near.lag {
		s.near.tellAgain() // another process has invalidated, which knew of no Lag
	}
	return lag != 0 && s.near != nil && lag != s.near.lag
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

// agree finds out whether other processes keep copies by another Lag, and with Exact tells
// them this one. Where the backend cannot be asked it is found out later: until a token was
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
		return &optionError{"Near.Lag", fmt.Sprintf("is %v, and other processes over the same backend, of which one is Exact, have one of %v; they have to agree", s.near.lag, time.Duration(t.Lag))}
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
			case old.Lag == int64(s.near.lag) && time.Until(time.Unix(old.LagUntil, 0)) > agreedFor/2:
				return nil // another process was here
			}
			return old
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
