package memory_test

import (
	"context"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

func ExampleNew() {
	b, err := memory.New(&memory.Options{MaxEntries: 100_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	ctx := context.Background()
	err = b.Set(ctx, []driver.Item{{Key: "user:42", Object: "Ann", TTL: time.Hour}})
	items := []driver.Item{{Key: "user:42"}, {Key: "user:43"}}
	fmt.Println(err, b.Get(ctx, items))
	fmt.Println(items[0].Object, items[1].Found(), b.Stats().Entries)
	// Output:
	// <nil> <nil>
	// Ann false 1
}

func ExampleNew_conflict() {
	_, err := memory.New(&memory.Options{MaxEntries: 1000, MaxBytes: 1 << 20})
	fmt.Println(err)
	// Output:
	// dogpile: memory: MaxEntries (max_entries) and MaxBytes (max_bytes) exclude each other
}

func Example_url() {
	b, err := driver.Open(context.Background(), "memory://?max_bytes=64MiB")
	fmt.Println(driver.CapsOf(b).Name, err)

	_, err = driver.Open(context.Background(), "memory://?max_entries=lots&max_size=1")
	fmt.Println(err)
	// Output:
	// memory <nil>
	// dogpile: open memory://: argument "max_entries" is not a whole number
	// argument "max_size" is unknown
}
