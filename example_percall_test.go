package dogpile_test

import (
	"context"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile"
)

// A handler for administrators lets them look past the cache, or renew what is in it.
func ExampleRenew() {
	prices := dogpile.NewCache[int](exampleRegion("renew", nil), nil)
	price := 0
	load := func(ctx context.Context) { // knows nothing of what its caller asks for
		fmt.Println(prices.GetOrCreate(ctx, "tea", func(context.Context) (int, error) {
			price++
			return price, nil
		}))
	}
	ctx := context.Background()
	load(ctx)
	load(dogpile.Bypass(ctx))
	load(ctx)
	load(dogpile.Renew(ctx))
	load(ctx)
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 1 <nil>
	// 3 <nil>
	// 3 <nil>
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
