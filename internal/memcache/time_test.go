package memcache_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// slow serves as a server should, but takes so long for each answer.
func slow(d time.Duration) func(int, *peer) {
	return func(_ int, p *peer) {
		if !p.greet() {
			return
		}
		for {
			cmd, ok := p.next()
			if !ok {
				return
			}
			time.Sleep(d)
			if !p.answer(cmd) {
				return
			}
		}
	}
}

// A caller that leaves leaves at once, however it was waiting, and the others
// get their answers over the same connection.
//
//  1. A asks, and reads for itself.
//  2. B asks, and waits for A or the connection to read.
//  3. A leaves. 4. The answer for A comes and is dropped.
//  5. B has its answer. 6. C asks and has its answer.
func TestCallerThatLeaves(t *testing.T) {
	for _, row := range []struct {
		name     string
		calls    int           // answered before; after some callers read for themselves
		at, left time.Duration // when A leaves and may be gone at the latest
	}{
		{"the connection reads", 0, 10 * time.Millisecond, 10 * time.Millisecond},
		{"A reads", 10, 500 * time.Microsecond, 2 * time.Millisecond},
		{"A has read", 10, 10 * time.Millisecond, 10 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: slow(50 * time.Millisecond)}
				c := f.client(t, memcache.Options{})
				for range row.calls {
					isFor(t, do(t, c, memcache.Op{Key: "x"})[0], "x")
				}
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), row.at)
				defer cancel()
				var wg sync.WaitGroup
				wg.Go(func() {
					ops := []memcache.Op{{Key: "a"}}
					if err := c.Do(ctx, ops); err != context.DeadlineExceeded {
						t.Errorf("A: %v", err)
					}
					if took := time.Since(start); took < row.at || took > row.left {
						t.Errorf("A left after %v", took)
					}
					time.Sleep(time.Second)
					if ops[0].Status != unanswered || ops[0].Value != nil {
						t.Errorf("A was given %+v", ops[0])
					}
				})
				wg.Go(func() {
					synctest.Wait()
					isFor(t, do(t, c, memcache.Op{Key: "b"})[0], "b")
				})
				wg.Wait()
				isFor(t, do(t, c, memcache.Op{Key: "c"})[0], "c")
				if n := f.dials.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// A caller that reads for itself reads no further than its own answer, and
// leaves the others to the connection.
//
//  1. A asks, and reads. 2. B and C ask. 3. A has its answer and goes.
//  4. B and C have theirs, no later than the server gave them.
func TestCallerThatReadsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: slow(500 * time.Microsecond)}
		c := f.client(t, memcache.Options{})
		for range 10 {
			isFor(t, do(t, c, memcache.Op{Key: "x"})[0], "x")
		}
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
				if took := time.Since(start); took != time.Duration(i+1)*500*time.Microsecond {
					t.Errorf("call %d had its answer after %v", i, took)
				}
			})
		}
		wg.Wait()
	})
}

// A caller that leaves in the middle of a batch keeps what was answered.
func TestBatchIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: slow(50 * time.Millisecond)}
		c := f.client(t, memcache.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
		defer cancel()
		ops := []memcache.Op{{Key: "a"}, {Key: "b"}, {Key: "c"}, {Key: "d"}}
		if err := c.Do(ctx, ops); err != context.DeadlineExceeded {
			t.Errorf("Do = %v", err)
		}
		isFor(t, ops[0], "a")
		isFor(t, ops[1], "b")
		if ops[2].Status != unanswered || ops[3].Status != unanswered {
			t.Errorf("%+v", ops[2:])
		}
		isFor(t, do(t, c, memcache.Op{Key: "e"})[0], "e")
		if n := f.dials.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Every call fails Timeout after it was made at the latest, also where the
// server answers others slowly, or a byte at a time.
func TestTimeout(t *testing.T) {
	for _, row := range []struct {
		name  string
		serve func(int, *peer)
	}{
		{"no answer", slow(time.Hour)},
		{"slow answers", slow(400 * time.Millisecond)},
		{"a byte at a time", func(_ int, p *peer) {
			for p.greet() {
				cmd, _ := p.next()
				for _, b := range "VA 1 c1 f0 O" + cmd.opaque + "\r\na\r\n" {
					time.Sleep(100 * time.Millisecond)
					if !p.say(string(b)) {
						return
					}
				}
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: row.serve}
				c := f.client(t, memcache.Options{})
				var wg sync.WaitGroup
				failures := 0
				var mu sync.Mutex
				for i := range 5 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 100 * time.Millisecond)
						start := time.Now()
						err := c.Do(context.Background(), []memcache.Op{{Key: "k"}})
						took := time.Since(start)
						if took > time.Second {
							t.Errorf("call %d took %v", i, took)
						}
						if err == nil {
							return
						}
						mu.Lock()
						failures++
						mu.Unlock()
						if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 1s") {
							t.Errorf("call %d: %v", i, err)
						}
					})
				}
				wg.Wait()
				if failures < 2 {
					t.Errorf("%d calls failed", failures)
				}
			})
		})
	}
}

