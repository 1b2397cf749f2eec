package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	ctx := context.Background()

	path := filepath.Join(dir, "app.db")
	backend, err := file.Open(ctx, path, &file.Options{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()
	region := dogpile.NewRegion("users")
	fmt.Println(region.Configure(backend, &dogpile.Options{Expiration: time.Hour}))

	load := func(context.Context) (string, error) {
		fmt.Println("loading")
		return "Ann", nil
	}
	cache := dogpile.NewCache[string](region, nil)
	for range 2 {
		fmt.Println(cache.GetOrCreate(ctx, "42", load))
	}
	// Output:
	// <nil>
	// loading
	// Ann <nil>
	// Ann <nil>
}

func ExampleOpen_url() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	ctx := context.Background()

	backend, err := file.Open(ctx, "file://"+dir+"/app.db?max_bytes=1GiB&timeout=2s", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()
	c := driver.CapsOf(backend)
	fmt.Println(c.Name, c.Shared, c.Fenced, c.Timeout)

	_, err = driver.Open(ctx, "file://app.db?max_bytes=lots&size=1")
	fmt.Println(err)
	// Output:
	// file true true 2s
	// dogpile: open file://app.db: argument "max_bytes" is not a whole number
	// argument "size" is unknown
}

// Two processes, or as here two Backends, share entries and elect one creator.
func ExampleBackend_TryLock() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	ctx := context.Background()
	one, _ := file.Open(ctx, filepath.Join(dir, "app.db"), nil)
	defer one.Close()
	two, _ := file.Open(ctx, filepath.Join(dir, "app.db"), nil)
	defer two.Close()

	mine, _ := one.TryLock(ctx, "k", time.Minute)
	none, err := two.TryLock(ctx, "k", time.Minute)
	fmt.Println(mine != nil, none, err)

	items := []driver.Item{{Key: "k", Data: []byte("v"), Lease: mine}}
	fmt.Println(one.Set(ctx, items), items[0].Err)
	items = []driver.Item{{Key: "k"}}
	fmt.Println(two.Get(ctx, items), string(items[0].Data))
	// Output:
	// true <nil> <nil>
	// <nil> <nil>
	// <nil> v
}
