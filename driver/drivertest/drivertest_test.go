package drivertest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

func TestReference(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Backend { return drivertest.NewReference() }, nil)
}

func TestBackendWithThreeMethods(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Backend {
		return drivertest.Bare(drivertest.NewReference())
	}, &drivertest.Options{Bubble: true})
}

func TestBackendInRealTime(t *testing.T) {
	for name, caps := range map[string]driver.Caps{
		"exact":    {Name: "exact", Locks: true, Fenced: true, TTLUnit: time.Nanosecond},
		"limited":  {Name: "limited", Locks: true, MaxKeyLen: 100, Mangle: shorten},
		"discards": {Name: "discards", Discards: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(*testing.T) driver.Backend {
				ref := drivertest.NewReference()
				ref.SetCaps(caps)
				if caps.Discards {
					return discarding{driver.Proxy{Backend: ref}}
				}
				return ref
			}, nil)
		})
	}
}

// shorten keeps keys that differ apart only as far as the suite needs it.
func shorten(key string) string { return key[max(0, len(key)-100):] }

type discarding struct{ driver.Proxy }

func (discarding) Get(context.Context, []driver.Item) error { return nil }

func TestTransparentProxy(t *testing.T) {
	drivertest.RunProxy(t, transparent, nil)
}

func transparent(b driver.Backend) driver.Backend { return driver.Proxy{Backend: b} }

func BenchmarkReference(b *testing.B) {
	drivertest.Bench(b, func(*testing.B) driver.Backend { return drivertest.NewReference() })
}

// brokenProxy has one thing broken. What is nil is forwarded.
type brokenProxy struct {
	driver.Proxy
	get     func(p *brokenProxy, ctx context.Context, items []driver.Item) error
	set     func(p *brokenProxy, ctx context.Context, items []driver.Item) error
	delete  func(p *brokenProxy, ctx context.Context, keys []string) error
	tryLock func(p *brokenProxy, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error)
	caps    func(c *driver.Caps)
	close   func() error
}

func (p *brokenProxy) Get(ctx context.Context, items []driver.Item) error {
	if p.get != nil {
		return p.get(p, ctx, items)
	}
	return p.Proxy.Get(ctx, items)
}

func (p *brokenProxy) Set(ctx context.Context, items []driver.Item) error {
	if p.set != nil {
		return p.set(p, ctx, items)
	}
	return p.Proxy.Set(ctx, items)
}

func (p *brokenProxy) Delete(ctx context.Context, keys []string) error {
	if p.delete != nil {
		return p.delete(p, ctx, keys)
	}
	return p.Proxy.Delete(ctx, keys)
}

func (p *brokenProxy) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if p.tryLock != nil {
		return p.tryLock(p, ctx, key, ttl)
	}
	return p.Proxy.TryLock(ctx, key, ttl)
}

func (p *brokenProxy) Caps() driver.Caps {
	c := p.Proxy.Caps()
	if p.caps != nil {
		p.caps(&c)
	}
	return c
}

func (p *brokenProxy) Close() error {
	if p.close != nil {
		return p.close()
	}
	return p.Proxy.Close()
}

// hiding forwards the three methods and nothing else.
type hiding struct{ inner driver.Backend }

func (h hiding) Get(ctx context.Context, items []driver.Item) error { return h.inner.Get(ctx, items) }
func (h hiding) Set(ctx context.Context, items []driver.Item) error { return h.inner.Set(ctx, items) }
func (h hiding) Delete(ctx context.Context, keys []string) error    { return h.inner.Delete(ctx, keys) }
func (h hiding) Caps() driver.Caps                                  { return driver.CapsOf(h.inner) }
func (h hiding) Locked(context.Context, string) (bool, error)       { return false, nil }
func (h hiding) Wait(context.Context, string) error                 { return nil }
func (h hiding) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if l, ok := h.inner.(driver.Locker); ok {
		return l.TryLock(ctx, key, ttl)
	}
	return nil, nil
}

