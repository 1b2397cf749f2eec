package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bsm/redislock"
	gocachelib "github.com/eko/gocache/lib/v4/cache"
	gocachestore "github.com/eko/gocache/lib/v4/store"
	gocacheredis "github.com/eko/gocache/store/redis/v4"
	rediscache "github.com/go-redis/cache/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
)

const (
	nameDogpile = "dogpile GetOrCreate"
	nameRueidis = "rueidis GET"
	nameMGET    = "rueidis MGET of entry and version token"
)

// The clients of a Redis server. Not among them is rueidislock, which no module
// proxy has. Those with copies in their own memory are in nearclients.go.
var (
	dogpileOnRedis = client{nameDogpile, openDogpile(0)}
	dogpileLagging = client{nameDogpile + ", InvalidationLag 1 s", openDogpile(time.Second)}
	rueidisGet     = client{nameRueidis, openRueidis}
	rueidisMGET    = client{nameMGET, openRueidisMGET}
	goredisGet     = client{"go-redis GET", openGoredis}
	goredisCache   = client{"go-redis/cache Once", openGoredisCache}
	gocacheOnRedis = client{"gocache Loadable.Get", openGocacheRedis}
	aside          = client{"rueidisaside Get", openAside}
	lockByHand     = client{"bsm/redislock by hand", openRedislock}
	pythonOnRedis  = client{name: "dogpile.cache (Python)"}

	redisClients = []client{
		dogpileOnRedis, dogpileLagging, rueidisGet, rueidisMGET, goredisGet, goredisCache, gocacheOnRedis, aside, lockByHand, pythonOnRedis,
	}
)

func openDogpile(lag time.Duration) func(setting) (*conn, error) {
	return func(s setting) (*conn, error) {
		b, err := redis.Open(context.Background(), "redis://"+s.Addr, nil)
		if err != nil {
			return nil, err
		}
		return openRegion(b, s, dogpile.Options{InvalidationLag: lag})
	}
}

// rawOption is how redis.Open sets its client up.
func rawOption(s setting) rueidis.ClientOption {
	o := rueidis.ClientOption{
		InitAddress:       []string{s.Addr},
		ForceSingleClient: true,
		DisableRetry:      true,
		DisableCache:      true,
		MaxFlushDelay:     20 * time.Microsecond,
		ConnWriteTimeout:  redis.DefaultTimeout,
	}
	o.Dialer.Timeout = redis.DefaultTimeout
	return o
}

// openRueidis is the client that dogpile uses, set up as dogpile does it.
func openRueidis(s setting) (*conn, error) {
	c, err := rueidis.NewClient(rawOption(s))
	if err != nil {
		return nil, err
	}
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			v, err := c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
			if !rueidis.IsRedisNil(err) {
				return v, err
			}
			return rawCreate(ctx, c, s, key)
		},
		close: c.Close,
	}, nil
}

// openRueidisMGET reads what a region without InvalidationLag reads: the entry,
// and with it a version token, as long as one is. It decodes neither.
func openRueidisMGET(s setting) (*conn, error) {
	const token, size = nameMGET + "_inv:", len(`{"v":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`)
	c, err := rueidis.NewClient(rawOption(s))
	if err != nil {
		return nil, err
	}
	if err := c.Do(context.Background(), c.B().Set().Key(token).Value(strings.Repeat(".", size)).Build()).Error(); err != nil {
		c.Close()
		return nil, err
	}
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			found, err := c.Do(ctx, c.B().Mget().Key(key, token).Build()).ToArray()
			if err != nil {
				return "", err
			}
			if seen, err := found[1].ToString(); err != nil || len(seen) != size {
				return "", fmt.Errorf("token %q: %w", seen, err)
			}
			v, err := found[0].ToString()
			if !rueidis.IsRedisNil(err) {
				return v, err
			}
			return rawCreate(ctx, c, s, key)
		},
		close: c.Close,
	}, nil
}

// rawCreate creates and sets.
func rawCreate(ctx context.Context, c rueidis.Client, s setting, key string) (string, error) {
	v, err := s.create(ctx, key)
	if err != nil {
		return "", err
	}
	return v, c.Do(ctx, c.B().Set().Key(key).Value(v).Ex(ttl).Build()).Error()
}

func newGoredis(s setting) (c *goredis.Client, stop func()) {
	c = goredis.NewClient(&goredis.Options{Addr: s.Addr})
	return c, func() { c.Close() }
}

// goredisAside gets, or creates and sets.
func goredisAside(ctx context.Context, c *goredis.Client, s setting, key string) (string, error) {
	v, err := c.Get(ctx, key).Result()
	if !errors.Is(err, goredis.Nil) {
		return v, err
	}
	if v, err = s.create(ctx, key); err != nil {
		return "", err
	}
	return v, c.Set(ctx, key, v, ttl).Err()
}

func openGoredis(s setting) (*conn, error) {
	c, stop := newGoredis(s)
	return &conn{
		get:   func(ctx context.Context, key string) (string, error) { return goredisAside(ctx, c, s, key) },
		close: stop,
	}, nil
}

// openGoredisCache is without its local cache.
func openGoredisCache(s setting) (*conn, error) {
	client, stop := newGoredis(s)
	c := rediscache.New(&rediscache.Options{Redis: client})
	return &conn{
		get: func(ctx context.Context, key string) (v string, err error) {
			err = c.Once(&rediscache.Item{Ctx: ctx, Key: key, Value: &v, TTL: ttl, Do: func(*rediscache.Item) (any, error) {
				return s.create(ctx, key)
			}})
			return v, err
		},
		close: stop,
	}, nil
}

func openGocacheRedis(s setting) (*conn, error) {
	client, stop := newGoredis(s)
	load := func(ctx context.Context, key any) (string, []gocachestore.Option, error) {
		v, err := s.create(ctx, key.(string))
		return v, []gocachestore.Option{gocachestore.WithExpiration(ttl)}, err
	}
	c := gocachelib.NewLoadable(load, gocachelib.New[string](gocacheredis.NewRedis(client)))
	return &conn{
		get: func(ctx context.Context, key string) (string, error) { return c.Get(ctx, key) },
		close: func() {
			c.Close() // waits until what was loaded is stored
			stop()
		},
	}, nil
}

func openAside(s setting) (*conn, error) {
	_, opened, err := newAside(s)
	return opened, err
}

func newAside(s setting) (rueidisaside.CacheAsideClient, *conn, error) {
	c, err := rueidisaside.NewClient(rueidisaside.ClientOption{
		ClientOption: rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true},
		ClientTTL:    s.Lease,
	})
	if err != nil {
		return nil, nil, err
	}
	return c, &conn{
		get:    func(ctx context.Context, key string) (string, error) { return c.Get(ctx, ttl, key, s.create) },
		delete: c.Del,
		close:  c.Close,
	}, nil
}

// openRedislock is what one writes with a lock: get, lock, get again, create,
// set, release. Of 10, 20 and 100 ms between two tries, it did best with 20.
func openRedislock(s setting) (*conn, error) {
	client, stop := newGoredis(s)
	locker := redislock.New(client)
	retry := &redislock.Options{RetryStrategy: redislock.LinearBackoff(20 * time.Millisecond)}
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			v, err := client.Get(ctx, key).Result()
			if !errors.Is(err, goredis.Nil) {
				return v, err
			}
			// Without a deadline it would give up after one lease.
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			lock, err := locker.Obtain(ctx, "lock:"+key, s.Lease, retry)
			if err != nil {
				return "", err
			}
			defer lock.Release(ctx)
			return goredisAside(ctx, client, s, key)
		},
		close: stop,
	}, nil
}
