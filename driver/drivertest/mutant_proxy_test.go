package drivertest_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

// brokenProxy has one thing broken. What is nil is forwarded.
type brokenProxy struct {
	driver.Proxy
	get     func(p *brokenProxy, ctx context.Context, items []driver.Item) error
	set     func(p *brokenProxy, ctx context.Context, items []driver.Item) error
	delete  func(p *brokenProxy, ctx context.Context, keys []string) error
	tryLock func(p *brokenProxy, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error)
	locked  func(p *brokenProxy, ctx context.Context, key string) (bool, error)
	caps    func(c *driver.Caps)
	close   func() error
	shard   func(p *brokenProxy, key string) string
	watch   func(lag time.Duration) (stop func(), atOnce bool)
	holder  func(p *brokenProxy, ctx context.Context, key string) (driver.Holder, bool, error)
	scan    func(p *brokenProxy, ctx context.Context, prefix string, found func(driver.Found) bool) error

	copies *sync.Map // what some remember, by key
}

// over returns such a proxy over b.
func (p brokenProxy) over(b driver.Backend) *brokenProxy {
	p.Proxy, p.copies = driver.Proxy{Backend: b}, new(sync.Map)
	return &p
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

func (p *brokenProxy) Locked(ctx context.Context, key string) (bool, error) {
	if p.locked != nil {
		return p.locked(p, ctx, key)
	}
	return p.Proxy.Locked(ctx, key)
}

func (p *brokenProxy) Shard(key string) string {
	if p.shard != nil {
		return p.shard(p, key)
	}
	return p.Proxy.Shard(key)
}

func (p *brokenProxy) Watch(lag time.Duration) (stop func(), atOnce bool) {
	if p.watch != nil {
		return p.watch(lag)
	}
	return p.Proxy.Watch(lag)
}

func (p *brokenProxy) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	if p.holder != nil {
		return p.holder(p, ctx, key)
	}
	return p.Proxy.Holder(ctx, key)
}

func (p *brokenProxy) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	if p.scan != nil {
		return p.scan(p, ctx, prefix, found)
	}
	return p.Proxy.Scan(ctx, prefix, found)
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
	{"hides Shard", "proxy/Shard", brokenProxy{shard: func(*brokenProxy, string) string { return "" }}},
	{"names one server for all keys", "proxy/Shard", brokenProxy{shard: func(p *brokenProxy, _ string) string { return p.Proxy.Shard("") }}},
	{"names a server where there is one", "proxy/Shard", brokenProxy{shard: func(p *brokenProxy, key string) string {
		if s := p.Proxy.Shard(key); s != "" {
			return s
		}
		return "server"
	}}},
	{"hides Watch", "proxy/it tells", brokenProxy{watch: func(time.Duration) (func(), bool) { return nil, false }}},
	{"tells of changes where the backend does not", "proxy/it tells", brokenProxy{watch: func(time.Duration) (func(), bool) { return func() {}, true }}},
	{"says that it holds all leases", "proxy/it says who", brokenProxy{holder: func(p *brokenProxy, ctx context.Context, key string) (driver.Holder, bool, error) {
		_, held, err := p.Proxy.Holder(ctx, key)
		return driver.Holder{PID: 1}, held, err
	}}},
	{"knows no holder", "proxy/it says who", brokenProxy{holder: func(p *brokenProxy, ctx context.Context, key string) (h driver.Holder, held bool, err error) {
		held, err = p.Proxy.Locked(ctx, key)
		return h, held, err
	}}},
	{"takes a backend that fails for one that holds nothing", "proxy/it says who", brokenProxy{holder: func(p *brokenProxy, ctx context.Context, key string) (driver.Holder, bool, error) {
		h, held, _ := p.Proxy.Holder(ctx, key)
		return h, held, nil
	}}},
	{"takes what cannot tell for what holds nothing", "proxy/it says who", brokenProxy{holder: func(p *brokenProxy, ctx context.Context, key string) (h driver.Holder, held bool, err error) {
		if hs, ok := p.Backend.(driver.Holders); ok {
			return hs.Holder(ctx, key)
		}
		return h, false, nil
	}}},
	{"asks for the holder of another key", "proxy/every call", brokenProxy{holder: func(p *brokenProxy, ctx context.Context, key string) (driver.Holder, bool, error) {
		return p.Proxy.Holder(ctx, "my."+key)
	}}},
	{"lists everything", "proxy/it lists", brokenProxy{scan: func(p *brokenProxy, ctx context.Context, _ string, found func(driver.Found) bool) error {
		return p.Proxy.Scan(ctx, "", found)
	}}},
	{"lists nothing", "proxy/it lists", brokenProxy{scan: func(*brokenProxy, context.Context, string, func(driver.Found) bool) error { return nil }}},
	{"lists without sizes", "proxy/it lists", brokenProxy{scan: func(p *brokenProxy, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		return p.Proxy.Scan(ctx, prefix, func(f driver.Found) bool { f.Size = 0; return found(f) })
	}}},
	{"takes what lists nothing for empty", "proxy/it lists", brokenProxy{scan: func(p *brokenProxy, ctx context.Context, prefix string, found func(driver.Found) bool) error {
		_ = p.Proxy.Scan(ctx, prefix, found)
		return nil
	}}},
	{"drops Keep", "watch/", losing(func(it *driver.Item) { it.Keep = false })},
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
	{"writes a default TTL into the items", "ownership/Set writes", brokenProxy{set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
		for i := range items {
			if items[i].TTL == 0 {
				items[i].TTL = time.Hour
			}
		}
		return p.Proxy.Set(ctx, items)
	}}},
	{"shares a Get that is under way", "proxy/a Get is not answered", brokenProxy{get: sharedGet}},
}

