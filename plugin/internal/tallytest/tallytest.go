// Package tallytest is a load of which every request, creation, wait and error is known, for the
// tests of what counts them.
package tallytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// Secret is in all keys of the load, in its tags, and in the texts of its errors.
const Secret = "s3cret"

// key returns a key that would do harm in a label that is not escaped.
func key(name string) string { return Secret + "\"}\n{\xff" + name }

// ErrOrigin is the error of creators and backends that fail.
var ErrOrigin = errors.New("no " + key("origin"))

// Want is what a load comes to: metrics by the names of design.md, without "dogpile.", the labels
// in the order of their names. A histogram is its count and its sum in seconds.
var Want = map[string]string{
	"requests{name=user,region=shop,result=hit}":       "5",
	"requests{name=user,region=shop,result=near_hit}":  "0",
	"requests{name=user,region=shop,result=stale}":     "2",
	"requests{name=user,region=shop,result=miss}":      "11",
	"misses{name=user,reason=absent,region=shop}":      "9",
	"misses{name=user,reason=expired,region=shop}":     "1",
	"misses{name=user,reason=invalidated,region=shop}": "1",

	"requests{name=page,region=shop,result=hit}":      "0",
	"requests{name=page,region=shop,result=near_hit}": "0",
	"requests{name=page,region=shop,result=stale}":    "0",
	"requests{name=page,region=shop,result=miss}":     "1",
	"misses{name=page,reason=tagged,region=shop}":     "1",

	"requests{name=,region=bytes,result=hit}":      "0",
	"requests{name=,region=bytes,result=near_hit}": "0",
	"requests{name=,region=bytes,result=stale}":    "0",
	"requests{name=,region=bytes,result=miss}":     "2",
	"misses{name=,reason=damaged,region=bytes}":    "1",
	"misses{name=,reason=unknown,region=bytes}":    "1",

	"creation.duration{name=user,outcome=ok,region=shop}":      "5 in 9s",
	"creation.duration{name=user,outcome=error,region=shop}":   "1 in 1s",
	"creation.duration{name=user,outcome=panic,region=shop}":   "1 in 500ms",
	"creation.duration{name=user,outcome=timeout,region=shop}": "1 in 10s",
	"creation.duration{name=,outcome=ok,region=bytes}":         "1 in 0s",
	"wait.duration{name=user,region=shop}":                     "2 in 4s",

	"leases.lost{region=shop}":       "1",
	"errors{op=decode,region=bytes}": "1",
	"errors{op=get,region=bytes}":    "1",
}

// failing is a backend whose Get can be made to fail, after a while.
type failing struct {
	driver.Proxy
	fails bool
}

// Get implements driver.Backend.
func (f *failing) Get(ctx context.Context, items []driver.Item) error {
	if f.fails {
		time.Sleep(200 * time.Millisecond)
		return ErrOrigin
	}
	return f.Proxy.Get(ctx, items)
}

type load struct {
	ctx         context.Context
	shop, bytes *dogpile.Region
	user, page  *dogpile.Cache[int]
	raw         *failing
	err         error
}

// Regions returns the regions of a load.
func Regions() (shop, bytes *dogpile.Region) {
	return dogpile.NewRegion("shop"), dogpile.NewRegion("bytes")
}

// Run runs the load, in a bubble of synctest, under ctx, and closes the regions. Both are over
// backends whose kind is "memory".
func Run(ctx context.Context, hooks *dogpile.Hooks, shop, bytes *dogpile.Region) error {
	l := &load{ctx: ctx, shop: shop, bytes: bytes}
	objects, err := memory.New(nil)
	if err != nil {
		return err
	}
	copies, err := memory.New(&memory.Options{Copy: true})
	if err != nil {
		return err
	}
	l.raw = &failing{Proxy: driver.Proxy{Backend: copies}}
	quiet := slog.New(slog.DiscardHandler)
	o := dogpile.Options{Expiration: time.Minute, CreateTimeout: 10 * time.Second, Hooks: hooks, Logger: quiet}
	if err := errors.Join(l.shop.Configure(objects, &o), l.bytes.Configure(l.raw, &o)); err != nil {
		return err
	}
	l.user = dogpile.NewCache(l.shop, &dogpile.CacheOptions[int]{Name: "user"})
	l.page = dogpile.NewCache(l.shop, &dogpile.CacheOptions[int]{Name: "page", Tags: func(string) []string { return []string{key("tag")} }})
	for _, step := range []func(){l.hits, l.stale, l.waits, l.failures, l.invalidations, l.lost, l.background, l.trouble} {
		if step(); l.err != nil {
			return l.err
		}
	}
	return errors.Join(shop.Close(ctx), bytes.Close(ctx))
}

