package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// exampleRegion returns a region over a memory backend of its own.
func exampleRegion(name string, o *dogpile.Options) *dogpile.Region {
	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	region := dogpile.NewRegion(name)
	if err := region.Configure(backend, o); err != nil {
		panic(err)
	}
	return region
}

// A region is declared at package level, before there is a backend.
func ExampleRegion() {
	ctx := context.Background()
	region := dogpile.NewRegion("users")
	cache := dogpile.NewCache[string](region, nil)
	_, _, err := cache.Get(ctx, "42")
	fmt.Println(errors.Is(err, dogpile.ErrNotConfigured))

	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	if err := region.Configure(backend, &dogpile.Options{Expiration: time.Hour}); err != nil {
		panic(err)
	}
	defer region.Close(ctx)
	fmt.Println(cache.Set(ctx, "42", "Ann"))
	fmt.Println(cache.Get(ctx, "42"))
	// Output:
	// true
	// <nil>
	// Ann true <nil>
}

func ExampleRegion_ConfigureFrom() {
	settings := map[string]string{ // as a file or the environment has them
		"cache.backend":               "memory",
		"cache.arguments.max_entries": "1000",
		"cache.expiration":            "1h",
		"cache.stale_for":             "never",
		"log.level":                   "debug",
	}
	region := dogpile.NewRegion("users")
	fmt.Println(region.ConfigureFrom(context.Background(), settings, "cache."))
	fmt.Println(region.Configured())

	settings["cache.expiration"] = "an hour"
	settings["cache.expires"] = "1h"
	settings["cache.arguments.max_entries"] = "many"
	fmt.Println(dogpile.NewRegion("more").ConfigureFrom(context.Background(), settings, "cache."))
	// Output:
	// <nil>
	// true
	// dogpile: settings: cache.arguments.max_entries: argument "max_entries" is not a whole number
	// cache.expiration: neither a duration like "1m30s" or "2d" nor a number of seconds
	// cache.expires: is unknown
}

func ExampleConfigureAll() {
	users, rates := dogpile.NewRegion("users"), dogpile.NewRegion("rates")
	err := dogpile.ConfigureAll(context.Background(), map[string]string{
		"cache.users.backend":    "memory",
		"cache.rates.backend":    "memory",
		"cache.rates.expiration": "5m",
	}, "cache.", users, rates)
	fmt.Println(err, users.Configured(), rates.Configured())

	orders := dogpile.NewRegion("orders")
	err = dogpile.ConfigureAll(context.Background(), map[string]string{
		"cache.orders.jitter":  "half",
		"cache.odrers.backend": "memory",
	}, "cache.", orders)
	fmt.Println(err)
	// Output:
	// <nil> true true
	// dogpile: settings: cache.odrers.backend: belongs to no region
	// cache.orders.backend: is missing
	// cache.orders.jitter: is not a number
}

func ExampleRegion_Invalidate() {
	ctx := context.Background()
	region := exampleRegion("prices", nil)
	prices := dogpile.NewCache[int](region, nil)
	prices.Set(ctx, "tea", 42)
	show := func() {
		_, fresh, _ := prices.Get(ctx, "tea")
		entry, there, _ := prices.Peek(ctx, "tea")
		fmt.Println(fresh, there, entry.State)
	}
	show()
	region.Invalidate(ctx, dogpile.Soft) // is served until there is a new one
	show()
	region.Invalidate(ctx, dogpile.Hard) // is never served again
	show()
	// Output:
	// true true fresh
	// false true stale
	// false true invalidated
}

func ExampleCache_GetOrCreate() {
	ctx := context.Background()
	pages := dogpile.NewCache[string](exampleRegion("pages", nil), nil)
	render := func(context.Context) (string, error) {
		fmt.Println("rendering")
		return "<h1>Hello</h1>", nil
	}
	fmt.Println(pages.GetOrCreate(ctx, "/hello", render))
	fmt.Println(pages.GetOrCreate(ctx, "/hello", render))
	// Output:
	// rendering
	// <h1>Hello</h1> <nil>
	// <h1>Hello</h1> <nil>
}

func ExampleCache_GetOrCreateMulti() {
	ctx := context.Background()
	stock := dogpile.NewCache[int](exampleRegion("stock", nil), nil)
	stock.Set(ctx, "tea", 7)
	count := func(_ context.Context, missing []string) (map[string]int, error) {
		fmt.Println("counting", missing)
		return map[string]int{"coffee": 3, "cocoa": 0}, nil
	}
	fmt.Println(stock.GetOrCreateMulti(ctx, []string{"tea", "milk", "coffee", "cocoa"}, count))
	// Output:
	// counting [cocoa coffee milk]
	// map[cocoa:0 coffee:3 tea:7] <nil>
}

func ExampleFunc() {
	ctx := context.Background()
	square := dogpile.NewFunc(exampleRegion("math", nil), "square", func(_ context.Context, n int) (int, error) {
		fmt.Println("computing")
		return n * n, nil
	}, nil)
	fmt.Println(square.Call(ctx, 12))
	fmt.Println(square.Call(ctx, 12))
	fmt.Println(square.Key(12))
	square.Set(ctx, 145, 12)
	fmt.Println(square.Get(ctx, 12))
	fmt.Println(square.Refresh(ctx, 12))
	fmt.Println(square.Original(ctx, 13))
	// Output:
	// computing
	// 144 <nil>
	// 144 <nil>
	// square|12 <nil>
	// 145 true <nil>
	// computing
	// 144 <nil>
	// computing
	// 169 <nil>
}

