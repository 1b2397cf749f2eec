package dogpile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// claims reports whether copies may be behind, so that others have to know for how long.
func (n *near) claims() bool { return n != nil && !n.atOnce }

// stamp returns t, which is about to be written, with all claims: those that it has, those
// that were heard of, and that of this process.
func (s *state) stamp(t *token) *token {
	var all []claim
	add := func(c claim) {
		if i := slices.IndexFunc(all, c.like); i < 0 {
			all = append(all, c)
		} else {
			all[i].Until = max(all[i].Until, c.Until)
		}
	}
	for _, c := range t.Claims {
		add(c)
	}
	if known := s.claims.Load(); known != nil {
		for _, c := range *known { // whether or not it holds by the clock of this process
			add(c.claim)
		}
	}
	if s.near.claims() {
		add(s.near.claim(time.Now().Add(claimFor).Unix()))
	}
	// One that ended long ago is left out, however the clock of its process goes.
	long := time.Now().Add(-24 * time.Hour).Unix()
	stamped := *t
	stamped.Claims = slices.DeleteFunc(all, func(c claim) bool { return c.Until < long })
	return &stamped
}

// claim returns the claim of this process, with an end.
func (n *near) claim(until int64) claim { return claim{n.lag, n.exact, until} }

// own returns what is known of the claim of this process, whose end is 0 if nothing is.
func (s *state) own() heardClaim {
	own := s.near.claim(0)
	if known := s.claims.Load(); known != nil {
		for _, c := range *known {
			if c.like(own) {
				return c
			}
		}
	}
	return heardClaim{claim: own}
}

// lacks reports whether t, which was read, does not carry the claim of this process as it was
// carried before.
func (s *state) lacks(t *token) bool {
	own := s.own()
	i := slices.IndexFunc(t.Claims, own.like)
	return i < 0 || t.Claims[i].Until < own.Until
}

// ending reports whether it is time to put off the end of the claim of this process. Others
// count from when they see another end, and those that come later by their wall clocks: so the
// end has to change in good time, and to be well ahead.
func (s *state) ending() bool {
	own := s.own()
	return own.ends-driver.Now() < claimFor*3/4 || time.Until(time.Unix(own.Until, 0)) < claimFor/2
}

// checkLag finds out whether other processes keep copies by another Lag. Where the backend
// cannot be asked that is found out later: until a token was read there are no copies.
func (s *state) checkLag(ctx context.Context) error {
	if !s.near.claims() {
		return nil
	}
	defer s.near.tells()()
	ctx, cancel := context.WithTimeout(ctx, max(s.o.BackendTimeout, defaultBackendTimeout))
	defer cancel()
	if _, err := s.readTokens(ctx); err != nil {
		return nil
	}
	if lag, disagree := s.disagreeing(); disagree {
		return &optionError{"Near.Lag", fmt.Sprintf("is %v, and other processes over the same backend have one of %v; as one of all is Exact they have to agree", s.near.lag, lag)}
	}
	return nil
}

// tell has the tokens carry the claim of this process. Where an invalidation could be undone
// by that, as leases do not keep others from deleting, only new tokens do.
func (s *state) tell(ctx context.Context) {
	if !s.near.claims() || !s.tags.fenced {
		return
	}
	defer s.near.tells()()
	ctx, cancel := context.WithTimeout(ctx, max(s.o.BackendTimeout, defaultBackendTimeout))
	defer cancel()
	read, err := s.readTokens(ctx)
	if err == nil {
		err = s.putOff(ctx, read)
	}
	if err != nil && ctx.Err() == nil {
		s.failed(ctx, Event{Op: "version", Err: fmt.Errorf("tell the Lag of copies: %w", err)})
	}
}

// putOff writes those tokens anew that lack the claim of this process, or all of them when its
// end is near.
func (s *state) putOff(ctx context.Context, read []*token) error {
	all := s.regionTokens()
	ending := s.ending()
	// Another end than before is news to everybody, whatever the clock of its writer says.
	own := s.near.claim(max(time.Now().Add(claimFor).Unix(), s.own().Until+1))
	due := func(t *token) bool {
		i := slices.IndexFunc(t.Claims, own.like)
		return s.lacks(t) || ending && t.Claims[i].Until < own.Until
	}
	return cmp.Or(each(len(all), softenAtOnce, func(i int) error {
		if read[i] != nil && !due(read[i]) {
			return nil
		}
		t, _, err := all[i].tryUpdate(ctx, func(old *token) *token {
			if old == nil {
				old = all[i].first()
			} else if !due(old) {
				return nil // another process was here
			}
			next := *old
			next.Claims = append(slices.Clone(old.Claims), own)
			return &next
		})
		if t != nil {
			s.hear(t)
		}
		return err
	})...)
}

// keepTelling tells now and then, and when a token was read that lacks the claim, until ctx ends.
func (s *state) keepTelling(ctx context.Context) {
	ticker := time.NewTicker(claimFor / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.near.tellSoon:
		case <-ctx.Done():
			return
		}
		s.tell(ctx)
		// Others may write tokens without the claim again and again.
		if !sleeps(ctx, time.Second) {
			return
		}
	}
}

// sleeps lets d pass, and reports whether ctx has not ended meanwhile.
func sleeps(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tells notes that the claim is being told, until done is called: what is read for that lacks
// it, and is no reason to tell it once more.
func (n *near) tells() (done func()) {
	n.telling.Store(true)
	return func() { n.telling.Store(false) }
}

// tellAgain has the claim told soon.
func (n *near) tellAgain() {
	if n.telling.Load() {
		return
	}
	select {
	case n.tellSoon <- struct{}{}:
	default:
	}
}
