package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"zombiezen.com/go/sqlite"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/driver"
)

// A fileKind is a way to keep entries in a file that processes share.
type fileKind struct {
	name string
	open func(path string) (*fileStore, error) // nil: it is Python's
}

// A fileStore is an opened file, used by one goroutine.
type fileStore struct {
	get   func(key string) (string, error) // "": there is nothing
	set   func(key, value string) error
	fill  func(entries []stored) error // in one transaction where there are such
	close func()
}

var (
	backendOnFile = fileKind{"backend/file", openFileBackend}
	dogpileOnFile = fileKind{"dogpile region on backend/file", openDogpileFile}
	sqliteOnFile  = fileKind{"SQLite statements (zombiezen)", openSQLite}
	bboltOnFile   = fileKind{"bbolt, opened per operation", openBbolt}
	pythonOnFile  = fileKind{name: "dogpile.cache dbm"}

	fileKinds = []fileKind{backendOnFile, dogpileOnFile, sqliteOnFile, bboltOnFile, pythonOnFile}
)

func openFileBackend(path string) (*fileStore, error) {
	ctx := context.Background()
	b, err := file.Open(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	return &fileStore{
		get: func(key string) (string, error) {
			items := []driver.Item{{Key: key}}
			err := errors.Join(b.Get(ctx, items), items[0].Err)
			return string(items[0].Data), err
		},
		set: func(key, value string) error {
			items := []driver.Item{{Key: key, Data: []byte(value), TTL: ttl}}
			return errors.Join(b.Set(ctx, items), items[0].Err)
		},
		fill: func(entries []stored) error {
			items := make([]driver.Item, len(entries))
			for i, e := range entries {
				items[i] = driver.Item{Key: e.key, Data: []byte(e.value), TTL: ttl}
			}
			return errors.Join(b.Set(ctx, items), itemErrors(items))
		},
		close: func() { b.Close() },
	}, nil
}

func openDogpileFile(path string) (*fileStore, error) {
	ctx := context.Background()
	b, err := file.Open(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	r := dogpile.NewRegion("bench")
	if err := r.Configure(b, &dogpile.Options{Expiration: ttl, Codec: dogpile.Text}); err != nil {
		b.Close()
		return nil, err
	}
	c := dogpile.NewCache[string](r, nil)
	missed := func(context.Context) (string, error) { return "", errMissed }
	return &fileStore{
		get:   func(key string) (string, error) { return c.GetOrCreate(ctx, key, missed) },
		set:   func(key, value string) error { return c.Set(ctx, key, value) },
		fill:  func(entries []stored) error { return c.SetMulti(ctx, valuesOf(entries)) },
		close: closeRegion(r),
	}, nil
}

// A sqliteTable is what a program would write by hand: it has the time at which an
// entry expires, and heeds it.
type sqliteTable struct {
	conn          *sqlite.Conn
	load, save    *sqlite.Stmt
	begin, commit *sqlite.Stmt
}

func openSQLite(path string) (*fileStore, error) {
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite, sqlite.OpenCreate, sqlite.OpenWAL)
	if err != nil {
		return nil, err
	}
	t := &sqliteTable{conn: c}
	if err := t.prepare(); err != nil {
		c.Close()
		return nil, err
	}
	return &fileStore{get: t.get, set: t.set, fill: t.fill, close: func() { c.Close() }}, nil
}

func (t *sqliteTable) prepare() error {
	for _, text := range []string{
		`PRAGMA synchronous = NORMAL`,
		`CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, expires INTEGER NOT NULL, data TEXT NOT NULL)`,
	} {
		s, _, err := t.conn.PrepareTransient(text)
		if err != nil {
			return err
		}
		_, err = s.Step()
		if err := errors.Join(err, s.Finalize()); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		stmt **sqlite.Stmt
		text string
	}{
		{&t.load, `SELECT data FROM entry WHERE key = ? AND expires > ?`},
		{&t.save, `INSERT OR REPLACE INTO entry (key, expires, data) VALUES (?, ?, ?)`},
		{&t.begin, `BEGIN IMMEDIATE`},
		{&t.commit, `COMMIT`},
	} {
		var err error
		if *p.stmt, err = t.conn.Prepare(p.text); err != nil {
			return err
		}
	}
	return nil
}

func (t *sqliteTable) get(key string) (value string, err error) {
	t.load.BindText(1, key)
	t.load.BindInt64(2, time.Now().UnixMilli())
	found, err := t.load.Step()
	if found {
		value = t.load.ColumnText(0)
	}
	return value, errors.Join(err, t.load.Reset())
}

func (t *sqliteTable) set(key, value string) error {
	t.save.BindText(1, key)
	t.save.BindInt64(2, time.Now().Add(ttl).UnixMilli())
	t.save.BindText(3, value)
	return step(t.save)
}

func (t *sqliteTable) fill(entries []stored) error {
	if err := step(t.begin); err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.set(e.key, e.value); err != nil {
			return err
		}
	}
	return step(t.commit)
}

func step(s *sqlite.Stmt) error {
	_, err := s.Step()
	return errors.Join(err, s.Reset())
}

var bucket = []byte("entries")

// openBbolt opens the file anew for each operation: for as long as it is open,
// no other process can write to it.
func openBbolt(path string) (*fileStore, error) {
	set := func(entries ...stored) error {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			return err
		}
		return errors.Join(db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := b.Put([]byte(e.key), []byte(e.value)); err != nil {
					return err
				}
			}
			return nil
		}), db.Close())
	}
	if err := set(); err != nil {
		return nil, err
	}
	return &fileStore{
		get: func(key string) (value string, err error) {
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
			if err != nil {
				return "", err
			}
			err = errors.Join(db.View(func(tx *bbolt.Tx) error {
				value = string(tx.Bucket(bucket).Get([]byte(key)))
				return nil
			}), db.Close())
			return value, err
		},
		set:   func(key, value string) error { return set(stored{key, value}) },
		fill:  func(entries []stored) error { return set(entries...) },
		close: func() {},
	}, nil
}

// check returns an error if value is not that of key.
func (e stored) check(value string) error {
	switch value {
	case e.value:
		return nil
	case "":
		return fmt.Errorf("%w: %q", errMissed, e.key)
	}
	return fmt.Errorf("got a wrong value for %q", e.key)
}
