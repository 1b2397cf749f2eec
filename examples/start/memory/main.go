package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
)

var prices = map[string]int{"tea": 3} // stands for a database

// query is what takes long.
func query(_ context.Context, product string) (int, error) {
	time.Sleep(500 * time.Millisecond)
	fmt.Println("queried the price of", product)
	return prices[product], nil
}

// The cache, and the function with the cache before it.
var region = dogpile.NewRegion("shop")
var price = dogpile.NewFunc(region, "price", query, nil)

// ask has three callers ask at the same time.
func ask(ctx context.Context) {
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			p, err := price.Call(ctx, "tea")
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println("tea costs", p)
		})
	}
	callers.Wait()
}

func main() {
	ctx := context.Background()
	backend, err := memory.New(&memory.Options{MaxEntries: 10_000})
	if err != nil {
		log.Fatal(err)
	}
	err = region.Configure(backend, &dogpile.Options{
		Expiration: time.Second, // then an entry is stale
		StaleFor:   time.Minute, // so long it may be served nevertheless
	})
	if err != nil {
		log.Fatal(err)
	}
	defer region.Close(ctx)

	ask(ctx)
	fmt.Println("and again")
	ask(ctx)
	fmt.Println("the price rises, and the entry expires")
	prices["tea"] = 4
	time.Sleep(2 * time.Second)
	ask(ctx)
	fmt.Println("the price rises, and the entry is deleted")
	prices["tea"] = 5
	if err := price.Delete(ctx, "tea"); err != nil {
		log.Fatal(err)
	}
	ask(ctx)
}
