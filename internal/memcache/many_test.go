package memcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// valueOf returns one of the values that key can have.
func valueOf(key string, size int) []byte {
	v := append(make([]byte, 0, size+len(key)+1), key...)
	v = append(v, ' ')
	return append(v, bytes.Repeat([]byte("\r\nEN O1\r\n"), size/9)...)
}

func isValueOf(value []byte, key string) bool {
	got, rest, ok := bytes.Cut(value, []byte(" "))
	return ok && string(got) == key && bytes.Equal(rest, bytes.Repeat([]byte("\r\nEN O1\r\n"), len(rest)/9))
}

// sizeOf draws small sizes often, and now and then one larger than any buffer.
func sizeOf(r *rand.Rand) int {
	if r.IntN(20) == 0 {
		return r.IntN(100_000)
	}
	return r.IntN(3000)
}

// crowd is many goroutines that use one client and look at what they get.
type crowd struct {
	t     *testing.T
	c     *memcache.Client
	found atomic.Int64 // values read
	fails atomic.Int64 // errors
	left  atomic.Int64 // calls left before they were answered
}

// some makes n calls.
func (w *crowd) some(seed uint64, n int) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range n {
		ops := make([]memcache.Op, 1)
		if r.IntN(5) == 0 {
			ops = make([]memcache.Op, 1+r.IntN(30))
		}
		for i := range ops {
			key := fmt.Sprint("many", r.IntN(50))
			ops[i] = memcache.Op{Key: key}
			switch r.IntN(8) {
			case 0, 1:
				ops[i] = memcache.Op{Kind: set, Key: key, Value: valueOf(key, sizeOf(r))}
			case 2:
				ops[i] = memcache.Op{Kind: remove, Key: key}
			case 3:
				ops[i].NoValue = true
			}
		}
		w.call(r, ops)
	}
}

func (w *crowd) call(r *rand.Rand, ops []memcache.Op) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch r.IntN(4) {
	case 0:
		ctx = context.Background()
	case 1:
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Microsecond)
		defer stop()
	}
	err := w.c.Do(ctx, ops)
	switch {
	case err == nil:
	case err == ctx.Err():
		w.left.Add(1)
	default:
		w.fails.Add(1)
	}
	for i, op := range ops {
		switch {
		case op.Err != nil:
			w.t.Errorf("%s: %v", op.Key, op.Err)
		case err == nil && op.Status == unanswered:
			w.t.Errorf("op %d of %d is not answered, and Do returned nil", i, len(ops))
		case op.Kind != get || op.Status != found:
		case op.NoValue == (op.Value != nil):
			w.t.Errorf("NoValue %v: %#v", op.NoValue, op.Value)
		case !op.NoValue && !isValueOf(op.Value, op.Key):
			w.t.Errorf("the value of %s is %d bytes: %.30q", op.Key, len(op.Value), op.Value)
		case !op.NoValue:
			w.found.Add(1)
		}
	}
}

func TestManyCallers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (*server, memcache.Options){
		"TCP":                func(t *testing.T) (*server, memcache.Options) { return startServer(t), memcache.Options{} },
		"TCP, 1 connection":  func(t *testing.T) (*server, memcache.Options) { return startServer(t), memcache.Options{Conns: 1} },
		"TCP, 4 connections": func(t *testing.T) (*server, memcache.Options) { return startServer(t), memcache.Options{Conns: 4} },
		"TLS": func(t *testing.T) (*server, memcache.Options) {
			id := backendtest.NewIdentity(t)
			return startServer(t, "-Z", "-o", "ssl_chain_cert="+id.Cert+",ssl_key="+id.Key), memcache.Options{TLS: secured(&tls.Config{RootCAs: id.Pool})}
		},
		"unix": func(t *testing.T) (*server, memcache.Options) {
			return backendtest.StartMemcachedSocket(t), memcache.Options{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := start(t)
			o.Timeout = 2 * time.Minute
			w := &crowd{t: t, c: newClient(t, clientAddr(s), o)}
			var wg sync.WaitGroup
			for g := range 64 {
				wg.Go(func() { w.some(uint64(g), 60) })
			}
			wg.Wait()
			if w.fails.Load() > 0 || w.found.Load() < 100 || w.left.Load() == 0 {
				t.Errorf("%d values were found, %d callers left, %d calls failed", w.found.Load(), w.left.Load(), w.fails.Load())
			}
		})
	}
}

