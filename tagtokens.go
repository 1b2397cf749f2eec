package dogpile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unsafe"

	"github.com/dogpile-go/dogpile/driver"
)

// encodeTagToken writes a token of a tag: its version, and after a space when it goes.
func encodeTagToken(t *token) []byte {
	data := []byte(t.Version)
	if t.Until != 0 {
		data = strconv.AppendInt(append(data, ' '), t.Until, 10)
	}
	return data
}

// decodeTagToken reads what encodeTagToken has written; nil: it is something else.
func decodeTagToken(data []byte) *token {
	version, until, dated := bytes.Cut(data, []byte{' '})
	t := &token{Version: string(version)}
	if dated {
		var err error
		if t.Until, err = strconv.ParseInt(string(until), 10, 64); err != nil {
			return nil
		}
	}
	if t.Version == "" {
		return nil
	}
	return t
}

// tagTokens is the tokens in force of some tags, as a reading has found them.
type tagTokens struct {
	sc    *tagScope
	anew  bool                  // nothing is known, whatever may be trusted for a while
	near  bool                  // what the copies of this process go by will do
	found map[string]foundToken // by key
	asked []askedTag            // what is being read
}

// askedTag is a token of a tag that is being read.
type askedTag struct {
	key string
	ts  *tokens // where it is noted, to be trusted for a while; nil: it is not
}

// foundToken is a token that was found, or was not.
type foundToken struct {
	version string // "": there is none
	until   int64  // as in seenTag
	near    bool   // it was not read
	err     error  // nobody knows
}

// want returns items with those of the tokens of tags that are not known yet.
func (tt *tagTokens) want(items []driver.Item, tags []string) ([]driver.Item, error) {
	if tt.found == nil {
		tt.found = make(map[string]foundToken, 2*len(tags))
	}
	for _, tag := range tags {
		for _, kind := range []byte{hardToken, softToken} {
			key, err := tt.sc.key(kind, tag)
			if err != nil {
				return nil, err
			}
			if _, known := tt.found[key]; known {
				continue
			}
			if tt.sc.s.pending.keeps(key) && !tt.anew {
				// Its delete has failed: until that is done it is as good as gone. This is found
				// out before the token is read, as in pending.veil.
				tt.found[key] = foundToken{}
				continue
			}
			t, ts := tt.sc.trusted(key)
			if t != nil && !tt.anew {
				tt.found[key] = foundToken{version: t.Version, until: t.Until}
				continue
			}
			if tt.near {
				if seen := ts.proved(driver.Now()); seen != nil && seen.token != nil {
					tt.found[key] = foundToken{version: seen.token.Version, until: seen.token.Until, near: true}
					continue
				}
			}
			tt.found[key] = foundToken{} // a tag that is named twice is asked for once
			tt.asked = append(tt.asked, askedTag{key, ts})
			items = append(items, driver.Item{Key: key, Keep: tt.sc.s.near != nil})
		}
	}
	return items, nil
}

// doubt appends to names those of tags that are no good by what was not read, which is
// forgotten.
func (tt *tagTokens) doubt(names []string, tags []seenTag) []string {
	for _, t := range tags {
		in, err := tt.seen(t.name)
		if err != nil || in.hard == t.hard && in.soft == t.soft {
			continue
		}
		for _, kind := range []byte{hardToken, softToken} {
			if key, _ := tt.sc.key(kind, t.name); tt.found[key].near {
				delete(tt.found, key)
				names = append(names, t.name)
			}
		}
	}
	return names
}

// trusted returns a token that need not be read, because it was within InvalidationLag, and
// where it is noted when it is read.
func (sc *tagScope) trusted(key string) (*token, *tokens) {
	if sc.s.o.InvalidationLag == 0 && sc.s.near == nil {
		return nil, nil
	}
	ts := sc.tokens(key)
	t, _ := ts.known()
	return t, ts
}

// take takes note of what has become of the items that want has added, which the backend
// was asked for at a moment of the clock of now.
func (tt *tagTokens) take(items []driver.Item, asked int64) {
	for i, a := range tt.asked {
		it := &items[i]
		if it.Err != nil && !errors.Is(it.Err, driver.ErrCorrupt) {
			tt.found[a.key] = foundToken{err: it.Err}
			continue
		}
		var t *token
		if a.ts != nil {
			t = a.ts.parse(it, asked)
		} else if t, _ = it.Object.(*token); t == nil && it.Data != nil {
			t = decodeTagToken(it.Data)
		}
		if t != nil {
			tt.found[a.key] = foundToken{version: t.Version, until: t.Until}
		}
	}
	tt.asked = nil
}

// read reads the tokens of tags, as far as they are not known.
func (tt *tagTokens) read(ctx context.Context, tags []string) error {
	items, err := tt.want(nil, tags)
	if err != nil || len(items) == 0 {
		return err
	}
	asked, release, err := tt.sc.s.read(ctx, items)
	defer release()
	if err != nil {
		return err
	}
	tt.take(items, asked)
	return nil
}

// seen returns a tag with the versions that were found; a token that is absent has "".
func (tt *tagTokens) seen(tag string) (seenTag, error) {
	t := seenTag{name: tag}
	for _, half := range []struct {
		kind    byte
		version *string
	}{{hardToken, &t.hard}, {softToken, &t.soft}} {
		key, err := tt.sc.key(half.kind, tag)
		if err != nil {
			return t, err
		}
		f := tt.found[key]
		if f.err != nil {
			return t, f.err
		}
		*half.version = f.version
		t.until = firstOf(t.until, f.until)
	}
	return t, nil
}

