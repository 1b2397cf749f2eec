package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// waiting starts n waiters and returns once the server has been asked by all.
func waiting(t testing.TB, b *redis.Backend, c rueidis.Client, key string, n int) (done chan error) {
	t.Helper()
	before := calls(t, c, "pttl")
	done = make(chan error, n)
	for range n {
		go func() { done <- b.Wait(t.Context(), key) }()
	}
	eventually(t, "all waiters to ask", func() bool { return calls(t, c, "pttl") >= before+n })
	return done
}

func woken(t testing.TB, what string, done chan error) {
	t.Helper()
	for range cap(done) {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: Wait = %v", what, err)
			}
		case <-time.After(8 * time.Second): // less than any poll would take
			t.Fatalf("%s: a waiter did not wake", what)
		}
	}
}

func TestWaitersAreTold(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.client(t)
	b := open(t, "redis://"+s.addr, nil)
	ctx := t.Context()
	set := func(item driver.Item) error { return b.Set(ctx, []driver.Item{item}) }
	for name, free := range map[string]func(key string, l driver.Lease) error{
		"release":               func(_ string, l driver.Lease) error { return l.Release(ctx) },
		"Delete":                func(key string, _ driver.Lease) error { return b.Delete(ctx, []string{key}) },
		"Set":                   func(key string, _ driver.Lease) error { return set(driver.Item{Key: key, Data: []byte("v")}) },
		"Set under the lease":   func(key string, l driver.Lease) error { return set(driver.Item{Key: key, Data: []byte("v"), Lease: l}) },
		"deletion by a program": func(key string, _ driver.Lease) error { return do(t, c, "DEL", "_lock"+key).Error() },
		"FLUSHALL":              func(string, driver.Lease) error { return do(t, c, "FLUSHALL").Error() },
	} {
		l, err := b.TryLock(ctx, name, time.Hour)
		ok(t, err)
		done := waiting(t, b, c, name, 50)
		before := calls(t, c, "pttl")
		pause(300 * time.Millisecond)
		if n := calls(t, c, "pttl") - before; n != 0 {
			t.Errorf("%s: waiters asked %d times more; they are to be told", name, n)
		}
		if len(done) > 0 {
			t.Errorf("%s: %d waiters did not wait: %v", name, len(done), <-done)
		}
		ok(t, free(name, l))
		woken(t, name, done)
	}
}

func TestWaitersOfAProgramThatSetsNoLimit(t *testing.T) {
	t.Parallel()
	// 1. Python holds its lock, without a limit.  2. Waiters here.  3. It releases.
	s := startServer(t)
	c := s.client(t)
	b := open(t, "redis://"+s.addr, nil)
	do(t, c, "SET", "_lockk", strings.Repeat("0", 32))
	done := waiting(t, b, c, "k", 10)
	do(t, c, "DEL", "_lockk")
	woken(t, "DEL", done)
}

func TestWaitersSeeALeaseRunOut(t *testing.T) {
	t.Parallel()
	// Redis does not announce a key that has expired until it comes across it,
	// and among 20000 others with a limit that takes long.
	s := startServer(t)
	c := s.client(t)
	b := open(t, "redis://"+s.addr, nil)
	do(t, c, "EVAL", "for i = 1, 20000 do redis.call('SET', 'x' .. i, 'v', 'EX', 3600) end", "0")
	_, err := b.TryLock(t.Context(), "k", time.Second)
	ok(t, err)
	woken(t, "running out", waiting(t, b, c, "k", 10))
	if locked, err := b.Locked(t.Context(), "k"); locked || err != nil {
		t.Errorf("Locked = %v, %v", locked, err)
	}
}

func TestWaitersOfALostConnectionWake(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.client(t)
	b := open(t, "redis://"+s.addr, nil)
	l, err := b.TryLock(t.Context(), "k", time.Hour)
	ok(t, err)
	done := waiting(t, b, c, "k", 10)
	do(t, c, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	woken(t, "CLIENT KILL", done)
	done = waiting(t, b, c, "k", 10) // on a new one
	ok(t, l.Release(t.Context()))
	woken(t, "release", done)
}

func TestCloseWakesWaiters(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.client(t)
	for _, poll := range []bool{false, true} {
		b, err := redis.New(c, &redis.Options{Poll: poll})
		ok(t, err)
		if _, err := b.TryLock(t.Context(), "k", time.Hour); err != nil {
			t.Fatal(err)
		}
		done := waiting(t, b, c, "k", 5)
		ok(t, b.Close())
		for range 5 {
			if err := <-done; err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("poll %v: Wait over a closed backend = %v", poll, err)
			}
		}
		ok(t, do(t, c, "PING").Error()) // the client is the user's
	}
}

func TestWaitOnACluster(t *testing.T) {
	t.Parallel()
	// Keys on every node; the first guess of where they are is often wrong.
	c := startCluster(t, nil)
	b := open(t, c.url(), nil)
	ctx := t.Context()
	type held struct {
		l    driver.Lease
		done chan error
	}
	var all []held
	for i := range 30 {
		key := fmt.Sprint("k", i)
		l, err := b.TryLock(ctx, key, time.Hour)
		ok(t, err)
		h := held{l, make(chan error, 1)}
		go func() {
			for {
				err := b.Wait(ctx, key)
				if locked, e := b.Locked(ctx, key); err != nil || e != nil || !locked {
					h.done <- errors.Join(err, e)
					return
				}
			}
		}()
		all = append(all, h)
	}
	for _, s := range c {
		client := s.client(t)
		eventually(t, "all nodes to be asked", func() bool { return calls(t, client, "pttl") > 0 })
	}
	for _, h := range all {
		ok(t, h.l.Release(ctx))
		woken(t, "release", h.done)
	}
}

func TestWaitersAskWhereTheServerMayNotTell(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.args = append(s.args, "--user", "ann", "on", ">secret", "~*", "+@all", "-client|tracking")
	s.Start(t)
	c := s.client(t)
	b := open(t, "redis://ann:secret@"+s.addr, nil)
	l, err := b.TryLock(t.Context(), "k", time.Hour)
	ok(t, err)
	done := waiting(t, b, c, "k", 10)
	before := calls(t, c, "pttl")
	eventually(t, "waiters to ask again", func() bool { return calls(t, c, "pttl") >= before+20 })
	ok(t, l.Release(t.Context()))
	woken(t, "release", done)
}
