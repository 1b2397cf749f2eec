package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// outage is a backend that cannot be reached for a while.
type outage struct {
	driver.Proxy
	now atomic.Bool
}

func (o *outage) Delete(ctx context.Context, keys []string) error {
	if o.now.Load() {
		return errors.New("connection refused")
	}
	return o.Proxy.Delete(ctx, keys)
}

// A delete that fails in an outage is done when it is over. Until then this process does
// not return what was to be deleted.
func ExampleOptions_retryDeletes() {
	ctx := context.Background()
	m, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	backend := &outage{Proxy: driver.Proxy{Backend: m}}
	done := make(chan string)
	region := dogpile.NewRegion("users")
	err = region.Configure(backend, &dogpile.Options{
		RetryDeletes: 1000,
		Hooks: &dogpile.Hooks{Delete: func(_ context.Context, e dogpile.Event) {
			if e.Err == nil {
				done <- e.Key
			}
		}},
	})
	if err != nil {
		panic(err)
	}
	defer region.Close(ctx)
	names := dogpile.NewCache[string](region, nil)
	if err := names.Set(ctx, "42", "Ada"); err != nil {
		panic(err)
	}

	backend.now.Store(true)
	err = names.Delete(ctx, "42")
	fmt.Println(err)
	fmt.Println(errors.Is(err, dogpile.ErrPending), region.Stats().Pending)
	_, found, _ := names.Get(ctx, "42")
	fmt.Println(found)

	backend.now.Store(false)
	fmt.Println("deleted:", <-done)

	// Output:
	// dogpile: delete "42": connection refused; it is tried again until it is done
	// true 1
	// false
	// deleted: 42
}
