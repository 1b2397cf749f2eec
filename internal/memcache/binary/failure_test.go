package binary_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

func TestAServerThatIsStartedAgainIsFoundAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), patient(memcache.Options{}))
	do(t, c, memcache.Op{Kind: memcache.Set, Key: "k", Value: []byte("old")})
	s.Kill()
	err := c.Do(t.Context(), []memcache.Op{{Key: "k"}})
	if err == nil || !strings.HasPrefix(err.Error(), "memcached "+s.Addr()+": ") {
		t.Errorf("without a server: %v", err)
	}
	s.Start(t)
	eventually(t, "the client to connect", func() bool {
		ops := []memcache.Op{{Key: "k"}}
		err := c.Do(t.Context(), ops)
		if err == nil && ops[0].Status != memcache.Missing {
			t.Errorf("Get from an empty server: %+v", ops[0])
		}
		return err == nil
	})
}

func TestAServerThatHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), &memcache.Options{Timeout: 200 * time.Millisecond, ConnectTimeout: patience})
	eventually(t, "the first answer", func() bool {
		return c.Do(t.Context(), []memcache.Op{{Kind: memcache.Set, Key: "a", Value: []byte("of a")}, {Kind: memcache.Set, Key: "b", Value: []byte("of b")}}) == nil
	})
	s.Stop(t)
	var err error
	for err == nil { // until the signal has arrived
		err = c.Do(t.Context(), []memcache.Op{{Key: "a"}})
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 200ms") {
		t.Errorf("after the timeout: %v", err)
	}
	s.Resume(t)
	// What the server says late to the first must not be taken for this.
	eventually(t, "the answer", func() bool {
		ops := []memcache.Op{{Key: "b"}}
		err := c.Do(t.Context(), ops)
		if err == nil && string(ops[0].Value) != "of b" {
			t.Errorf("b has the value %q", ops[0].Value)
		}
		return err == nil
	})
}

func TestACallThatIsAbandonedTakesItsConnectionAlong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		want error
		ctx  func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"deadline", context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 20*time.Millisecond)
		}},
		{"cancelled", context.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			c := newClient(t, s.Addr(), patient(memcache.Options{Conns: 1}))
			do(t, c, memcache.Op{Kind: memcache.Set, Key: "a", Value: []byte("of a")}, memcache.Op{Kind: memcache.Set, Key: "b", Value: []byte("of b")})
			s.Stop(t)
			var err error
			for err == nil { // until the signal has arrived
				ctx, cancel := tc.ctx(t.Context())
				err = c.Do(ctx, []memcache.Op{{Key: "a"}})
				cancel()
			}
			if err != tc.want {
				t.Errorf("Do = %v, want %v", err, tc.want)
			}
			s.Resume(t)
			for range 10 {
				if ops := do(t, c, memcache.Op{Key: "b"}); string(ops[0].Value) != "of b" {
					t.Fatalf("b has the value %q", ops[0].Value)
				}
			}
		})
	}
}

func TestACallWithADeadContextSendsNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), patient(memcache.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Do(ctx, []memcache.Op{{Kind: memcache.Set, Key: "k"}}); err != context.Canceled {
		t.Errorf("Do = %v", err)
	}
	if ops := do(t, c, memcache.Op{Key: "k"}); ops[0].Status != memcache.Missing {
		t.Errorf("the key is there: %+v", ops[0])
	}
}

func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), patient(memcache.Options{Conns: 2}))
	do(t, c, memcache.Op{Key: "k"})
	s.Stop(t)
	errs := make([]error, 5) // one has a connection, one connects, the others wait
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil { // until the signal has arrived
				errs[i] = c.Do(t.Context(), []memcache.Op{{Key: "k"}})
			}
		})
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	errs = append(errs, c.Do(t.Context(), []memcache.Op{{Key: "k"}}), c.Close())
	for i, err := range errs[:6] {
		if err != memcache.ErrClosed {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if errs[6] != nil {
		t.Errorf("second Close: %v", errs[6])
	}
}
