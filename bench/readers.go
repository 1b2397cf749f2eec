package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// A user is a small value.
type user struct {
	ID   int
	Name string
}

func userOf(id int) user { return user{id, "user " + strconv.Itoa(id)} }

var someone = userOf(7) // whom the readings of one key read

func isSomeone(got user, err error) error {
	if err == nil && got != someone {
		err = fmt.Errorf("got %+v, want %+v", got, someone)
	}
	return err
}

func createSomeone(context.Context) (user, error) { return someone, nil }

func noUser(context.Context) (user, error) { return user{}, errMissed }

// openUsers returns a region and a cache on memory, with mo and o.
func openUsers(mo *memory.Options, o dogpile.Options) (*dogpile.Region, *dogpile.Cache[user], error) {
	b, err := memory.New(mo)
	if err != nil {
		return nil, nil, err
	}
	r := dogpile.NewRegion("bench")
	if err := r.Configure(b, &o); err != nil {
		return nil, nil, err
	}
	return r, dogpile.NewCache[user](r, nil), nil
}

// openStale has one caller in its creator until the reader is closed.
func openStale() (*reader, error) {
	ctx := context.Background()
	r, c, err := openUsers(nil, dogpile.Options{Expiration: time.Nanosecond, StaleFor: ttl, CreateTimeout: dogpile.Never})
	if err != nil {
		return nil, err
	}
	if err := c.Set(ctx, "k", someone); err != nil {
		return nil, err
	}
	creating, gate, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c.GetOrCreate(ctx, "k", func(context.Context) (user, error) {
			close(creating)
			<-gate
			return someone, nil
		})
	}()
	<-creating
	return &reader{
		region: r,
		call:   func(ctx context.Context, _ int) error { return isSomeone(c.GetOrCreate(ctx, "k", noUser)) },
		close: func() {
			close(gate)
			<-done
			closeRegion(r)()
		},
	}, nil
}

func openBytesHit() (*reader, error) {
	r, c, err := openUsers(&memory.Options{Copy: true}, dogpile.Options{Expiration: ttl, Codec: dogpile.JSON})
	if err != nil {
		return nil, err
	}
	return &reader{
		region: r,
		call:   func(ctx context.Context, _ int) error { return isSomeone(c.GetOrCreate(ctx, "k", noUser)) },
		close:  closeRegion(r),
	}, c.Set(context.Background(), "k", someone)
}

// openMiss reads keys that it has deleted before.
func openMiss() (*reader, error) {
	r, c, err := openUsers(nil, dogpile.Options{Expiration: ttl})
	if err != nil {
		return nil, err
	}
	keys := make([]string, readBatch)
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(i)
	}
	return &reader{
		region: r,
		again:  func(ctx context.Context) error { return c.Delete(ctx, keys...) },
		call:   func(ctx context.Context, i int) error { return isSomeone(c.GetOrCreate(ctx, keys[i], createSomeone)) },
		close:  closeRegion(r),
	}, nil
}

// openMany stores the users of readKeys keys and reads all of them with get.
func openMany(get func(ctx context.Context, c *dogpile.Cache[user], keys []string) (map[string]user, error)) (*reader, error) {
	r, c, err := openUsers(nil, dogpile.Options{Expiration: ttl})
	if err != nil {
		return nil, err
	}
	keys, users := make([]string, readKeys), make(map[string]user)
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(i)
		users[keys[i]] = userOf(i)
	}
	return &reader{
		region: r,
		call: func(ctx context.Context, i int) error {
			got, err := get(ctx, c, keys)
			return areUsers(got, keys[i%readKeys], i%readKeys, err)
		},
		close: closeRegion(r),
	}, c.SetMulti(context.Background(), users)
}

// areUsers looks at one of the users: to look at all would take as long as to
// get them.
func areUsers[K comparable](got map[K]user, key K, id int, err error) error {
	switch {
	case err != nil:
		return err
	case len(got) != readKeys:
		return fmt.Errorf("%w: got %d of %d", errMissed, len(got), readKeys)
	case got[key].ID != id:
		return fmt.Errorf("got %+v as user %d", got[key], id)
	}
	return nil
}

func openGetMulti() (*reader, error) {
	return openMany(func(ctx context.Context, c *dogpile.Cache[user], keys []string) (map[string]user, error) {
		return c.GetMulti(ctx, keys)
	})
}

func openGetOrCreateMulti() (*reader, error) {
	create := func(context.Context, []string) (map[string]user, error) { return nil, errMissed }
	return openMany(func(ctx context.Context, c *dogpile.Cache[user], keys []string) (map[string]user, error) {
		return c.GetOrCreateMulti(ctx, keys, create)
	})
}

func openMultiFunc() (*reader, error) {
	r, _, err := openUsers(nil, dogpile.Options{Expiration: ttl})
	if err != nil {
		return nil, err
	}
	ids := make([]int, readKeys)
	for i := range ids {
		ids[i] = i
	}
	f := dogpile.NewMultiFunc(r, "byID", func(_ context.Context, ids []int) (map[int]user, error) {
		users := make(map[int]user, len(ids))
		for _, id := range ids {
			users[id] = userOf(id)
		}
		return users, nil
	}, nil)
	_, err = f.Call(context.Background(), ids...) // the one creation
	return &reader{
		region: r,
		call: func(ctx context.Context, i int) error {
			got, err := f.Call(ctx, ids...)
			return areUsers(got, i%readKeys, i%readKeys, err)
		},
		close: closeRegion(r),
	}, err
}