// seenAll is seen for many tags; nil if one of them could not be read.
func (tt *tagTokens) seenAll(tags []string) []seenTag {
	if len(tags) == 0 {
		return nil
	}
	all := make([]seenTag, len(tags))
	for i, tag := range tags {
		var err error
		if all[i], err = tt.seen(tag); err != nil {
			return nil
		}
	}
	return all
}

// firstOf returns the earlier of two moments, of which 0 is never.
func firstOf(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// judge returns what an entry is worth that carries tags, and notes until when their
// tokens are there.
func (tt *tagTokens) judge(tags []seenTag) (worst State, err error) {
	for i := range tags {
		t := &tags[i]
		in, err := tt.seen(t.name)
		switch {
		case err != nil:
			return Invalidated, err
		case in.hard != t.hard:
			worst = Invalidated
		case in.soft != t.soft:
			worst = max(worst, Stale)
		}
		t.until = in.until
	}
	return worst, nil
}

// inForce reports whether the tokens of tags are those in force, by one look into the memory
// of this process for each. It allocates nothing, and knows nothing of odd tags.
func (sc *tagScope) inForce(ctx context.Context, b *scratch, tags []seenTag) bool {
	for i := range tags {
		t := &tags[i]
		if !sc.holds(ctx, b, hardToken, t.name, t.hard) || !sc.holds(ctx, b, softToken, t.name, t.soft) {
			return false
		}
	}
	return true
}

func (sc *tagScope) holds(ctx context.Context, b *scratch, kind byte, tag, version string) bool {
	key, plain := sc.appendKey(b.tag[:0], kind, tag)
	if b.tag = key; !plain {
		return false
	}
	object, _, err := sc.s.lookup(ctx, b, unsafe.String(unsafe.SliceData(key), len(key)))
	t, is := object.(*token)
	return err == nil && is && t.Version == version
}

// current returns tags with the versions in force, after making tokens where there are
// none, or an error for each of which nobody knows. ttl is that of the entry which is to
// carry them.
func (sc *tagScope) current(ctx context.Context, tags []string, ttl time.Duration) (seen []seenTag, errs []error) {
	seen, errs = make([]seenTag, len(tags)), make([]error, len(tags))
	called, tt := now(), tagTokens{sc: sc}
	if err := tt.read(ctx, tags); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return seen, errs
	}
	var absent []string
	for key, f := range tt.found {
		if f.version == "" && f.err == nil {
			absent = append(absent, key)
		}
	}
	made := make([]foundToken, len(absent))
	for i, err := range each(len(absent), tagsAtOnce, func(i int) error {
		ts := sc.tokens(absent[i])
		t, err := ts.inTurn(ctx, called, func() (*token, error) {
			return ts.make(ctx, func() *token { return &token{Version: newTagVersion(), Until: sc.until(ttl)} })
		})
		if err == nil {
			made[i] = foundToken{version: t.Version, until: t.Until}
		}
		return err
	}) {
		made[i].err = err
		tt.found[absent[i]] = made[i]
	}
	for i, tag := range tags {
		seen[i], errs[i] = tt.seen(tag)
	}
	return seen, errs
}

// until returns when a token goes that is made for an entry of that TTL, 0 for none.
//
// It is told by the wall clock of the process that makes the token. One whose clock goes
// otherwise prolongs the token too early, or too late: then entries are missing that need
// not be.
func (sc *tagScope) until(ttl time.Duration) int64 {
	if ttl <= 0 || ttl > math.MaxInt64/sc.life {
		return 0
	}
	return time.Now().Add(ttl*sc.life).Unix() + 1
}

// prolong has the tokens of tags last for as long as entries that carry them and were
// just stored. It writes what is there with another end, under a lease: an invalidation
// that comes in between wins.
//
//  1. The token T is read.  2. An invalidation deletes it, and revokes the lease.
//  3. T is written again: refused.
//
// If another has the lease the next store will see to it. Where leases do not keep others
// from deleting, the token is left as it is: entries that outlive it are missing then.
func (sc *tagScope) prolong(ctx context.Context, carriers []carrier) error {
	if !sc.fenced || len(carriers) == 0 {
		return nil
	}
	type need struct {
		tag   seenTag
		ttl   time.Duration
		until int64
	}
	var needs []need
	at := make(map[string]int) // among needs, by tag
	for _, c := range carriers {
		until := int64(math.MaxInt64) // when the entry is gone
		if c.ttl > 0 {
			until = time.Now().Add(c.ttl).Unix() + 1
		}
		for _, t := range c.tags {
			if t.until == 0 || t.until >= until {
				continue
			}
			if i, known := at[t.name]; !known {
				at[t.name] = len(needs)
				needs = append(needs, need{t, c.ttl, until})
			} else if needs[i].until < until {
				needs[i] = need{t, c.ttl, until}
			}
		}
	}
	if err := cmp.Or(each(2*len(needs), tagsAtOnce, func(i int) error {
		n, kind, version := needs[i/2], byte(hardToken), needs[i/2].tag.hard
		if i%2 == 1 {
			kind, version = softToken, n.tag.soft
		}
		key, err := sc.key(kind, n.tag.name)
		if err != nil {
			return err
		}
		ts, asked := sc.tokens(key), now()
		t, _, err := ts.tryUpdate(ctx, func(old *token) *token {
			if old == nil || old.Version != version || old.Until == 0 || old.Until >= n.until {
				return nil
			}
			return &token{Version: old.Version, Until: sc.until(n.ttl)}
		})
		if t != nil {
			ts.noteRead(&readToken{token: t, at: asked})
		}
		return err
	})...); err != nil && ctx.Err() == nil {
		return fmt.Errorf("prolong the token of tag %q: %w", needs[0].tag.name, err)
	}
	return nil // or the caller has left: the next store will see to it
}

// carrier is an entry with tags that was to be stored.
type carrier struct {
	tags []seenTag
	ttl  time.Duration // 0: none
}
