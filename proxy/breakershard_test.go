package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// farm is a backend of several servers. The first letter of a key names its
// server, each of which does as it is told.
type farm struct {
	mu      sync.Mutex
	ill     map[string]func(context.Context) error
	whole   bool // an item's error fails the call
	asked   []string
	deleted []string
}

func newFarm() *farm { return &farm{ill: make(map[string]func(context.Context) error)} }

func (f *farm) set(server string, do func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ill[server] = do
}

func (f *farm) Shard(key string) string { return key[:1] }

func (f *farm) ask(ctx context.Context, key string) error {
	f.mu.Lock()
	f.asked = append(f.asked, key)
	do := f.ill[f.Shard(key)]
	f.mu.Unlock()
	if do == nil {
		return ctx.Err()
	}
	return do(ctx)
}

// took returns what was asked for since the last time, sorted.
func (f *farm) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.asked)
	keys := strings.Join(f.asked, " ")
	f.asked = nil
	return keys
}

func (f *farm) Get(ctx context.Context, items []driver.Item) error {
	for i := range items {
		if err := f.ask(ctx, items[i].Key); err != nil {
			if f.whole {
				return err
			}
			items[i].Err = err
			continue
		}
		items[i].Data, items[i].TTL = []byte(items[i].Key), time.Minute
	}
	return nil
}

func (f *farm) Set(ctx context.Context, items []driver.Item) error {
	for i := range items {
		items[i].Err = f.ask(ctx, items[i].Key)
	}
	return nil
}

func (f *farm) Delete(ctx context.Context, keys []string) (err error) {
	for _, key := range keys {
		if e := f.ask(ctx, key); e != nil {
			err = e
			continue
		}
		f.mu.Lock()
		f.deleted = append(f.deleted, key)
		f.mu.Unlock()
	}
	return err
}

func (f *farm) TryLock(ctx context.Context, key string, _ time.Duration) (driver.Lease, error) {
	return nil, f.ask(ctx, key)
}
func (f *farm) Locked(ctx context.Context, key string) (bool, error) { return false, f.ask(ctx, key) }
func (f *farm) Wait(ctx context.Context, key string) error           { return f.ask(ctx, key) }
func (f *farm) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	return driver.Holder{}, false, f.ask(ctx, key)
}

var errNet = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}

func refuses(context.Context) error { return errNet }

// hangs is what a server does that is given up after a second.
func hangs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

func itemsOf(keys ...string) []driver.Item {
	items := make([]driver.Item, len(keys))
	for i, key := range keys {
		items[i] = driver.Item{Key: key}
	}
	return items
}

// opened returns a farm behind a breaker, through another proxy, whose server a is
// down and known to be.
func opened(t *testing.T) (*farm, driver.Backend) {
	f := newFarm()
	b := proxy.Breaker(&proxy.BreakerOptions{Failures: 3})(&driver.Proxy{Backend: f})
	f.set("a", refuses)
	for i := range 3 {
		items := itemsOf("a1", "b1", "c1")
		if err := b.Get(t.Context(), items); err != nil || items[0].Err != errNet || !items[1].Found() || !items[2].Found() {
			t.Fatalf("Get %d = %v, %+v", i, err, items)
		}
	}
	f.took()
	return f, b
}

func TestBreakerOfEachServerGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := opened(t)
		items := itemsOf("a1", "b1", "a2", "c1")
		if err := b.Get(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		for i, it := range items {
			if ill := it.Key[0] == 'a'; ill != errors.Is(it.Err, proxy.ErrOpen) || ill == it.Found() || !ill && it.TTL != time.Minute || it.Key != itemsOf("a1", "b1", "a2", "c1")[i].Key {
				t.Errorf("item %d = %+v", i, it)
			}
		}
		if asked := f.took(); asked != "b1 c1" {
			t.Errorf("asked for %s", asked)
		}
		if err := b.Get(t.Context(), itemsOf("a1", "a2")); !errors.Is(err, proxy.ErrOpen) || !strings.Contains(err.Error(), "is open for") {
			t.Errorf("Get of keys of that server alone = %v", err)
		}
	})
}

func TestBreakerOfEachServerSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := opened(t)
		items := itemsOf("b1", "a1", "c1")
		if err := b.Set(t.Context(), items); err != nil || items[0].Err != nil || !errors.Is(items[1].Err, proxy.ErrOpen) || items[2].Err != nil {
			t.Errorf("Set = %v, %+v", err, items)
		}
		if asked := f.took(); asked != "b1 c1" {
			t.Errorf("asked for %s", asked)
		}
	})
}

func TestBreakerOfEachServerDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := opened(t)
		if err := b.Delete(t.Context(), []string{"a1", "b1", "c1", "a2"}); !errors.Is(err, proxy.ErrOpen) {
			t.Errorf("Delete = %v", err)
		}
		if !slices.Equal(f.deleted, []string{"b1", "c1"}) {
			t.Errorf("deleted %v", f.deleted)
		}
		if err := b.Delete(t.Context(), []string{"b1", "c1"}); err != nil {
			t.Errorf("Delete of keys of the others = %v", err)
		}
		if err := b.Delete(t.Context(), []string{"a1"}); !errors.Is(err, proxy.ErrOpen) {
			t.Errorf("Delete of a key of that server alone = %v", err)
		}
	})
}

// Deletes have one error for all their keys. That of a server that fails does not
// open the breakers of the others, whose keys are removed meanwhile, and without
// waiting for it.
func TestBreakerOfEachServerIsBlamedForItsOwnDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		b := proxy.Breaker(nil)(f)
		f.set("a", hangs)
		for i := range 10 {
			f.deleted = nil
			if err := b.Delete(t.Context(), []string{"a1", "b1", "c1"}); err == nil {
				t.Errorf("Delete %d did not fail", i)
			}
			if !slices.Equal(f.deleted, []string{"b1", "c1"}) {
				t.Errorf("Delete %d removed %v", i, f.deleted)
			}
			if err := b.Delete(t.Context(), []string{"b2", "c2"}); err != nil {
				t.Errorf("Delete %d of keys of the others = %v", i, err)
			}
		}
	})
}

// Many Deletes over all servers that fail at the same moment, because of one of them,
// open its breaker and no other.
func TestBreakerOfEachServerAndDeletesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		b := proxy.Breaker(nil)(f)
		f.set("a", hangs)
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				if err := b.Delete(t.Context(), []string{fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("c", i)}); err == nil {
					t.Error("Delete did not fail")
				}
			})
		}
		all.Wait()
		for _, key := range []string{"b1", "c1"} {
			if err := b.Delete(t.Context(), []string{key}); err != nil {
				t.Errorf("Delete of %s, whose server is well = %v", key, err)
			}
		}
		time.Sleep(2010 * time.Millisecond) // a question in the background has 2 s
		if err := b.Delete(t.Context(), []string{"a1"}); !errors.Is(err, proxy.ErrOpen) {
			t.Errorf("Delete of the server that hangs = %v", err)
		}
	})
}

// A Delete takes no longer if several servers hang.
func TestBreakerOfEachServerDeletesOfSeveralThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		b := proxy.Breaker(nil)(f)
		for _, server := range []string{"a", "b", "c"} {
			f.set(server, hangs)
			_ = b.Delete(t.Context(), []string{server + "0"})
		}
		began := time.Now()
		err := b.Delete(t.Context(), []string{"a1", "b1", "c1", "d1"})
		if took := time.Since(began); took != time.Second || err == nil {
			t.Errorf("it took %v and returned %v", took, err)
		}
		f.set("b", func(context.Context) error { panic("bad") })
		defer func() {
			if p := recover(); p != "bad" {
				t.Errorf("the caller sees a panic of %v", p)
			}
		}()
		_ = b.Delete(t.Context(), []string{"a1", "b1", "c1"})
	})
}

