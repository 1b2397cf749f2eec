package memcached_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// operations are the calls of a backend, on a key of each one's own.
func operations(b *memcached.Backend) map[string]func(ctx context.Context, key string) error {
	return map[string]func(ctx context.Context, key string) error{
		"Get": func(ctx context.Context, key string) error { return b.Get(ctx, []driver.Item{{Key: key}}) },
		"Set": func(ctx context.Context, key string) error {
			return try(ctx, b, driver.Item{Key: key, Data: []byte("v")})
		},
		"Delete": func(ctx context.Context, key string) error { return b.Delete(ctx, []string{key}) },
		"TryLock": func(ctx context.Context, key string) error {
			l, err := b.TryLock(ctx, key, time.Minute)
			if err == nil && l == nil {
				return fmt.Errorf("the lease on %s is held", key)
			}
			return err
		},
		"Locked": func(ctx context.Context, key string) error { _, err := b.Locked(ctx, key); return err },
		"Wait":   func(ctx context.Context, key string) error { return b.Wait(ctx, key) },
	}
}

func TestFirstCallAfterARestart(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			b := open(t, s.URL(), o)
			for call, do := range operations(b) {
				for i := range 5 {
					// Some connections are read by a goroutine of theirs, some by callers.
					for n := range 1 + 5*(i%2) {
						ok(t, do(t.Context(), fmt.Sprint("before", i, "-", n)))
					}
					s.Kill()
					s.Start(t)
					if err := do(t.Context(), fmt.Sprint("after", i)); err != nil {
						t.Errorf("%s, which comes first after a restart: %v", call, err)
					}
				}
			}
		})
	}
}

func TestLeaseIsLostWhenTheServerWasRestarted(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			b := open(t, s.URL(), o)
			extended, released, stored := hold(t, b, "e", time.Minute), hold(t, b, "r", time.Minute), hold(t, b, "s", time.Minute)
			s.Kill()
			s.Start(t)
			if err := extended.Extend(t.Context(), time.Minute); err != driver.ErrLeaseLost {
				t.Errorf("Extend = %v", err)
			}
			if err := try(t.Context(), b, driver.Item{Key: "s", Data: []byte("v"), Lease: stored}); err != driver.ErrLeaseLost {
				t.Errorf("Set under the lease = %v", err)
			}
			ok(t, released.Release(t.Context()))
		})
	}
}

// The connection ends when a call is under way: before its commands have reached
// the server, and when they were carried out.
func TestConnectionThatEndsUnderACall(t *testing.T) {
	t.Parallel()
	command := map[string]string{"Get": "mg ", "Set": "ms ", "Delete": "md ", "TryLock": "ms _lock", "Locked": "mg ", "Wait": "mg "}
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			b, n := through(t, s, o)
			for call, do := range operations(b) {
				ok(t, do(t.Context(), "warm"+call)) // a connection that ends at once is none
				n.Once(command[call], func() { n.Cut(); n.Mend() })
				if err := do(t.Context(), "unsent"+call); err != nil {
					t.Errorf("%s whose commands were lost: %v", call, err)
				}
				n.Once(command[call], func() {
					n.Deaf.Store(true)
					n.Once("mn", func() { n.Deaf.Store(false) }) // the next connection
				})
				if err := do(t.Context(), "unheard"+call); err != nil {
					t.Errorf("%s whose answer was lost: %v", call, err)
				}
			}
			for _, key := range []string{"unsentTryLock", "unheardTryLock"} {
				if l, err := b.TryLock(t.Context(), key, time.Minute); l != nil || err != nil {
					t.Errorf("another has the lease on %s as well: %v, %v", key, l, err)
				}
			}
		})
	}
}

// What was sent to a server that hangs may still be carried out.
func TestCallThatTimedOutIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := backendtest.NewNetwork(t, s.Addr())
	b := open(t, "memcached://"+n.Addr, &memcached.Options{Timeout: 3 * time.Second, Breaker: off})
	eventually(t, "an answer in time", func() bool { return b.Get(t.Context(), []driver.Item{{Key: "k"}}) == nil })
	s.Stop(t)
	before := n.Trips.Load()
	if err := try(t.Context(), b, driver.Item{Key: "k", Data: []byte("v")}); err == nil {
		t.Error("a server that stands still has stored")
	}
	if sent := n.Trips.Load() - before; sent != 1 {
		t.Errorf("the commands were sent %d times", sent)
	}
	s.Resume(t)
}
