package memcached_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// modes are the arguments for the ways of keeping leases.
var modes = map[string]string{"meta": "", "python_lock": "python_lock=true", "binary": "protocol=binary"}

// kinds runs f with what these tests share with those of other backends over
// servers, in each mode.
func kinds(t *testing.T, f func(t *testing.T, k backendtest.Kind)) {
	t.Parallel()
	for mode, args := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f(t, backendtest.Kind{
				Name:   "memcached",
				Start:  func(t testing.TB) backendtest.Server { return startServer(t) },
				Shared: func(t testing.TB) backendtest.Server { return sharedServer(t) },
				Args:   args,
				Python: args != "",
			})
		})
	}
}

func TestRetriesDeletes(t *testing.T) { kinds(t, backendtest.RetriesDeletes) }

func TestLostInvalidation(t *testing.T) { kinds(t, backendtest.LostInvalidation) }

func TestFailures(t *testing.T) { kinds(t, backendtest.Failures) }

func TestLeases(t *testing.T) { kinds(t, backendtest.Leases) }

// TestHolders has also binary leases that dogpile.cache honours, and three servers.
func TestHolders(t *testing.T) {
	t.Parallel()
	one, three := sharedServer(t).URL(), startCluster(t).url()
	backendtest.Holders(t, map[string]string{
		"meta":                       one,
		"binary":                     one + "?protocol=binary",
		"python_lock":                one + "?python_lock=true",
		"binary python_lock":         one + "?protocol=binary&python_lock=true",
		"meta, three servers":        three,
		"python_lock, three servers": three + "?python_lock=true&hash=crc32",
		"meta, another prefix":       one + "?lock_prefix=l.",
		"meta, without a breaker":    one + "?breaker=false",
	})
}

func TestErrors(t *testing.T) { kinds(t, backendtest.Errors) }

func TestBackendIsOpaque(t *testing.T) { t.Parallel(); backendtest.Opaque(t, new(memcached.Backend)) }

func TestOptionsAreArguments(t *testing.T) {
	t.Parallel()
	backendtest.Options(t, memcached.Options{}, sharedServer(t).URL(), map[string]string{
		"hash": "crc32", "password": "x&username=ann", "protocol": "binary",
	})
}

func TestRegions(t *testing.T) {
	t.Parallel()
	for where, url := range map[string]string{"one server": sharedServer(t).URL(), "three servers": startCluster(t).url()} {
		for mode, args := range modes {
			t.Run(where+" "+mode, func(t *testing.T) {
				t.Parallel()
				backendtest.Regions(t, func(t testing.TB) driver.Backend {
					return backendtest.Open(t, backendtest.Patient(backendtest.Kind{Args: args}.URL(url)))
				})
			})
		}
	}
}

// shelf is servers as dogpile.cache uses them. What the tests count is on the
// first.
type shelf struct {
	lines []*line
	mu    *sync.Mutex // of the first line, on which the tests count
}

// answers reports whether one of the servers gives an answer that begins so.
func (s shelf) answers(command, begin string) bool {
	for _, l := range s.lines {
		if strings.HasPrefix(l.one(command), begin) {
			return true
		}
	}
	return false
}

func (s shelf) Has(_ testing.TB, key string) bool { return s.answers("mg "+key, "HD") }

func (s shelf) Put(t testing.TB, key string) {
	t.Helper()
	if got := s.lines[0].one("ms "+key+" 1", "x"); got != "HD" {
		t.Fatal(got)
	}
}

func (s shelf) Remove(_ testing.TB, keys ...string) {
	for _, key := range keys {
		s.lines[0].do("md " + key)
	}
}

func (s shelf) Count(t testing.TB, key string) (n int) {
	t.Helper()
	if got := s.lines[0].do("mg " + key + " v"); got[0] != "EN" {
		if _, err := fmt.Sscan(got[1], &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (s shelf) Increment(_ testing.TB, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[0].do("ma " + key + " N0 J1")
}

func (s shelf) Stores(testing.TB) (n int) {
	for _, l := range s.lines {
		n += l.stat("cmd_set")
	}
	return n
}

// pairs runs check with each of Python's clients, over one server and over
// three.
func pairs(t *testing.T, check func(*backendtest.Pair)) {
	t.Helper()
	for client, hash := range map[string]string{"memcached": "crc32", "pylibmc": "ketama", "pymemcache": "rendezvous"} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprint(client, " ", n), func(t *testing.T) {
				t.Parallel()
				var hosts []string
				s := shelf{mu: new(sync.Mutex)}
				for range n {
					server := startServer(t)
					hosts, s.lines = append(hosts, server.Addr()), append(s.lines, server.dial(t))
				}
				all := strings.Join(hosts, ",")
				check(backendtest.NewPair(t, client, all, "memcached://"+all+"?python_lock=true&hash="+hash, s))
			})
		}
	}
}

func TestPython(t *testing.T) { t.Parallel(); backendtest.Python(t, pairs) }

func TestGoReadsWhatPythonHasCompressed(t *testing.T) {
	t.Parallel()
	pairs(t, func(p *backendtest.Pair) {
		if p.Backend == "pymemcache" { // which does not compress
			return
		}
		long := strings.Repeat("long ", 100)
		p.Python("set_compressed", "long", `"`+long+`"`)
		if !p.Shelf.(shelf).answers("mg long f", "HD f8") {
			p.Error("Python has not compressed it")
		}
		if v, found, err := p.Cache.Get(p.Context(), "long"); v != long || !found || err != nil {
			p.Errorf("what Python compressed is %v, %v, %v", v, found, err)
		}
	})
}

func TestRoundTripsOfTheBackend(t *testing.T) {
	t.Parallel()
	for mode, costs := range map[string]backendtest.Costs{
		"meta": {Set: 1, Delete: 1, SetUnder: 1, TryLock: 1, TryLockOverEntry: 2, Extend: 1, Release: 1,
			SetLines: []int64{3000}, DeleteLines: []int64{2000}},
		"python_lock": {Set: 2, Delete: 2, SetUnder: 3, TryLock: 1, TryLockOverEntry: 1, Extend: 2, Release: 2,
			SetLines: []int64{1000, 2000}, DeleteLines: []int64{1000, 1000}},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b, n := through(t, sharedServer(t), &memcached.Options{PythonLock: mode == "python_lock"})
			backendtest.RoundTrips(t, b, backendtest.Trips{Count: n.Trips.Load, Expect: n.Expect}, costs)
		})
	}
}

func TestRoundTripsOfARegion(t *testing.T) {
	t.Parallel()
	b, n := through(t, sharedServer(t), nil)
	backendtest.RegionRoundTrips(t, b, open(t, sharedServer(t).URL(), nil), backendtest.Trips{Count: n.Trips.Load, Expect: n.Expect}, 4)
}
