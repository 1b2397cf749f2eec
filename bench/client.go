package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// A client is a cache that processes share, in one configuration. All keep the
// same strings, and are as their makers have them by default unless it is said
// otherwise. Many processes can open the same one.
type client struct {
	name string
	open func(s setting) (*conn, error) // nil: it is Python's, and only for processes
}

// A setting is what a client is opened with.
type setting struct {
	Client string        // its name
	Addr   string        // of the server, or the path of the file
	Lease  time.Duration // of locks: how long they outlive a holder that dies
	Source string        // a file with what creators return; "": the right value of the key
	server string        // its process, in /proc
	create func(ctx context.Context, key string) (string, error)
}

// A conn is an opened client.
type conn struct {
	// get returns what is stored under key. If there is nothing, it calls the
	// setting's create and stores the result for ttl.
	get func(ctx context.Context, key string) (string, error)
	// These are nil for clients of which no table needs them.
	set    func(ctx context.Context, key, value string) error
	fill   func(ctx context.Context, values map[string]string) error // sets many at once
	delete func(ctx context.Context, key string) error
	near   func() int64 // how many gets a copy in this process has answered
	close  func()
}

// sharedValue returns the one right value of key: 100 bytes.
func sharedValue(key string) string { return key + strings.Repeat(".", max(0, 100-len(key))) }

// valuesOf returns what all are.
func valuesOf(all []stored) map[string]string {
	values := make(map[string]string, len(all))
	for _, e := range all {
		values[e.key] = e.value
	}
	return values
}

// clientNamed returns the client of that name.
func clientNamed(name string) (client, bool) {
	for _, c := range slices.Concat(redisClients, nearClients) {
		if c.name == name {
			return c, true
		}
	}
	return client{}, false
}

// openRegion opens a region on a backend that is its own.
func openRegion(b driver.Backend, s setting, o dogpile.Options) (*conn, error) {
	// Text stores a string as it is, which is what the others do with it.
	o.Expiration, o.LockTTL, o.Codec = ttl, s.Lease, dogpile.Text
	r := dogpile.NewRegion("bench")
	// Nothing connects before the first call, and a server that is down would be creations.
	if err := errors.Join(r.Configure(b, &o), r.Ping(context.Background())); err != nil {
		driver.Close(b)
		return nil, err
	}
	c := dogpile.NewCache[string](r, nil)
	return &conn{
		get: func(ctx context.Context, key string) (string, error) {
			return c.GetOrCreate(ctx, key, func(ctx context.Context) (string, error) { return s.create(ctx, key) })
		},
		set:    c.Set,
		fill:   c.SetMulti,
		delete: func(ctx context.Context, key string) error { return c.Delete(ctx, key) },
		near:   func() int64 { return r.Stats().NearHits },
		close:  closeRegion(r),
	}, nil
}
