package file

import (
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
)

// The file is a SQLite database with these numbers in its header, which say that
// it is a cache and of which version.
const applicationID = 0x646f6770 // "dogp"

// version changes when the tables do. It is a variable for tests alone.
var version int64 = 2

// An entry is found by the hash of its key; the key itself is compared. Times
// are in milliseconds since 1970, written in nanoseconds. Small columns come
// first, so that they are read without the pages of a large value.
var tables = map[string]string{
	"entry": `entry (hash INTEGER PRIMARY KEY, key BLOB NOT NULL, expires INTEGER NOT NULL, written INTEGER NOT NULL, sum INTEGER NOT NULL, data BLOB NOT NULL)`,
	"lease": `lease (key BLOB PRIMARY KEY, expires INTEGER NOT NULL, owner INTEGER NOT NULL, home INTEGER NOT NULL, serial INTEGER NOT NULL, since INTEGER NOT NULL, pid INTEGER NOT NULL, host BLOB NOT NULL) WITHOUT ROWID`,
}

// The index age is made when a file is opened with a bound: only then is the
// oldest entry asked for, and every write pays for the index.
const (
	age    = `CREATE INDEX IF NOT EXISTS age ON entry (written)`
	hasAge = `SELECT count(*) FROM sqlite_schema WHERE name = 'age'`
)

var (
	errVersion = errors.New("the file was written by another version of this package")
	errForeign = errors.New("the file belongs to another program; it is left as it is")
)

// settings makes a connection ready for use.
//
// With synchronous=NORMAL a commit is handed to the operating system, so that it
// outlives the process, and the log is on the disk before a checkpoint overwrites
// what it replaces. After a power failure the last commits may be missing, never
// parts of one. OFF would save two fsyncs for each checkpoint, which nobody waits
// for, and could leave a damaged file. Only the janitor makes checkpoints.
func (c *conn) settings(log int64) error {
	return c.exec(
		`PRAGMA synchronous = NORMAL`,
		`PRAGMA wal_autocheckpoint = 0`,
		fmt.Sprintf(`PRAGMA journal_size_limit = %d`, log),
		`PRAGMA cell_size_check = ON`,
		`PRAGMA trusted_schema = OFF`,
		`PRAGMA temp_store = MEMORY`,
	)
}

// prepare makes the file a cache if it is empty, and waits for those who write in it if wait
// is set. It is called on the first connection.
func (c *conn) prepare(o *Options, wait bool) error {
	empty, err := c.inspect()
	if err != nil {
		return err
	}
	if empty {
		if err := c.exec(`PRAGMA auto_vacuum = INCREMENTAL`); err != nil {
			return err
		}
	}
	switch mode, err := c.text(`PRAGMA journal_mode = WAL`); {
	case err != nil:
		return err
	case mode != "wal":
		return fmt.Errorf("this place has no shared memory: SQLite's journal mode is %q and cannot be WAL", mode)
	}
	var missing []string
	if empty {
		missing = []string{
			fmt.Sprintf(`PRAGMA application_id = %d`, applicationID),
			fmt.Sprintf(`PRAGMA user_version = %d`, version),
			`CREATE TABLE IF NOT EXISTS ` + tables["entry"],
			`CREATE TABLE IF NOT EXISTS ` + tables["lease"],
		}
	}
	if o.MaxBytes > 0 {
		if n, err := c.value(hasAge); err != nil {
			return err
		} else if n == 0 {
			missing = append(missing, age)
		}
	}
	return c.build(missing, wait)
}

// build makes what is missing and drops leases that nobody has given back. If
// nothing is missing, it waits for others that write only if wait is set.
func (c *conn) build(missing []string, wait bool) error {
	wait = wait || len(missing) > 0
	if !wait {
		c.SetBusyTimeout(0)
	}
	switch err := c.exec(`BEGIN IMMEDIATE`); {
	case busy(err) && !wait:
		return nil
	case err != nil:
		return err
	}
	err := c.exec(missing...)
	if err == nil {
		err = c.run(forget, time.Now().UnixMilli())
	}
	if err != nil {
		return errors.Join(err, c.exec(`ROLLBACK`))
	}
	return c.exec(`COMMIT`)
}

// inspect reports whether the file is empty, and returns an error if it is
// neither empty nor a cache. It writes nothing.
func (c *conn) inspect() (empty bool, err error) {
	id, err1 := c.value(`PRAGMA application_id`)
	v, err2 := c.value(`PRAGMA user_version`)
	n, err3 := c.value(`SELECT count(*) FROM sqlite_schema`)
	if err := errors.Join(err1, err2, err3); err != nil {
		return false, err
	}
	switch {
	case n == 0 && id == 0:
		return true, nil
	case id != applicationID:
		return false, errForeign
	case v != version:
		return false, fmt.Errorf("%w: it has version %d, and this program needs %d", errVersion, v, version)
	}
	for name, sql := range tables {
		switch made, err := c.text(`SELECT sql FROM sqlite_schema WHERE name = '` + name + `'`); {
		case err != nil:
			return false, err
		case made != `CREATE TABLE `+sql:
			return false, fmt.Errorf("table %s is not as it was made: %w", name, sqlite.ResultCorrupt.ToError())
		}
	}
	return false, nil
}

// exec runs statements once, each to its end.
func (c *conn) exec(texts ...string) error {
	for _, text := range texts {
		if err := c.each(text, func(*sqlite.Stmt) {}); err != nil {
			return err
		}
	}
	return nil
}

// value returns the number that a query finds, or 0.
func (c *conn) value(text string) (n int64, err error) {
	err = c.each(text, func(s *sqlite.Stmt) { n = s.ColumnInt64(0) })
	return n, err
}

// text returns the text that a query finds, or "".
func (c *conn) text(text string) (t string, err error) {
	err = c.each(text, func(s *sqlite.Stmt) { t = s.ColumnText(0) })
	return t, err
}

// each runs a statement once and calls row for each row that it returns.
func (c *conn) each(text string, row func(*sqlite.Stmt)) error {
	s, _, err := c.PrepareTransient(text)
	if err != nil {
		return err
	}
	defer s.Finalize()
	for {
		if found, err := s.Step(); !found || err != nil {
			return err
		}
		row(s)
	}
}