// rememberingProxies are proxies that keep what another process may change. They are
// found over a backend that Run opens twice as well.
var rememberingProxies = []struct {
	name   string
	caught rules
	proxy  brokenProxy
}{
	{"keeps copies of what it reads", readRule, copying(func(it driver.Item) bool { return it.Found() })},
	{"keeps copies of version tokens", readRule, copying(func(it driver.Item) bool { return strings.Contains(it.Key, "_inv:") && it.Found() })},
	{"keeps copies of version tokens without a prefix", readRule, copying(func(it driver.Item) bool { return inv.MatchString(it.Key) && it.Found() })},
	{"keeps copies of all but version tokens", readRule, copying(func(it driver.Item) bool { return !strings.Contains(it.Key, "_inv:") && it.Found() })},
	{"keeps copies of what has a TTL", readRule, copying(func(it driver.Item) bool { return it.TTL > 0 })},
	{"keeps copies of what has no TTL", readRule, copying(func(it driver.Item) bool { return it.TTL == 0 && it.Found() })},
	{"remembers what is missing", readRule, copying(func(it driver.Item) bool { return !it.Found() })},
	{"keeps what it has written", readRule, brokenProxy{
		get: copied,
		set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			err := p.Proxy.Set(ctx, items)
			for _, it := range items {
				p.copies.Store(it.Key, driver.Item{Data: it.Data, TTL: it.TTL})
			}
			return err
		},
		delete: forgetful,
	}},
	{"remembers what it has deleted", readRule, brokenProxy{
		get: copied,
		set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			for _, it := range items {
				p.copies.Delete(it.Key)
			}
			return p.Proxy.Set(ctx, items)
		},
		delete: func(p *brokenProxy, ctx context.Context, keys []string) error {
			for _, key := range keys {
				p.copies.Store(key, driver.Item{})
			}
			return p.Proxy.Delete(ctx, keys)
		},
	}},
	{"puts writes off", readRule, brokenProxy{
		set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			if items[0].Lease != nil {
				return p.Proxy.Set(ctx, items)
			}
			later := slices.Clone(items)
			time.AfterFunc(time.Second/2, func() { _ = p.Proxy.Set(ctx, later) })
			return nil
		},
	}},
	{"remembers that a lease is held", leaseRule, brokenProxy{tryLock: func(p *brokenProxy, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		if until, ok := p.copies.Load(key); ok && time.Now().Before(until.(time.Time)) {
			return nil, nil
		}
		l, err := p.Proxy.TryLock(ctx, key, ttl)
		if l == nil && err == nil {
			p.copies.Store(key, time.Now().Add(100*time.Millisecond))
		}
		return l, err
	}}},
	{"remembers what Locked has told", leaseRule, brokenProxy{locked: func(p *brokenProxy, ctx context.Context, key string) (bool, error) {
		if was, ok := p.copies.Load(key); ok {
			return was.(bool), nil
		}
		now, err := p.Proxy.Locked(ctx, key)
		p.copies.Store(key, now)
		return now, err
	}}},
	{"holds leases back that were released", leaseRule, brokenProxy{
		tryLock: func(p *brokenProxy, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			if l, ok := p.copies.LoadAndDelete(key); ok {
				return l.(driver.Lease), nil
			}
			l, err := p.Proxy.TryLock(ctx, key, ttl)
			if l == nil {
				return nil, err
			}
			b := &brokenLease{Lease: l}
			b.release = func(context.Context) error { p.copies.Store(key, driver.Lease(b)); return nil }
			return b, nil
		},
		set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			inner := slices.Clone(items)
			for i := range inner {
				if b, ok := inner[i].Lease.(*brokenLease); ok {
					inner[i].Lease = b.Lease
				}
			}
			err := p.Proxy.Set(ctx, inner)
			for i := range inner {
				items[i].Err = inner[i].Err
			}
			return err
		},
	}},
}

// rules are what has to find such a proxy: a rule of RunProxy and one of Run.
type rules struct{ ofProxy, ofRun string }

var (
	readRule  = rules{"proxy/Get answers from the backend", "shared/what one client writes"}
	leaseRule = rules{"proxy/the backend is asked about leases", "shared/leases"}
)

// inv matches version tokens that begin with _inv: as they come to a proxy: Run
// puts letters and a dot before its keys.
var inv = regexp.MustCompile(`^(dt[0-9a-f]+\.)?_inv:`)

