package dogpile

import (
	"context"
	"slices"

	"github.com/dogpile-go/dogpile/internal/stored"
)

// scope implements tagger.
func (cr *creation[V]) scope() *tagScope { return cr.s.tags }

// seen implements tagger.
func (cr *creation[V]) seen(ctx context.Context, tags []string) ([]seenTag, []error) {
	if cr.s.caps.Discards || cr.apart && Creation(cr.caller) == nil {
		return nil, nil // the value is stored by nobody
	}
	return cr.s.tags.current(ctx, tags, cr.s.ttl(cr.c.expiration(cr.s), new(stored.Meta)))
}

// creates implements tagger.
func (cr *creation[V]) creates(s *state, key string) bool {
	for i := range cr.keys {
		if s == cr.s && cr.keys[i].key == key {
			return true
		}
	}
	return false
}

// passOn has the creation around this one carry its tags, if its value is stored nowhere
// else: under Bypass, and over the null backend, with which a cache is switched off.
func (cr *creation[V]) passOn(ctx context.Context, ctl *Control, at []int) {
	around := tagged(cr.caller)
	if !cr.apart || around == nil || around.tagger.scope().name != cr.s.tags.name {
		return
	}
	ctl.up = around
	if cr.s.caps.Discards && cr.c.o.Tags != nil { // otherwise they come with the value
		for _, i := range at {
			around.Tag(ctx, cr.c.o.Tags(cr.keys[i].key)...)
		}
	}
}

// without reports whether a creation goes on without the backend.
func (cr *creation[V]) without(at []int) bool {
	return !cr.apart && !slices.ContainsFunc(at, func(i int) bool { return !cr.keys[i].offline })
}

// findTags finds out the versions of the tags that are known beforehand, as findVersions
// does those of the region, and for the same reason.
func (cr *creation[V]) findTags(ctx context.Context, at []int) error {
	if cr.c.o.Tags == nil {
		return nil
	}
	names := make([][]string, len(at))
	var all []string
	for n, i := range at {
		k := &cr.keys[i]
		if k.offline && !cr.apart || k.known != nil && allSeen(k.known) {
			continue
		}
		names[n] = cr.c.o.Tags(k.key)
		all = append(all, names[n]...)
	}
	if len(all) == 0 {
		return nil
	}
	all = distinct(all)
	seen, errs := cr.seen(ctx, all)
	for n, i := range at {
		if len(names[n]) == 0 {
			continue
		}
		k := &cr.keys[i]
		var err error
		k.known, err = chosen(names[n], all, seen, errs)
		switch {
		case err != nil && cr.strict():
			return cr.fails(ctx, k.key, err)
		case err != nil:
			cr.disconnect(ctx, "version", err, i)
		}
	}
	return nil
}

// chosen returns those of seen, which are the tags of all in alphabetical order, that names
// are; nil with an error if one of them could not be read.
func chosen(names, all []string, seen []seenTag, errs []error) (tags []seenTag, err error) {
	for _, name := range names {
		i, found := slices.BinarySearch(all, name)
		if !found || i >= len(seen) {
			continue // they are not needed; see tagger
		}
		if errs[i] != nil {
			return nil, errs[i]
		}
		tags = mergeTags(tags, seen[i:i+1])
	}
	return tags, nil
}

// allSeen reports whether all tokens of tags were there.
func allSeen(tags []seenTag) bool {
	return !slices.ContainsFunc(tags, func(t seenTag) bool { return t.hard == "" || t.soft == "" })
}

// carries returns what follows for a value of k from what its creator has said and read,
// and from the tags that are known beforehand.
func (cr *creation[V]) carries(k *creationKey[V], w wishes) (tags []seenTag, unsure bool) {
	known := k.known
	if cr.c.o.Tags != nil && k.offline && (known == nil || !allSeen(known)) {
		known, unsure = nil, len(cr.c.o.Tags(k.key)) > 0
	}
	if tags = w.tags; len(known) > 0 {
		tags = mergeTags(slices.Clone(known), w.tags)
	}
	return tags, unsure || w.unsure
}

