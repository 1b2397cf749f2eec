package dogpile

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// read reads one entry, under a lease if there is one, and judges it by known, or
// where that is nil by the token in force.
func (c *Cache[V]) read(ctx context.Context, s *state, op, key, mangled string, lease driver.Lease, known *token) (*lookup[V], error) {
	var r struct { // what a reading needs, allocated at once
		keys    [1]string
		items   [2]driver.Item
		lookups [1]*lookup[V]
		lookup  lookup[V]
	}
	r.keys[0], r.items[0], r.lookups[0] = key, driver.Item{Key: mangled, Lease: lease}, &r.lookup
	r.lookup.token = known
	if err := c.readAll(ctx, s, op, r.keys[:], r.items[:], r.lookups[:]); err != nil {
		return nil, err
	}
	if err := r.lookup.err; err != nil {
		return nil, s.region.backendError(ctx, op, key, err)
	}
	return &r.lookup, nil
}

// readMany is readAll for any number of keys; known may be nil.
func (c *Cache[V]) readMany(ctx context.Context, s *state, op string, keys []string, items []driver.Item, known []*token) ([]*lookup[V], error) {
	lookups, room := make([]*lookup[V], len(keys)), make([]lookup[V], len(keys))
	for i := range lookups {
		lookups[i] = &room[i]
		if known != nil {
			room[i].token = known[i]
		}
	}
	if err := c.readAll(ctx, s, op, keys, items, lookups); err != nil {
		return nil, err
	}
	return lookups, nil
}

// readAll reads entries, the version tokens that they are judged by, and the tokens of
// the tags that are known beforehand in one call of the backend, judges the entries and
// fills lookups. Tags that only the entries tell cost another call. items has room for a
// token at its end. An entry for which the backend could not answer, or not for its
// tokens, has an err. A lookup that has a token already is judged by that one.
func (c *Cache[V]) readAll(ctx context.Context, s *state, op string, keys []string, items []driver.Item, lookups []*lookup[V]) error {
	items = items[:len(keys)]
	veil := s.pending.veil(items)
	tags := tagTokens{sc: s.tags}
	c.nameTags(keys, items, lookups)
	var room [1]askedToken
	items, asks, asked, release, err := c.ask(ctx, s, items, lookups, room[:0], &tags)
	if err == nil && c.moved(s, items, lookups) {
		// Only this answer has told the backend which server keeps what, so that another
		// token was asked for than other processes go by.
		for i := range items {
			items[i] = driver.Item{Key: items[i].Key, Lease: items[i].Lease}
		}
		tags = tagTokens{sc: s.tags}
		release()
		items, asks, asked, release, err = c.ask(ctx, s, items, lookups, room[:0], &tags)
	}
	defer release()
	if err != nil {
		return s.region.backendError(ctx, op, keys[0], err)
	}
	exp, at := c.expiration(s), time.Now()
	for i, l := range lookups {
		if a := askedFor(asks, l.history); l.token == nil && a != nil {
			// Without its token nobody knows what an entry is worth.
			if l.token, l.err = a.token, a.err; l.err != nil {
				continue
			}
		}
		if l.token != nil {
			l.version = l.token.Version
		}
		veil.over(i, &items[i])
		version, err := c.unpack(s, &items[i], l, at)
		l.stored = version
		switch {
		case errors.Is(err, driver.ErrCorrupt):
			l.damaged = true
			c.failed(ctx, s, "decode", keys[i], err)
		default:
			l.err = err
		}
		if l.found {
			l.verdict = max(veil.judge(l.history), l.history.judge(l.token, keys[i], version, l.began()))
		}
		if veil.verdict != Fresh {
			// 1. The entry is read while an invalidation is pending.  2. That is done, and
			// nothing is pending any more.  3. The entry is read again, under a lease. By
			// the token of 1 it would be valid.
			l.token = nil
		}
	}
	c.judgeTags(ctx, s, exp, lookups, &tags)
	if s.near != nil && !c.raw {
		c.keep(s, keys, items, lookups, time.Duration(asked))
	}
	return nil
}

// nameTags has lookups name the tags of their entries, as far as those are known
// beforehand.
//
// Under a lease the entry is most often the one that was read before, and no good: so its
// tags are looked at only if it is fresh but for them.
func (c *Cache[V]) nameTags(keys []string, items []driver.Item, lookups []*lookup[V]) {
	for i, l := range lookups {
		l.again = items[i].Lease != nil && l.token != nil
		if c.o.Tags != nil && !l.again {
			if names := c.o.Tags(keys[i]); len(names) > 0 {
				l.beforehand = &beforehand{names: names}
			}
		}
	}
}

