// Package catalog has the products of the shop. They are in a database, and there is a cache
// in front of it.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
)

// Region is the catalog's part of the cache. It belongs to this package, as the keys in it
// do. Where it keeps its entries, and for how long, is for main to say.
var Region = dogpile.NewRegion("products")

// ErrNotFound is the error of a product that is not there.
var ErrNotFound = errors.New("there is no such product")

// Product is a thing that the shop sells.
type Product struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Category string `json:"category"`
	Cents    int    `json:"cents"`
}

// Catalog is the products of a database. Its methods may be called from many goroutines.
type Catalog struct {
	db      *sql.DB
	queries atomic.Int64

	// The cached functions. What they cache is in queries.go.
	product    *dogpile.Func[int, Product]
	products   *dogpile.MultiFunc[int, Product]
	inCategory *dogpile.Func[string, []int]
	alsoBought *dogpile.Func[int, []int]
	categories *dogpile.Func0[[]string]
}

// New returns the catalog in a database that Open has opened. The caller closes db.
func New(db *sql.DB) *Catalog {
	c := &Catalog{db: db}
	options := &dogpile.CacheOptions[Product]{
		// That there is no such product is an answer too. If it were not kept, every request
		// for a product that was removed would go to the database.
		NotFound:    ErrNotFound,
		NotFoundFor: 10 * time.Second,
		// The entry "product|42" has the tag "product:42". So has everything that is made of
		// it, such as a page.
		Tags: func(key string) []string { return []string{strings.Replace(key, "|", ":", 1)} },
	}
	// These two have the same name, and so the same entries: a list finds the products that
	// somebody has looked at, and a product page those that were on a list.
	c.product = dogpile.NewFunc(Region, "product", c.selectProduct, options)
	c.products = dogpile.NewMultiFunc(Region, "product", c.selectProducts, options)
	c.inCategory = dogpile.NewFunc(Region, "category", c.selectInCategory, nil)
	c.categories = dogpile.NewFunc0(Region, "categories", c.selectCategories, nil)
	// This query is the slow one, and nobody minds if its result is an hour old.
	c.alsoBought = dogpile.NewFunc(Region, "also-bought", c.selectAlsoBought,
		&dogpile.CacheOptions[[]int]{Expiration: time.Hour})
	return c
}

// Product returns a product. The error is ErrNotFound if there is none.
func (c *Catalog) Product(ctx context.Context, id int) (Product, error) {
	return c.product.Call(ctx, id)
}

// InCategory returns the products of a category by name. There are none in a category that
// does not exist.
func (c *Catalog) InCategory(ctx context.Context, category string) ([]Product, error) {
	ids, err := c.inCategory.Call(ctx, category)
	if err != nil {
		return nil, err
	}
	return c.list(ctx, ids)
}

// AlsoBought returns up to four products: those that are bought most often along with
// product id.
func (c *Catalog) AlsoBought(ctx context.Context, id int) ([]Product, error) {
	ids, err := c.alsoBought.Call(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.list(ctx, ids)
}

// list returns the products with these numbers. The cache is asked for all of them at once,
// and the database, in one query, for those that are not there.
func (c *Catalog) list(ctx context.Context, ids []int) ([]Product, error) {
	found, err := c.products.Call(ctx, ids...)
	if err != nil {
		return nil, err
	}
	list := make([]Product, 0, len(ids))
	for _, id := range ids {
		if p, ok := found[id]; ok { // else it was removed a moment ago
			list = append(list, p)
		}
	}
	return list, nil
}

// Categories returns the names of all categories, in order.
func (c *Catalog) Categories(ctx context.Context) ([]string, error) {
	return c.categories.Call(ctx)
}

// Save stores a product, be it new or changed. When it has returned nobody is shown what was
// there before, in no process that shares the cache.
func (c *Catalog) Save(ctx context.Context, p Product) error {
	before, err := c.upsertProduct(ctx, p)
	if err != nil {
		return err
	}
	changed := []string{productTag(p.ID)}
	if before.Name != p.Name || before.Category != p.Category { // its place in the lists is another
		changed = append(changed, categoryTag(before.Category), categoryTag(p.Category), categoriesTag)
	}
	return c.invalidate(ctx, changed...)
}

// Remove removes a product. It is no error if there is none.
func (c *Catalog) Remove(ctx context.Context, id int) error {
	before, err := c.deleteProduct(ctx, id)
	if err != nil {
		return err
	}
	return c.invalidate(ctx, productTag(id), categoryTag(before.Category), categoriesTag)
}

// invalidate says that what the tags stand for has changed. It does not know what was made of
// that, and need not. The database has to be changed already: what is made between the two
// is then either made of the new data, or invalidated here.
func (c *Catalog) invalidate(ctx context.Context, tags ...string) error {
	// The change is in the database, and must not stay there alone because a client has
	// hung up.
	ctx = context.WithoutCancel(ctx)
	// With Soft, in place of Hard, people would be shown the old page while the new one is
	// being made. This shop does not want to show old prices, so they wait for it.
	return Region.InvalidateTags(ctx, dogpile.Hard, tags...)
}

// The tags. That of a product is made of its key, in New.
const categoriesTag = "categories"

func productTag(id int) string           { return "product:" + strconv.Itoa(id) }
func categoryTag(category string) string { return "category:" + category }
