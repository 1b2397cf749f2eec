//go:build unix

package fleettest

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// brokenScenes are small scenes over broken backends, each with what the checks
// must find.
var brokenScenes = []brokenScene{
	{"stores without the lease", strikeTask, func(f *fleet) { stopHolders(f, 1) }, "was stored by a process that was stopped|an old value|is made anew"},
	{"stores without the lease, and denies it", strikeTask, func(f *fleet) { stopHolders(f, 1) }, "an old value|is made anew"},
	{"grants what another holds", stormTask, func(f *fleet) { storm(f, 2*service) }, "two creators at once"},
	{"grants leases that are too short", strikeTask, func(f *fleet) { killHolders(f, 1) }, "two creators at once"},
	{"makes TryLock wait", stormTask, func(f *fleet) { storm(f, 2*service) }, "wait for version"},
	{"repeats the first reading", stormTask, func(f *fleet) { storm(f, 2*service) }, "is made anew|do not ask"},
	{"does not tell that a lease has ended", stampedeTask, func(f *fleet) { stampedeKilled(f) }, "another process to create"},
	{"stores without the lease", historyTask, func(f *fleet) { history(f, time.Second, true) }, "a read of key"},
	{"ignores Delete", historyTask, func(f *fleet) { history(f, time.Second, true) }, "a read of key"},
	{"loses invalidations", historyTask, func(f *fleet) { history(f, time.Second, true) }, "a read of key"},
	{"answers from a copy", historyTask, func(f *fleet) { history(f, time.Second, true) }, "a read of key"},
	{"answers from a copy", troubleTask, func(f *fleet) { history(f, time.Second, true) }, "a read of key"},
	{"loses tags", tagsTask, tagsBriefly, "as to the"},
	{"loses what pages inherit", tagsTask, tagsBriefly, "a read of page .*, as to the"},
	{"ignores Delete of hard tokens", tagsTask, tagsBriefly, "as to the data of"},
	{"ignores Delete of soft tokens", tagsTask, tagsBriefly, "as to the fresh data of"},
	{"deletes tokens later", tagsTask, tagsBriefly, "as to the"},
	{tagsTooLate, tagsTask, tagsBriefly, "as to the"},
	{"has late callers told of old tokens", productsTask, tagsBriefly, "as to the"},
}

type brokenScene struct {
	broken string
	task   task
	play   func(*fleet)
	want   string // a regular expression for a fault that must be found; "": none may be
}

func tagsBriefly(f *fleet) { history(f, 500*time.Millisecond, true) }

// RunBroken puts one fault after the other into the backend, runs a scene of [Run]
// over each, and fails for each fault that the checks do not find.
func RunBroken(t *testing.T, c Config) {
	t.Helper()
	runBroken(t, c, brokenScenes)
}

func runBroken(t *testing.T, c Config, scenes []brokenScene) {
	t.Helper()
	c.LockTTL = cmp.Or(c.LockTTL, time.Second)
	for _, s := range scenes {
		t.Run(s.broken, func(t *testing.T) {
			k, c := s.task, c
			if !k.Trouble {
				c.Via = nil
			}
			k.Broken, k.Procs, k.Each = s.broken, min(k.Procs, 4), min(k.Each, 10)
			found := perform(t, c, scene{task: k, play: s.play})
			if s.want == "" {
				report(t, found)
			} else if !slices.ContainsFunc(found, regexp.MustCompile(s.want).MatchString) {
				t.Errorf("the checks found %q, not that a backend %s", found, s.broken)
			}
		})
	}
}

