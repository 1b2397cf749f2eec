package dogpile_test

import (
	"context"
	"fmt"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// shopRegions are two regions over one backend: they share their tags.
func shopRegions() (products, pages *dogpile.Region) {
	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	products, pages = dogpile.NewRegion("products"), dogpile.NewRegion("pages")
	for _, r := range []*dogpile.Region{products, pages} {
		if err := r.Configure(backend, nil); err != nil {
			panic(err)
		}
	}
	return products, pages
}

// A page is made of a product. Whoever changes the product invalidates its tag, and need
// not know of the page.
func ExampleControl_Tag() {
	ctx := context.Background()
	products, pages := shopRegions()
	price := 3
	product := dogpile.NewFunc(products, "product", func(ctx context.Context, id int) (int, error) {
		// Before it reads what the tag stands for.
		dogpile.Creation(ctx).Tag(ctx, fmt.Sprint("product:", id))
		return price, nil
	}, nil)
	page := dogpile.NewFunc(pages, "page", func(ctx context.Context, id int) (string, error) {
		p, err := product.Call(ctx, id) // with the creation's context: the page inherits the tag
		return fmt.Sprintf("tea costs %d", p), err
	}, nil)

	fmt.Println(page.Call(ctx, 42))
	price = 4
	fmt.Println(page.Call(ctx, 42)) // it is cached
	if err := products.InvalidateTags(ctx, dogpile.Hard, "product:42"); err != nil {
		panic(err)
	}
	fmt.Println(page.Call(ctx, 42))
	// Output:
	// tea costs 3 <nil>
	// tea costs 3 <nil>
	// tea costs 4 <nil>
}

// A soft invalidation leaves something to show while one caller makes the new value.
func ExampleRegion_InvalidateTags() {
	ctx := context.Background()
	region, _ := shopRegions()
	menu := dogpile.NewCache[string](region, nil)
	create := func(ctx context.Context) (string, error) {
		dogpile.Creation(ctx).Tag(ctx, "menu", "kitchen")
		return "soup", nil
	}
	if _, err := menu.GetOrCreate(ctx, "today", create); err != nil {
		panic(err)
	}
	for _, mode := range []dogpile.Mode{dogpile.Soft, dogpile.Hard} {
		if err := region.InvalidateTags(ctx, mode, "kitchen"); err != nil {
			panic(err)
		}
		e, _, err := menu.Peek(ctx, "today")
		fmt.Println(e.Value, e.State, e.Tags, err)
	}
	// Output:
	// soup stale [menu kitchen] <nil>
	// soup invalidated [menu kitchen] <nil>
}

// Tags that follow from the key come with the entry in one round trip, and with a Set too.
func ExampleCacheOptions_tags() {
	ctx := context.Background()
	region, _ := shopRegions()
	users := dogpile.NewCache(region, &dogpile.CacheOptions[string]{
		Tags: func(key string) []string { return []string{"user:" + key, "users"} },
	})
	if err := users.SetMulti(ctx, map[string]string{"ann": "Ann", "ben": "Ben"}); err != nil {
		panic(err)
	}
	if err := region.InvalidateTags(ctx, dogpile.Hard, "user:ann"); err != nil {
		panic(err)
	}
	fmt.Println(users.GetMulti(ctx, []string{"ann", "ben"}))
	// Output:
	// map[ben:Ben] <nil>
}

// The creator of many keys tags each of them by itself.
func ExampleControl_Key_tag() {
	ctx := context.Background()
	region, _ := shopRegions()
	prices := dogpile.NewCache[int](region, nil)
	create := func(ctx context.Context, missing []string) (map[string]int, error) {
		all := make(map[string]int)
		for _, key := range missing {
			dogpile.Creation(ctx).Key(key).Tag(ctx, "product:"+key)
			all[key] = len(key)
		}
		return all, nil
	}
	if _, err := prices.GetOrCreateMulti(ctx, []string{"tea", "milk"}, create); err != nil {
		panic(err)
	}
	if err := region.InvalidateTags(ctx, dogpile.Hard, "product:tea"); err != nil {
		panic(err)
	}
	fmt.Println(prices.GetMulti(ctx, []string{"tea", "milk"}))
	// Output:
	// map[milk:4] <nil>
}
