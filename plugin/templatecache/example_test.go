package templatecache_test

import (
	"context"
	"fmt"
	html "html/template"
	"os"
	"strings"
	text "text/template"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/templatecache"
)

func memoryRegions(names ...string) []*dogpile.Region {
	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	regions := make([]*dogpile.Region, len(names))
	for i, name := range names {
		regions[i] = dogpile.NewRegion(name)
		if err := regions[i].Configure(backend, nil); err != nil {
			panic(err)
		}
	}
	return regions
}

// The second page has the card that was made for the first one.
func ExampleBindHTML() {
	calls := 0
	functions := html.FuncMap{"expensive": func(name string) string { calls++; return strings.ToUpper(name) }}
	templates := html.Must(html.New("page").Funcs(functions).Funcs(templatecache.FuncMap()).Parse(
		`<h1>Shop</h1>{{cached .Ctx "cards" "card" .Product (cacheTimeout "5m")}}` +
			`{{define "card"}}<p>{{expensive .}}</p>{{end}}`))
	if _, err := templatecache.BindHTML(templates, &templatecache.Options{Regions: memoryRegions("cards")}); err != nil {
		panic(err)
	}
	for range 2 {
		data := map[string]any{"Ctx": context.Background(), "Product": "tea & biscuits"}
		if err := templates.Execute(os.Stdout, data); err != nil {
			panic(err)
		}
		fmt.Println()
	}
	fmt.Println(calls, "call")
	// Output:
	// <h1>Shop</h1><p>TEA &amp; BISCUITS</p>
	// <h1>Shop</h1><p>TEA &amp; BISCUITS</p>
	// 1 call
}

// Faults are found before any page is made.
func ExampleBindText() {
	templates := text.Must(text.New("mail").Funcs(templatecache.FuncMap()).Parse(
		`{{cached .Ctx "crads" "footer" nil (cacheTimeout "5 minutes")}}`))
	_, err := templatecache.BindText(templates, &templatecache.Options{Regions: memoryRegions("cards")})
	fmt.Println(err)
	// Output:
	// templatecache: mail:1:2: region "crads": not among Options.Regions, which are ["cards"]
	// templatecache: mail:1:2: template "footer": no such template
	// templatecache: mail:1:36: cacheTimeout "5 minutes": neither a duration like "1m30s" or "2d" nor a number of seconds
}

// productCard is the data of a card: the number of a product, which is loaded when there is
// a card to be made.
type productCard struct{ ID int }

func (c productCard) Load(ctx context.Context) (any, error) {
	return product.Call(ctx, c.ID) // a dogpile.Func, which tags its results
}

var (
	prices   = map[int]int{42: 3}
	products = dogpile.NewRegion("products")
	product  = dogpile.NewFunc(products, "product", func(ctx context.Context, id int) (int, error) {
		dogpile.Creation(ctx).Tag(ctx, fmt.Sprint("product:", id))
		return prices[id], nil
	}, nil)
)

// A card that loads its product carries the product's tags. Whoever changes the product
// need not know of the card.
func ExampleLoader() {
	regions := memoryRegions("cards")
	if err := products.Reconfigure(regions[0].Backend(), nil); err != nil {
		panic(err)
	}
	templates := html.Must(html.New("page").Funcs(templatecache.FuncMap()).Parse(
		`{{cached .Ctx "cards" "card" .Card}}{{define "card"}}costs {{.}}{{end}}`))
	if _, err := templatecache.BindHTML(templates, &templatecache.Options{Regions: regions}); err != nil {
		panic(err)
	}
	show := func() {
		var b strings.Builder
		err := templates.Execute(&b, map[string]any{"Ctx": context.Background(), "Card": productCard{42}})
		fmt.Println(b.String(), err)
	}
	show()
	prices[42] = 4
	show() // it is cached
	if err := products.InvalidateTags(context.Background(), dogpile.Hard, "product:42"); err != nil {
		panic(err)
	}
	show()
	// Output:
	// costs 3 <nil>
	// costs 3 <nil>
	// costs 4 <nil>
}

