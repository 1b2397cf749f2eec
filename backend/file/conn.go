package file

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/dogpile-go/dogpile/driver"
)

// conn is a connection, used by one goroutine at a time.
type conn struct {
	*sqlite.Conn
	stmts [queries]*sqlite.Stmt
	head  []byte // for checksum
}

// query is a statement that a conn prepares once.
type query int

const (
	begin query = iota
	beginWrite
	commit
	rollback

	load
	save
	remove

	holder
	grant
	extend
	yield
	release
	revoke
	giveUp
	forget

	entries
	leases

	pages
	free
	evict
	scan
	expire
	checkpoint
	restart

	queries
)

var texts = [queries]string{
	begin:      `BEGIN`,
	beginWrite: `BEGIN IMMEDIATE`,
	commit:     `COMMIT`,
	rollback:   `ROLLBACK`,

	load:   `SELECT expires, sum, data FROM entry WHERE hash = ? AND key = ?`,
	save:   `INSERT OR REPLACE INTO entry (hash, key, expires, written, sum, data) VALUES (?, ?, ?, ?, ?, ?)`,
	remove: `DELETE FROM entry WHERE hash = ? AND key = ?`,

	holder:  `SELECT expires, owner, home, since, pid, host FROM lease WHERE key = ?`,
	grant:   `INSERT OR REPLACE INTO lease (key, expires, owner, home, serial, since, pid, host) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
	extend:  `UPDATE lease SET expires = ?5 WHERE key = ?1 AND owner = ?2 AND serial = ?3 AND expires > ?4`,
	yield:   `DELETE FROM lease WHERE key = ? AND owner = ? AND serial = ? AND expires > ?`,
	release: `DELETE FROM lease WHERE key = ? AND owner = ? AND serial = ?`,
	revoke:  `DELETE FROM lease WHERE key = ?`,
	giveUp:  `DELETE FROM lease WHERE owner = ?`,
	forget:  `DELETE FROM lease WHERE expires <= ?`,

	entries: `SELECT hash, key, expires, length(data) FROM entry WHERE hash >= ? ORDER BY hash LIMIT ?`,
	leases:  `SELECT expires, owner, home, since, pid, host, key FROM lease WHERE key >= ? ORDER BY key LIMIT ?`,

	pages:      `PRAGMA page_count`,
	free:       `PRAGMA freelist_count`,
	evict:      `DELETE FROM entry WHERE hash IN (SELECT hash FROM entry ORDER BY written LIMIT ?)`,
	scan:       `SELECT hash, expires FROM entry WHERE hash > ? ORDER BY hash LIMIT ?`,
	expire:     `DELETE FROM entry WHERE hash = ? AND expires = ?`,
	checkpoint: `PRAGMA wal_checkpoint(PASSIVE)`,
	restart:    `PRAGMA wal_checkpoint(RESTART)`,
}

func (c *conn) stmt(q query) (*sqlite.Stmt, error) {
	if s := c.stmts[q]; s != nil {
		return s, nil
	}
	s, err := c.Prepare(texts[q])
	if err == nil {
		c.stmts[q] = s
	}
	return s, err
}

// run executes a statement that returns no rows. Each argument of q is an
// int64.
func (c *conn) run(q query, args ...int64) error {
	s, err := c.stmt(q)
	if err != nil {
		return err
	}
	for i, n := range args {
		s.BindInt64(i+1, n)
	}
	return finish(s)
}

// runKey is run with a key as the first argument.
func (c *conn) runKey(q query, key string, args ...int64) error {
	s, err := c.stmt(q)
	if err != nil {
		return err
	}
	s.BindBytes(1, []byte(key))
	for i, n := range args {
		s.BindInt64(i+2, n)
	}
	return finish(s)
}

func finish(s *sqlite.Stmt) error {
	_, err := s.Step()
	s.Reset()
	return err
}

// number returns what a query finds in a column of its first row.
func (c *conn) number(q query, column int) (n int64, err error) {
	s, err := c.stmt(q)
	if err != nil {
		return 0, err
	}
	if _, err = s.Step(); err == nil {
		n = s.ColumnInt64(column)
	}
	s.Reset()
	return n, err
}

// hash is what an entry is found by: 64 bits of SHA-256. Two keys of one hash
// replace each other, and are so rare that it does not matter.
var hash = func(key string) int64 {
	sum := sha256.Sum256([]byte(key))
	return int64(binary.LittleEndian.Uint64(sum[:]))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers all columns of an entry. SQLite has no checksums of its own.
func (c *conn) checksum(key string, expires int64, data []byte) int64 {
	c.head = append(binary.LittleEndian.AppendUint64(c.head[:0], uint64(expires)), key...)
	return int64(crc32.Update(crc32.Checksum(c.head, castagnoli), castagnoli, data))
}

// entry is what was found under a key.
type entry struct {
	data    []byte // nil: nothing
	expires int64  // in milliseconds since 1970; 0: never
	corrupt bool
}

// get looks for the entry of key.
func (c *conn) get(key string) (e entry, err error) {
	s, err := c.stmt(load)
	if err != nil {
		return e, err
	}
	s.BindInt64(1, hash(key))
	s.BindBytes(2, []byte(key))
	found, err := s.Step()
	if err == nil && found {
		e.expires = s.ColumnInt64(0)
		e.data = make([]byte, s.ColumnLen(2))
		s.ColumnBytes(2, e.data)
		e.corrupt = s.ColumnInt64(1) != c.checksum(key, e.expires, e.data)
	}
	s.Reset()
	return e, err
}

// fill puts an entry into an item.
func (e *entry) fill(it *driver.Item, now time.Time) {
	switch {
	case e.data == nil:
	case e.corrupt:
		it.Err = driver.ErrCorrupt
	case e.expires == 0:
		it.Data = e.data
	case now.UnixMilli() < e.expires:
		it.Data = e.data
		it.TTL = time.UnixMilli(e.expires).Sub(now)
	}
}

// put stores the Data of it, the i-th item of a batch.
func (c *conn) put(it *driver.Item, now time.Time, i int) error {
	s, err := c.stmt(save)
	if err != nil {
		return err
	}
	expires := int64(0)
	if it.TTL > 0 {
		expires = after(now, it.TTL)
	}
	s.BindInt64(1, hash(it.Key))
	s.BindBytes(2, []byte(it.Key))
	s.BindInt64(3, expires)
	s.BindInt64(4, now.UnixNano()+int64(i))
	s.BindInt64(5, c.checksum(it.Key, expires, it.Data))
	s.BindBytes(6, it.Data)
	err = finish(s)
	if len(it.Data) > 1<<16 {
		s.ClearBindings() // or the statement keeps a copy
	}
	return err
}

// delete removes the entry of key.
func (c *conn) delete(key string) error {
	s, err := c.stmt(remove)
	if err != nil {
		return err
	}
	s.BindInt64(1, hash(key))
	s.BindBytes(2, []byte(key))
	return finish(s)
}

// after returns when something ends that lasts for ttl from now, in milliseconds,
// rounded up.
func after(now time.Time, ttl time.Duration) int64 {
	const ms = int64(time.Millisecond)
	ns, d := now.UnixNano(), int64(ttl)
	return ns/ms + d/ms + (ns%ms+d%ms+ms-1)/ms
}
