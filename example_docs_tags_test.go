package dogpile_test

import (
	"context"
	"fmt"

	"github.com/dogpile-go/dogpile"
)

// What docs/tags.md shows.

type productRow struct{ Price int }

// productTable is a database of products.
type productTable map[int]productRow

func (t productTable) Product(_ context.Context, id int) (productRow, error) { return t[id], nil }

// A page is made of a product, and goes with it.
func ExampleFunc_tags() {
	ctx := context.Background()
	products, pages := shopRegions()
	db := productTable{42: {Price: 3}}
	render := func(p productRow) string { return fmt.Sprint("tea costs ", p.Price) }

	product := dogpile.NewFunc(products, "product", func(ctx context.Context, id int) (productRow, error) {
		dogpile.Creation(ctx).Tag(ctx, fmt.Sprint("product:", id))
		return db.Product(ctx, id)
	}, nil)
	page := dogpile.NewFunc(pages, "page", func(ctx context.Context, id int) (string, error) {
		p, err := product.Call(ctx, id) // the page has the tag product:42 now
		return render(p), err
	}, nil)

	fmt.Println(page.Call(ctx, 42))
	db[42] = productRow{Price: 4}
	err := products.InvalidateTags(ctx, dogpile.Hard, "product:42")
	fmt.Println(err)
	fmt.Println(page.Call(ctx, 42))
	// Output:
	// tea costs 3 <nil>
	// <nil>
	// tea costs 4 <nil>
}
