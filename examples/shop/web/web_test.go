package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/examples/shop/catalog"
	"github.com/dogpile-go/dogpile/examples/shop/web"
)

// products is the catalog of all tests, as it takes a while to make one. Each test changes
// products of its own.
var products *catalog.Catalog

func TestMain(m *testing.M) {
	code, err := withDatabase(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withDatabase(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	db, err := catalog.Open(context.Background(), filepath.Join(dir, "shop.db"))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	products = catalog.New(db)
	return m.Run(), nil
}

// open returns a shop with an empty cache. Its regions are over one backend, as in main: else
// they would not share their tags.
func open(t *testing.T) http.Handler {
	t.Helper()
	backend, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, region := range []*dogpile.Region{catalog.Region, web.Region} {
		if err := region.Reconfigure(backend, &dogpile.Options{Expiration: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	return web.Handler(products)
}

func do(t *testing.T, shop http.Handler, request *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	response := httptest.NewRecorder()
	shop.ServeHTTP(response, request.WithContext(t.Context()))
	return response
}

func want(t *testing.T, shop http.Handler, status int, text, method, path, body string) {
	t.Helper()
	response := do(t, shop, httptest.NewRequest(method, path, strings.NewReader(body)))
	if response.Code != status || !strings.Contains(response.Body.String(), text) {
		t.Errorf("%s %s: %d, want %d and %q in\n%s", method, path, response.Code, status, text, response.Body)
	}
}

// submit sends the form on the page of a product.
func submit(t *testing.T, shop http.Handler, path, price string, header ...string) int {
	t.Helper()
	request := httptest.NewRequest("POST", path, strings.NewReader("price="+price))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return do(t, shop, request).Code
}

func TestPages(t *testing.T) {
	shop := open(t)
	for name, row := range map[string]struct {
		path   string
		status int
		text   string
	}{
		"home":                 {"/", 200, `<a href="/category/tea">tea</a>`},
		"a category":           {"/category/tea", 200, `<a href="/product/48">Yunnan tea</a>, 6.20 €`},
		"no such category":     {"/category/sand", 404, ""},
		"a product":            {"/product/48", 200, "<b>6.20 €</b>"},
		"what is bought along": {"/product/6", 200, "Java cocoa"},
		"no such product":      {"/product/4711", 404, ""},
		"no number":            {"/product/tea", 404, ""},
		"a product as JSON":    {"/api/products/48", 200, `{"id":48,"name":"Yunnan tea","category":"tea","cents":620}`},
		"none as JSON":         {"/api/products/4711", 404, ""},
		"statistics":           {"/stats", 200, `"queries":`},
		"no such page":         {"/nowhere", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // made, and from the cache
				want(t, shop, row.status, row.text, "GET", row.path, "")
			}
		})
	}
}

func TestPagesAndTheirPiecesAreCached(t *testing.T) {
	shop := open(t)
	want(t, shop, 200, "Brazil coffee", "GET", "/category/coffee", "")
	before, hits := products.Queries(), web.Region.Stats().Hits
	want(t, shop, 200, "Brazil coffee", "GET", "/category/coffee", "")
	if n := products.Queries() - before; n != 0 {
		t.Errorf("the second request took %d queries", n)
	}
	if n := web.Region.Stats().Hits - hits; n != 1 {
		t.Errorf("%d hits for the second request, want one, for the page", n)
	}
	// Another address of the same page is another page, of the same two pieces.
	hits = web.Region.Stats().Hits
	want(t, shop, 200, "Brazil coffee", "GET", "/category/coffee?from=mail", "")
	if n := products.Queries() - before; n != 0 {
		t.Errorf("the other page took %d queries", n)
	}
	if n := web.Region.Stats().Hits - hits; n != 2 {
		t.Errorf("%d pieces of the other page were cached, want 2", n)
	}
	uncached := web.Uncached(shop)
	for range 2 {
		before := products.Queries()
		want(t, uncached, 200, "Brazil coffee", "GET", "/category/coffee", "")
		if n := products.Queries() - before; n != 3 { // the categories, the list, its products
			t.Errorf("without the cache a request took %d queries, want 3", n)
		}
	}
}

func TestAChangedPriceIsOnAllPages(t *testing.T) {
	shop := open(t)
	pages := map[string]string{"/product/1": "<b>%s €</b>", "/category/cocoa": "Brazil cocoa</a>, %s €", "/product/34": "Brazil cocoa</a>, %s €"}
	for path, text := range pages {
		want(t, shop, 200, fmt.Sprintf(text, "5.10"), "GET", path, "")
	}
	if status := submit(t, shop, "/product/1", "5.55"); status != http.StatusSeeOther {
		t.Errorf("the form: %d", status)
	}
	defer func() { // the catalog is that of the other tests too
		if status := submit(t, shop, "/product/1", "5.10"); status != http.StatusSeeOther {
			t.Errorf("the form: %d", status)
		}
	}()
	for path, text := range pages {
		want(t, shop, 200, fmt.Sprintf(text, "5.55"), "GET", path, "")
	}
}

func TestNewAndRemovedProducts(t *testing.T) {
	shop := open(t)
	want(t, shop, 404, "", "GET", "/product/200", "")
	want(t, shop, 404, "", "GET", "/category/sugar", "")
	want(t, shop, 200, "", "PUT", "/api/products/200", `{"name": "Cuba sugar", "category": "sugar", "cents": 150}`)
	want(t, shop, 200, "1.50", "GET", "/product/200", "")
	want(t, shop, 200, "Cuba sugar", "GET", "/category/sugar", "")
	want(t, shop, 200, "/category/sugar", "GET", "/", "")
	want(t, shop, 204, "", "DELETE", "/api/products/200", "")
	want(t, shop, 404, "", "GET", "/product/200", "")
	want(t, shop, 404, "", "GET", "/category/sugar", "")
}

func TestNamesAreEscaped(t *testing.T) {
	shop := open(t)
	want(t, shop, 200, "", "PUT", "/api/products/201", `{"name": "</title><script>alert(1)</script>", "category": "a/b \"<i>", "cents": 100}`)
	t.Cleanup(func() {
		if err := products.Remove(context.Background(), 201); err != nil {
			t.Error(err)
		}
	})
	for _, path := range []string{"/product/201", "/category/a%2Fb%20%22%3Ci%3E"} {
		response := do(t, shop, httptest.NewRequest("GET", path, nil))
		if body := response.Body.String(); response.Code != 200 || strings.Contains(body, "<script>") || strings.Contains(body, "<i>") {
			t.Errorf("%s: %d\n%s", path, response.Code, body)
		}
	}
	want(t, shop, 200, `<a href="/category/a%2Fb%20%22%3Ci%3E">`, "GET", "/", "")
}

func TestBadRequests(t *testing.T) {
	shop := open(t)
	for name, body := range map[string]string{
		"no JSON": "tea", "no name": `{"category": "tea", "cents": 1}`, "no price": `{"name": "x", "category": "tea"}`,
		"a negative price": `{"name": "x", "category": "tea", "cents": -1}`, "too long": `{"name": "` + strings.Repeat("x", 20_000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) { want(t, shop, 400, "", "PUT", "/api/products/202", body) })
	}
	for _, price := range []string{"", "much", "-1", "0", "0.001", "NaN", "1e300"} {
		if status := submit(t, shop, "/product/2", price); status != http.StatusBadRequest {
			t.Errorf("the price %q: %d", price, status)
		}
	}
	if status := submit(t, shop, "/product/2", "1", "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("from another site: %d", status)
	}
	if status := submit(t, shop, "/product/4711", "1"); status != http.StatusNotFound {
		t.Errorf("a product that is not there: %d", status)
	}
}