// In a fragment cached needs no context: it has that of the fragment around it.
func ExampleFragments() {
	templates := html.Must(html.New("page").Funcs(templatecache.FuncMap()).Parse(
		`{{cached .Ctx "cards" "list" .Names}}` +
			`{{define "list"}}<ul>{{range .}}{{cached nil "cards" "item" . (cacheTags "items")}}{{end}}</ul>{{end}}` +
			`{{define "item"}}<li>{{.}}{{end}}`))
	regions := memoryRegions("cards")
	if _, err := templatecache.BindHTML(templates, &templatecache.Options{Regions: regions}); err != nil {
		panic(err)
	}
	data := map[string]any{"Ctx": context.Background(), "Names": []string{"tea", "rye"}}
	for range 2 {
		if err := templates.Execute(os.Stdout, data); err != nil {
			panic(err)
		}
		fmt.Println(" after", regions[0].Stats().Creations, "creations")
		// The tag of the items is one of the list as well.
		if err := regions[0].InvalidateTags(context.Background(), dogpile.Hard, "items"); err != nil {
			panic(err)
		}
	}
	// Output:
	// <ul><li>tea<li>rye</ul> after 3 creations
	// <ul><li>tea<li>rye</ul> after 6 creations
}

// Fragments are entries like others, to be read, set and deleted.
func ExampleFragments_Key() {
	ctx := context.Background()
	templates := html.Must(html.New("page").Funcs(templatecache.FuncMap()).Parse(
		`{{cached .Ctx "cards" "card" . (cacheKey .ID .Lang)}}{{define "card"}}made for {{.Lang}}{{end}}`))
	regions := memoryRegions("cards")
	fragments, err := templatecache.BindHTML(templates, &templatecache.Options{Regions: regions})
	if err != nil {
		panic(err)
	}
	show := func() {
		if err := templates.Execute(os.Stdout, map[string]any{"Ctx": ctx, "ID": 42, "Lang": "en"}); err != nil {
			panic(err)
		}
		fmt.Println()
	}
	key, err := fragments.Key("card", 42, "en")
	if err != nil {
		panic(err)
	}
	cards := templatecache.View(regions[0])
	show()
	fmt.Println(cards.Get(ctx, key))
	fmt.Println(cards.Set(ctx, key, "<b>by hand</b>")) // HTML, escaped already
	show()
	fmt.Println(regions[0].Delete(ctx, key))
	show()
	_, err = fragments.Key("crad", 42)
	fmt.Println(err)
	// Output:
	// made for en
	// made for en true <nil>
	// <nil>
	// <b>by hand</b>
	// <nil>
	// made for en
	// templatecache: key of template "crad": no such template
}

// A fragment that is set by hand has the tags that the view names, which are
// those that the template names.
func ExampleView() {
	ctx := context.Background()
	templates := html.Must(html.New("page").Funcs(templatecache.FuncMap()).Parse(
		`{{cached .Ctx "cards" "menu" nil (cacheTags "menu")}}{{define "menu"}}made{{end}}`))
	regions := memoryRegions("cards")
	fragments, err := templatecache.BindHTML(templates, &templatecache.Options{Regions: regions})
	if err != nil {
		panic(err)
	}
	key, err := fragments.Key("menu", nil)
	if err != nil {
		panic(err)
	}
	show := func() {
		if err := templates.Execute(os.Stdout, map[string]any{"Ctx": ctx}); err != nil {
			panic(err)
		}
		fmt.Println()
	}
	fmt.Println(templatecache.View(regions[0], "menu").Set(ctx, key, "<b>by hand</b>"))
	show()
	fmt.Println(regions[0].InvalidateTags(ctx, dogpile.Hard, "menu"))
	show()
	// Output:
	// <nil>
	// <b>by hand</b>
	// <nil>
	// made
}

// Until they are bound, templates say what is missing.
func ExampleFuncMap() {
	templates := html.Must(html.New("page").Funcs(templatecache.FuncMap()).Parse(
		`{{cached .Ctx "cards" "card" .}}{{define "card"}}{{end}}`))
	fmt.Println(templates.Execute(os.Stdout, map[string]any{"Ctx": context.Background()}))
	// Output:
	// template: page:1:2: executing "page" at <cached .Ctx "cards" "card" .>: error calling cached: templatecache: the templates are not bound; see BindHTML and BindText
}
