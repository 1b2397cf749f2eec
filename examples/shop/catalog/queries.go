package catalog

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/dogpile-go/dogpile"
)

// Queries returns how often the database was asked. Changes do not count.
func (c *Catalog) Queries() int64 { return c.queries.Load() }

// query is the only way to read the database.
func (c *Catalog) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	c.queries.Add(1)
	return c.db.QueryContext(ctx, query, args...)
}

func (c *Catalog) selectProduct(ctx context.Context, id int) (Product, error) {
	found, err := c.selectProducts(ctx, []int{id})
	if err != nil {
		return Product{}, err
	}
	p, ok := found[id]
	if !ok {
		return Product{}, ErrNotFound
	}
	return p, nil
}

// selectProducts leaves out those that are not there, which to the cache is the same as
// ErrNotFound.
func (c *Catalog) selectProducts(ctx context.Context, ids []int) (map[int]Product, error) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	marks := strings.Repeat(", ?", len(ids))[2:]
	rows, err := c.query(ctx, "SELECT id, name, category, cents FROM products WHERE id IN ("+marks+")", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[int]Product)
	for rows.Next() {
		var p Product
		if err := rows.Scan(&p.ID, &p.Name, &p.Category, &p.Cents); err != nil {
			return nil, err
		}
		found[p.ID] = p
	}
	return found, rows.Err()
}

func (c *Catalog) selectInCategory(ctx context.Context, category string) ([]int, error) {
	// The tag comes before the query. The other way round, a change between the two would
	// go unnoticed.
	dogpile.Creation(ctx).Tag(ctx, categoryTag(category))
	return selectAll[int](ctx, c, "SELECT id FROM products WHERE category = ? ORDER BY name", category)
}

func (c *Catalog) selectCategories(ctx context.Context) ([]string, error) {
	dogpile.Creation(ctx).Tag(ctx, categoriesTag)
	return selectAll[string](ctx, c, "SELECT DISTINCT category FROM products ORDER BY category")
}

func (c *Catalog) selectAlsoBought(ctx context.Context, id int) ([]int, error) {
	return selectAll[int](ctx, c, `
		SELECT other.product
		FROM purchases AS this JOIN purchases AS other ON other.basket = this.basket
		WHERE this.product = ? AND other.product <> this.product
		GROUP BY other.product
		ORDER BY count(*) DESC, other.product
		LIMIT 4`, id)
}

// selectAll returns the only column of a query.
func selectAll[T any](ctx context.Context, c *Catalog, query string, args ...any) ([]T, error) {
	rows, err := c.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// upsertProduct returns the product that was there before; the zero Product for none.
func (c *Catalog) upsertProduct(ctx context.Context, p Product) (before Product, err error) {
	return c.change(ctx, p.ID, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO products (id, name, category, cents) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, category = excluded.category, cents = excluded.cents`,
			p.ID, p.Name, p.Category, p.Cents)
		return err
	})
}

// deleteProduct returns the product that was there; the zero Product for none.
func (c *Catalog) deleteProduct(ctx context.Context, id int) (before Product, err error) {
	return c.change(ctx, id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM products WHERE id = ?", id)
		return err
	})
}

// change changes a product, and returns it as it was before.
func (c *Catalog) change(ctx context.Context, id int, change func(*sql.Tx) error) (before Product, err error) {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return before, err
	}
	defer tx.Rollback() // does nothing after a Commit
	err = tx.QueryRowContext(ctx, "SELECT id, name, category, cents FROM products WHERE id = ?", id).
		Scan(&before.ID, &before.Name, &before.Category, &before.Cents)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return before, err
	}
	if err := change(tx); err != nil {
		return before, err
	}
	return before, tx.Commit()
}
