package web

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/examples/shop/catalog"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

//go:embed *.html
var files embed.FS

var templates = parse()

func parse() *template.Template {
	t := template.New("").Funcs(templatecache.FuncMap()).Funcs(template.FuncMap{
		"pathEscape": url.PathEscape, // html/template leaves a slash as it is
		"price":      func(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) },
	})
	t = template.Must(t.ParseFS(files, "*.html"))
	// From here on {{cached}} works in the templates. It keeps what they make in Region.
	if _, err := templatecache.BindHTML(t, &templatecache.Options{Regions: []*dogpile.Region{Region}}); err != nil {
		panic(err)
	}
	return t
}

// page is what the templates of whole pages are executed with.
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
	p.Product = product
	p.AlsoBought = boughtWith{s.catalog, product.ID}
	show(w, r, "product.html", p)
}

// show writes a page, or that it could not be made, but never half a page.
func show(w http.ResponseWriter, r *http.Request, name string, p page) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, p); err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", cacheable)
	_, _ = b.WriteTo(w) // an error is that the client has gone
}
