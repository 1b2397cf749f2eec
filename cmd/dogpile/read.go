package main

import (
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
	state   string        // "fresh", "stale", "invalidated", "unknown" or "unreadable"
	why     error         // it is unreadable
}

// The states of an entry, for people and programs.
const (
	stateFresh       = "fresh"
	stateStale       = "stale"
	stateInvalidated = "invalidated"
	// stateUnknown: nobody has said of which region it is, or when its entries expire.
	stateUnknown = "unknown"
	// stateUnreadable: no reader can make anything of it.
	stateUnreadable = "unreadable"
)

// read returns what there is under a key, nil if there is nothing.
func (o *opened) read(ctx context.Context, key string) (*entry, error) {
	// This asks nobody, and tells what keys a region has.
	if _, _, err := o.cache("").Peek(dogpile.Bypass(ctx), key); err != nil {
		return nil, err
	}
	items := []driver.Item{{Key: o.key(key)}}
	if err := o.Backend().Get(ctx, items); err != nil {
		return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: key, Err: err}
	}
	it := &items[0]
	e := &entry{key: key, size: len(it.Data), left: it.TTL, state: stateUnreadable}
	switch {
	case errors.Is(it.Err, driver.ErrCorrupt):
		e.why = it.Err
	case it.Err != nil:
		return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: key, Err: it.Err}
	case !it.Found():
		return nil, nil
	default:
		e.meta, e.payload, e.why = stored.Parse(it.Data)
	}
	if e.known = e.left > 0; !e.known {
		if err := o.ttl(ctx, items[0].Key, e); err != nil {
			return nil, &dogpile.OpError{Region: o.Name(), Op: "get", Key: key, Err: err}
		}
	}
	if e.why != nil {
		return e, nil
	}
	return o.judge(ctx, key, e)
}

// errNone is the answer that there is no value.
var errNone = errors.New("there is no value")

// cache returns a view of the region in which values are bytes.
func (o *opened) cache(schema string) *dogpile.Cache[[]byte] {
	return dogpile.NewCache(o.Region, &dogpile.CacheOptions[[]byte]{
		Codec: dogpile.Bytes, Schema: schema, NotFound: errNone, NotFoundFor: dogpile.Never})
}

// judge fills in the state of an entry, as its readers find it.
func (o *opened) judge(ctx context.Context, key string, e *entry) (*entry, error) {
	seen, ok, err := o.cache(e.meta.Schema).Peek(ctx, key)
	switch {
	case err == errNone:
		e.state = stateFresh
	case err != nil:
		return nil, err
	case !ok && e.meta.NotFound && e.meta.ExpireIn > 0 && time.Since(e.created()) > e.meta.ExpireIn:
		e.state = stateStale
	case !ok && e.meta.NotFound:
		e.state = stateInvalidated
	case !ok:
		return nil, nil // it has gone, or another one of another schema has taken its place
	default:
		e.state = map[dogpile.State]string{dogpile.Fresh: stateFresh, dogpile.Stale: stateStale, dogpile.Invalidated: stateInvalidated}[seen.State]
	}
	if e.state == stateFresh && !o.complete && e.meta.ExpireIn == 0 {
		e.state = stateUnknown
	}
	return e, nil
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

// usable reports whether readers are given the entry. That there is no value is believed while
// it is fresh alone.
func (e *entry) usable() bool {
	return e.state == stateFresh || e.state == stateUnknown || e.state == stateStale && !e.meta.NotFound
}
