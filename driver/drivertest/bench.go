package drivertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Bench measures the backend that open makes, one sub-benchmark for each kind
// of call: Get of one key that is there and of one that is not, Set of one,
// Get of a batch of 100, and, with Caps.Locks, TryLock and Release. Values are
// 100 bytes. The backend is closed at the end.
func Bench(b *testing.B, open func(b *testing.B) driver.Backend) {
	be := open(b)
	e := newEnv(b, func() driver.Backend { return be }, &Options{}, false)
	value := noise(100)
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = e.key(fmt.Sprint("k", i))
		e.set(item(keys[i], value))
	}
	check := func(b *testing.B, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	gets := func(name string, keys []string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			items := make([]driver.Item, len(keys))
			for b.Loop() {
				for i, key := range keys {
					items[i] = driver.Item{Key: key}
				}
				check(b, be.Get(b.Context(), items))
			}
		})
	}
	gets("get hit", keys[:1])
	gets("get miss", []string{e.key("missing")})
	gets("get 100", keys)
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		items := make([]driver.Item, 1)
		for b.Loop() {
			items[0] = item(keys[0], value)
			check(b, be.Set(b.Context(), items))
		}
	})
	if !driver.CapsOf(be).Locks {
		return
	}
	b.Run("try and release", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l, err := be.(driver.Locker).TryLock(b.Context(), keys[0], time.Minute)
			check(b, err)
			check(b, l.Release(b.Context()))
		}
	})
}
