package driver_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// A tool asks who holds a lease.
func ExampleHolders() {
	ctx := context.Background()
	var backend driver.Backend
	backend, _ = memory.New(nil)

	lease, _ := backend.(driver.Locker).TryLock(ctx, "report", time.Minute)
	tell := func() {
		// A proxy around it tells the same.
		h, held, err := driver.Proxy{Backend: backend}.Holder(ctx, "report")
		fmt.Println("held:", held, "by this process:", h.PID == os.Getpid(), err)
	}
	tell()
	_ = lease.Release(ctx)
	tell()
	fmt.Println(driver.Holder{Host: "web-1", PID: 4711, Since: time.Unix(1795335672, 0)})
	// Output:
	// held: true by this process: true <nil>
	// held: false by this process: false <nil>
	// process 4711 on "web-1" since 2026-11-22T08:21:12Z
}

// A tool lists what there is. The prefix is one, and no pattern.
func ExampleScanner() {
	ctx := context.Background()
	var backend driver.Backend
	backend, _ = memory.New(&memory.Options{Copy: true})
	_ = backend.Set(ctx, []driver.Item{{Key: "a*1", Data: []byte("12345")}, {Key: "ab1", Data: []byte("1")}})
	_, _ = backend.(driver.Locker).TryLock(ctx, "a*2", time.Hour)

	scanner, ok := driver.As[driver.Scanner](backend)
	fmt.Println(ok)
	err := scanner.Scan(ctx, "a*", func(f driver.Found) bool {
		if f.Holder != nil {
			fmt.Println("lease on", f.Key, "for another", f.TTL.Round(time.Minute))
		} else {
			fmt.Println("entry", f.Key, "of", f.Size, "bytes")
		}
		return true // go on
	})
	fmt.Println(err)
	// Unordered output:
	// true
	// entry a*1 of 5 bytes
	// lease on a*2 for another 1h0m0s
	// <nil>
}
