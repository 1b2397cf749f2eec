package httpcache_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

func newRegion(name string) *dogpile.Region {
	b, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	r := dogpile.NewRegion(name)
	if err := r.Configure(b, nil); err != nil {
		panic(err)
	}
	return r
}

// show prints what a client gets.
func show(site http.Handler, path string) {
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("GET", "http://shop.example"+path, nil))
	status, _, _ := strings.Cut(w.Header().Get("Cache-Status"), ";ttl")
	fmt.Println(w.Body, "-", status)
}

func Example() {
	pages := newRegion("pages")
	visits := 0
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
		visits++
		w.Header().Set("Cache-Control", "max-age=60, stale-while-revalidate=30, stale-if-error=3600")
		fmt.Fprint(w, "hello ", visits)
	})
	site := httpcache.Middleware(pages, nil)(mux)

	show(site, "/hello")
	show(site, "/hello")
	// Output:
	// hello 1 - pages;fwd=uri-miss;stored
	// hello 1 - pages;hit
}

func ExampleDelete() {
	ctx := context.Background()
	pages := newRegion("pages")
	price := 3
	site := httpcache.Middleware(pages, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		fmt.Fprint(w, "tea costs ", price)
	}))
	show(site, "/tea")
	price = 4
	fmt.Println(httpcache.Delete(ctx, pages, nil, "http://shop.example/tea"))
	show(site, "/tea")
	// Output:
	// tea costs 3 - pages;fwd=uri-miss;stored
	// <nil>
	// tea costs 4 - pages;fwd=uri-miss;stored
}

// A page goes with the product that it shows, though nobody has told the cache of pages.
func ExampleMiddleware_tags() {
	ctx := context.Background()
	pages := newRegion("pages")
	prices := map[int]int{42: 3}
	product := dogpile.NewFunc(pages, "price", func(ctx context.Context, id int) (int, error) {
		dogpile.Creation(ctx).Tag(ctx, fmt.Sprint("product:", id))
		return prices[id], nil
	}, nil)
	site := httpcache.Middleware(pages, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		price, err := product.Call(r.Context(), 42)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		fmt.Fprint(w, "tea costs ", price)
	}))
	show(site, "/tea")
	prices[42] = 4
	fmt.Println(pages.InvalidateTags(ctx, dogpile.Hard, "product:42"))
	show(site, "/tea")
	// Output:
	// tea costs 3 - pages;fwd=uri-miss;stored
	// <nil>
	// tea costs 4 - pages;fwd=uri-miss;stored
}

func ExampleOptions() {
	pages := newRegion("pages")
	o := &httpcache.Options{
		// Sessions are in the query here, and no page depends on them.
		Key:        func(r *http.Request) string { return r.Host + r.URL.Path },
		Expiration: time.Minute, // of what says nothing itself
		MaxBody:    64 << 10,
		Tags:       func(r *http.Request, _ http.Header) []string { return []string{"path:" + r.URL.Path} },
	}
	site := httpcache.Middleware(pages, o)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path)
	}))
	show(site, "/tea?session=1")
	show(site, "/tea?session=2")
	fmt.Println(pages.InvalidateTags(context.Background(), dogpile.Hard, "path:/tea"))
	show(site, "/tea?session=3")
	// Output:
	// /tea - pages;fwd=uri-miss;stored
	// /tea - pages;hit
	// <nil>
	// /tea - pages;fwd=uri-miss;stored
}
