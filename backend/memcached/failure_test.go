package memcached_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/proxy"
)

// load is an application that goes on while things break. Each of its values
// tells of which key it is.
type load struct {
	t         *testing.T
	cache     *dogpile.Cache[string]
	keys      int
	pad       string
	creations atomic.Int64
	calls     atomic.Int64
	active    [1000]atomic.Int64
	most      atomic.Int64 // creators of one key at once
	slowest   atomic.Int64
}

// quick gives up on a server sooner than the defaults do.
func quick() *memcached.Options {
	return &memcached.Options{
		Timeout: time.Second, ConnectTimeout: time.Second,
		Breaker: &proxy.BreakerOptions{Failures: 3, Rest: 300 * time.Millisecond},
	}
}

func startLoad(t *testing.T, url string, o *memcached.Options, keys int, pad string) *load {
	t.Helper()
	r := configured(t, "load", open(t, url, o), &dogpile.Options{Expiration: 200 * time.Millisecond, LockTTL: 2 * time.Second})
	l := &load{t: t, keys: keys, pad: pad, cache: dogpile.NewCache[string](r, nil)}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for ctx.Err() == nil {
				l.call(rand.IntN(keys))
				pause(5 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	l.goesOn("to begin with")
	return l
}

func (l *load) value(n int) string { return fmt.Sprint("value of ", n, l.pad) }

func (l *load) call(n int) {
	start := time.Now()
	v, err := l.cache.GetOrCreate(context.Background(), fmt.Sprint("k", n), func(context.Context) (string, error) {
		defer l.active[n].Add(-1)
		if a := l.active[n].Add(1); a > l.most.Load() {
			l.most.Store(a)
		}
		l.creations.Add(1)
		pause(5 * time.Millisecond)
		return l.value(n), nil
	})
	if v != l.value(n) || err != nil {
		l.t.Errorf("the application sees %.30q of %d, %v", v, n, err)
	}
	l.calls.Add(1)
	if took := int64(time.Since(start)); took > l.slowest.Load() {
		l.slowest.Store(took)
	}
}

// goesOn waits until many calls have been answered.
func (l *load) goesOn(when string) {
	l.t.Helper()
	before := l.calls.Load()
	eventually(l.t, "calls "+when, func() bool { return l.calls.Load() > before+200 })
}

// healed waits until what was deleted is stored again, and checks that nobody
// created without need meanwhile.
func (l *load) healed() {
	l.t.Helper()
	for n := range min(l.keys, 5) {
		key := fmt.Sprint("k", n)
		eventually(l.t, "values to be stored", func() bool {
			_, found, err := l.cache.Peek(l.t.Context(), key)
			return err == nil && found && l.cache.Delete(l.t.Context(), key) == nil
		})
		eventually(l.t, "a value to be there again", func() bool {
			_, found, err := l.cache.Get(l.t.Context(), key)
			return err == nil && found
		})
	}
	// A flight that began with the server and one that began without it do not
	// know of each other.
	if n := l.most.Load(); n > 2 {
		l.t.Errorf("%d creators of one key at once in one process", n)
	}
	l.t.Logf("%d calls, %d creations, the slowest call took %v", l.calls.Load(), l.creations.Load(), time.Duration(l.slowest.Load()))
}

// modes are the ways of keeping leases.
func modes(t *testing.T, f func(t *testing.T, o *memcached.Options)) {
	for name, set := range map[string]func(*memcached.Options){
		"meta":        func(*memcached.Options) {},
		"python_lock": func(o *memcached.Options) { o.PythonLock = true },
		"binary":      func(o *memcached.Options) { o.Binary = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := quick()
			set(o)
			f(t, o)
		})
	}
}

func TestServerThatIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, o *memcached.Options) {
		s := startServer(t)
		l := startLoad(t, "memcached://"+s.addr, o, 5, "")
		for range 2 {
			s.kill()
			l.goesOn("without a server")
			if err := l.cache.Delete(t.Context(), "k1"); err == nil {
				t.Error("a Delete that could not be done returned no error")
			}
			s.start(t) // empty
			l.goesOn("afterwards")
			l.healed()
		}
	})
}

func TestServerThatStops(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, o *memcached.Options) {
		s := startServer(t)
		l := startLoad(t, "memcached://"+s.addr, o, 5, "")
		s.stop(t)
		l.goesOn("while the server hangs")
		if err := l.cache.Delete(t.Context(), "k1"); err == nil {
			t.Error("a Delete that could not be done returned no error")
		}
		pause(5 * time.Second)
		s.resume(t)
		l.goesOn("afterwards")
		l.healed()
	})
}

func TestServerThatIsFlushed(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, o *memcached.Options) {
		s := startServer(t)
		raw := s.dial(t)
		l := startLoad(t, "memcached://"+s.addr, o, 5, "")
		for range 5 {
			raw.do("flush_all")
			l.goesOn("afterwards")
		}
		l.healed()
	})
}

func TestNetworkThatIsCut(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, o *memcached.Options) {
		n := newNetwork(t, startServer(t).addr)
		l := startLoad(t, "memcached://"+n.addr, o, 5, "")
		for range 3 {
			n.cut()
			l.goesOn("without a network")
			if err := l.cache.Delete(t.Context(), "k1"); err == nil {
				t.Error("a Delete that could not be done returned no error")
			}
			n.mend()
			l.goesOn("afterwards")
		}
		l.healed()
	})
}

func TestOneOfThreeServersIsLost(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, o *memcached.Options) {
		c := startCluster(t)
		l := startLoad(t, c.url(), o, 30, "")
		for i, s := range c {
			if i == 1 {
				s.stop(t)
			} else {
				s.kill()
			}
			l.goesOn("without a server")
			if i == 1 {
				pause(time.Second)
				s.resume(t)
			} else {
				s.start(t)
			}
			l.goesOn("afterwards")
		}
		l.healed()
	})
}

func TestServerThatEvicts(t *testing.T) {
	t.Parallel()
	// Entries, leases and placeholders do not fit: 1000 values of 5000 bytes in a
	// megabyte.
	modes(t, func(t *testing.T, o *memcached.Options) {
		s := startServer(t, "-m", "1", "-I", "256k", "-o", "slab_chunk_max=128")
		o.Timeout, o.ConnectTimeout = 10*time.Second, 10*time.Second // whatever else this machine does
		l := startLoad(t, "memcached://"+s.addr, o, 1000, strings.Repeat("x", 5000))
		raw := s.dial(t)
		for range 20 {
			l.goesOn("while things are evicted")
		}
		if n := raw.stat("evictions"); n < 1000 {
			t.Errorf("%d evictions: this proves little", n)
		}
		if n := l.most.Load(); n > 1 {
			t.Errorf("%d creators of one key at once in one process", n)
		}
		t.Logf("%d calls, %d creations, %d evictions", l.calls.Load(), l.creations.Load(), raw.stat("evictions"))
	})
}