// With no Timeout a call waits as long as its context lets it.
func TestNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: slow(time.Hour)}
		c := f.client(t, memcache.Options{Timeout: -1})
		isFor(t, func() memcache.Op {
			ops := []memcache.Op{{Key: "a"}}
			if err := c.Do(context.Background(), ops); err != nil {
				t.Error(err)
			}
			return ops[0]
		}(), "a")
	})
}

// down is a server that cannot be reached until it goes up.
type down struct {
	fake
	up    atomic.Bool
	tries atomic.Int32
	takes time.Duration // for an attempt to fail
	last  net.Conn
}

func (d *down) goDown() {
	d.up.Store(false)
	d.last.Close()
}

func (d *down) client(t testing.TB, o memcache.Options) *memcache.Client {
	d.serve = behave
	o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		d.tries.Add(1)
		if !d.up.Load() {
			select {
			case <-time.After(d.takes):
				return nil, errRefused
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		here, there := net.Pipe()
		d.last = there
		d.peers.Go(func() { d.serve(0, &peer{Conn: there, in: bufio.NewReader(there)}) })
		return newRoomy(here), nil
	}
	c := memcache.New("down:1", &o)
	t.Cleanup(func() {
		c.Close()
		d.peers.Wait()
	})
	return c
}

// While a server is down calls fail at once; attempts become rarer, down to
// one in a few seconds; when it is back that is noticed by the next; and then
// all of that begins anew.
func TestServerThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &down{}
		c := d.client(t, memcache.Options{})
		for range 2 {
			var tries []int32
			for range 60 {
				for range 100 {
					failsAtOnce(t, c)
					time.Sleep(10 * time.Millisecond)
				}
				tries = append(tries, d.tries.Swap(0))
			}
			if n := tries[0]; n < 3 || n > 10 {
				t.Errorf("%d attempts in the first second", n)
			}
			n := int32(0)
			for _, tries := range tries[30:] {
				n += tries
			}
			if n < 60 || n > 120 { // pauses of half a second, give or take a half
				t.Errorf("%d attempts in the last 30 seconds", n)
			}
			d.up.Store(true)
			time.Sleep(500 * time.Millisecond)
			isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
			d.goDown()
			synctest.Wait()
			d.tries.Store(0)
		}
	})
}

func failsAtOnce(t *testing.T, c *memcache.Client) {
	t.Helper()
	start := time.Now()
	err := c.Do(t.Context(), []memcache.Op{{Key: "k"}})
	if !errors.Is(err, errRefused) || err.Error() != "memcached down:1: connection refused" {
		t.Fatalf("Do = %v", err)
	}
	if took := time.Since(start); took != 0 {
		t.Fatalf("a call took %v", took)
	}
}

// Where attempts take long, one caller at a time bears that.
func TestServerThatCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &down{takes: time.Hour}
		c := d.client(t, memcache.Options{ConnectTimeout: 3 * time.Second})
		start := time.Now()
		err := c.Do(t.Context(), []memcache.Op{{Key: "k"}})
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Do = %v after %v", err, time.Since(start))
		}
		for range 5 {
			time.Sleep(2 * time.Second)
			var wg sync.WaitGroup
			var waited atomic.Int32
			start := time.Now()
			for range 20 {
				wg.Go(func() {
					if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil {
						t.Error("a call went through")
					}
					if time.Since(start) > 0 {
						waited.Add(1)
					}
				})
			}
			wg.Wait()
			if n := waited.Load(); n != 1 {
				t.Errorf("%d callers waited", n)
			}
		}
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := c.Do(ctx, []memcache.Op{{Key: "k"}}); err != context.DeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("the caller that waits and leaves: %v after %v", err, time.Since(start))
		}
	})
}

