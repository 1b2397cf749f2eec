package memcache_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// stuck is a server that greets and reads nothing more until it is released.
func stuck(t *testing.T, o memcache.Options) (c *memcache.Client, release func()) {
	t.Helper()
	released := make(chan struct{})
	var peers sync.WaitGroup
	o.Conns = 1
	o.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		peers.Go(func() {
			defer there.Close()
			p := &peer{Conn: there, in: bufio.NewReader(there)}
			if !p.greet() {
				return
			}
			<-released
			for cmd, ok := p.next(); ok && p.answer(cmd); cmd, ok = p.next() {
			}
		})
		return here, nil
	}
	c = memcache.New("stuck:1", &o)
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(func() {
		release()
		c.Close()
		peers.Wait()
	})
	return c, release
}

// Callers whose commands nobody takes wait before they are copied, and go on
// when there is space.
func TestSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, release := stuck(t, memcache.Options{Timeout: time.Hour})
		large := make([]byte, 1<<20)
		var wg sync.WaitGroup
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 100 {
			wg.Go(func() { do(t, c, memcache.Op{Kind: set, Key: "k", Value: large}) })
		}
		synctest.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 {
			t.Errorf("%d bytes are held for 100 callers with 1 MiB each", grown)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Do(ctx, []memcache.Op{{Key: "k"}}); err != context.DeadlineExceeded {
			t.Errorf("Do = %v", err)
		}
		release()
		wg.Wait()
	})
}

// Callers that wait for space fail with the connection.
func TestNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := stuck(t, memcache.Options{})
		large := make([]byte, 1<<20)
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := c.Do(context.Background(), []memcache.Op{{Kind: set, Key: "k", Value: large}}); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Do = %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("the calls took %v", took)
		}
	})
}
