package dashboard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/dashboard"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

var bg = context.Background()

// product is what the regions of these tests keep.
type product struct {
	Name  string
	Price int
}

// sick is a backend that keeps bytes, and can be made to fail or to hang.
type sick struct {
	driver.Proxy
	do atomic.Pointer[func(ctx context.Context) error] // nil: it is well
}

func (s *sick) be(do func(ctx context.Context) error) { s.do.Store(&do) }

// Get implements driver.Backend.
func (s *sick) Get(ctx context.Context, items []driver.Item) error {
	if do := s.do.Load(); do != nil {
		if err := (*do)(ctx); err != nil {
			return err
		}
	}
	return s.Proxy.Get(ctx, items)
}

func newBackend(t *testing.T) *sick {
	t.Helper()
	b, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	return &sick{Proxy: driver.Proxy{Backend: b}}
}

// newRegion configures a region that is closed when the test ends.
func newRegion(t *testing.T, name string, b driver.Backend, o dogpile.Options) *dogpile.Region {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	r := dogpile.NewRegion(name)
	if err := r.Configure(b, &o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(bg); err != nil {
			t.Error(err)
		}
	})
	return r
}

// scene is a dashboard over one region, whose hooks it has.
type scene struct {
	board *dashboard.Dashboard
	b     *sick
	r     *dogpile.Region
	c     *dogpile.Cache[product]
}

func newScene(t *testing.T, o dashboard.Options, ro dogpile.Options) *scene {
	t.Helper()
	s := &scene{b: newBackend(t)}
	o.Regions = make([]*dogpile.Region, 1)
	s.board = dashboard.New(&o)
	if ro.Hooks == nil {
		ro.Hooks = s.board.Hooks()
	}
	s.r = newRegion(t, "products", s.b, ro)
	o.Regions[0] = s.r
	s.c = dogpile.NewCache(s.r, &dogpile.CacheOptions[product]{Tags: func(key string) []string { return []string{"of " + key} }})
	return s
}

func (s *scene) get(t *testing.T, key string) {
	t.Helper()
	_, err := s.c.GetOrCreate(bg, key, func(context.Context) (product, error) { return product{"lamp", 42}, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// load asks for keys until the test ends.
func load(t *testing.T, c *dogpile.Cache[product], create func(context.Context) (product, error)) {
	ctx, cancel := context.WithCancel(bg)
	var clients sync.WaitGroup
	t.Cleanup(func() { cancel(); clients.Wait() })
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				_, _ = c.GetOrCreate(ctx, fmt.Sprint("product|", int(rand.ExpFloat64()*40)), create)
				time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
			}
		})
	}
}

// slowly creates as a database does that is far away, and fails now and then.
func slowly(ctx context.Context) (product, error) {
	time.Sleep(time.Duration(rand.ExpFloat64() * float64(30*time.Millisecond)))
	if rand.IntN(200) == 0 {
		return product{}, errors.New("shop.db: too many connections")
	}
	return product{"Desk lamp", rand.IntN(100)}, nil
}

// newShop is a dashboard over three regions under load: one with hooks, one without, and one
// whose server is down.
func newShop(t *testing.T, o dashboard.Options) *dashboard.Dashboard {
	t.Helper()
	o.Regions = make([]*dogpile.Region, 3)
	board := dashboard.New(&o)
	breaker := []func(driver.Backend) driver.Backend{proxy.Breaker(nil)}
	o.Regions[0] = newRegion(t, "products", newBackend(t), dogpile.Options{
		Expiration: 2 * time.Second, RefreshAhead: 0.9, Jitter: 0.1, Proxies: breaker, Hooks: board.Hooks(),
	})
	o.Regions[1] = newRegion(t, "pages", newBackend(t), dogpile.Options{Expiration: 10 * time.Second})
	down := newBackend(t)
	down.be(func(context.Context) error { return errors.New("dial tcp 10.0.0.7:6379: connection refused") })
	o.Regions[2] = newRegion(t, "prices", down, dogpile.Options{Expiration: time.Minute, Proxies: breaker, Hooks: board.Hooks()})
	for _, r := range o.Regions {
		load(t, dogpile.NewCache(r, &dogpile.CacheOptions[product]{Tags: func(key string) []string { return []string{key, "shop"} }}), slowly)
	}
	return board
}
