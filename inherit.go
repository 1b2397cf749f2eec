package dogpile

import (
	"context"
	"errors"
	"time"
)

// gives has the creation around a caller inherit from the values that the caller is given:
// their tags, as they were seen when those values were created, and that they are stale.
//
//  1. A product is cached, under version T of its tag.  2. A fragment's creator reads it.
//  3. The product changes, and its tag is invalidated: T is gone.
//  4. The fragment is stored. It has inherited T, so that it is missing from the beginning,
//     though its creator has never heard of the tag. A page that is made of it inherits T
//     in turn.
//
// Had the fragment the version of 4 it would be valid, and old.
func (s *state) gives(ctx context.Context, tags []seenTag, unsure, stale bool) {
	if len(tags) == 0 && !unsure && !stale {
		return
	}
	ctl := tagged(ctx)
	if ctl == nil {
		return
	}
	w := wishes{stale: stale}
	if len(tags) > 0 || unsure {
		same, err := ctl.tagger.scope().sameAs(ctx, s.tags, tags)
		switch {
		case err != nil:
			w.unsure, w.err = true, err
		case same:
			w.tags, w.unsure = tags, unsure
		}
	}
	ctl.inherit(w)
}

// gives is state.gives for what was found.
func (l *lookup[V]) gives(ctx context.Context, s *state) {
	if l != nil && l.found {
		s.gives(ctx, l.tags, l.unsure, l.state != Fresh)
	}
}

// carried returns what a value has inherited that a creator stores with Set.
func (s *state) carried(ctx context.Context) (wishes, error) {
	ctl := tagged(ctx)
	if ctl == nil {
		return wishes{}, nil
	}
	all := ctl.all()
	w := wishes{stale: all.stale}
	if len(all.tags) == 0 && !all.unsure {
		return w, nil
	}
	same, err := ctl.tagger.scope().sameAs(ctx, s.tags, all.tags)
	switch {
	case err != nil:
		return w, err
	case same && all.unsure:
		return w, errUnsure
	case same:
		w.tags = all.tags
	}
	return w, nil
}

// errUnsure is why something cannot be stored that has tags.
var errUnsure = errors.New("the versions of its tags are not known")

// place returns the backend inside all proxies; nil: it cannot be compared.
func (sc *tagScope) place() any { return leaseSpace(sc.s.chain) }

// sameAs reports whether other has the same tags: one of its tokens, those of tags, is the
// token here too.
//
// Two regions may have opened the same server each for itself, or have proxies that do not
// show what they wrap. That it is the same shows in its tokens, since no two places have the
// same version. So this reads a token here, making it where there is none, then there, and
// here again:
//
//   - Both are the same: so is the place.
//   - The two from here are the same, and the one from there is not: were it one place, the
//     token that was in force before and after would have been read there too.
//   - Otherwise it was invalidated meanwhile, and this looks again.
//
// What was found out is remembered. The error means that nobody knows.
func (sc *tagScope) sameAs(ctx context.Context, other *tagScope, tags []seenTag) (same bool, err error) {
	if sc == other {
		return true, nil
	}
	here, there := sc.place(), other.place()
	switch {
	case sc.name != other.name || sc.s.caps.Discards || other.s.caps.Discards:
		return false, nil
	case here != nil && here == there:
		return true, nil
	case there == nil || here == nil:
		there = other // only the tokens tell
	}
	sc.mu.Lock()
	same, known := sc.related[there]
	sc.mu.Unlock()
	if known || len(tags) == 0 {
		return same || !known, nil // what is not known may be so
	}
	for range 3 {
		same, known, err = sc.compare(ctx, other, tags[0].name)
		if err != nil {
			return false, err
		}
		if known {
			sc.relate(there, same)
			return same, nil
		}
	}
	return false, errUnsure
}

// compare is one look of sameAs; not known means that it has to look again.
func (sc *tagScope) compare(ctx context.Context, other *tagScope, tag string) (same, known bool, err error) {
	before, err := sc.look(ctx, tag)
	if err == nil && before.hard == "" {
		_, errs := sc.current(ctx, []string{tag}, time.Minute) // to be looked at
		return false, false, errs[0]
	}
	if err != nil {
		return false, false, err
	}
	there, err := other.look(ctx, tag)
	if err != nil || there.hard == before.hard {
		return true, err == nil, err
	}
	after, err := sc.look(ctx, tag)
	return false, err == nil && after.hard == before.hard, err
}

// look reads the tokens of one tag, as they are at this moment.
func (sc *tagScope) look(ctx context.Context, tag string) (seenTag, error) {
	tt := tagTokens{sc: sc, anew: true}
	if err := tt.read(ctx, []string{tag}); err != nil {
		return seenTag{}, err
	}
	return tt.seen(tag)
}

// maxRelated bounds how many other backends a scope remembers.
const maxRelated = 64

func (sc *tagScope) relate(there any, same bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.related == nil || len(sc.related) >= maxRelated {
		sc.related = make(map[any]bool)
	}
	sc.related[there] = same
}
