package web

import (
	"context"
	"fmt"

	"github.com/dogpile-go/dogpile/examples/shop/catalog"
)

// The pieces of pages that are cached are made of these. Each of them says with CacheKey which
// piece it is. Its data is loaded only when the piece is not in the cache, with a context by
// which the piece gets the tags of what was loaded: a list goes with each product on it.
//
// The product on its own page is no such piece. Its name is needed for the title in any case,
// and to get the rest of it from the cache would take longer than to write it once more.

// menu is what all pages begin with.
type menu struct{ catalog *catalog.Catalog }

// CacheKey is the same for all pages.
func (menu) CacheKey() string { return "menu" }

// Load returns the names of all categories.
func (m menu) Load(ctx context.Context) (any, error) { return m.catalog.Categories(ctx) }

// productsIn is the list of a category.
type productsIn struct {
	catalog  *catalog.Catalog
	category string
}

// CacheKey names the category.
func (p productsIn) CacheKey() string { return "category:" + p.category }

// Load returns the products of the category; that there are none is [catalog.ErrNotFound].
func (p productsIn) Load(ctx context.Context) (any, error) {
	products, err := p.catalog.InCategory(ctx, p.category)
	if err == nil && len(products) == 0 {
		err = catalog.ErrNotFound
	}
	return products, err
}

// boughtWith is the list of what is bought along with a product.
type boughtWith struct {
	catalog *catalog.Catalog
	id      int
}

// CacheKey names the product.
func (b boughtWith) CacheKey() string { return fmt.Sprint("bought-with:", b.id) }

// Load returns products, which may be none.
func (b boughtWith) Load(ctx context.Context) (any, error) { return b.catalog.AlsoBought(ctx, b.id) }
