package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	grafana "github.com/grafana/gomemcache/memcache"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
)

// The clients of a memcached server. Their keys begin with their names, in
// which memcached allows no spaces. Not among them is QuangTung97/go-memcache,
// whose calls take no context.
var (
	gomemcacheGet        = client{"gomemcache.Get", openGomemcache}
	grafanaGet           = client{"grafana/gomemcache.Get", openGrafana}
	backendOnMemcached   = client{"backend/memcached.Get", openMemcachedBackend}
	dogpileOnMemcached   = client{"dogpile.GetOrCreate", openDogpileMemcached(0)}
	dogpileLagsMemcached = client{"dogpile.GetOrCreate,InvalidationLag=1s", openDogpileMemcached(time.Second)}

	memcachedClients = []client{gomemcacheGet, grafanaGet, backendOnMemcached, dogpileOnMemcached, dogpileLagsMemcached}
)

const (
	// idleConns is a connection for each of the most goroutines, for clients
	// that would otherwise connect again and again.
	idleConns = 256
	// rivalTimeout replaces their 100 and 500 ms, which a busy machine exceeds.
	rivalTimeout = 5 * time.Second
)

// startMemcached starts a memcached with nothing in it.
func startMemcached() (*server, error) {
	return startServer("memcached", "memcached", func(host, port string) []string {
		args := []string{"-l", host, "-p", port, "-U", "0", "-m", "256", "-c", "4096"}
		if os.Geteuid() == 0 {
			args = append(args, "-u", "root") // it refuses otherwise
		}
		return args
	})
}

func newGomemcache(s setting) *gomemcache.Client {
	c := gomemcache.New(s.Addr)
	c.MaxIdleConns, c.Timeout = idleConns, rivalTimeout
	return c
}

func openGomemcache(s setting) (*conn, error) {
	c := newGomemcache(s)
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			it, err := c.Get(key)
			if err == nil {
				return string(it.Value), nil
			}
			if !errors.Is(err, gomemcache.ErrCacheMiss) {
				return "", err
			}
			v, err := s.create(ctx, key)
			if err != nil {
				return "", err
			}
			return v, c.Set(&gomemcache.Item{Key: key, Value: []byte(v), Expiration: int32(ttl / time.Second)})
		},
		close: func() { c.Close() },
	}, nil
}

func newGrafana(s setting) *grafana.Client {
	c := grafana.New(s.Addr)
	c.MaxIdleConns, c.Timeout = idleConns, rivalTimeout
	return c
}

func openGrafana(s setting) (*conn, error) {
	c := newGrafana(s)
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			it, err := c.Get(key)
			if err == nil {
				return string(it.Value), nil
			}
			if !errors.Is(err, grafana.ErrCacheMiss) {
				return "", err
			}
			v, err := s.create(ctx, key)
			if err != nil {
				return "", err
			}
			return v, c.Set(&grafana.Item{Key: key, Value: []byte(v), Expiration: int32(ttl / time.Second)})
		},
		close: c.Close,
	}, nil
}

func newMemcached(s setting) (*memcached.Backend, error) {
	return memcached.Open(context.Background(), "memcached://"+s.Addr, nil)
}

// openMemcachedBackend is the backend without a region.
func openMemcachedBackend(s setting) (*conn, error) {
	b, err := newMemcached(s)
	if err != nil {
		return nil, err
	}
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			items := []driver.Item{{Key: key}}
			err := errors.Join(b.Get(ctx, items), items[0].Err)
			if err != nil || items[0].Found() {
				return string(items[0].Data), err
			}
			v, err := s.create(ctx, key)
			if err != nil {
				return "", err
			}
			items = []driver.Item{{Key: key, Data: []byte(v), TTL: ttl}}
			return v, errors.Join(b.Set(ctx, items), items[0].Err)
		},
		close: func() { driver.Close(b) },
	}, nil
}

func openDogpileMemcached(lag time.Duration) func(setting) (*conn, error) {
	return func(s setting) (*conn, error) {
		b, err := newMemcached(s)
		if err != nil {
			return nil, err
		}
		return openRegion(b, s, dogpile.Options{InvalidationLag: lag})
	}
}

