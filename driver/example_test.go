package driver_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dogpile-go/dogpile/driver"
)

func ExampleRegister() {
	driver.Register("shelf", func(_ context.Context, args *driver.Args) (driver.Backend, error) {
		size, wait := args.Int("size", 100), args.Duration("timeout", 0)
		if err := args.Err(); err != nil {
			return nil, err
		}
		fmt.Println("a shelf for", size, "at", args.Hosts, "with a timeout of", wait)
		return plain{}, nil
	})

	ctx := context.Background()
	_, err := driver.Open(ctx, "shelf://user:secret@one,two:7000?size=4KiB&timeout=1.5")
	fmt.Println(err)
	_, err = driver.Open(ctx, "shelf://user:secret@one?size=large&colour=red")
	fmt.Println(err)
	// Output:
	// a shelf for 4096 at [one two:7000] with a timeout of 1.5s
	// <nil>
	// dogpile: open shelf://one: argument "colour" is unknown
	// argument "size" is not a whole number
}

func ExampleOpen() {
	_, err := driver.Open(context.Background(), "no-such-thing://user:secret@host")
	problem, _, _ := strings.Cut(err.Error(), ";") // the schemes that are known follow
	fmt.Println(problem)
	// Output: dogpile: unknown backend "no-such-thing" (forgotten import?)
}

func ExampleIsNil() {
	var none *counting // what a function returns together with an error, say
	backends := []driver.Backend{nil, none, &counting{}}
	for _, b := range backends {
		fmt.Println(b == nil, driver.IsNil(b))
	}
	// Output:
	// true true
	// false true
	// false false
}

// counting counts the keys that are asked for.
type counting struct {
	driver.Proxy
	gets atomic.Int64
}

func (c *counting) Get(ctx context.Context, items []driver.Item) error {
	c.gets.Add(int64(len(items)))
	return c.Proxy.Get(ctx, items)
}

func ExampleProxy() {
	var b driver.Backend = &counting{Proxy: driver.Proxy{Backend: plain{}}}
	b.Get(context.Background(), []driver.Item{{Key: "a"}, {Key: "b"}})
	b.Delete(context.Background(), []string{"a"}) // is forwarded

	c, _ := driver.As[*counting](b)
	fmt.Println(c.gets.Load())
	// Output: 2
}

// In settings: users.proxies = example-counting
func ExampleRegisterProxy() {
	driver.RegisterProxy("example-counting", func(b driver.Backend) driver.Backend {
		return &counting{Proxy: driver.Proxy{Backend: b}}
	})

	wrap, err := driver.ProxyNamed("example-counting")
	fmt.Printf("%T %v\n", wrap(plain{}), err)
	_, err = driver.ProxyNamed("example-conting")
	problem, _, _ := strings.Cut(err.Error(), ";") // the names that are known follow
	fmt.Println(problem)
	// Output:
	// *driver_test.counting <nil>
	// unknown proxy "example-conting" (forgotten import?)
}

func ExampleParseDuration() {
	for _, s := range []string{"1m30s", "1d12h", "90", "0.5", "never", "soon"} {
		fmt.Println(driver.ParseDuration(s))
	}
	// Output:
	// 1m30s <nil>
	// 36h0m0s <nil>
	// 1m30s <nil>
	// 500ms <nil>
	// -1ns <nil>
	// 0s neither a duration like "1m30s" or "2d" nor a number of seconds
}

func ExampleAs() {
	var b driver.Backend = &counting{Proxy: driver.Proxy{Backend: plain{}}}
	_, isPlain := driver.As[plain](b)
	_, isShelf := driver.As[interface{ Shelves() int }](b)
	fmt.Println(isPlain, isShelf)
	// Output: true false
}
