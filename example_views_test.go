package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

// A view with another expiration keeps everything else, and shares the entries.
func ExampleCache_With() {
	ctx := context.Background()
	region := exampleRegion("pages", nil)
	pages := dogpile.NewCache(region, &dogpile.CacheOptions[string]{
		Expiration:  time.Hour,
		ShouldCache: func(page string) bool { return page != "" },
	})
	news := pages.With(dogpile.CacheOptions[string]{Expiration: time.Minute})

	news.GetOrCreate(ctx, "front", func(context.Context) (string, error) { return "", nil })
	_, there, _ := news.Get(ctx, "front")
	fmt.Println("an empty page is cached:", there)
	pages.Set(ctx, "front", "headlines")
	fmt.Println(news.Get(ctx, "front"))
	// Output:
	// an empty page is cached: false
	// headlines true <nil>
}

// In a creation of several keys each may have an expiration of its own.
func ExampleControl_Key() {
	ctx := context.Background()
	prices := dogpile.NewCache[int](exampleRegion("prices", &dogpile.Options{Expiration: time.Hour}), nil)
	_, err := prices.GetOrCreateMulti(ctx, []string{"bread", "gold"}, func(ctx context.Context, missing []string) (map[string]int, error) {
		dogpile.Creation(ctx).Key("gold").NoStore() // it changes all the time
		return map[string]int{"bread": 3, "gold": 90}, nil
	})
	stored, _ := prices.GetMulti(ctx, []string{"bread", "gold"})
	fmt.Println(stored, err)
	// Output:
	// map[bread:3] <nil>
}

// Errors tell what failed, where and on which key; a creator's own are returned as they
// are.
func ExampleOpError() {
	ctx := context.Background()
	users := dogpile.NewCache[string](exampleRegion("users", nil), nil)
	_, err := users.GetOrCreate(ctx, "42", func(ctx context.Context) (string, error) {
		return users.GetOrCreate(ctx, "42", func(context.Context) (string, error) { return "", nil })
	})
	var op *dogpile.OpError
	if errors.As(err, &op) {
		fmt.Println(op.Region, op.Op, op.Key, errors.Is(err, dogpile.ErrRecursive), errors.Is(err, dogpile.ErrBackend))
	}
	fmt.Println(err)
	// Output:
	// users get 42 true false
	// dogpile: get "42": creator asks for the value it is creating
}

func ExampleRegion_String() {
	region := dogpile.NewRegion("users")
	fmt.Println(region)
	backend, _ := memory.New(nil)
	region.Configure(backend, &dogpile.Options{Expiration: time.Hour})
	fmt.Println(region)
	// Output:
	// region "users", not configured
	// region "users" over memory, expires after 1h0m0s
}
