package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestRetriesDeletes(t *testing.T) { t.Parallel(); backendtest.RetriesDeletes(t, kind) }

func TestLostInvalidation(t *testing.T) { t.Parallel(); backendtest.LostInvalidation(t, kind) }

func TestFailures(t *testing.T) { t.Parallel(); backendtest.Failures(t, kind) }

func TestLeases(t *testing.T) { t.Parallel(); backendtest.Leases(t, kind) }

func TestErrors(t *testing.T) { t.Parallel(); backendtest.Errors(t, kind) }

func TestBackendIsOpaque(t *testing.T) { t.Parallel(); backendtest.Opaque(t, new(redis.Backend)) }

func TestOptionsAreArguments(t *testing.T) {
	t.Parallel()
	backendtest.Options(t, redis.Options{}, sharedServer(t).URL(), nil)
}

func TestRegions(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"standalone": sharedServer(t).URL(), "cluster": startCluster(t, nil).url()} {
		t.Run(name, func(t *testing.T) { backendtest.Regions(t, opens(url)) })
	}
}

// opens returns what opens backends over the server that url names.
func opens(url string) func(testing.TB) driver.Backend {
	return func(t testing.TB) driver.Backend { return backendtest.Open(t, backendtest.Patient(url)) }
}

// shelf is a server as dogpile.cache uses it.
type shelf struct{ client rueidis.Client }

func (s shelf) Has(t testing.TB, key string) bool {
	n, err := do(t, s.client, "EXISTS", key).AsInt64()
	return err == nil && n == 1
}

func (s shelf) Put(t testing.TB, key string) { t.Helper(); do(t, s.client, "SET", key, "1") }

func (s shelf) Remove(t testing.TB, keys ...string) {
	t.Helper()
	do(t, s.client, append([]string{"DEL"}, keys...)...)
}

func (s shelf) Count(t testing.TB, key string) int {
	t.Helper()
	n, err := do(t, s.client, "GET", key).AsInt64()
	if !rueidis.IsRedisNil(err) {
		ok(t, err)
	}
	return int(n)
}

func (s shelf) Increment(t testing.TB, key string) { t.Helper(); do(t, s.client, "INCR", key) }

func (s shelf) Stores(t testing.TB) int { t.Helper(); return calls(t, s.client, "set") }

func newPair(t *testing.T) *backendtest.Pair {
	t.Helper()
	s := startServer(t)
	return backendtest.NewPair(t, "redis", s.addr, s.URL(), shelf{s.client(t)})
}

func TestPython(t *testing.T) {
	t.Parallel()
	backendtest.Python(t, func(t *testing.T, check func(*backendtest.Pair)) { check(newPair(t)) })
}

func TestFunctionsOfTwoArgumentsShareKeysWithPython(t *testing.T) {
	t.Parallel()
	// Their keys have a space, which memcached cannot have.
	p := newPair(t)
	load := dogpile.NewFunc2(p.Region, "load", func(ctx context.Context, a, b int) (string, error) {
		_, err := p.Creator(nil, 0)(ctx)
		return fmt.Sprint("go ", a, " ", b), err
	}, nil)
	p.Same("Python calls first", p.Python("load", "1", "2"), `"python 1 2"`)
	if v, err := load.Call(t.Context(), 1, 2); v != "python 1 2" || err != nil {
		t.Errorf("Go calls second: %q, %v", v, err)
	}
	if v, err := load.Call(t.Context(), 3, 4); v != "go 3 4" || err != nil {
		t.Errorf("Go calls first: %q, %v", v, err)
	}
	p.Same("Python calls second", p.Python("load", "3", "4"), `"go 3 4"`)
	p.WantCreations(2)
}

// counter counts calls of a client: each is one round trip, to one node.
type counter struct {
	rueidis.Client
	calls atomic.Int64
}

func (c *counter) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	c.calls.Add(1)
	return c.Client.Do(ctx, cmd)
}

func (c *counter) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	c.calls.Add(1)
	return c.Client.DoMulti(ctx, cmds...)
}

// counted returns a backend over the shared server whose round trips are
// counted.
func counted(t testing.TB) (*redis.Backend, backendtest.Trips) {
	t.Helper()
	n := &counter{Client: sharedServer(t).client(t)}
	b, err := redis.New(n, &redis.Options{Timeout: patience, Poll: true})
	ok(t, err)
	t.Cleanup(func() { b.Close() })
	return b, backendtest.Trips{Count: n.calls.Load}
}

func TestRoundTripsOfTheBackend(t *testing.T) {
	t.Parallel()
	b, n := counted(t)
	backendtest.RoundTrips(t, b, n, backendtest.Costs{
		Set: 1, Delete: 1, SetUnder: 1, TryLock: 1, TryLockOverEntry: 1, Extend: 1, Release: 1,
	})
}

func TestRoundTripsOfARegion(t *testing.T) {
	t.Parallel()
	b, n := counted(t)
	backendtest.RegionRoundTrips(t, b, open(t, sharedServer(t).URL(), nil), n, 3)
}

// TestURLs opens a server by each spelling of its URL.
func TestURLs(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	plain, secure := newServer(t), newServer(t)
	plain.args = append(plain.args, "--unixsocket", plain.dir+"/s")
	secure.secure(id)
	plain.Start(t)
	secure.Start(t)
	socket, arguments := plain.dir+"/s", "?"+strings.Join(id.Args(), "&")
	cluster, sentinel := startCluster(t, nil), startSentinel(t, nil)
	for _, url := range []string{
		"redis://" + plain.addr, "valkey://" + plain.addr, "redis://" + plain.addr + "/1",
		"unix://" + socket, "redis+unix://" + socket, "valkey+unix://" + socket + "?db=2",
		"rediss://" + secure.addr + arguments, "valkeys://" + secure.addr + "/1" + arguments,
		"redis+cluster://" + cluster.hosts(), "valkey+cluster://" + cluster.hosts(),
		"redis+sentinel://" + sentinel.hosts() + "/mymaster", "valkey+sentinel://" + sentinel.hosts() + "/mymaster/0",
	} {
		b, key := backendtest.Open(t, backendtest.Patient(url)), unique(t)
		ok(t, backendtest.Set(t.Context(), b, driver.Item{Key: key, Data: []byte(url)}))
		backendtest.WantValue(t, b, key, url)
	}
}

// TestCopiesHearOfPython: what Python sets and deletes ends copies here.
func TestCopiesHearOfPython(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	r := backendtest.Region(t, "shared", open(t, "redis://"+p.Hosts, nil), &dogpile.Options{
		Prefix: dogpile.NoPrefix, Near: &dogpile.Near{Lag: 10 * time.Minute},
	})
	c := dogpile.NewCache[string](r, nil)
	for _, value := range []string{"first", "second"} {
		p.Python("set", "k", strconv.Quote(value))
		eventually(t, "Python's value", func() bool {
			v, _, err := c.Get(t.Context(), "k")
			ok(t, err)
			return v == value
		})
		before := r.Stats().NearHits
		eventually(t, "a hit on a copy", func() bool {
			v, _, err := c.Get(t.Context(), "k")
			ok(t, err)
			if v != value {
				t.Fatalf("Get = %q after %q", v, value)
			}
			return r.Stats().NearHits > before
		})
	}
	p.Python("delete_multi", "k")
	eventually(t, "Python's delete", func() bool {
		_, found, err := c.Get(t.Context(), "k")
		ok(t, err)
		return !found
	})
}