// A server that stops answering is known to be down from then on: one caller
// waits, to find out whether it still is.
func TestServerThatStopsAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped atomic.Bool
		f := &fake{serve: func(_ int, p *peer) {
			if stopped.Load() {
				p.line()
				time.Sleep(time.Minute)
				return
			}
			if !p.greet() {
				return
			}
			for {
				cmd, ok := p.next()
				for stopped.Load() {
					time.Sleep(100 * time.Millisecond)
				}
				if !ok || !p.answer(cmd) {
					return
				}
			}
		}}
		c := f.client(t, memcache.Options{})
		isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
		stopped.Store(true)
		start := time.Now()
		if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Do = %v after %v", err, time.Since(start))
		}
		var wg sync.WaitGroup
		var waited atomic.Int32
		for range 20 {
			wg.Go(func() {
				start := time.Now()
				if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Do = %v", err)
				}
				if time.Since(start) > 0 {
					waited.Add(1)
				}
			})
		}
		wg.Wait()
		if n := waited.Load(); n != 1 {
			t.Errorf("%d callers waited", n)
		}
		stopped.Store(false)
		time.Sleep(2 * time.Second)
		isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
	})
}

// A server that greets and then breaks is not connected to without a pause.
func TestServerThatGreetsAndBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: func(_ int, p *peer) {
			if p.greet() {
				p.next()
			}
		}}
		c := f.client(t, memcache.Options{})
		for range 1000 {
			if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err == nil || !strings.Contains(err.Error(), "closed the connection") {
				t.Fatalf("Do = %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := f.dials.Load(); n < 20 || n > 44 {
			t.Errorf("%d connections in 10 seconds", n)
		}
	})
}

// A connection that the server closes while nobody uses it costs no call.
func TestIdleConnectionThatIsClosed(t *testing.T) {
	for name, calls := range map[string]int{"never used": 1, "used": 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: func(_ int, p *peer) {
					if !p.greet() {
						return
					}
					for range calls {
						cmd, _ := p.next()
						p.answer(cmd)
					}
					time.Sleep(time.Minute)
				}}
				c := f.client(t, memcache.Options{})
				for range 3 {
					for range calls {
						isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
					}
					time.Sleep(time.Minute + time.Second)
				}
				if n := f.dials.Load(); n != 3 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// Close fails what waits, wherever it waits, and what comes afterwards.
func TestClose(t *testing.T) {
	for name, serve := range map[string]func(int, *peer){
		"no greeting": func(_ int, p *peer) { p.line(); p.line() },
		"no answer":   slow(time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := (&fake{serve: serve}).client(t, memcache.Options{Timeout: time.Hour, ConnectTimeout: time.Hour})
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						if err := c.Do(context.Background(), []memcache.Op{{Key: "k"}}); err != memcache.ErrClosed {
							t.Errorf("Do = %v", err)
						}
					})
				}
				synctest.Wait()
				start := time.Now()
				for range 2 {
					if err := c.Close(); err != nil {
						t.Errorf("Close = %v", err)
					}
				}
				wg.Wait()
				if took := time.Since(start); took != 0 {
					t.Errorf("Close took %v", took)
				}
				if err := c.Do(t.Context(), []memcache.Op{{Key: "k"}}); err != memcache.ErrClosed {
					t.Errorf("Do = %v", err)
				}
			})
		})
	}
}

// New connects to nothing, and a client that was never used closes.
func TestNewDoesNoIO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{serve: behave}
		c := f.client(t, memcache.Options{})
		if err := c.Do(t.Context(), nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := f.dials.Load(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// Calls beyond what one connection takes well go to the second; a large value
// on its way keeps nobody else waiting.
func TestSecondConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used [3]atomic.Int32
		f := &fake{serve: func(n int, p *peer) {
			if !p.greet() {
				return
			}
			for {
				cmd, ok := p.next()
				if !ok {
					return
				}
				used[n].Add(1)
				if cmd.name == "ms" {
					time.Sleep(30 * time.Second)
				}
				if !p.answer(cmd) {
					return
				}
			}
		}}
		c := f.client(t, memcache.Options{Timeout: time.Hour})
		for range 2000 {
			isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
		}
		if n := f.dials.Load(); n != 1 {
			t.Errorf("%d connections for calls one after the other", n)
		}
		var wg sync.WaitGroup
		wg.Go(func() { do(t, c, memcache.Op{Kind: set, Key: "large", Value: make([]byte, 1<<20)}) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Do(ctx, []memcache.Op{{Key: "first"}}); err != context.DeadlineExceeded {
			t.Errorf("before there is a second connection: %v", err)
		}
		start := time.Now()
		for range 100 {
			isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k")
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the calls took %v", took)
		}
		wg.Wait()
		if n := f.dials.Load(); n != 2 || used[1].Load() != 100 {
			t.Errorf("%d connections; the second had %d commands", n, used[1].Load())
		}
	})
}

// Callers that come at once make one connection.
func TestOneConnectionForAll(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{serve: behave}
			c := f.client(t, memcache.Options{Conns: 1})
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { isFor(t, do(t, c, memcache.Op{Key: "k"})[0], "k") })
			}
			wg.Wait()
			if n := f.dials.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}
