package dogpile_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// Without a Logger the records go to slog.Default.
func ExampleOptions_logger() {
	ctx := context.Background()
	outage := proxy.Chaos(&proxy.ChaosOptions{Error: 1})
	untimed := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	region := exampleRegion("users", &dogpile.Options{
		Proxies: []func(driver.Backend) driver.Backend{outage},
		Logger:  slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: untimed})),
	})
	users := dogpile.NewCache[string](region, nil)
	for range 100 {
		_, err := users.GetOrCreate(ctx, "42", func(context.Context) (string, error) { return "Ann", nil })
		if err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(region.Close(ctx))
	// Output:
	// level=WARN msg="dogpile: get failed" region=users key=42 error="dogpile: get \"42\": proxy.Chaos made this call fail"
	// level=WARN msg="dogpile: get failed" region=users key=42 error="dogpile: get \"42\": proxy.Chaos made this call fail" left_out=98
	// <nil>
}
