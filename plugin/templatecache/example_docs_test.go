package templatecache_test

import (
	"context"
	"fmt"
	"html/template"
	"os"
	"testing/fstest"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

// What docs/templates.md shows.

var files = fstest.MapFS{"page.html": {Data: []byte(
	`{{define "page"}}{{cached .Ctx "cards" "card" .Card}}{{end}}{{define "card"}}<p>costs {{.}}</p>{{end}}`)}}

var cards = dogpile.NewRegion("cards")

var templates = template.Must(template.New("").
	Funcs(templatecache.FuncMap()). // before Parse
	ParseFS(files, "*.html"))

func Example() {
	ctx := context.Background()
	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	for _, region := range []*dogpile.Region{products, cards} {
		if err := region.Reconfigure(backend, nil); err != nil {
			panic(err)
		}
	}
	defer func(before int) { prices[42] = before }(prices[42])
	fragments, err := templatecache.BindHTML(templates, // BindText for text/template
		&templatecache.Options{Regions: []*dogpile.Region{cards}})
	if err != nil {
		panic(err)
	}
	show := func() {
		err := templates.ExecuteTemplate(os.Stdout, "page", map[string]any{"Ctx": ctx, "Card": productCard{42}})
		fmt.Println("", err)
	}
	show()
	prices[42] = 4
	err = products.InvalidateTags(ctx, dogpile.Soft, "product:42")
	fmt.Println(err)
	show()

	key, err := fragments.Key("card", productCard{42})
	if err != nil {
		panic(err)
	}
	view := templatecache.View(cards) // View(cards, "menu") for a call with (cacheTags "menu")
	html, ok, err := view.Get(ctx, key)
	fmt.Println(html, ok, err)
	err = view.Set(ctx, key, "<b>escaped already</b>")
	fmt.Println(err)
	show()
	err = cards.Delete(ctx, key)
	fmt.Println(err)
	show()
	// Output:
	// <p>costs 3</p> <nil>
	// <nil>
	// <p>costs 4</p> <nil>
	// <p>costs 4</p> true <nil>
	// <nil>
	// <b>escaped already</b> <nil>
	// <nil>
	// <p>costs 4</p> <nil>
}
