package memcached_test

import (
	"context"
	"fmt"

	"github.com/dogpile-go/dogpile/backend/memcached"
)

// Nothing connects before the first call: these servers need not be there.
func ExampleOpen_weights() {
	ctx := context.Background()
	backend, err := memcached.Open(ctx, "memcached://host1:11211,host2*2/?hash=ketama", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()
	fmt.Println(backend.Shard("anchovy"))
	// Output: host2:11211
}

func ExampleNew_weights() {
	backend, err := memcached.New([]string{"host1:11211", "host2:11211*2"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()
	fmt.Println(backend.Shard("anchovy"))
	// Output: host2:11211
}
