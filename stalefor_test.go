package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestStaleForOfOneEntry: the creator says how long its value may be served when it is
// stale, whatever the region says, and for readers of all processes.
func TestStaleForOfOneEntry(t *testing.T) {
	for _, row := range []struct {
		name string
		o    dogpile.Options
		ask  time.Duration
		gone time.Duration // when it is missing; 0: never
	}{
		{"longer than the region's", dogpile.Options{Expiration: time.Minute}, time.Hour, time.Hour + time.Minute},
		{"shorter than the region's", dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour}, time.Second, time.Minute + time.Second},
		{"shorter than without bound", dogpile.Options{Expiration: time.Minute, StaleFor: dogpile.Never}, time.Second, time.Minute + time.Second},
		{"without bound", dogpile.Options{Expiration: time.Minute, StaleFor: time.Second}, dogpile.Never, 0},
		{"not at all", dogpile.Options{Expiration: time.Minute, StaleFor: time.Hour}, 0, time.Minute + time.Microsecond},
		{"less than not at all", dogpile.Options{Expiration: time.Minute}, -5, time.Minute + time.Microsecond},
	} {
		for _, bytes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/bytes %v", row.name, bytes), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					_, caches := processes[int](t, 2, newFake(t, like{bytes: bytes}), &row.o)
					_, _ = caches[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
						dogpile.Creation(ctx).StaleFor(row.ask)
						return 1, nil
					})
					_, _ = caches[0].GetOrCreateMulti(bg, []string{"j", "all"}, func(ctx context.Context, _ []string) (map[string]int, error) {
						dogpile.Creation(ctx).Key("j").StaleFor(row.ask)
						return map[string]int{"j": 1, "all": 1}, nil
					})
					want := func(found bool) {
						t.Helper()
						for _, key := range []string{"k", "j"} {
							if e, ok, err := caches[1].Peek(bg, key); ok != found || err != nil || ok && e.State != dogpile.Stale {
								t.Errorf("%s: %+v, %v, %v; want it found: %v", key, e, ok, err, found)
							}
						}
					}
					const moment = time.Microsecond
					last := 1000 * time.Hour
					if row.gone != 0 {
						last = row.gone - moment
					}
					if last > time.Minute {
						pass(last)
						want(true)
					} else {
						pass(last)
					}
					if row.gone != 0 {
						pass(2 * moment)
						want(false)
					}
				})
			})
		}
	}
}

func TestStaleForAndStaleIfError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour})
		_, _ = c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
			dogpile.Creation(ctx).StaleFor(0)
			return 1, nil
		})
		pass(time.Minute + time.Second)
		call := <-start(get(c, "k", (&creator[int]{takes: time.Second, err: errOrigin}).create))
		wantValue(t, "when the creator fails", call.v, call.err, 1)
		if call.took != time.Second {
			t.Errorf("the caller waited for %v, want it to wait for the creator", call.took)
		}
	})
}

