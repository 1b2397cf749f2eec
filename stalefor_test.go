package dogpile_test

import (
	"context"
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