// copying returns a proxy that answers from copies of the items that it chose when
// it read them. It knows of its own writes.
func copying(chosen func(driver.Item) bool) brokenProxy {
	return brokenProxy{
		get: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			had := slices.Clone(items)
			err := copied(p, ctx, items)
			for i, it := range items {
				if _, kept := p.copies.Load(it.Key); !kept && err == nil && had[i].Lease == nil && chosen(it) {
					p.copies.Store(it.Key, driver.Item{Data: it.Data, Object: it.Object, TTL: it.TTL})
				}
			}
			return err
		},
		set: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
			for _, it := range items {
				p.copies.Delete(it.Key)
			}
			return p.Proxy.Set(ctx, items)
		},
		delete: forgetful,
	}
}

// copied is a Get that answers from copies where there are any.
func copied(p *brokenProxy, ctx context.Context, items []driver.Item) error {
	for i := range items {
		c, ok := p.copies.Load(items[i].Key)
		if !ok {
			if err := p.Proxy.Get(ctx, items[i:i+1]); err != nil {
				return err
			}
			continue
		}
		if it := c.(driver.Item); it.Found() {
			items[i].Data, items[i].Object, items[i].TTL = it.Data, it.Object, it.TTL
		}
	}
	return nil
}

// forgetful is a Delete that drops the copies of its keys.
func forgetful(p *brokenProxy, ctx context.Context, keys []string) error {
	for _, key := range keys {
		p.copies.Delete(key)
	}
	return p.Proxy.Delete(ctx, keys)
}

// sharedGet lets a Get of a key that another Get is reading wait for the answer of
// that one.
func sharedGet(p *brokenProxy, ctx context.Context, items []driver.Item) error {
	type reading struct {
		done chan struct{}
		it   driver.Item
		err  error
	}
	for i := range items {
		mine := &reading{done: make(chan struct{})}
		if other, under := p.copies.LoadOrStore(items[i].Key, mine); under {
			mine = other.(*reading)
			<-mine.done
			items[i].Data, items[i].Object, items[i].TTL = mine.it.Data, mine.it.Object, mine.it.TTL
		} else {
			mine.err = p.Proxy.Get(ctx, items[i:i+1])
			mine.it = items[i]
			p.copies.Delete(items[i].Key)
			close(mine.done)
		}
		if mine.err != nil {
			return mine.err
		}
	}
	return nil
}

func TestEveryBrokenProxyIsCaught(t *testing.T) {
	for _, tt := range brokenProxies {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantCaught(t, tt.caught, func(b driver.Backend) driver.Backend { return tt.proxy.over(b) })
		})
	}
	t.Run("cannot be looked through", func(t *testing.T) {
		wantCaught(t, "proxy/driver.As", func(b driver.Backend) driver.Backend { return hiding{b} })
	})
	t.Run("forwards the three methods alone", func(t *testing.T) {
		wantCaught(t, "proxy/Shard", func(b driver.Backend) driver.Backend { return hiding{b} })
	})
	for _, rule := range []string{"proxy/it says who", "proxy/it lists"} {
		t.Run("forwards the three methods alone: "+rule, func(t *testing.T) {
			wantCaught(t, rule, func(b driver.Backend) driver.Backend { return hiding{b} })
		})
	}
	t.Run("grants nil leases over a backend without", func(t *testing.T) {
		wantCaught(t, "proxy/what the backend cannot", func(b driver.Backend) driver.Backend { return hiding{b} })
	})
}

// What a proxy remembers is found by RunProxy over two proxies, and by Run over two
// backends of one store.
func TestEveryRememberingProxyIsCaught(t *testing.T) {
	for _, tt := range rememberingProxies {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantCaught(t, tt.caught.ofProxy, func(b driver.Backend) driver.Backend { return tt.proxy.over(b) })
			if len(drivertest.Failures(t, tt.caught.ofRun, shared(tt.proxy.over))) == 0 {
				t.Errorf("no row that begins with %q found it", tt.caught.ofRun)
			}
		})
	}
}

func TestSharedReferenceIsNotCaught(t *testing.T) {
	t.Parallel()
	for rule, said := range drivertest.Failures(t, "", shared(brokenProxy{}.over)) {
		t.Errorf("%s: %s", rule, said)
	}
}

// shared returns an open whose backends are wrapped around one shared store.
func shared(wrap func(driver.Backend) *brokenProxy) func(testing.TB) driver.Backend {
	ref := drivertest.NewReference()
	ref.SetCaps(driver.Caps{Name: "shared", Shared: true, Locks: true, Fenced: true, TTLUnit: time.Nanosecond})
	return func(testing.TB) driver.Backend { return wrap(&client{Proxy: driver.Proxy{Backend: ref}}) }
}

// client is one of several that share a store. Its Close is not the end of the others.
type client struct {
	driver.Proxy
	closed atomic.Bool
}

func (c *client) Close() error {
	c.closed.Store(true)
	return nil
}

func (c *client) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	err := c.Proxy.Scan(ctx, prefix, func(f driver.Found) bool { return !c.closed.Load() && found(f) })
	if c.closed.Load() {
		return errors.New("the client is closed")
	}
	return err
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