// tagsFailed tells of a failure of the backend that a creator was not told of, which may
// have failed itself. The error is for those who wait for the value.
func (cr *creation[V]) tagsFailed(ctx context.Context, ctl *Control, at []int, creatorFailed bool) error {
	key, err := ctl.failure()
	if err == nil || ctx.Err() != nil {
		return nil // or the creation has lost its lease, or its time: it is not stored anyway
	}
	if key == "" {
		key = cr.keys[at[0]].key
	}
	if cr.strict() && !creatorFailed {
		return cr.fails(ctx, key, err)
	}
	cr.c.failed(ctx, cr.s, "version", key, cr.s.region.backendError(ctx, cr.op, key, err))
	return nil
}

// overtaken returns what has become, since their creators began, of the values that late
// callers wait for: they may not have them if a tag was invalidated. Nobody joins any more.
//
//  1. A's creator reads the token of its tag, T, and then the origin.
//  2. The origin changes, and the tag is invalidated. The call of that returns.
//  3. B calls, finds nothing, and joins A.  4. T is read again, and is gone: B starts over.
//
// The token that is read at 4 says the same of all who have joined.
func (cr *creation[V]) overtaken(ctx context.Context, at []int, late []bool) verdicts {
	if late == nil {
		return nil
	}
	var names []string
	for n, i := range at {
		if late[n] {
			names = append(names, tagNames(cr.keys[i].made.tags)...)
		}
	}
	if len(names) == 0 {
		return nil
	}
	tags, all := tagTokens{sc: cr.s.tags}, make(verdicts, len(at))
	unread := tags.read(ctx, names)
	for n, i := range at {
		k := &cr.keys[i]
		if !late[n] || len(k.made.tags) == 0 {
			continue
		}
		verdict, err := tags.judge(slices.Clone(k.made.tags))
		if unread != nil || err != nil {
			verdict = Stale // nobody knows: it is stored, and who comes late starts over
		}
		all[n] = verdict
	}
	return all
}

// verdicts are what values have become; nil: all are fresh.
type verdicts []State

func (v verdicts) of(n int) State {
	if v == nil {
		return Fresh
	}
	return v[n]
}

// prolong has the tokens of what was stored with tags last as long.
func (cr *creation[V]) prolong(ctx context.Context, carriers []carrier) {
	if err := cr.s.tags.prolong(ctx, carriers); err != nil {
		cr.c.failed(ctx, cr.s, "version", cr.keys[0].key, err)
	}
}

// settingTags is the tags of what a Set stores.
type settingTags struct {
	inherited wishes
	own       map[string][]seenTag // by key
	errs      map[string]error     // by key
	carriers  []carrier
}

// settingTags finds out about the tags of keys before they are set: those that are known
// beforehand, and those that a creation has inherited which sets the keys.
func (c *Cache[V]) settingTags(ctx context.Context, s *state, keys []string) (st settingTags, err error) {
	if st.inherited, err = s.carried(ctx); err != nil || c.o.Tags == nil {
		return st, err
	}
	names := make([][]string, len(keys))
	var all []string
	for i, key := range keys {
		names[i] = c.o.Tags(key)
		all = append(all, names[i]...)
	}
	all = distinct(all)
	seen, errs := s.tags.current(ctx, all, s.ttl(c.expiration(s), new(stored.Meta)))
	st.own, st.errs = make(map[string][]seenTag), make(map[string]error)
	for i, key := range keys {
		if st.own[key], err = chosen(names[i], all, seen, errs); err != nil {
			st.errs[key] = err
		}
	}
	return st, nil
}

// of returns the tags of a key.
func (st *settingTags) of(key string) []seenTag {
	return mergeTags(st.own[key], st.inherited.tags)
}
