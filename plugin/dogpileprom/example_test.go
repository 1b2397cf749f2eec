package dogpileprom_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
)

func Example() {
	metrics := dogpileprom.NewCollector()
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	registry.MustRegister(metrics)

	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	region := dogpile.NewRegion("shop")
	if err := region.Configure(backend, &dogpile.Options{Hooks: metrics.Hooks()}); err != nil {
		panic(err)
	}
	price := dogpile.NewFunc(region, "price", func(context.Context, int) (string, error) { return "5 €", nil }, nil)
	for range 3 {
		if _, err := price.Call(context.Background(), 42); err != nil {
			panic(err)
		}
	}

	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for lines := bufio.NewScanner(page.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "dogpile_requests_total") {
			fmt.Println(lines.Text())
		}
	}
	// Output:
	// dogpile_requests_total{name="price",region="shop",result="hit"} 2
	// dogpile_requests_total{name="price",region="shop",result="miss"} 1
	// dogpile_requests_total{name="price",region="shop",result="near_hit"} 0
	// dogpile_requests_total{name="price",region="shop",result="stale"} 0
}