// While no server may be asked, each item says so of its own.
func TestBreakerOfEachServerRefusesEachItemByItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		b := proxy.Breaker(&proxy.BreakerOptions{Failures: 1})(f)
		f.set("a", refuses)
		f.set("b", func(context.Context) error { return &net.OpError{Op: "read", Err: errors.New("reset")} })
		_ = b.Get(t.Context(), itemsOf("a1", "b1"))
		items := itemsOf("a1", "b1")
		if err := b.Get(t.Context(), items); !errors.Is(err, proxy.ErrOpen) {
			t.Errorf("Get = %v", err)
		}
		for i, cause := range []string{"connection refused", "reset"} {
			if err := items[i].Err; !errors.Is(err, proxy.ErrOpen) || !strings.Contains(err.Error(), cause) {
				t.Errorf("%s: %v", items[i].Key, err)
			}
		}
	})
}

func TestBreakerOfEachServerDeletesNameAllErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := opened(t)
		f.set("b", func(context.Context) error { return errSick })
		err := b.Delete(t.Context(), []string{"a1", "b1"})
		if !errors.Is(err, errSick) || !errors.Is(err, proxy.ErrOpen) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Delete = %v", err)
		}
	})
}

func TestBreakerOfEachServerLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, b := opened(t)
		l := b.(driver.Locker)
		for name, call := range map[string]func(key string) error{
			"TryLock": func(key string) error { _, err := l.TryLock(t.Context(), key, time.Second); return err },
			"Locked":  func(key string) error { _, err := l.Locked(t.Context(), key); return err },
			"Wait":    func(key string) error { return l.Wait(t.Context(), key) },
			"Holder":  func(key string) error { _, _, err := b.(driver.Holders).Holder(t.Context(), key); return err },
		} {
			if err := call("a1"); !errors.Is(err, proxy.ErrOpen) {
				t.Errorf("%s on the server that is down = %v", name, err)
			}
			if err := call("b1"); err != nil {
				t.Errorf("%s on another = %v", name, err)
			}
		}
		if asked := f.took(); asked != "b1 b1 b1 b1" {
			t.Errorf("asked for %s", asked)
		}
	})
}

// A part of a batch can be the probe of its server.
func TestBreakerOfEachServerProbesInBatches(t *testing.T) {
	for name, probe := range map[string]func(context.Context, driver.Backend) error{
		"Get": func(ctx context.Context, b driver.Backend) error {
			return b.Get(ctx, itemsOf("b1", "a1"))
		},
		"Set": func(ctx context.Context, b driver.Backend) error {
			return b.Set(ctx, itemsOf("b1", "a1"))
		},
		"Delete": func(ctx context.Context, b driver.Backend) error {
			return b.Delete(ctx, []string{"b1", "a1"})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, b := opened(t)
			time.Sleep(50 * time.Millisecond)
			_ = probe(t.Context(), b)
			if asked := f.took(); asked != "a1 b1" {
				t.Errorf("%s as a probe asked for %s", name, asked)
			}
			_ = probe(t.Context(), b)
			if asked := f.took(); asked != "b1" {
				t.Errorf("after a probe that failed %s asked for %s", name, asked)
			}
			time.Sleep(100 * time.Millisecond)
			f.set("a", func(context.Context) error { panic("boom") })
			func() {
				defer func() { _ = recover() }()
				_ = probe(t.Context(), b)
			}()
			time.Sleep(200 * time.Millisecond)
			f.set("a", nil)
			if err := errors.Join(probe(t.Context(), b), probe(t.Context(), b)); err != nil {
				t.Errorf("%s of a server that is well again = %v", name, err)
			}
		})
	}
}

// One server that hangs costs each of the first calls its time, and then no more.
func TestBreakerOfEachServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		b := proxy.Breaker(nil)(f)
		f.set("a", hangs)
		began := time.Now()
		for range 1000 {
			items := itemsOf("a1", "b1")
			if err := b.Get(t.Context(), items); err != nil || !items[1].Found() {
				t.Fatalf("Get = %v, %+v", err, items)
			}
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("1000 calls took %v, want 5 times 1 s", took)
		}
	})
}

