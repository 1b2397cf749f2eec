package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
)

// threeMethods has no leases and lists nothing.
type threeMethods struct{ driver.Backend }

// silent has leases, and tells of none who holds it.
type silent struct {
	driver.Backend
	driver.Locker
}

func (s silent) Caps() driver.Caps { return driver.CapsOf(s.Backend) }

// whileCreating calls f while a creator of key is at work.
func whileCreating(t *testing.T, r *dogpile.Region, key string, f func()) {
	t.Helper()
	c := dogpile.NewCache[string](r, nil)
	if _, err := c.GetOrCreate(t.Context(), key, func(context.Context) (string, error) {
		f()
		return "v", nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestHolderTellsWhoCreates(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	self := driver.Holder{Host: host[:min(len(host), 64)], PID: os.Getpid()}
	for name, tt := range map[string]struct {
		wrap func(*memory.Backend) driver.Backend
		o    *dogpile.Options
		want driver.Holder
	}{
		"memory":                    {func(b *memory.Backend) driver.Backend { return b }, nil, self},
		"through a proxy":           {func(b *memory.Backend) driver.Backend { return driver.Proxy{Backend: b} }, nil, self},
		"with keys that are hashed": {func(b *memory.Backend) driver.Backend { return b }, &dogpile.Options{Mangler: dogpile.SHA1}, self},
		"without leases":            {func(b *memory.Backend) driver.Backend { return threeMethods{b} }, nil, self},
		"leases of nobody":          {func(b *memory.Backend) driver.Backend { return silent{b, b} }, nil, driver.Holder{}},
		"leases of nobody, through a proxy": {func(b *memory.Backend) driver.Backend {
			return driver.Proxy{Backend: silent{b, b}}
		}, nil, driver.Holder{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegion(t, tt.wrap(newMemory(t)), tt.o)
			before := time.Now()
			whileCreating(t, r, "k", func() {
				h, held, err := r.Holder(t.Context(), "k")
				if tt.want != (driver.Holder{}) && (h.Since.Before(before) || h.Since.After(time.Now())) {
					t.Errorf("it holds since %v", h.Since)
				}
				if h.Since = (time.Time{}); h != tt.want || !held || err != nil {
					t.Errorf("Holder while creating = %+v, %v, %v, want %+v", h, held, err, tt.want)
				}
				if h, held, err := r.Holder(t.Context(), "other"); h != (driver.Holder{}) || held || err != nil {
					t.Errorf("Holder of another key = %+v, %v, %v", h, held, err)
				}
			})
			if h, held, err := r.Holder(t.Context(), "k"); h != (driver.Holder{}) || held || err != nil {
				t.Errorf("Holder when all is done = %+v, %v, %v", h, held, err)
			}
		})
	}
}

func TestErrorsOfHolderAndScan(t *testing.T) {
	t.Parallel()
	r := dogpile.NewRegion("r")
	all := func(driver.Found) bool { return true }
	_, _, err := r.Holder(bg, "k")
	wantErr(t, "Holder before Configure", err, dogpile.ErrNotConfigured)
	wantErr(t, "Scan before Configure", r.Scan(bg, all), dogpile.ErrNotConfigured)
	if _, _, err := newRegion(t, newMemory(t), nil).Holder(bg, "_lockk"); err == nil {
		t.Error("a reserved key has a holder")
	}
	failing := &troubled{driver.Proxy{Backend: newMemory(t)}}
	r = newRegion(t, failing, nil)
	_, _, err = r.Holder(bg, "k")
	var oe *dogpile.OpError
	if !errors.As(err, &oe) || !errors.Is(err, dogpile.ErrBackend) || !errors.Is(err, errBackend) || oe.Op != "holder" || oe.Key != "k" {
		t.Errorf("Holder where the backend fails = %v", err)
	}
	if err := r.Scan(bg, all); !errors.As(err, &oe) || !errors.Is(err, dogpile.ErrBackend) || !errors.Is(err, errBackend) || oe.Op != "scan" {
		t.Errorf("Scan where the backend fails = %v", err)
	}
	for _, b := range []driver.Backend{threeMethods{newMemory(t)}, driver.Proxy{Backend: threeMethods{newMemory(t)}}} {
		if err := newRegion(t, b, nil).Scan(bg, all); !errors.As(err, &oe) || !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, dogpile.ErrBackend) {
			t.Errorf("Scan over a backend that lists nothing = %v", err)
		}
	}
	none := newRegion(t, null.New(), nil)
	wantErr(t, "Scan over a backend that keeps nothing", none.Scan(bg, func(driver.Found) bool { t.Error("found something"); return false }), nil)
}

// troubled fails to tell anything.
type troubled struct{ driver.Proxy }

func (*troubled) Holder(context.Context, string) (h driver.Holder, held bool, err error) {
	return h, false, errBackend
}

func (*troubled) Scan(context.Context, string, func(driver.Found) bool) error { return errBackend }

// scanned returns the keys of entries and of leases that a region lists.
func scanned(t *testing.T, r *dogpile.Region) (entries, leases []string) {
	t.Helper()
	e, l := map[string]bool{}, map[string]bool{}
	if err := r.Scan(t.Context(), func(f driver.Found) bool {
		if f.Holder == nil {
			e[f.Key] = true
		} else {
			l[f.Key] = true
			if f.Holder.PID != os.Getpid() {
				t.Errorf("the lease on %q is held by %+v", f.Key, *f.Holder)
			}
		}
		return true
	}); err != nil {
		t.Errorf("Scan = %v", err)
	}
	return slices.Sorted(maps.Keys(e)), slices.Sorted(maps.Keys(l))
}

// TestScanGivesTheCallersKeys has two regions over one backend, tags, and invalidations,
// whose tokens are no entries.
func TestScanGivesTheCallersKeys(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long", 20)
	keys := []string{"1", "a b", "a*\n", "a:b", long}
	sha := func(prefix string, keys ...string) (sums []string) {
		for _, key := range keys {
			sums = append(sums, dogpile.SHA1(prefix+key))
		}
		return sums
	}
	for name, tt := range map[string]struct {
		o     dogpile.Options
		alone bool // the other region's keys cannot be told apart
		want  []string
		lease string
	}{
		"with a prefix":                       {dogpile.Options{}, false, keys, "lease"},
		"with an odd prefix":                  {dogpile.Options{Prefix: "a*[b]?\\:"}, false, keys, "lease"},
		"without one":                         {dogpile.Options{Prefix: dogpile.NoPrefix}, true, keys, "lease"},
		"with one behind":                     {dogpile.Options{Mangler: dogpile.Prefix("v2:")}, true, keys, "lease"},
		"with another mangler's prefix alone": {dogpile.Options{Prefix: dogpile.NoPrefix, Mangler: dogpile.Prefix("v2:")}, true, keys, "lease"},
		"with the same one twice":             {dogpile.Options{Prefix: "a:", Mangler: dogpile.Prefix("a:")}, true, keys, "lease"},
		"long ones are hashed":                {dogpile.Options{Mangler: dogpile.IfLonger(60, dogpile.SHA1)}, true, append(sha("users:", long), keys[:4]...), "lease"},
		"all hashed":                          {dogpile.Options{Mangler: dogpile.SHA1}, true, sha("users:", keys...), sha("users:", "lease")[0]},
		"kept by this process":                {dogpile.Options{Invalidator: &dogpile.LocalInvalidator{}}, false, keys, "lease"},
	} {
		for kind, wrap := range map[string]func(driver.Backend) driver.Backend{
			"memory": func(b driver.Backend) driver.Backend { return b },
			"shared": func(b driver.Backend) driver.Backend { return sharing{driver.Proxy{Backend: b}} },
			"no leases": func(b driver.Backend) driver.Backend {
				return listing{threeMethods{b}, b.(driver.Scanner)}
			},
		} {
			t.Run(name+" over "+kind, func(t *testing.T) {
				t.Parallel()
				b := wrap(newMemory(t))
				if !tt.alone {
					other := dogpile.NewRegion("orders")
					if err := other.Configure(b, nil); err != nil {
						t.Fatal(err)
					}
					if err := dogpile.NewCache[string](other, nil).Set(t.Context(), "1", "v"); err != nil {
						t.Fatal(err)
					}
				}
				r := dogpile.NewRegion("users")
				if err := r.Configure(b, &tt.o); err != nil {
					t.Fatal(err)
				}
				filled(t, r, keys, "t", long+long+long)
				want := slices.Sorted(slices.Values(tt.want))
				whileCreating(t, r, "lease", func() {
					entries, leases := scanned(t, r)
					if !slices.Equal(entries, want) || !slices.Equal(leases, []string{tt.lease}) {
						t.Errorf("it lists %q and leases on %q, want %q and %q", entries, leases, want, tt.lease)
					}
				})
			})
		}
	}
}

// filled stores keys with tags, in a region that was invalidated, as were its tags.
func filled(t *testing.T, r *dogpile.Region, keys []string, tags ...string) {
	t.Helper()
	c := dogpile.NewCache(r, &dogpile.CacheOptions[string]{Tags: func(string) []string { return tags }})
	err := errors.Join(r.Invalidate(t.Context(), dogpile.Soft), r.Invalidate(t.Context(), dogpile.Hard), r.InvalidateTags(t.Context(), dogpile.Soft, tags...))
	for _, key := range keys {
		err = errors.Join(err, c.Set(t.Context(), key, "v"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sharing is shared with other processes, as far as its region knows. Version tokens are in it.
type sharing struct{ driver.Proxy }

func (s sharing) Caps() driver.Caps {
	c := s.Proxy.Caps()
	c.Shared, c.Objects = true, false
	return c
}

// listing has no leases, and lists its entries.
type listing struct {
	driver.Backend
	driver.Scanner
}

func TestScanEnds(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(*memory.Backend) driver.Backend{
		"memory":    func(b *memory.Backend) driver.Backend { return b },
		"no leases": func(b *memory.Backend) driver.Backend { return listing{threeMethods{b}, b} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dogpile.NewRegion("users")
			if err := r.Configure(wrap(newMemory(t)), nil); err != nil {
				t.Fatal(err)
			}
			c := dogpile.NewCache[int](r, nil)
			for i := range 1000 {
				if err := c.Set(t.Context(), fmt.Sprint(i), i); err != nil {
					t.Fatal(err)
				}
			}
			whileCreating(t, r, "lease", func() {
				for stopAt := range 1001 {
					if stopAt%100 > 1 {
						continue
					}
					n := 0
					if err := r.Scan(t.Context(), func(driver.Found) bool { n++; return n <= stopAt }); err != nil || n != stopAt+1 {
						t.Errorf("found returned false in call %d, and was called %d times; Scan = %v", stopAt+1, n, err)
					}
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			if err := r.Scan(ctx, func(driver.Found) bool {
				if n++; n == 10 {
					cancel()
				}
				return true
			}); !errors.Is(err, context.Canceled) || n != 10 {
				t.Errorf("the context ended in call 10 of %d, and Scan = %v", n, err)
			}
			n = 0
			err := r.Scan(t.Context(), func(driver.Found) bool {
				if n++; n == 10 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					wantErr(t, "Close in the middle of a Scan", r.Close(ctx), nil)
				}
				return true
			})
			if !errors.Is(err, dogpile.ErrClosed) || n != 10 {
				t.Errorf("the region was closed in call 10 of %d, and Scan = %v", n, err)
			}
		})
	}
}

// A tool looks at who creates what.
func ExampleRegion_Holder() {
	ctx := context.Background()
	region := exampleRegion("reports", &dogpile.Options{Expiration: time.Hour})
	cache := dogpile.NewCache[string](region, nil)
	_, _ = cache.GetOrCreate(ctx, "march", func(context.Context) (string, error) {
		h, held, err := region.Holder(ctx, "march")
		fmt.Println(held, h.PID == os.Getpid(), time.Since(h.Since) < time.Minute, err)
		return "…", nil
	})
	_, held, err := region.Holder(ctx, "march")
	fmt.Println(held, err)
	// Output:
	// true true true <nil>
	// false <nil>
}

// A tool lists what a region has.
func ExampleRegion_Scan() {
	ctx := context.Background()
	region := exampleRegion("users", &dogpile.Options{Expiration: time.Hour})
	cache := dogpile.NewCache[string](region, nil)
	_ = cache.Set(ctx, "42", "Ann")
	_, _ = cache.GetOrCreate(ctx, "43", func(context.Context) (string, error) {
		var lines []string
		err := region.Scan(ctx, func(f driver.Found) bool {
			what := "entry"
			if f.Holder != nil {
				what = fmt.Sprintf("lease, of this process: %v", f.Holder.PID == os.Getpid())
			}
			lines = append(lines, f.Key+": "+what)
			return true
		})
		slices.Sort(lines)
		fmt.Println(strings.Join(lines, "\n"))
		fmt.Println(err)
		return "Bob", nil
	})
	// Output:
	// 42: entry
	// 43: lease, of this process: true
	// <nil>
}

// TestTheLogTellsWhoIsWaitedFor has two regions share entries, as two processes do.
func TestTheLogTellsWhoIsWaitedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration // the creation in the other region
		asks  func(ctx context.Context, c *dogpile.Cache[string], create func(context.Context) (string, error)) error
		want  []time.Duration
	}{
		"a lease that is renewed": {25 * time.Second, getOrCreateK, []time.Duration{10 * time.Second}},
		"a creation of several keys": {25 * time.Second, func(ctx context.Context, c *dogpile.Cache[string], create func(context.Context) (string, error)) error {
			_, err := c.GetOrCreateMulti(ctx, []string{"k"}, func(ctx context.Context, _ []string) (map[string]string, error) {
				v, err := create(ctx)
				return map[string]string{"k": v}, err
			})
			return err
		}, []time.Duration{10 * time.Second}},
		"a short creation": {9 * time.Second, getOrCreateK, nil},
		"a caller that leaves before, which the creation does not": {25 * time.Second, func(ctx context.Context, c *dogpile.Cache[string], create func(context.Context) (string, error)) error {
			ctx, cancel := context.WithTimeout(ctx, 9*time.Second)
			defer cancel()
			if err := getOrCreateK(ctx, c, create); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("the call = %w", err)
			}
			return nil
		}, []time.Duration{10 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, book := newMemory(t), newLogbook()
				other := newRegion(t, b, &dogpile.Options{Prefix: "p:", LockTTL: 10 * time.Second})
				this := newRegion(t, b, &dogpile.Options{Prefix: "p:", LockTTL: 10 * time.Second, Logger: slog.New(book)})
				done := make(chan error)
				whileCreating(t, other, "k", func() {
					go func() {
						done <- tt.asks(t.Context(), dogpile.NewCache[string](this, nil), func(context.Context) (string, error) {
							return "", errors.New("another creator")
						})
					}()
					time.Sleep(tt.takes)
				})
				if err := <-done; err != nil {
					t.Error(err)
				}
				synctest.Wait()
				records, _ := book.all()
				var at []time.Duration
				for _, r := range records {
					at = append(at, r.at)
					who, _ := r.attrs["holder"].(string)
					if !strings.HasPrefix(who, fmt.Sprintf("process %d on ", os.Getpid())) || r.attrs["key"] != "k" ||
						r.message != "dogpile: wait takes long" || r.level != slog.LevelWarn {
						t.Errorf("a record is %+v", r)
					}
				}
				if !slices.Equal(at, tt.want) {
					t.Errorf("there are records after %v, want %v", at, tt.want)
				}
				if n := this.Stats().Errors; n != 0 {
					t.Errorf("it counts as %d errors", n)
				}
			})
		})
	}
}

func getOrCreateK(ctx context.Context, c *dogpile.Cache[string], create func(context.Context) (string, error)) error {
	_, err := c.GetOrCreate(ctx, "k", create)
	return err
}

// TestTheLogTellsOfAWaitInParts: what one waits for changes hands, or is waited for together
// with other keys, of which some are freed before.
func TestTheLogTellsOfAWaitInParts(t *testing.T) {
	create := func(takes time.Duration, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			time.Sleep(takes)
			return "v", err
		}
	}
	multi := func(_ context.Context, keys []string) (map[string]string, error) {
		vals := make(map[string]string)
		for _, key := range keys {
			vals[key] = "v"
		}
		return vals, nil
	}
	for name, tt := range map[string]struct {
		others func(c *dogpile.Cache[string], b driver.Locker)
		keys   []string
		want   []time.Duration
	}{
		"three holders, one after the other": {func(_ *dogpile.Cache[string], b driver.Locker) {
			for range 3 {
				l, _ := b.TryLock(bg, "p:k", time.Minute)
				time.Sleep(9 * time.Second)
				_ = l.Release(bg)
				for l = nil; l == nil; { // the next holder is faster than the one who waits
					l, _ = b.TryLock(bg, "p:k", time.Minute)
				}
				_ = l.Release(bg)
			}
		}, []string{"k"}, []time.Duration{10 * time.Second}},
		"several keys, of which one is freed": {func(c *dogpile.Cache[string], _ driver.Locker) {
			go c.GetOrCreate(bg, "fails", create(9*time.Second, errors.New("no value")))
			_, _ = c.GetOrCreate(bg, "k", create(28*time.Second, nil))
		}, []string{"k", "fails"}, []time.Duration{10 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, book := newMemory(t), newLogbook()
				other := newRegion(t, b, &dogpile.Options{Prefix: "p:", Logger: slog.New(slog.DiscardHandler)})
				this := newRegion(t, b, &dogpile.Options{Prefix: "p:", LockTTL: 10 * time.Second, Logger: slog.New(book)})
				go tt.others(dogpile.NewCache[string](other, nil), b)
				synctest.Wait()
				vals, err := dogpile.NewCache[string](this, nil).GetOrCreateMulti(bg, tt.keys, multi)
				if len(vals) != len(tt.keys) || err != nil {
					t.Errorf("the call = %v, %v", vals, err)
				}
				synctest.Wait()
				records, _ := book.all()
				var at []time.Duration
				for _, r := range records {
					at = append(at, r.at.Round(time.Second))
				}
				if !slices.Equal(at, tt.want) {
					t.Errorf("there are records after %v, want %v", at, tt.want)
				}
			})
		})
	}
}

// impatient has leases for which nobody can wait.
type impatient struct{ *memory.Backend }

func (impatient) Wait(context.Context, string) error { panic("nobody can wait") }

// TestWatchEndsWhereWaitPanics: a Wait that panics must not keep the region from being closed.
func TestWatchEndsWhereWaitPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newMemory(t)
		r := dogpile.NewRegion("panics")
		wantErr(t, "Configure", r.Configure(impatient{b}, &dogpile.Options{Prefix: "p:", LockTTL: time.Hour}), nil)
		l, err := b.TryLock(bg, "p:k", time.Minute)
		if l == nil {
			t.Fatal(err)
		}
		_, err = dogpile.NewCache[int](r, nil).GetOrCreate(bg, "k", func(context.Context) (int, error) { return 1, nil })
		if !strings.Contains(fmt.Sprint(err), "nobody can wait") {
			t.Errorf("GetOrCreate = %v", err)
		}
		wantErr(t, "Release", l.Release(bg), nil)
		began := time.Now()
		wantErr(t, "Reconfigure", r.Reconfigure(newMemory(t), nil), nil)
		wantErr(t, "Close", r.Close(bg), nil)
		synctest.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}