// keepOn has 16 goroutines make calls until the test ends.
func (w *crowd) keepOn() {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for seed := uint64(g); ctx.Err() == nil; seed += 16 {
				w.some(seed, 1)
				pause(time.Millisecond)
			}
		})
	}
	w.t.Cleanup(func() {
		stop()
		wg.Wait()
	})
}

// goesOn waits until the count has become greater by n.
func (w *crowd) goesOn(what string, count *atomic.Int64, n int64) {
	w.t.Helper()
	before := count.Load()
	eventually(w.t, what, func() bool { return count.Load() > before+n })
}

func TestServerThatIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := &crowd{t: t, c: newClient(t, s.Addr(), memcache.Options{})}
	w.keepOn()
	for range 3 {
		w.goesOn("values", &w.found, 50)
		s.Kill()
		w.goesOn("errors", &w.fails, 50)
		s.Start(t)
	}
	w.goesOn("values", &w.found, 50)
}

// A stopped server keeps its connections, takes what is sent, and answers all
// of it when it goes on.
func TestServerThatIsStopped(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := &crowd{t: t, c: newClient(t, s.Addr(), memcache.Options{Timeout: 300 * time.Millisecond, ConnectTimeout: 300 * time.Millisecond})}
	w.keepOn()
	for range 3 {
		w.goesOn("values", &w.found, 50)
		s.Stop(t)
		w.goesOn("errors", &w.fails, 50)
		s.Resume(t)
	}
	w.goesOn("values", &w.found, 50)
}

// Callers of a stopped server leave when they want to, wherever the client has
// got to: with more sent than any socket takes, they wait for space.
func TestCallersOfAStoppedServerLeave(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), memcache.Options{Timeout: -1, Conns: 1})
	do(t, c, memcache.Op{Key: "a"})
	s.Stop(t)
	var wg sync.WaitGroup
	var left atomic.Int32
	for i := range 100 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+i)*time.Millisecond)
			defer cancel()
			ops := []memcache.Op{{Kind: set, Key: "a", Value: make([]byte, 500_000)}}
			if i%2 == 0 {
				ops = []memcache.Op{{Key: "a"}}
			}
			switch err := c.Do(ctx, ops); {
			case err == nil: // the signal takes its time
			case err == context.DeadlineExceeded && ops[0].Status == unanswered:
				left.Add(1)
			default:
				t.Errorf("call %d: %v, %v", i, err, ops[0].Status)
			}
		})
	}
	wg.Wait()
	if left.Load() < 50 {
		t.Errorf("%d callers left", left.Load())
	}
	s.Resume(t)
	do(t, c, memcache.Op{Kind: set, Key: "a", Value: []byte("v")})
	if op := do(t, c, memcache.Op{Key: "a"})[0]; string(op.Value) != "v" {
		t.Errorf("the value is %.20q", op.Value)
	}
}

// A stopped server fails a call after the Timeout, and Close does not wait for
// it.
func TestStoppedServerTimesOut(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := newClient(t, s.Addr(), memcache.Options{Timeout: 200 * time.Millisecond})
	eventually(t, "the server to answer in time", func() bool { return c.Do(t.Context(), []memcache.Op{{Key: "a"}}) == nil })
	s.Stop(t)
	large := []memcache.Op{{Kind: set, Key: "a", Value: make([]byte, 50_000_000)}}
	if err := c.Do(context.Background(), large); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Do = %v", err)
	}
	waits := newClient(t, s.Addr(), memcache.Options{})
	done := make(chan error)
	go func() { done <- waits.Do(context.Background(), large) }()
	pause(10 * time.Millisecond)
	waits.Close()
	if err := <-done; err != memcache.ErrClosed {
		t.Errorf("Do = %v", err)
	}
}

// TestCloseLeavesNothing runs alone: it looks at all goroutines there are.
func TestCloseLeavesNothing(t *testing.T) {
	s := sharedServer(t)
	for range 20 {
		w := &crowd{t: t, c: memcache.New(s.Addr(), &memcache.Options{Conns: 3})}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() { w.some(uint64(g), 10) })
		}
		w.goesOn("a value", &w.found, 0)
		w.c.Close()
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
			t.Fatal(err)
		}
		for g := range strings.SplitSeq(b.String(), "\n\n") {
			if strings.Contains(g, "/internal/memcache.") && !strings.Contains(g, "memcache.(*Client).Do(") {
				t.Fatalf("a goroutine is left:\n%s", g)
			}
		}
		wg.Wait()
	}
}
