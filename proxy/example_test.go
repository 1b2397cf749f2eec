package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

func ExampleCompress() {
	inner, err := memory.New(&memory.Options{MaxBytes: 64 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	b := proxy.Compress(&proxy.CompressOptions{Zstd: true})(inner)

	ctx := context.Background()
	page := strings.Repeat("<p>All work and no play makes Jack a dull boy.</p>\n", 100)
	err = b.Set(ctx, []driver.Item{{Key: "page", Data: []byte(page)}})

	stored, read := []driver.Item{{Key: "page"}}, []driver.Item{{Key: "page"}}
	fmt.Println(err, inner.Get(ctx, stored), b.Get(ctx, read))
	fmt.Println(len(page) > 5000, len(stored[0].Data) < 200, string(read[0].Data) == page)
	// Output:
	// <nil> <nil> <nil>
	// true true true
}

func ExampleLog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "took" {
				return slog.Attr{} // these differ from run to run
			}
			return a
		},
	}))
	inner, err := memory.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := proxy.Log(logger)(inner)

	ctx := context.Background()
	err = b.Set(ctx, []driver.Item{{Key: "user:42", Object: "Ann"}})
	err = errors.Join(err, b.Get(ctx, []driver.Item{{Key: "user:42"}, {Key: "user:43"}}))
	fmt.Println(err)
	// Output:
	// level=DEBUG msg="cache set" keys=[user:42] backend=memory
	// level=DEBUG msg="cache get" keys="[user:42 user:43]" found=1 backend=memory
	// <nil>
}

func ExampleChaos() {
	inner, err := memory.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Every third Get fails, every tenth Set hangs.
	b := proxy.Chaos(&proxy.ChaosOptions{Ops: proxy.OpSet, Hang: 0.1})(
		proxy.Chaos(&proxy.ChaosOptions{Ops: proxy.OpGet, Error: 1.0 / 3})(inner))

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	failed := 0
	for range 300 {
		if err := b.Get(ctx, []driver.Item{{Key: "k"}}); errors.Is(err, proxy.ErrChaos) {
			failed++
		}
	}
	fmt.Println(failed > 70, failed < 130)
	// Output:
	// true true
}

func ExampleBreaker() {
	inner, err := memory.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	// A backend whose every Get fails.
	sick := proxy.Chaos(&proxy.ChaosOptions{Ops: proxy.OpGet, Error: 1})(inner)
	b := proxy.Breaker(&proxy.BreakerOptions{Failures: 3, Cooldown: time.Minute})(sick)

	get := func() error { return b.Get(context.Background(), []driver.Item{{Key: "k"}}) }
	for range 3 {
		fmt.Println(get())
	}
	err = get()
	for !errors.Is(err, proxy.ErrOpen) { // a call that came after a pause, as the probe
		err = get()
	}
	// "the circuit breaker is open for 100ms because: proxy.Chaos made this call fail"
	fmt.Println(errors.Is(err, proxy.ErrOpen), errors.Is(err, proxy.ErrChaos))
	// Output:
	// proxy.Chaos made this call fail
	// proxy.Chaos made this call fail
	// proxy.Chaos made this call fail
	// true true
}