// A batcher gets many keys in one call.
type batcher struct {
	name string
	open func(s setting) (*batch, error)
}

// A batch is an opened batcher.
type batch struct {
	// set stores the shared values of keys.
	set func(ctx context.Context, keys []string) error
	// get calls found for each key that is there.
	get   func(ctx context.Context, keys []string, found func(key, value string)) error
	close func()
}

var batchers = []batcher{
	{"gomemcache.GetMulti", openGomemcacheMulti},
	{"grafana/gomemcache.GetMulti", openGrafanaMulti},
	{"backend/memcached.Get", openMemcachedMulti},
	{"dogpile.GetMulti", openDogpileMulti},
}

func openGomemcacheMulti(s setting) (*batch, error) {
	c := newGomemcache(s)
	return &batch{
		set: func(_ context.Context, keys []string) error {
			for _, key := range keys {
				if err := c.Set(&gomemcache.Item{Key: key, Value: []byte(sharedValue(key))}); err != nil {
					return err
				}
			}
			return nil
		},
		get: func(_ context.Context, keys []string, found func(key, value string)) error {
			items, err := c.GetMulti(keys)
			for key, it := range items {
				found(key, string(it.Value))
			}
			return err
		},
		close: func() { c.Close() },
	}, nil
}

func openGrafanaMulti(s setting) (*batch, error) {
	c := newGrafana(s)
	return &batch{
		set: func(_ context.Context, keys []string) error {
			for _, key := range keys {
				if err := c.Set(&grafana.Item{Key: key, Value: []byte(sharedValue(key))}); err != nil {
					return err
				}
			}
			return nil
		},
		get: func(ctx context.Context, keys []string, found func(key, value string)) error {
			items, err := c.GetMulti(ctx, keys)
			for key, it := range items {
				found(key, string(it.Value))
			}
			return err
		},
		close: c.Close,
	}, nil
}

func openMemcachedMulti(s setting) (*batch, error) {
	b, err := newMemcached(s)
	if err != nil {
		return nil, err
	}
	return &batch{
		set: func(ctx context.Context, keys []string) error {
			items := make([]driver.Item, len(keys))
			for i, key := range keys {
				items[i] = driver.Item{Key: key, Data: []byte(sharedValue(key))}
			}
			return errors.Join(b.Set(ctx, items), itemErrors(items))
		},
		get: func(ctx context.Context, keys []string, found func(key, value string)) error {
			items := make([]driver.Item, len(keys))
			for i, key := range keys {
				items[i].Key = key
			}
			err := b.Get(ctx, items)
			for i := range items {
				if it := &items[i]; it.Found() {
					found(it.Key, string(it.Data))
				}
			}
			return errors.Join(err, itemErrors(items))
		},
		close: func() { driver.Close(b) },
	}, nil
}

func itemErrors(items []driver.Item) error {
	for i := range items {
		if err := items[i].Err; err != nil {
			return fmt.Errorf("%s: %w", items[i].Key, err)
		}
	}
	return nil
}

func openDogpileMulti(s setting) (*batch, error) {
	b, err := newMemcached(s)
	if err != nil {
		return nil, err
	}
	r := dogpile.NewRegion("bench")
	if err := r.Configure(b, &dogpile.Options{Expiration: ttl, Codec: dogpile.Text}); err != nil {
		driver.Close(b)
		return nil, err
	}
	c := dogpile.NewCache[string](r, nil)
	return &batch{
		set: func(ctx context.Context, keys []string) error {
			values := make(map[string]string, len(keys))
			for _, key := range keys {
				values[key] = sharedValue(key)
			}
			return c.SetMulti(ctx, values)
		},
		get: func(ctx context.Context, keys []string, found func(key, value string)) error {
			values, err := c.GetMulti(ctx, keys)
			for key, v := range values {
				found(key, v)
			}
			return err
		},
		close: closeRegion(r),
	}, nil
}