// judgeTags fills in what entries are worth, with what the tags count that they carry. Their
// tokens are read after the entries, unless they were known beforehand:
//
//  1. The entry is read.  2. Its tag is invalidated.  3. The token is read: the entry is
//     invalid. It was valid when the caller called, but nobody is promised that.
//
//  1. The tag is invalidated, and the call of it returns.  2. A reader calls, and reads the
//     entry.  3. Whenever after that it reads the token, it is not the entry's.
func (c *Cache[V]) judgeTags(ctx context.Context, s *state, exp time.Duration, lookups []*lookup[V], tags *tagTokens) {
	var names []string
	for _, l := range lookups {
		if l.found {
			l.classify(s, exp, l.verdict) // but for the tags
		}
		l.unjudged = l.found && len(l.tags) > 0 && (l.state == Invalidated || l.again && l.state != Fresh)
		if l.found && !l.unjudged {
			for _, t := range l.tags {
				names = append(names, t.name)
			}
		}
	}
	var unread error
	if len(names) > 0 {
		// These are of entries that are fresh but for them, so that what is known by copies
		// will do, as it does for a copy of the entry. It must not be what makes an entry
		// invalid, though: other processes would find it fresh.
		tags.near = s.near != nil && !s.near.tooOld(ctx)
		unread = tags.read(ctx, names)
		tags.near = false
		var doubtful []string
		for _, l := range lookups {
			if l.found && !l.unjudged {
				doubtful = tags.doubt(doubtful, l.tags)
			}
		}
		if len(doubtful) > 0 && unread == nil {
			unread = tags.read(ctx, doubtful)
		}
	}
	for _, l := range lookups {
		if l.beforehand != nil {
			l.beforehand.seen = tags.seenAll(l.beforehand.names)
		}
		if !l.found || l.unjudged || len(l.tags) == 0 {
			continue
		}
		verdict, err := tags.judge(l.tags)
		if err = cmp.Or(unread, err); err != nil {
			// As without its region's token nobody knows what the entry is worth.
			l.found, l.err = false, err
		}
		l.tagged = verdict > l.verdict
		l.classify(s, exp, max(l.verdict, verdict))
	}
}

// ask reads items, and with them the tokens that lookups lack, which it adds to asks, and
// those of the tags that lookups name. It returns items and asks: with many tokens the
// items may have moved. asked is when the backend was asked, on the clock of now; it may be
// 0 if nobody needs to know.
func (c *Cache[V]) ask(ctx context.Context, s *state, items []driver.Item, lookups []*lookup[V], asks []askedToken, tags *tagTokens) (_ []driver.Item, _ []askedToken, asked int64, release func(), err error) {
	n := len(items)
	for i := range items {
		items[i].Keep = s.near != nil && items[i].Lease == nil
	}
	for i, l := range lookups {
		l.history = s.versions.of(items[i].Key)
		if l.token != nil || askedFor(asks, l.history) != nil {
			continue
		}
		// The token is taken, or read, no later than the entries:
		// 1. The token is read.  2. Somebody invalidates, and an entry is created anew.
		// 3. The entry is read: it has a newer token, and counts as missing. The other
		// way round an old entry would be judged by an old token, and be fresh.
		t, ask := l.history.known()
		if ask != "" {
			items = append(items, driver.Item{Key: ask, Keep: s.near != nil})
		}
		asks = append(asks, askedToken{l.history, t, ask != "", nil})
	}
	tokens := len(items)
	for _, l := range lookups {
		if l.beforehand != nil {
			if items, err = tags.want(items, l.beforehand.names); err != nil {
				return nil, nil, 0, nothing, err
			}
		}
	}
	if release = nothing; len(items) > n || s.near != nil {
		asked, release, err = s.read(ctx, items)
	} else {
		err = s.get(ctx, items)
	}
	if err != nil {
		return nil, nil, 0, release, err
	}
	for i, at := 0, n; i < len(asks); i++ {
		if a := &asks[i]; a.read {
			a.parse(&items[at], asked)
			at++
		}
	}
	tags.take(items[tokens:], asked)
	return items[:n], asks, asked, release, nil
}

// moved reports whether the token for an entry, which ask has read, is not the one to
// judge it by any more.
func (c *Cache[V]) moved(s *state, items []driver.Item, lookups []*lookup[V]) bool {
	for i, l := range lookups {
		if l.token == nil && l.history != s.versions.of(items[i].Key) {
			return true
		}
	}
	return false
}

// askedToken is a token that entries are judged by.
type askedToken struct {
	history history
	token   *token
	read    bool // with the entries; otherwise it was known
	err     error
}

func (a *askedToken) parse(it *driver.Item, asked int64) {
	if it.Err != nil && !errors.Is(it.Err, driver.ErrCorrupt) {
		a.err = it.Err
		return
	}
	a.token = a.history.parse(it, asked)
}

// askedFor returns the token of h; nil: it is not among asks.
func askedFor(asks []askedToken, h history) *askedToken {
	for i := range asks {
		if asks[i].history == h {
			return &asks[i]
		}
	}
	return nil
}

// began returns when the creation of the entry began: from then on it may have read
// what an invalidation was for.
func (l *lookup[V]) began() time.Time { return l.created.Add(-l.took) }
