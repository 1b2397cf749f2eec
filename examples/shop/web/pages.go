package web

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"

	"github.com/dogpile-go/dogpile/examples/shop/catalog"
)

//go:embed *.html
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"pathEscape": url.PathEscape, // html/template leaves a slash as it is
	"price":      func(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) },
	"cached": func(ctx context.Context, region, name string, data loader) (template.HTML, error) {
		return interim(ctx, name, data)
	},
}).ParseFS(files, "*.html"))

type loader interface {
	Load(context.Context) (any, error)
}

// page is what all pages are made of.
type page struct {
	Ctx   context.Context
	Title string
	Menu  menu

	Category   productsIn      // on the page of a category
	Product    catalog.Product // on the page of a product
	AlsoBought boughtWith      // on the page of a product
}

func (s *shop) newPage(r *http.Request, title string) page {
	return page{Ctx: r.Context(), Title: title, Menu: menu{s.catalog}}
}

// These are the pieces of pages that are worth to be cached. As data of a template, each says
// under which key its piece is kept, and loads what that is made of only when it is missing.
// The context that Load is given hands the tags of the products on to the piece.

type menu struct{ catalog *catalog.Catalog }

func (m menu) CacheKey() string                      { return "menu" }
func (m menu) Load(ctx context.Context) (any, error) { return m.catalog.Categories(ctx) }

type productsIn struct {
	catalog  *catalog.Catalog
	category string
}

func (l productsIn) CacheKey() string { return "category:" + l.category }
func (l productsIn) Load(ctx context.Context) (any, error) {
	products, err := l.catalog.InCategory(ctx, l.category)
	if err == nil && len(products) == 0 {
		err = catalog.ErrNotFound
	}
	return products, err
}

type boughtWith struct {
	catalog *catalog.Catalog
	id      int
}

func (l boughtWith) CacheKey() string                      { return fmt.Sprint("bought-with:", l.id) }
func (l boughtWith) Load(ctx context.Context) (any, error) { return l.catalog.AlsoBought(ctx, l.id) }

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	show(w, r, "home.html", s.newPage(r, "The shop"))
}

func (s *shop) category(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	p := s.newPage(r, name)
	p.Category = productsIn{s.catalog, name}
	show(w, r, "category.html", p)
}

func (s *shop) product(w http.ResponseWriter, r *http.Request) {
	product, err := s.lookUp(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	p := s.newPage(r, product.Name)
	p.Product, p.AlsoBought = product, boughtWith{s.catalog, product.ID}
	show(w, r, "product.html", p)
}

// show writes a page, or that it failed, but never half a page.
func show(w http.ResponseWriter, r *http.Request, name string, p page) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, p); err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = b.WriteTo(w) // an error is that the client has gone
}

var interim func(ctx context.Context, name string, data loader) (template.HTML, error)

func init() {
	interim = func(ctx context.Context, name string, data loader) (template.HTML, error) {
		v, err := data.Load(ctx)
		if err != nil {
			return "", err
		}
		var b bytes.Buffer
		err = templates.ExecuteTemplate(&b, name, v)
		return template.HTML(b.String()), err
	}
}