func (l *load) check(what string, err, want error) {
	if l.err == nil && !errors.Is(err, want) {
		l.err = fmt.Errorf("%s: %v, want %v", what, err, want)
	}
}

func takes(d time.Duration, err error) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { time.Sleep(d); return 1, err }
}

func (l *load) get(name string, create func(context.Context) (int, error)) error {
	_, err := l.user.GetOrCreate(l.ctx, key(name), create)
	return err
}

// hits: one creation, four hits, and a miss without a creator.
func (l *load) hits() {
	l.check("the first", l.get("a", takes(time.Second, nil)), nil)
	for range 3 {
		l.check("a hit", l.get("a", takes(0, nil)), nil)
	}
	_, _, err := l.user.Get(l.ctx, key("a"))
	l.check("a hit", err, nil)
	_, _, err = l.user.Get(l.ctx, key("b"))
	l.check("a miss", err, nil)
}

// stale: an entry expires, one caller renews it, another is given it as it is.
func (l *load) stale() {
	time.Sleep(90 * time.Second)
	l.together(
		func() error { return l.get("a", takes(2*time.Second, nil)) },
		func() error { time.Sleep(time.Second); return l.get("a", takes(0, nil)) },
	)
}

// waits: two callers wait for a creation for two seconds each.
func (l *load) waits() {
	late := func() error { time.Sleep(time.Second); return l.get("w", takes(0, nil)) }
	l.together(func() error { return l.get("w", takes(3*time.Second, nil)) }, late, late)
}

func (l *load) together(calls ...func() error) {
	var wg sync.WaitGroup
	errs := make([]error, len(calls))
	for i, call := range calls {
		wg.Go(func() { errs[i] = call() })
	}
	wg.Wait()
	l.check("together", errors.Join(errs...), nil)
}

func (l *load) failures() {
	l.check("a creator fails", l.get("e", takes(time.Second, ErrOrigin)), ErrOrigin)
	err := l.get("p", func(context.Context) (int, error) { time.Sleep(time.Second / 2); panic(ErrOrigin) })
	if p := new(dogpile.PanicError); !errors.As(err, &p) {
		l.err = fmt.Errorf("a creator panics: %v", err)
	}
	err = l.get("t", func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	l.check("a creator hangs", err, dogpile.ErrCreateTimeout)
}

func (l *load) invalidations() {
	l.check("Set", l.page.Set(l.ctx, key("x"), 1), nil)
	l.check("InvalidateTags", l.shop.InvalidateTags(l.ctx, dogpile.Hard, key("tag")), nil)
	_, _, err := l.page.Get(l.ctx, key("x"))
	l.check("Get", err, nil)
	l.check("Invalidate", l.shop.Invalidate(l.ctx, dogpile.Hard), nil)
	_, _, err = l.user.Get(l.ctx, key("a"))
	l.check("Get", err, nil)
}

// lost: a key is deleted while its creator runs.
func (l *load) lost() {
	l.check("lost", l.get("l", func(ctx context.Context) (int, error) {
		time.Sleep(time.Second)
		return 1, l.user.Delete(ctx, key("l"))
	}), nil)
}

// background: an entry that has expired is renewed while its caller goes on.
func (l *load) background() {
	quick := l.shop.Options()
	quick.Runner = dogpile.Background
	l.check("Reconfigure", l.shop.Reconfigure(l.shop.Backend(), &quick), nil)
	l.check("Set", l.user.Set(l.ctx, key("g"), 1), nil)
	l.check("a hit", l.get("g", takes(0, nil)), nil)
	time.Sleep(90 * time.Second)
	l.check("stale", l.get("g", takes(2*time.Second, nil)), nil)
	time.Sleep(10 * time.Second)
}

// trouble: an entry that is no entry, and a backend that fails.
func (l *load) trouble() {
	c := dogpile.NewCache[int](l.bytes, nil)
	items := []driver.Item{{Key: "bytes:" + key("d"), Data: []byte("garbage " + key("d"))}}
	l.check("Set", l.raw.Set(l.ctx, items), nil)
	_, _, err := c.Get(l.ctx, key("d"))
	l.check("garbage", err, nil)
	l.raw.fails = true
	_, err = c.GetOrCreate(l.ctx, key("f"), takes(0, nil))
	l.check("without the backend", err, nil)
	_, _, err = c.Get(l.ctx, key("f"))
	l.check("Get", err, ErrOrigin)
	l.raw.fails = false
}
