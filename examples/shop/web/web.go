// Package web has the pages of the shop, and its products as JSON.
package web

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/examples/shop/catalog"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// Region is the part of the cache that has pages, and pieces of pages.
var Region = dogpile.NewRegion("pages")

// cacheable is the Cache-Control of what our own cache may keep for a minute, and for an hour
// while the shop has trouble. Browsers ask again each time: nobody can tell them that a price
// has changed.
const cacheable = "max-age=0, s-maxage=60, stale-if-error=3600"

// shop answers requests.
type shop struct{ catalog *catalog.Catalog }

// Handler returns what answers the requests of customers, and of the owner, who may change
// products. (A real shop would ask who it is.) It may serve any number of requests at once.
func Handler(c *catalog.Catalog) http.Handler {
	s := &shop{c}

	api := http.NewServeMux()
	api.HandleFunc("GET /api/products/{id}", s.getProduct)
	api.HandleFunc("PUT /api/products/{id}", s.putProduct)
	api.HandleFunc("DELETE /api/products/{id}", s.deleteProduct)

	site := http.NewServeMux()
	site.HandleFunc("GET /{$}", s.home)
	site.HandleFunc("GET /category/{name}", s.category)
	site.HandleFunc("GET /product/{id}", s.product)
	site.HandleFunc("POST /product/{id}", s.setPrice)
	site.HandleFunc("GET /stats", s.stats)
	site.Handle("/api/", api)

	// What says in its Cache-Control that it may be cached is. It goes with the products that
	// it was made of: it inherits their tags.
	cached := httpcache.Middleware(Region, nil)(site)

	// No page of another site can have the owner's browser change prices.
	return http.NewCrossOriginProtection().Handler(cached)
}

// Uncached returns h as it would be without a cache, to compare: each request asks the
// database.
func Uncached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(dogpile.Bypass(r.Context())))
	})
}

// setPrice is what the form on a product's page does.
func (s *shop) setPrice(w http.ResponseWriter, r *http.Request) {
	p, err := s.lookUp(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	price, err := strconv.ParseFloat(r.FormValue("price"), 64)
	if err != nil || !(price >= 0.01 && price < 1e6) {
		http.Error(w, "This is no price.", http.StatusBadRequest)
		return
	}
	p.Cents = int(math.Round(100 * price))
	if err := s.catalog.Save(r.Context(), p); err != nil {
		fail(w, r, err)
		return
	}
	http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
}

func (s *shop) getProduct(w http.ResponseWriter, r *http.Request) {
	p, err := s.lookUp(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", cacheable)
	writeJSON(w, p)
}

func (s *shop) putProduct(w http.ResponseWriter, r *http.Request) {
	var p catalog.Product
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 10_000)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := productID(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	p.ID = id
	if p.Name == "" || p.Category == "" || p.Cents <= 0 {
		http.Error(w, "A product has a name, a category and cents.", http.StatusBadRequest)
		return
	}
	if err := s.catalog.Save(r.Context(), p); err != nil {
		fail(w, r, err)
		return
	}
	writeJSON(w, p)
}

func (s *shop) deleteProduct(w http.ResponseWriter, r *http.Request) {
	id, err := productID(r)
	if err == nil {
		err = s.catalog.Remove(r.Context(), id)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Stats is what GET /stats answers.
type Stats struct {
	Queries  int64         `json:"queries"`  // that this process has sent to the database
	Products dogpile.Stats `json:"products"` // of the region of this name
	Pages    dogpile.Stats `json:"pages"`    // of the region of this name
}

func (s *shop) stats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, Stats{s.catalog.Queries(), catalog.Region.Stats(), Region.Stats()})
}

// lookUp returns the product that the path of a request names.
func (s *shop) lookUp(r *http.Request) (catalog.Product, error) {
	id, err := productID(r)
	if err != nil {
		return catalog.Product{}, err
	}
	return s.catalog.Product(r.Context(), id)
}

func productID(r *http.Request) (int, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return 0, catalog.ErrNotFound
	}
	return id, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error is that the client has gone
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, catalog.ErrNotFound) {
		http.NotFound(w, r)
		return
	}
	slog.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	http.Error(w, "Something went wrong.", http.StatusInternalServerError)
}