func TestBreakerCountsErrorsOfItems(t *testing.T) {
	for _, row := range []struct {
		name  string
		err   error
		opens bool
	}{
		{"time-outs", fmt.Errorf("redis: %w", context.DeadlineExceeded), true},
		{"refused connections", errNet, true},
		{"servers that cannot serve", answer(true), true},
		{"servers that have answered", answer(false), false},
		{"lost leases", driver.ErrLeaseLost, false},
		{"damaged entries", driver.ErrCorrupt, false},
		{"what the backend cannot do", errors.ErrUnsupported, false},
		{"values that are too large", errors.New("value has 2 bytes, the server takes 1"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for op, call := range map[string]func(driver.Backend) ([]driver.Item, error){
				"Get": func(b driver.Backend) ([]driver.Item, error) {
					items := itemsOf("a1", "b1")
					return items, b.Get(t.Context(), items)
				},
				"Set": func(b driver.Backend) ([]driver.Item, error) {
					items := itemsOf("a1", "b1")
					return items, b.Set(t.Context(), items)
				},
			} {
				synctest.Test(t, func(t *testing.T) {
					f := newFarm()
					b := proxy.Breaker(nil)(f)
					f.set("a", func(context.Context) error { return row.err })
					var items []driver.Item
					for i := range 6 {
						var err error
						if items, err = call(b); err != nil || items[0].Err == nil {
							t.Errorf("%s %d = %v, %+v", op, i, err, items)
						}
					}
					if errors.Is(items[0].Err, proxy.ErrOpen) != row.opens {
						t.Errorf("the sixth %s has %v", op, items[0].Err)
					}
				})
			}
		})
	}
}

// Of a call that fails as a whole nobody knows which server it was, until each is
// asked.
func TestBreakerFindsOutWhoseFailureThatOfACallIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		f.whole = true
		b := proxy.Breaker(nil)(f)
		f.set("a", refuses)
		for range 5 {
			_ = b.Get(t.Context(), itemsOf("b1", "a1"))
		}
		synctest.Wait()
		for key, open := range map[string]bool{"a1": true, "b1": false, "c1": false} {
			if err := b.Get(t.Context(), itemsOf(key)); errors.Is(err, proxy.ErrOpen) != open {
				t.Errorf("Get of %s = %v", key, err)
			}
		}
	})
}

// Hasty callers of one server that hangs open its breaker alone, however short
// their deadlines.
func TestBreakerOfEachServerAndHaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm()
		b := proxy.Breaker(nil)(f)
		f.set("a", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		get := func(keys ...string) (items []driver.Item, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			items = itemsOf(keys...)
			return items, b.Get(ctx, items)
		}
		for range 60 {
			_, _ = get("b1", "a1")
		}
		items, err := get("b1", "a1")
		if err != nil || !items[0].Found() || !errors.Is(items[1].Err, proxy.ErrOpen) {
			t.Errorf("Get = %v, %+v", err, items)
		}
		if err := driver.Close(b); err != nil {
			t.Error(err)
		}
	})
}

func TestBreakerOfABackendThatIsWellAllocatesNothing(t *testing.T) {
	for _, n := range []int{1, 100} {
		b, items, ctx := proxy.Breaker(nil)(mute{}), make([]driver.Item, n), t.Context()
		keys := make([]string, n)
		for name, call := range map[string]func() error{
			"Get":    func() error { return b.Get(ctx, items) },
			"Set":    func() error { return b.Set(ctx, items) },
			"Delete": func() error { return b.Delete(ctx, keys) },
		} {
			if n := testing.AllocsPerRun(100, func() { _ = call() }); n != 0 {
				t.Errorf("%s of %d makes %v allocations", name, len(items), n)
			}
		}
	}
}

// mute is a backend that does nothing at all.
type mute struct{}

func (mute) Get(context.Context, []driver.Item) error { return nil }
func (mute) Set(context.Context, []driver.Item) error { return nil }
func (mute) Delete(context.Context, []string) error   { return nil }
