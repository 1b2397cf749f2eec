package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
)

// query is what takes long. The file stands for a database that all processes have.
func query(_ context.Context, product string) (string, error) {
	text, err := os.ReadFile(product + ".txt")
	time.Sleep(time.Second)
	fmt.Println("queried the price of", product)
	return strings.TrimSpace(string(text)), err
}

var region = dogpile.NewRegion("shop")
var price = dogpile.NewFunc(region, "price", query, nil)

func main() {
	ctx := context.Background()
	backend, err := redis.Open(ctx, os.Getenv("REDIS_URL"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	err = region.Configure(backend, &dogpile.Options{
		Expiration: 5 * time.Second,
		StaleFor:   time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer region.Close(ctx)

	if len(os.Args) > 1 { // there is a new price
		err := os.WriteFile("tea.txt", []byte(os.Args[1]), 0o600)
		if err == nil {
			err = price.Delete(ctx, "tea")
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	p, err := price.Call(ctx, "tea")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tea costs", p)
}