// TestStaleIfErrorOfOneEntry: the creator says how long its value may stand in, and may be
// asked for as Previous, whatever the region says.
func TestStaleIfErrorOfOneEntry(t *testing.T) {
	for _, row := range []struct {
		name string
		o    dogpile.Options
		ask  time.Duration
		gone time.Duration // when it is missing; 0: never
	}{
		{"longer than the region's", dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}, 3 * time.Hour, 3*time.Hour + time.Minute},
		{"in a region without", dogpile.Options{Expiration: time.Minute}, time.Hour, time.Hour + time.Minute},
		{"shorter than the region's", dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}, 2 * time.Second, time.Minute + 2*time.Second},
		{"without bound", dogpile.Options{Expiration: time.Minute}, dogpile.Never, 0},
		{"not at all", dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour}, 0, time.Minute + time.Microsecond},
	} {
		for _, bytes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/bytes %v", row.name, bytes), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					_, caches := processes[int](t, 2, newFake(t, like{bytes: bytes}), &row.o)
					_, _ = caches[0].GetOrCreate(bg, "k", func(ctx context.Context) (int, error) {
						dogpile.Creation(ctx).StaleFor(0)
						dogpile.Creation(ctx).StaleIfError(row.ask)
						return 1, nil
					})
					fails := func(ctx context.Context) (int, error) {
						if v, ok := dogpile.Previous[int](ctx); !ok || v != 1 {
							t.Errorf("Previous = %v, %v", v, ok)
						}
						return 0, errOrigin
					}
					last := 1000 * time.Hour
					if row.gone != 0 {
						last = row.gone - time.Microsecond
					}
					if pass(last); last > time.Minute {
						e, err := caches[1].GetOrCreateEntry(bg, "k", fails)
						wantValue(t, "before it is gone", e.Value, err, 1)
						if e.From != dogpile.StoodIn {
							t.Errorf("it is from %v, want it to stand in", e.From)
						}
					}
					if row.gone != 0 {
						pass(2 * time.Microsecond)
						_, err := caches[1].GetOrCreate(bg, "k", func(context.Context) (int, error) { return 0, errOrigin })
						wantErr(t, "when it is gone", err, errOrigin)
					}
				})
			})
		}
	}
}

// TestStaleIfErrorOfOneKey: in a creation of several keys one may have a wish of its own.
func TestStaleIfErrorOfOneKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute})
		_, err := c.GetOrCreateMulti(bg, []string{"own", "all"}, func(ctx context.Context, _ []string) (map[string]int, error) {
			dogpile.Creation(ctx).StaleFor(0)
			dogpile.Creation(ctx).StaleIfError(time.Minute)
			dogpile.Creation(ctx).Key("own").StaleIfError(time.Hour)
			return map[string]int{"own": 1, "all": 1}, nil
		})
		wantErr(t, "GetOrCreateMulti", err, nil)
		pass(30 * time.Minute)
		fails := func(context.Context) (int, error) { return 0, errOrigin }
		v, err := c.GetOrCreate(bg, "own", fails)
		wantValue(t, "own", v, err, 1)
		_, err = c.GetOrCreate(bg, "all", fails)
		wantErr(t, "all", err, errOrigin)
	})
}

// TestWishesOutsideOfACreation: outside of a creation there is nobody to say it to.
func TestWishesOutsideOfACreation(t *testing.T) {
	dogpile.Creation(bg).StaleIfError(time.Hour)
	dogpile.Creation(bg).TagRead(bg, "tag")
}

func ExampleControl_StaleFor() {
	ctx := context.Background()
	region := exampleRegion("stalefor", &dogpile.Options{Expiration: time.Millisecond, StaleFor: time.Hour})
	prices := dogpile.NewCache[int](region, nil)
	price := 0
	for range 2 {
		fmt.Println(prices.GetOrCreate(ctx, "tea", func(ctx context.Context) (int, error) {
			dogpile.Creation(ctx).StaleFor(0) // an old price is worse than a slow page
			price++
			return price, nil
		}))
		time.Sleep(2 * time.Millisecond)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
}

func ExampleControl_StaleIfError() {
	ctx := context.Background()
	region := exampleRegion("staleiferror", &dogpile.Options{Expiration: time.Millisecond})
	rates := dogpile.NewCache[string](region, nil)
	for _, down := range []bool{false, true} {
		fmt.Println(rates.GetOrCreate(ctx, "EUR", func(ctx context.Context) (string, error) {
			if down {
				return "", errors.New("the bank is closed")
			}
			dogpile.Creation(ctx).StaleFor(0)
			dogpile.Creation(ctx).StaleIfError(24 * time.Hour) // yesterday's rate is better than none
			return "1.08", nil
		}))
		time.Sleep(2 * time.Millisecond)
	}
	// Output:
	// 1.08 <nil>
	// 1.08 <nil>
}
