package main

import (
	"context"
	"errors"
	"time"

	jetcache "github.com/mgtv-tech/jetcache-go"
	"github.com/mgtv-tech/jetcache-go/local"
	"github.com/mgtv-tech/jetcache-go/remote"
	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// nearLag is that of Options.Near here.
const nearLag = time.Second

// The clients of the tables near-delete and near-fleet.
var (
	redisNear = client{"dogpile over Redis, Near", openShared(openRedis, true)}
	redisFar  = client{"dogpile over Redis", openShared(openRedis, false)}
	fileNear  = client{"dogpile over a file, Near", openShared(openFile, true)}
	fileFar   = client{"dogpile over a file", openShared(openFile, false)}

	nearClients = []client{redisNear, redisFar, fileNear, fileFar}
)

// onFile reports whether c, which is a client of these tables, is opened with a path.
func onFile(c client) bool { return c.name == fileNear.name || c.name == fileFar.name }

// A machine that is so busy that a call takes a second is no failure here.

func openRedis(s setting) (driver.Backend, error) {
	return redis.Open(context.Background(), "redis://"+s.Addr, &redis.Options{Timeout: patience})
}

func openFile(s setting) (driver.Backend, error) {
	return file.Open(context.Background(), s.Addr, &file.Options{Timeout: patience})
}

func nearOptions(near bool) dogpile.Options {
	o := dogpile.Options{BackendTimeout: patience}
	if near {
		o.Near = &dogpile.Near{Lag: nearLag}
	}
	return o
}

func openShared(open func(setting) (driver.Backend, error), near bool) func(setting) (*conn, error) {
	return func(s setting) (*conn, error) {
		b, err := open(s)
		if err != nil {
			return nil, err
		}
		return openRegion(b, s, nearOptions(near))
	}
}

// A hot is a cache that has some strings in the memory of its process and can
// get them from there.
type hot struct {
	name string
	// open makes the cache, in which all are stored. What is not found is errMissed.
	open func(s setting, all []stored) (*conn, error)
}

// hots are the contestants of the table near. s.Addr is that of a Redis server.
func hots(path string) []hot {
	return []hot{
		{"dogpile GetOrCreate, bounded memory", hotRegion(func(setting) (driver.Backend, error) {
			return memory.New(&memory.Options{MaxEntries: 10_000}) // as many as there are copies by default
		}, false)},
		{"dogpile GetOrCreate, Redis, Near", hotRegion(openRedis, true)},
		{"dogpile GetOrCreate, file, Near", hotRegion(func(setting) (driver.Backend, error) {
			return openFile(setting{Addr: path})
		}, true)},
		{"dogpile GetOrCreate, Redis, no copies", hotRegion(openRedis, false)},
		{"rueidisaside Get", hotAside},
		{"rueidis DoCache", hotDoCache},
		{"jetcache-go Once, FreeCache", hotJetcache(func() local.Local { return local.NewFreeCache(32*local.MB, ttl, "bench") })},
		{"jetcache-go Once, TinyLFU", hotJetcache(func() local.Local { return local.NewTinyLFU(1<<20, ttl) })},
	}
}

func hotRegion(open func(setting) (driver.Backend, error), near bool) func(setting, []stored) (*conn, error) {
	return func(s setting, all []stored) (*conn, error) {
		b, err := open(s)
		if err != nil {
			return nil, err
		}
		r := dogpile.NewRegion("bench")
		o := nearOptions(near)
		o.Expiration, o.Codec = ttl, dogpile.Text
		if err := r.Configure(b, &o); err != nil {
			driver.Close(b)
			return nil, err
		}
		c := dogpile.NewCache[string](r, nil)
		missed := func(context.Context) (string, error) { return "", errMissed } // once: it allocates
		opened := &conn{
			get:   func(ctx context.Context, key string) (string, error) { return c.GetOrCreate(ctx, key, missed) },
			close: closeRegion(r),
		}
		if near {
			opened.near = func() int64 { return r.Stats().NearHits }
		}
		if err := c.SetMulti(context.Background(), valuesOf(all)); err != nil {
			opened.close()
			return nil, err
		}
		return opened, nil
	}
}

// filled stores all with set, and returns c; if that fails it closes c.
func (c *conn) filled(all []stored, set func(ctx context.Context, key, value string) error) (*conn, error) {
	for _, e := range all {
		if err := set(context.Background(), e.key, e.value); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func hotAside(s setting, all []stored) (*conn, error) {
	missed := func(context.Context, string) (string, error) { return "", errMissed }
	s.create = missed
	c, client, err := newAside(s)
	if err != nil {
		return nil, err
	}
	return client.filled(all, func(ctx context.Context, key, value string) error {
		_, err := c.Get(ctx, ttl, key, func(context.Context, string) (string, error) { return value, nil })
		return err
	})
}

// hotDoCache is rueidis with its own copies: a GET that the client answers from
// its memory while the server has not told of a change.
func hotDoCache(s setting, all []stored) (*conn, error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true})
	if err != nil {
		return nil, err
	}
	opened := &conn{
		get: func(ctx context.Context, key string) (string, error) {
			v, err := c.DoCache(ctx, c.B().Get().Key(key).Cache(), ttl).ToString()
			if rueidis.IsRedisNil(err) {
				err = errMissed
			}
			return v, err
		},
		close: c.Close,
	}
	return opened.filled(all, func(ctx context.Context, key, value string) error {
		return c.Do(ctx, c.B().Set().Key(key).Value(value).Ex(ttl).Build()).Error()
	})
}

// hotJetcache has both tiers, and does not count its hits. Its local tier is told
// of the changes of others only by what a program writes for that.
func hotJetcache(tier func() local.Local) func(setting, []stored) (*conn, error) {
	return func(s setting, all []stored) (*conn, error) {
		client, stop := newGoredis(s)
		c := jetcache.New(jetcache.WithRemote(remote.NewGoRedisV9Adapter(client)), jetcache.WithLocal(tier()),
			jetcache.WithErrNotFound(errMissed), jetcache.WithStatsDisabled(true))
		missed := jetcache.Do(func(context.Context) (any, error) { return nil, errors.New("not stored") })
		lives := jetcache.TTL(ttl)
		opened := &conn{
			get: func(ctx context.Context, key string) (v string, err error) {
				err = c.Once(ctx, key, jetcache.Value(&v), missed, lives)
				return v, err
			},
			close: func() {
				c.Close()
				stop()
			},
		}
		return opened.filled(all, func(ctx context.Context, key, value string) error {
			return c.Set(ctx, key, jetcache.Value(value), lives)
		})
	}
}
