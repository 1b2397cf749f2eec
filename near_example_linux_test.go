package dogpile_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
)

// Two processes share a file, and each keeps copies of its entries. What one of them deletes
// the other does not return any more.
func ExampleNear() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "near")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var here, there dogpile.Region // each in a process of its own
	for _, region := range []*dogpile.Region{&here, &there} {
		backend, err := file.Open(ctx, filepath.Join(dir, "cache.db"), nil)
		if err == nil {
			defer backend.Close()
			err = region.Configure(backend, &dogpile.Options{
				Expiration: time.Hour,
				Near:       &dogpile.Near{MaxEntries: 10_000, Lag: time.Second},
			})
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	price := 100
	load := dogpile.NewFunc(&here, "price", func(_ context.Context, product int) (int, error) { return price, nil }, nil)
	for range 1000 {
		_, _ = load.Call(ctx, 42)
	}
	fmt.Println("most hits are on copies:", here.Stats().NearHits > 900)
	price = 120
	fmt.Println(there.Delete(ctx, "price|42"))
	fmt.Println(load.Call(ctx, 42))
	// Output:
	// most hits are on copies: true
	// <nil>
	// 120 <nil>
}
