package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite", which is pure Go
)

// schema makes the tables, with something in them.
//
//go:embed schema.sql
var schema string

// Open opens the SQLite database in a file. If there is no such file, it makes one with a few
// products. The caller closes the database.
func Open(ctx context.Context, file string) (*sql.DB, error) {
	if file == "" || file == ":memory:" {
		// SQLite would make a database for each connection.
		return nil, fmt.Errorf("database %q: it has to be a file", file)
	}
	dsn := url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)"}, // several processes may use the file
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, db); err != nil {
		db.Close()
		return nil, fmt.Errorf("database %q: %w", file, err)
	}
	return db, nil
}

// fill makes the tables in an empty database. Of several processes one does.
func fill(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a Commit
	var tables int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil || tables > 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	return tx.Commit()
}
