package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

func TestTTLIsInMilliseconds(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	c, b := s.client(t), open(t, "redis://"+s.addr, nil)
	for _, tt := range []struct {
		ttl      time.Duration
		min, max int64
	}{
		{0, -1, -1},
		{time.Hour, 3590_000, 3600_000},
		{time.Hour + time.Nanosecond, 3590_001, 3600_001},
		{1<<63 - 1, 9223372036855 - 60_000, 9223372036855},
	} {
		key := unique(t)
		items := []driver.Item{{Key: key, Data: []byte("v"), TTL: tt.ttl}}
		ok(t, b.Set(t.Context(), items))
		ok(t, items[0].Err)
		if left, err := do(t, c, "PTTL", key).AsInt64(); err != nil || left < tt.min || left > tt.max {
			t.Errorf("a TTL of %v became %d ms, %v", tt.ttl, left, err)
		}
	}
}

func TestEntryOfAnotherType(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	c, b, ctx := s.client(t), open(t, "redis://"+s.addr, nil), t.Context()
	key := unique(t)
	do(t, c, "RPUSH", key, "a", "b")
	items := []driver.Item{{Key: key}}
	if err := b.Get(ctx, items); err != nil || !errors.Is(items[0].Err, driver.ErrCorrupt) || items[0].Found() {
		t.Errorf("Get = %v, %+v", err, items[0])
	}
	l, err := b.TryLock(ctx, key, time.Minute)
	if l == nil || err != nil {
		t.Fatalf("TryLock = %v, %v", l, err)
	}
	items = []driver.Item{{Key: key, Data: []byte("v"), Lease: l}}
	if err := b.Set(ctx, items); err != nil || items[0].Err != nil {
		t.Errorf("Set over it = %v, %v", err, items[0].Err)
	}
}

func TestScriptsAreSentAgainWhenTheServerForgets(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, b, ctx := s.client(t), open(t, "redis://"+s.addr, nil), t.Context()
	var items []driver.Item
	var keys []string
	for i := range 100 {
		keys = append(keys, fmt.Sprint("k", i))
		items = append(items, driver.Item{Key: keys[i], Data: []byte("v")})
	}
	for range 3 {
		do(t, c, "SCRIPT", "FLUSH")
		l, err := b.TryLock(ctx, "k0", time.Minute)
		if l == nil || err != nil {
			t.Fatalf("TryLock = %v, %v", l, err)
		}
		ok(t, l.Extend(ctx, time.Minute))
		ok(t, b.Set(ctx, items))
		for i := range items {
			ok(t, items[i].Err)
		}
		ok(t, b.Delete(ctx, keys))
		ok(t, l.Release(ctx))
	}
}

func TestConnectionsThatTheServerClosedAreNoError(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, b, ctx := s.client(t), open(t, "redis://"+s.addr, &redis.Options{Breaker: off}), t.Context()
	for range 50 { // on all of the client's connections
		ok(t, b.Get(ctx, []driver.Item{{Key: "k"}}))
	}
	items := []driver.Item{{Key: "a", Data: []byte("v")}, {Key: "b", Data: []byte("v")}}
	for name, call := range map[string]func() error{
		"Get":     func() error { return b.Get(ctx, []driver.Item{{Key: "a"}}) },
		"MGet":    func() error { return b.Get(ctx, []driver.Item{{Key: "a"}, {Key: "b"}}) },
		"Set":     func() error { return b.Set(ctx, items) },
		"Delete":  func() error { return b.Delete(ctx, []string{"a", "b"}) },
		"TryLock": func() error { _, err := b.TryLock(ctx, "a", time.Minute); return err },
		"Locked":  func() error { _, err := b.Locked(ctx, "a"); return err },
	} {
		do(t, c, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if err := errors.Join(call(), items[0].Err, items[1].Err); err != nil {
			t.Errorf("%s after the server closed all connections = %v", name, err)
		}
	}
}
