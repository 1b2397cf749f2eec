package redis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/proxy"
)

// load is an application that goes on while things break.
type load struct {
	t         *testing.T
	cache     *dogpile.Cache[string]
	creations atomic.Int64
	calls     atomic.Int64
	active    [loadKeys]atomic.Int64
	most      atomic.Int64 // creators of one key at once
	slowest   atomic.Int64
}

const loadKeys = 5

// quick gives up on a server sooner than the defaults do.
var quick = &redis.Options{Timeout: 300 * time.Millisecond, Breaker: &proxy.BreakerOptions{Failures: 3, Rest: 300 * time.Millisecond}}

func startLoad(t *testing.T, url string, o *redis.Options) *load {
	t.Helper()
	l := &load{t: t, cache: dogpile.NewCache[string](configured(t, "load", open(t, url, o), &dogpile.Options{Expiration: 200 * time.Millisecond, LockTTL: 2 * time.Second}), nil)}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := g; ctx.Err() == nil; i++ {
				l.call(i % loadKeys)
				pause(2 * time.Millisecond)
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

func (l *load) call(n int) {
	start := time.Now()
	v, err := l.cache.GetOrCreate(context.Background(), fmt.Sprint("k", n), func(context.Context) (string, error) {
		defer l.active[n].Add(-1)
		if a := l.active[n].Add(1); a > l.most.Load() {
			l.most.Store(a)
		}
		l.creations.Add(1)
		pause(5 * time.Millisecond)
		return "v", nil
	})
	if v != "v" || err != nil {
		l.t.Errorf("the application sees %q, %v", v, err)
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
	eventually(l.t, "values to be stored", func() bool {
		_, found, err := l.cache.Peek(l.t.Context(), "k0")
		return err == nil && found && l.cache.Delete(l.t.Context(), "k0") == nil
	})
	eventually(l.t, "a value to be there again", func() bool {
		_, found, err := l.cache.Get(l.t.Context(), "k0")
		return err == nil && found
	})
	// A flight that began with the server and one that began without it do not
	// know of each other.
	if n := l.most.Load(); n > 2 {
		l.t.Errorf("%d creators of one key at once in one process", n)
	}
	l.t.Logf("%d calls, %d creations, the slowest call took %v", l.calls.Load(), l.creations.Load(), time.Duration(l.slowest.Load()))
}

func TestServerThatIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	l := startLoad(t, "redis://"+s.addr, quick)
	s.kill()
	l.goesOn("without a server")
	if err := l.cache.Delete(t.Context(), "k1"); err == nil {
		t.Error("a Delete that could not be done returned no error")
	}
	s.start(t) // empty
	l.goesOn("afterwards")
	l.healed()
}

func TestServerThatStops(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	l := startLoad(t, "redis://"+s.addr, quick)
	s.signal(t, stop)
	l.goesOn("while the server hangs")
	if err := l.cache.Delete(t.Context(), "k1"); err == nil {
		t.Error("a Delete that could not be done returned no error")
	}
	pause(5 * time.Second)
	s.signal(t, cont)
	l.goesOn("afterwards")
	l.healed()
}

func TestServerThatIsFlushed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.client(t)
	l := startLoad(t, "redis://"+s.addr, quick)
	for range 5 {
		do(t, c, "FLUSHALL")
		l.goesOn("afterwards")
	}
	l.healed()
}

func TestNetworkThatIsCut(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, startServer(t).addr)
	l := startLoad(t, "redis://"+n.addr, quick)
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
}

func TestFailoverBySentinel(t *testing.T) {
	t.Parallel()
	w := startSentinel(t, nil)
	l := startLoad(t, w.url(), quick)
	w.servers[0].kill()
	l.goesOn("without a master")
	replica := w.servers[1].client(t)
	eventually(t, "the replica to become master", func() bool {
		// Sentinel closes the connections of a server whose role it changes.
		role, err := replica.Do(t.Context(), replica.B().Role().Build()).ToArray()
		if err != nil {
			return false
		}
		name, err := role[0].ToString()
		return err == nil && name == "master"
	})
	l.goesOn("afterwards")
	l.healed()
	if n, err := do(t, replica, "DBSIZE").AsInt64(); n == 0 || err != nil {
		t.Errorf("the new master has %d keys, %v", n, err)
	}
}
