package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile"
)

var errNoUser = errors.New("no such user")

// That there is no such user is kept like a user, but for a shorter time.
func ExampleCacheOptions_notFound() {
	ctx := context.Background()
	region := exampleRegion("notfound", &dogpile.Options{Expiration: time.Hour})
	users := dogpile.NewCache(region, &dogpile.CacheOptions[string]{NotFound: errNoUser, NotFoundFor: 5 * time.Second})
	for range 2 {
		_, err := users.GetOrCreate(ctx, "42", func(context.Context) (string, error) {
			fmt.Println("looking up 42")
			return "", fmt.Errorf("select: %w", errNoUser)
		})
		fmt.Println(err)
	}
	for range 2 {
		fmt.Println(users.GetOrCreateMulti(ctx, []string{"42", "43", "44"}, func(_ context.Context, ids []string) (map[string]string, error) {
			fmt.Println("looking up", ids)
			return map[string]string{"43": "Ann"}, nil // there is no 44
		}))
	}
	// Output:
	// looking up 42
	// no such user
	// no such user
	// looking up [43 44]
	// map[43:Ann] <nil>
	// map[43:Ann] <nil>
}

// Two versions of a program share a cache while one takes the place of the other.
func ExampleCacheOptions_schema() {
	ctx := context.Background()
	region := exampleRegion("schema", nil)
	type before struct{ Name string }
	type after struct{ First, Last string }
	old := dogpile.NewCache(region, &dogpile.CacheOptions[before]{Schema: "user/1"})
	users := dogpile.NewCache(region, &dogpile.CacheOptions[after]{Schema: "user/2"})

	fmt.Println(old.Set(ctx, "42", before{"Ann Lee"}))
	fmt.Println(users.GetOrCreate(ctx, "42", func(context.Context) (after, error) { return after{"Ann", "Lee"}, nil }))
	// Output:
	// <nil>
	// {Ann Lee} <nil>
}

func ExampleOptions_failFor() {
	ctx := context.Background()
	region := exampleRegion("failfor", &dogpile.Options{FailFor: time.Minute})
	prices := dogpile.NewCache[int](region, nil)
	calls := 0
	for range 1000 {
		_, _ = prices.GetOrCreate(ctx, "tea", func(context.Context) (int, error) {
			calls++
			return 0, errors.New("the database is down")
		})
	}
	fmt.Println(calls, "call")
	// Output: 1 call
}

// Nobody waits for a popular entry, not even when it is due.
func ExampleOptions_refreshAhead() {
	ctx := context.Background()
	region := exampleRegion("ahead", &dogpile.Options{Expiration: time.Hour, RefreshAhead: 0.0000001}) // so soon for the example
	prices := dogpile.NewCache[int](region, nil)
	renewed := make(chan struct{})
	_ = prices.Set(ctx, "tea", 7)
	time.Sleep(time.Millisecond)
	fmt.Println(prices.GetOrCreate(ctx, "tea", func(context.Context) (int, error) {
		defer close(renewed)
		return 8, nil
	}))
	<-renewed
	_ = region.Close(ctx) // waits for the value to be stored
	fmt.Println(region.Stats().Early, "creation ahead")
	// Output:
	// 7 <nil>
	// 1 creation ahead
}
