package catalog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dogpiletest"
	"github.com/dogpile-go/dogpile/examples/shop/catalog"
)

// filled is a database as Open makes it, in a file. Making one takes a while.
var filled = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "shop.db")
	db, err := catalog.Open(context.Background(), file)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// open returns a catalog with a database of its own, and an empty cache in memory in the
// place of the one that main would configure.
func open(t *testing.T) *catalog.Catalog {
	t.Helper()
	content, err := filled()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "shop.db")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := catalog.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	dogpiletest.Swap(t, catalog.Region, &dogpile.Options{Expiration: time.Hour})
	return catalog.New(db)
}

// wantQueries checks how many queries something takes.
func wantQueries(t *testing.T, c *catalog.Catalog, want int64, what string, do func()) {
	t.Helper()
	before := c.Queries()
	do()
	if got := c.Queries() - before; got != want {
		t.Errorf("%s: %d queries, want %d", what, got, want)
	}
}

func mustProduct(t *testing.T, c *catalog.Catalog, id int) catalog.Product {
	t.Helper()
	p, err := c.Product(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustSave(t *testing.T, c *catalog.Catalog, p catalog.Product) {
	t.Helper()
	if err := c.Save(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func mustList(t *testing.T, c *catalog.Catalog, category string) []catalog.Product {
	t.Helper()
	list, err := c.InCategory(t.Context(), category)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAStampedeIsOneQuery(t *testing.T) {
	c := open(t)
	wantQueries(t, c, 2, "one for the numbers, one for the products", func() {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if list, err := c.AlsoBought(t.Context(), 42); err != nil || len(list) != 4 {
					t.Errorf("AlsoBought = %v, %v", list, err)
				}
			})
		}
		all.Wait()
	})
}

func TestListsAndProductsShareEntries(t *testing.T) {
	c := open(t)
	var teas []catalog.Product
	wantQueries(t, c, 2, "a list", func() { teas = mustList(t, c, "tea") })
	if len(teas) != 12 || teas[0].Name != "Brazil tea" || teas[11].Name != "Yunnan tea" {
		t.Errorf("the list is %v", teas)
	}
	wantQueries(t, c, 0, "a product of the list", func() {
		if p := mustProduct(t, c, teas[3].ID); p != teas[3] {
			t.Errorf("the product is %v, and %v on the list", p, teas[3])
		}
	})
}

func TestNotFoundIsKept(t *testing.T) {
	c := open(t)
	wantQueries(t, c, 1, "a product that is not there", func() {
		for range 10 {
			if _, err := c.Product(t.Context(), 999); !errors.Is(err, catalog.ErrNotFound) {
				t.Errorf("Product = %v", err)
			}
		}
	})
	added := catalog.Product{ID: 999, Name: "Assam tea", Category: "tea", Cents: 610}
	mustSave(t, c, added)
	if p := mustProduct(t, c, 999); p != added {
		t.Errorf("once it is there: %v", p)
	}
}

func TestAChangeIsSeenWhereverItShows(t *testing.T) {
	c := open(t)
	p := mustList(t, c, "tea")[0]
	also, err := c.AlsoBought(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.Cents++
	also[2].Cents++
	mustSave(t, c, p)
	mustSave(t, c, also[2])
	if got := mustProduct(t, c, p.ID); got != p {
		t.Errorf("the product is %v, want %v", got, p)
	}
	if got := mustList(t, c, "tea")[0]; got != p {
		t.Errorf("on the list it is %v, want %v", got, p)
	}
	if got, err := c.AlsoBought(t.Context(), 1); err != nil || got[2] != also[2] {
		t.Errorf("among those also bought it is %v, want %v (%v)", got[2], also[2], err)
	}
	wantQueries(t, c, 0, "after that, and for a product that was not changed", func() {
		mustProduct(t, c, p.ID)
		mustList(t, c, "tea")
	})
}

func TestAProductMovesFromListToList(t *testing.T) {
	c := open(t)
	p := mustList(t, c, "tea")[0]
	cocoas := len(mustList(t, c, "cocoa"))
	p.Category = "cocoa"
	mustSave(t, c, p)
	if teas := mustList(t, c, "tea"); len(teas) != 11 || teas[0] == p {
		t.Errorf("it is still among %v", teas)
	}
	if got := mustList(t, c, "cocoa"); len(got) != cocoas+1 {
		t.Errorf("it is not among %v", got)
	}
	if err := c.Remove(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Product(t.Context(), p.ID); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("it was removed: %v", err)
	}
	if got := mustList(t, c, "cocoa"); len(got) != cocoas {
		t.Errorf("it was removed, and is among %v", got)
	}
}

func TestCategories(t *testing.T) {
	c := open(t)
	want := func(n int) {
		t.Helper()
		if got, err := c.Categories(t.Context()); err != nil || len(got) != n {
			t.Errorf("Categories = %v, %v; want %d of them", got, err, n)
		}
	}
	want(4)
	mustSave(t, c, catalog.Product{ID: 100, Name: "Vanilla", Category: "spices", Cents: 1290})
	want(5)
	if err := c.Remove(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	want(4)
}