func ExampleFunc2() {
	ctx := context.Background()
	convert := dogpile.NewFunc2(exampleRegion("money", nil), "convert", func(_ context.Context, amount int, to string) (string, error) {
		return fmt.Sprint(amount*2, " ", to), nil
	}, &dogpile.CacheOptions[string]{Expiration: time.Minute})
	fmt.Println(convert.Call(ctx, 21, "CHF"))
	fmt.Println(convert.Key(21, "CHF"))
	// Output:
	// 42 CHF <nil>
	// convert|21,CHF <nil>
}

func ExampleMultiFunc() {
	ctx := context.Background()
	names := dogpile.NewMultiFunc(exampleRegion("users", nil), "name", func(_ context.Context, ids []int) (map[int]string, error) {
		fmt.Println("asking for", ids)
		return map[int]string{1: "Ada", 2: "Bob"}, nil // nobody has the number 3
	}, nil)
	fmt.Println(names.Call(ctx, 1))
	fmt.Println(names.Call(ctx, 3, 2, 1))
	// Output:
	// asking for [1]
	// map[1:Ada] <nil>
	// asking for [2 3]
	// map[1:Ada 2:Bob] <nil>
}

func ExampleCreation() {
	ctx := context.Background()
	pages := dogpile.NewCache[string](exampleRegion("pages", nil), nil)

	// A value that says itself how long it lasts.
	pages.GetOrCreate(ctx, "weather", func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).ExpireIn(10 * time.Minute)
		return "sunny", nil
	})
	_, there, _ := pages.Get(ctx, "weather")
	fmt.Println("weather is cached:", there)

	// A value that is good for those who wait for it and for nobody else.
	pages.GetOrCreate(ctx, "draft", func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).NoStore()
		return "unfinished", nil
	})
	_, there, _ = pages.Get(ctx, "draft")
	fmt.Println("draft is cached:", there)

	// A value that may not have changed.
	fmt.Println(pages.Refresh(ctx, "weather", func(ctx context.Context) (string, error) {
		if previous, ok := dogpile.Previous[string](ctx); ok {
			return previous + ", still", nil
		}
		return "unknown", nil
	}))
	// Output:
	// weather is cached: true
	// draft is cached: false
	// sunny, still <nil>
}

func ExampleHooks() {
	ctx := context.Background()
	region := exampleRegion("pages", &dogpile.Options{Hooks: &dogpile.Hooks{
		Miss:   func(_ context.Context, e dogpile.Event) { fmt.Println("miss:", e.Key) },
		Hit:    func(_ context.Context, e dogpile.Event) { fmt.Println("hit:", e.Key) },
		Create: func(_ context.Context, e dogpile.Event) { fmt.Println("created:", e.Key, e.Duration > 0, e.Err) },
	}})
	pages := dogpile.NewCache[string](region, nil)
	create := func(context.Context) (string, error) { return "Hello", nil }
	pages.GetOrCreate(ctx, "/hello", create)
	pages.GetOrCreate(ctx, "/hello", create)
	// Output:
	// miss: /hello
	// created: /hello true <nil>
	// hit: /hello
}

func ExampleStats() {
	ctx := context.Background()
	region := exampleRegion("pages", nil)
	pages := dogpile.NewCache[string](region, nil)
	for range 10 {
		pages.GetOrCreate(ctx, "/hello", func(context.Context) (string, error) { return "Hello", nil })
	}
	s := region.Stats()
	fmt.Println(s.Hits, "hits,", s.Misses, "miss,", s.Creations, "creation")
	// Output: 9 hits, 1 miss, 1 creation
}

func ExampleOptions_staleIfError() {
	ctx := context.Background()
	rates := dogpile.NewCache[float64](exampleRegion("rates", &dogpile.Options{
		Expiration:   1, // a nanosecond: it has expired by the next call
		StaleIfError: time.Hour,
	}), nil)
	fmt.Println(rates.GetOrCreate(ctx, "EUR", func(context.Context) (float64, error) { return 1.25, nil }))
	fmt.Println(rates.GetOrCreate(ctx, "EUR", func(context.Context) (float64, error) { return 0, errors.New("origin is down") }))
	// Output:
	// 1.25 <nil>
	// 1.25 <nil>
}

func ExampleBackground() {
	ctx := context.Background()
	region := exampleRegion("rates", &dogpile.Options{
		Expiration: 1, // a nanosecond: it has expired by the next call
		StaleFor:   dogpile.Never,
		Runner:     dogpile.Background,
	})
	rates := dogpile.NewCache[int](region, nil)
	n := 0
	next := func(context.Context) (int, error) { n++; return n, nil }
	fmt.Println(rates.GetOrCreate(ctx, "EUR", next)) // there is nothing: waits
	fmt.Println(rates.GetOrCreate(ctx, "EUR", next)) // does not wait
	region.Close(ctx)                                // waits for the creation in the background
	fmt.Println(n, "creations")
	// Output:
	// 1 <nil>
	// 1 <nil>
	// 2 creations
}