var brokenProxies = []struct {
	name   string
	caught string // the rule that has to find it
	proxy  brokenProxy
}{
	{"writes Objects where there are none", "proxy/Caps", brokenProxy{caps: func(c *driver.Caps) { c.Objects = true }}},
	{"claims InMemory", "proxy/Caps", brokenProxy{caps: func(c *driver.Caps) { c.InMemory = true }}},
	{"renames", "proxy/Caps", brokenProxy{caps: func(c *driver.Caps) { c.Name = "mine" }}},
	{"hides locks", "proxy/Caps", brokenProxy{caps: func(c *driver.Caps) { c.Locks = false }}},
	{"hides Mangle", "proxy/Caps", brokenProxy{caps: func(c *driver.Caps) { c.Mangle = nil }}},
	{"lifts MaxValue", "proxy/what it lets past", brokenProxy{caps: func(c *driver.Caps) { c.MaxValue = 0 }}},
	{"changes keys of Get and Set", "data/a value is found", brokenProxy{
		get: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			inner := slices.Clone(items)
			for i := range inner {
				inner[i].Key = "v2:" + inner[i].Key
			}
			err := p.Proxy.Get(ctx, inner)
			for i := range inner {
				items[i].Data, items[i].Object, items[i].Err = inner[i].Data, inner[i].Object, inner[i].Err
			}
			return err
		},
		set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			inner := slices.Clone(items)
			for i := range inner {
				inner[i].Key = "v2:" + inner[i].Key
			}
			err := p.Proxy.Set(ctx, inner)
			for i := range inner {
				items[i].Err = inner[i].Err
			}
			return err
		}}},
	{"forgets Err", "proxy/a failed item", brokenProxy{set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
		return p.Proxy.Set(ctx, slices.Clone(items))
	}}},
	{"makes one failed item fail all", "proxy/a failed item", brokenProxy{get: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
		err := p.Proxy.Get(ctx, items)
		for i := range items {
			if items[i].Err != nil {
				err = items[i].Err
			}
		}
		return err
	}}},
	{"hides a failed Delete", "proxy/a Delete", brokenProxy{delete: func(p *brokenProxy, ctx context.Context, keys []string) error {
		_ = p.Proxy.Delete(ctx, keys)
		return nil
	}}},
	{"wraps leases", "fence/Set under", brokenProxy{tryLock: func(p *brokenProxy, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		l, err := p.Proxy.TryLock(ctx, key, ttl)
		if l == nil {
			return nil, err
		}
		return &brokenLease{Lease: l}, nil
	}}},
	{"takes a lost lease for none", "fence/Set is refused", brokenProxy{set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
		for i := range items {
			items[i].Lease = nil
		}
		return p.Proxy.Set(ctx, items)
	}}},
	{"writes to Data", "ownership/what was stored", brokenProxy{set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
		for i := range items {
			for j := range items[i].Data {
				items[i].Data[j] ^= 0x55
			}
		}
		return p.Proxy.Set(ctx, items)
	}}},
	{"does not close", "proxy/every call", brokenProxy{close: func() error { return nil }}},
	{"answers from a cache of its own", "proxy/every call", brokenProxy{get: func(_ *brokenProxy, _ context.Context, _ []driver.Item) error {
		return nil
	}}},
}

func TestEveryBrokenProxyIsCaught(t *testing.T) {
	for _, tt := range brokenProxies {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantCaught(t, tt.caught, func(b driver.Backend) driver.Backend {
				p := tt.proxy
				p.Proxy = driver.Proxy{Backend: b}
				return &p
			})
		})
	}
	t.Run("cannot be looked through", func(t *testing.T) {
		wantCaught(t, "proxy/driver.As", func(b driver.Backend) driver.Backend { return hiding{b} })
	})
	t.Run("grants nil leases over a backend without", func(t *testing.T) {
		wantCaught(t, "proxy/what the backend cannot", func(b driver.Backend) driver.Backend { return hiding{b} })
	})
}

func wantCaught(t *testing.T, rule string, wrap func(driver.Backend) driver.Backend) {
	t.Helper()
	if len(drivertest.ProxyFailures(t, rule, wrap)) == 0 {
		t.Errorf("no row that begins with %q found it", rule)
	}
}

func TestTransparentProxyIsNotCaught(t *testing.T) {
	for rule, said := range drivertest.ProxyFailures(t, "", transparent) {
		t.Errorf("%s: %s", rule, said)
	}
}