// broken makes backends that break their promises, by what RunBroken calls them.
var broken = map[string]func(driver.Backend) driver.Backend{
	"stores without the lease": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.set = func(ctx context.Context, items []driver.Item) error {
			items = slices.Clone(items)
			for i := range items {
				items[i].Lease = nil
			}
			return b.Set(ctx, items)
		}
		return m
	},
	"stores without the lease, and denies it": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.set = func(ctx context.Context, items []driver.Item) error {
			err := b.Set(ctx, items)
			for _, it := range items {
				if errors.Is(it.Err, driver.ErrLeaseLost) {
					it.Lease = nil
					_ = b.Set(ctx, []driver.Item{it})
				}
			}
			return err
		}
		return m
	},
	"grants what another holds": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.tryLock = func(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			l, err := m.Proxy.TryLock(ctx, key, ttl)
			if l == nil && err == nil {
				l = granted{}
			}
			return l, err
		}
		return m
	},
	"grants leases that are too short": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.tryLock = func(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			return m.Proxy.TryLock(ctx, key, ttl/8)
		}
		return m
	},
	"makes TryLock wait": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.tryLock = func(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			for {
				l, err := m.Proxy.TryLock(ctx, key, ttl)
				if l != nil || err != nil {
					return l, err
				}
				if err := m.Wait(ctx, key); err != nil {
					return nil, err
				}
			}
		}
		return m
	},
	"repeats the first reading": repeats,
	"does not tell that a lease has ended": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.wait = func(ctx context.Context, key string) error {
			if strings.Contains(key, "_inv:") {
				return m.Proxy.Wait(ctx, key)
			}
			<-ctx.Done()
			return ctx.Err()
		}
		return m
	},
	"ignores Delete": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.delete = func(context.Context, []string) error { return nil }
		return m
	},
	"loses invalidations": func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.set = func(ctx context.Context, items []driver.Item) error {
			if items[0].Lease == nil && strings.Contains(items[0].Key, "_inv:") {
				return nil
			}
			return b.Set(ctx, items)
		}
		return m
	},
	"answers from a copy":                 copied,
	"loses tags":                          losesTags(""),
	"loses what pages inherit":            losesTags("page|"),
	"ignores Delete of hard tokens":       ignoresDelete(":"),
	"ignores Delete of soft tokens":       ignoresDelete("~"),
	"deletes tokens later":                deletesTokensLater,
	"has late callers told of old tokens": oldTokens,
}

// repeats answers a read under a lease with what had been read before the lease
// was asked for. Asking takes a while: for some processes longer than a creation, so
// that they win after another has stored.
func repeats(b driver.Backend) driver.Backend {
	m := proxyOf(b)
	var last, first sync.Map // of []byte by key
	m.tryLock = func(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		data, _ := last.Load(key)
		pause(20*time.Millisecond + rand.N(180*time.Millisecond))
		first.Store(key, data)
		return m.Proxy.TryLock(ctx, key, ttl)
	}
	m.get = func(ctx context.Context, items []driver.Item) error {
		if it := &items[0]; it.Lease != nil {
			data, _ := first.Load(it.Key)
			it.Data, _ = data.([]byte)
			return nil
		}
		err := b.Get(ctx, items)
		last.Store(items[0].Key, items[0].Data)
		return err
	}
	return m
}

// copied answers reads with what was there up to 100 ms ago.
func copied(b driver.Backend) driver.Backend {
	type entry struct {
		data []byte
		at   time.Time
	}
	m := proxyOf(b)
	var copies sync.Map // of entry by key
	m.get = func(ctx context.Context, items []driver.Item) error {
		for i := range items {
			it := &items[i]
			if e, ok := copies.Load(it.Key); ok && it.Lease == nil && time.Since(e.(entry).at) < 100*time.Millisecond {
				it.Data = e.(entry).data
				continue
			}
			if err := b.Get(ctx, items[i:i+1]); err != nil {
				return err
			}
			copies.Store(it.Key, entry{it.Data, time.Now()})
		}
		return nil
	}
	return m
}

// granted is a lease that the backend has not granted.
type granted struct{}

func (granted) Extend(context.Context, time.Duration) error { return nil }
func (granted) Release(context.Context) error               { return nil }

// mutant is a proxy some methods of which have been replaced.
type mutant struct {
	driver.Proxy
	get, set func(context.Context, []driver.Item) error
	delete   func(context.Context, []string) error
	tryLock  func(context.Context, string, time.Duration) (driver.Lease, error)
	wait     func(context.Context, string) error
}

func proxyOf(b driver.Backend) *mutant {
	p := driver.Proxy{Backend: b}
	return &mutant{p, b.Get, b.Set, b.Delete, p.TryLock, p.Wait}
}

func (m *mutant) Get(ctx context.Context, items []driver.Item) error { return m.get(ctx, items) }
func (m *mutant) Set(ctx context.Context, items []driver.Item) error { return m.set(ctx, items) }
func (m *mutant) Delete(ctx context.Context, ks []string) error      { return m.delete(ctx, ks) }
func (m *mutant) Wait(ctx context.Context, key string) error         { return m.wait(ctx, key) }
func (m *mutant) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	return m.tryLock(ctx, key, ttl)
}
