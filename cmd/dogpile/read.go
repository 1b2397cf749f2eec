package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/stored"
)

// entry is what there is under a key.
type entry struct {
	key     string
	meta    stored.Meta
	payload []byte
	size    int           // of all of it, in bytes, as the region stores it
	left    time.Duration // of its TTL; 0: it has none, or nobody knows
	known   bool          // left is known
	state   string        // one of those below
	why     error         // it is unreadable
}

// The states of an entry, for people and programs.
const (
	stateFresh = "fresh"
	// stateStale: it has expired, and readers are given it until there is a new one.
	stateStale = "stale"
	// stateExpired: it has expired so long ago that no reader is given it.
	stateExpired     = "expired"
	stateInvalidated = "invalidated"
	// stateUnknown: nobody has said of which region it is, or when its entries expire.
	stateUnknown = "unknown"
	// stateUnreadable: no reader can make anything of it.
	stateUnreadable = "unreadable"
)

// read returns what there is under a key, nil if there is nothing. What is left of its TTL is
// asked for only with ttl: not every user may.
func (o *opened) read(ctx context.Context, key string, ttl bool) (*entry, error) {
	// 1. The region judges the entry.  2. Another one takes its place.  3. That is read: it is
	// shown by its own state, or not at all. What is asked in between is of the entry that was
	// there before and after.
	const tries = 10
	for range tries {
		seen, judged, err := o.Inspect(ctx, key)
		if err != nil {
			return nil, err
		}
		e := &entry{key: key, state: stateUnreadable}
		if ttl {
			if err := o.ttl(ctx, o.key(key), e); err != nil {
				return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: key, Err: err}
			}
		}
		items, err := o.readAll(ctx, key)
		if err != nil {
			return nil, err
		}
		it := &items[0]
		if !it.Found() && it.Err == nil {
			if !judged {
				return nil, nil
			}
			continue
		}
		if e.size = len(it.Data); it.TTL > 0 {
			e.left, e.known = it.TTL, true
		}
		if e.why = it.Err; e.why == nil {
			e.meta, e.payload, e.why = stored.Parse(it.Data)
		}
		switch {
		case e.why != nil && !judged:
			return e, nil
		case e.why != nil:
		case judged && seen.Created.Equal(e.created()):
			e.state = o.stateOf(e, &seen)
			return e, nil
		case !judged && e.meta.NotFound: // this is no entry once it is not fresh
			if e.state = stateInvalidated; e.meta.ExpireIn > 0 && time.Since(e.created()) > e.meta.ExpireIn {
				e.state = stateStale
			}
			return e, nil
		}
	}
	return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: key, Err: errors.New("it changes faster than it can be looked at")}
}

// readAll reads what there is under keys as the backend keeps it, in one call. An Err of an item
// is that there is no entry in it.
func (o *opened) readAll(ctx context.Context, keys ...string) ([]driver.Item, error) {
	items := make([]driver.Item, len(keys))
	for i, key := range keys {
		items[i].Key = o.key(key)
	}
	if err := o.Backend().Get(ctx, items); err != nil {
		return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: keys[0], Err: err}
	}
	for i, key := range keys {
		if err := items[i].Err; err != nil && !errors.Is(err, driver.ErrCorrupt) {
			return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: key, Err: err}
		}
	}
	return items, nil
}

// stateOf returns the state of an entry, as its readers find it.
func (o *opened) stateOf(e *entry, seen *dogpile.Stored) string {
	switch seen.State {
	case dogpile.Invalidated:
		return stateInvalidated
	case dogpile.Fresh:
		if !o.complete && e.meta.ExpireIn == 0 {
			return stateUnknown
		}
		return stateFresh
	}
	if !e.meta.NotFound && o.past(e, seen) {
		return stateExpired
	}
	return stateStale
}

// past reports whether readers are not given a stale entry any more: by Options.StaleFor, which
// counts from the whole expiration.
func (o *opened) past(e *entry, seen *dogpile.Stored) bool {
	options := o.Options()
	expiration := cmp.Or(e.meta.ExpireIn, options.Expiration)
	age := time.Since(e.created())
	switch {
	case expiration == dogpile.Never, seen.Reason != dogpile.ReasonExpired && age <= expiration:
		return false // it is stale as it was invalidated, softly
	case e.meta.StaleFor == 0 && !o.complete:
		return false // nobody knows
	}
	expiration = max(expiration, 0) // less stands for none at all, here and below
	staleFor := cmp.Or(e.meta.StaleFor, options.StaleFor, expiration)
	return staleFor != dogpile.Never && age-expiration > staleFor
}

// ttl asks what is left of the TTL of an entry, where Get does not tell.
func (o *opened) ttl(ctx context.Context, key string, e *entry) error {
	if b, ok := driver.As[*redis.Backend](o.Backend()); ok {
		client := b.Client()
		if client == nil {
			return nil
		}
		ms, err := client.Do(ctx, client.B().Pttl().Key(key).Build()).AsInt64()
		if err != nil {
			return withoutCommand(err)
		}
		e.left, e.known = time.Duration(max(ms, 0))*time.Millisecond, ms != -2
	}
	if b, ok := driver.As[*memcached.Backend](o.Backend()); ok {
		left, known, err := b.Left(ctx, key)
		if err != nil {
			return err
		}
		e.left, e.known = left, known
	}
	return nil
}

// withoutCommand is for errors of a server, which come as they are.
func withoutCommand(err error) error {
	if said, is := rueidis.IsRedisErr(err); is {
		return errors.New(said.Error())
	}
	return err
}

// usable reports whether readers are given the entry, or the answer that there is no value, which
// is believed while it is fresh alone.
func (e *entry) usable() bool {
	return e.state == stateFresh || e.state == stateUnknown || e.state == stateStale && !e.meta.NotFound
}
