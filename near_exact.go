package dogpile

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
// carry claims: each says what some processes do, and for how long that holds. Every process
// with copies sees to it that its own claim is there, with an end one to two minutes ahead.
// A process that writes a token writes the claims that it has heard of as well, with the ends
// that they have. So no process takes away what another one has said, and a claim goes when
// nobody puts off its end any more.

// claimFor is how long a claim holds after it was written.
const claimFor = 2 * time.Minute

// claim is what a version token tells of the copies of some processes.
type claim struct {
	Lag   time.Duration `json:"l"`
	Exact bool          `json:"x,omitempty"`
	Until int64         `json:"u"` // its end, Unix seconds of who wrote it
}

// heardClaim is a claim with its end on the clock of who has heard it.
type heardClaim struct {
	claim
	ends time.Duration // of driver.Now
}

// like reports whether both are claims of processes with the same options.
func (c claim) like(d claim) bool { return c.Lag == d.Lag && c.Exact == d.Exact }

// hear returns what is known of claims after more has been read in a token. The end of a
// claim that another process has put off is claimFor away, on the clock of this one: so clocks
// that differ do not matter. At the first look alone nobody knows but by the wall clock when it
// was put off.
func hear(known []heardClaim, more []claim) []heardClaim {
	own := false // known is no other goroutine's
	for _, c := range more {
		i := slices.IndexFunc(known, func(k heardClaim) bool { return k.like(c) })
		if i >= 0 && c.Until <= known[i].Until {
			continue // as it was known, or from an answer that was late
		}
		if !own {
			known, own = slices.Clone(known), true
		}
		if i >= 0 {
			known[i] = heardClaim{c, driver.Now() + claimFor}
			continue
		}
		known = append(known, heardClaim{c, driver.Now() + min(claimFor, time.Until(time.Unix(c.Until, 0)))})
	}
	return known
}

// hear notes the claims of a token that was read or written.
func (s *state) hear(t *token) {
	for {
		before := s.claims.Load()
		var known []heardClaim
		if before != nil {
			known = *before
		}
		after := hear(known, t.Claims)
		if len(after) == 0 || len(known) > 0 && &after[0] == &known[0] || s.claims.CompareAndSwap(before, &after) {
			return
		}
	}
}

// heard yields the claims that hold.
func (s *state) heard(yield func(claim) bool) {
	known := s.claims.Load()
	if known == nil {
		return
	}
	at := driver.Now()
	for _, c := range *known {
		if c.ends > at && !yield(c.claim) {
			return
		}
	}
}

// disagreeing returns the Lag of other processes if it is another than here, and one of them or
// this one is Exact. Then this one serves no copies.
func (s *state) disagreeing() (lag time.Duration, disagree bool) {
	n := s.near
	if !n.claims() {
		return 0, false
	}
	for c := range s.heard {
		if c.Lag != n.lag && (c.Exact || n.exact) {
			return c.Lag, true
		}
	}
	return 0, false
}

// waitForCopies returns when no process serves a copy from before what the backend has done by
// now. An error tells that one may: ctx has ended, or the backend does not say.
func (s *state) waitForCopies(ctx context.Context) error {
	err := s.listen(ctx)
	lag := s.lagOfCopies()
	switch {
	case lag == 0 && err != nil:
		if !gaveUp(ctx, err) {
			err = &backendError{err}
		}
		return fmt.Errorf("done, but whether other processes serve copies from before is not known: %w", err)
	case lag == 0:
		return nil
	}
	if !sleeps(ctx, lag+lag/64+time.Millisecond) {
		return fmt.Errorf("done, but other processes may serve copies from before for up to %v: %w", lag, ctx.Err())
	}
	return nil
}

// lagOfCopies returns the Lag that is to be waited for; 0: no process is Exact.
func (s *state) lagOfCopies() (lag time.Duration) {
	exact := false
	if s.near.claims() {
		lag, exact = s.near.lag, s.near.exact
	}
	for c := range s.heard {
		lag, exact = max(lag, c.Lag), exact || c.Exact
	}
	if !exact {
		return 0
	}
	return lag
}

// listen reads the tokens if this process has read none lately: one that only deletes would
// hear of no copies. It comes before a change, too, since a token is written with the claims
// that are known, and after it those of the token before are gone.
func (s *state) listen(ctx context.Context) error {
	if !s.caps.Shared || s.near != nil && s.near.atOnce || s.listened() {
		return nil
	}
	select { // of many callers one asks
	case s.listening <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.listening }()
	if s.listened() {
		return nil
	}
	_, err := s.readTokens(ctx)
	return err
}

// listened reports whether a token was read in the last half of claimFor.
func (s *state) listened() bool {
	last := s.tokenRead.Load()
	return last != 0 && now()-last < int64(claimFor/2)
}

// readAt notes that a token was asked for at a moment of the clock of now.
func (s *state) readAt(asked int64) {
	// All readers write it, but not each time: it would go from one processor to the other.
	if last := s.tokenRead.Load(); last == 0 || asked-last > int64(time.Second) {
		s.tokenRead.Store(asked)
	}
}

// readTokens reads the region's tokens, in one call of the backend; those that are absent, or
// on a server that is down, are nil. It is an error if none could be read.
func (s *state) readTokens(ctx context.Context) ([]*token, error) {
	all := s.regionTokens()
	if len(all) == 0 {
		return nil, nil
	}
	items, read := make([]driver.Item, len(all)), make([]*token, len(all))
	for i, ts := range all {
		items[i] = driver.Item{Key: ts.key, Keep: s.near != nil}
	}
	asked := now()
	err := s.get(ctx, items)
	if err != nil {
		return read, err
	}
	var failed error
	ok := false
	for i, ts := range all {
		if e := items[i].Err; e != nil && !errors.Is(e, driver.ErrCorrupt) {
			failed = e
			continue
		}
		ok = true
		read[i] = ts.parse(&items[i], asked)
	}
	if !ok {
		return read, failed
	}
	return read, nil
}

// regionTokens returns the tokens that carry claims; nil: the region has none.
func (s *state) regionTokens() []*tokens {
	switch v := s.versions.(type) {
	case *tokens:
		return []*tokens{v}
	case *anchors:
		return v.all[:]
	}
	return nil
}
