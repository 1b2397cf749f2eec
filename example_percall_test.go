package dogpile_test

import (
	"context"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile"
)

// A handler for administrators looks past the cache. What it calls knows nothing of that.
func ExampleBypass() {
	ctx := context.Background()
	prices := dogpile.NewCache[int](exampleRegion("bypass", nil), nil)
	price := 0
	load := func(ctx context.Context) (int, error) {
		return prices.GetOrCreate(ctx, "tea", func(context.Context) (int, error) {
			price++
			return price, nil
		})
	}
	fmt.Println(load(ctx))
	fmt.Println(load(dogpile.Bypass(ctx)))
	fmt.Println(load(ctx))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 1 <nil>
}

// A request with "Cache-Control: no-cache" renews what it finds, for all.
func ExampleRenew() {
	ctx := context.Background()
	prices := dogpile.NewCache[int](exampleRegion("renew", nil), nil)
	price := 0
	load := func(ctx context.Context) (int, error) {
		return prices.GetOrCreate(ctx, "tea", func(context.Context) (int, error) {
			price++
			return price, nil
		})
	}
	fmt.Println(load(ctx))
	fmt.Println(load(dogpile.Renew(ctx)))
	fmt.Println(load(ctx))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 2 <nil>
}

func ExampleNoStale() {
	ctx := context.Background()
	region := exampleRegion("nostale", &dogpile.Options{Runner: dogpile.Background})
	stock := dogpile.NewCache[int](region, nil)
	count := func(context.Context) (int, error) { return 7, nil }

	_ = stock.Set(ctx, "tea", 8)
	_ = region.Invalidate(ctx, dogpile.Soft)
	fmt.Println(stock.GetOrCreate(dogpile.NoStale(ctx), "tea", count))
	// Output: 7 <nil>
}

func ExampleCache_GetOrCreateEntry() {
	ctx := context.Background()
	pages := dogpile.NewCache[string](exampleRegion("entries", nil), nil)
	render := func(context.Context) (string, error) { return "<p>tea</p>", nil }
	for range 2 {
		page, err := pages.GetOrCreateEntry(ctx, "tea", render)
		if err != nil {
			panic(err)
		}
		fmt.Println(page.Value, page.State, page.From, page.Age() < time.Minute)
	}
	// Output:
	// <p>tea</p> fresh created true
	// <p>tea</p> fresh hit true
}
