package redis_test

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
)

// Nothing connects before the first call: this server need not be there.
func ExampleOpen_laterConnection() {
	ctx := context.Background()
	backend, err := redis.Open(ctx, "redis://host:6379/0", nil) // makes a client, and owns it
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(backend.Close())
	// Output: <nil>
}

func ExampleNew_client() {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	backend, err := redis.New(client, nil) // a rueidis.Client, which stays open
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()
	show(backend)
	// Output: value <nil>
}
