package dashboard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/dashboard"
)

// All regions of the program, under a path of its inner server, to look at and not to touch.
func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("/debug/dogpile/", http.StripPrefix("/debug/dogpile", dashboard.Handler(nil)))
	server := httptest.NewServer(mux)
	defer server.Close()

	res, err := http.Get(server.URL + "/debug/dogpile/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	res, err = http.PostForm(server.URL+"/debug/dogpile/region", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output:
	// 200 OK
	// 405 Method Not Allowed
}

// With its hooks in a region's options the dashboard knows the keys that are asked for most,
// how long creations take, and what has failed.
func ExampleNew() {
	board := dashboard.New(&dashboard.Options{Actions: true})
	backend, err := memory.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	region := dogpile.NewRegion("prices")
	if err := region.Configure(backend, &dogpile.Options{Hooks: dogpile.JoinHooks(board.Hooks())}); err != nil {
		fmt.Println(err)
		return
	}
	price := dogpile.NewFunc(region, "price", func(_ context.Context, id int) (int, error) { return 100 * id, nil }, nil)
	_, _ = price.Call(context.Background(), 42)

	server := httptest.NewServer(board)
	defer server.Close()
	res, err := http.Get(server.URL + "/region?region=prices")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	fmt.Println(err, strings.Contains(string(page), "price|42"))
	// Output:
	// <nil> true
}
