package drivertest_test

import (
	"context"
	"sync/atomic"

	"github.com/dogpile-go/dogpile/driver"
)

// Counter counts the keys that are asked for.
type Counter struct {
	driver.Proxy
	gets atomic.Int64
}

// Counting wraps b.
func Counting(b driver.Backend) *Counter { return &Counter{Proxy: driver.Proxy{Backend: b}} }

func (c *Counter) Get(ctx context.Context, items []driver.Item) error {
	c.gets.Add(int64(len(items)))
	return c.Proxy.Get(ctx, items)
}

func init() {
	driver.RegisterProxy("counter", func(b driver.Backend) driver.Backend { return Counting(b) })
}
