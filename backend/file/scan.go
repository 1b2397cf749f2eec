package file

import (
	"context"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	scanning "github.com/dogpile-go/dogpile/internal/scan"
)

// Scan finds the entries by looking at all that the file has, and the leases by their keys, in
// transactions of some rows each. These keep nobody from writing. Values are not read.
// Options.Timeout bounds each transaction. What was damaged is found like other entries.
func (b *Backend) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	return scanning.Each(ctx, b.over, func(yield func([]driver.Found, error) bool) {
		for _, pages := range []iter.Seq2[[]driver.Found, error]{b.pages(ctx, entryPages(prefix)), b.pages(ctx, leasePages(prefix))} {
			for page, err := range pages {
				if !yield(page, failed(err)) {
					return
				}
			}
		}
	}, found)
}

// over returns an error once b is closed.
func (b *Backend) over() error {
	if b.ctx.Err() != nil {
		return errClosed
	}
	return nil
}

// pages calls next again and again, until it returns that nothing is left.
func (b *Backend) pages(ctx context.Context, next func(c *conn, v visit) (page []driver.Found, more bool, err error)) iter.Seq2[[]driver.Found, error] {
	return func(yield func([]driver.Found, error) bool) {
		for more := true; more; {
			var page []driver.Found
			err := b.look(ctx, func(c *conn, v visit) (err error) {
				page, more, err = next(c, v)
				return err
			})
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// look calls f with a connection for reading. Nothing of the backend is in use when it has
// returned: what is done with a page may take long, and may be other calls of the backend.
func (b *Backend) look(ctx context.Context, f func(c *conn, v visit) error) (err error) {
	v, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer v.leave(&err)
	l := b.limit(ctx)
	c, err := v.take(&l, v.readers)
	if err != nil {
		return err
	}
	defer v.give(v.readers, c)
	return patiently(&l, func() error { return f(c, v) })
}

// entryPages returns what finds the next entries each time, in the order of their hashes.
func entryPages(prefix string) func(*conn, visit) ([]driver.Found, bool, error) {
	from := int64(math.MinInt64)
	return func(c *conn, _ visit) (page []driver.Found, more bool, err error) {
		s, err := c.stmt(entries)
		if err != nil {
			return nil, false, err
		}
		defer s.Reset()
		s.BindInt64(1, from)
		s.BindInt64(2, scanning.Page)
		now, n, last := time.Now(), 0, int64(0)
		for {
			row, err := s.Step()
			if err != nil {
				return nil, true, err // from is as it was: patiently may call again
			}
			if !row {
				break
			}
			n, last = n+1, s.ColumnInt64(0)
			key, expires := text(s, 1), s.ColumnInt64(2)
			if !strings.HasPrefix(key, prefix) || expires != 0 && expires <= now.UnixMilli() {
				continue
			}
			f := driver.Found{Key: key, Size: int(s.ColumnInt64(3))}
			if expires != 0 {
				f.TTL = time.UnixMilli(expires).Sub(now)
			}
			page = append(page, f)
		}
		from = last + 1
		return page, n == scanning.Page && last < math.MaxInt64, nil
	}
}

// leasePages returns what finds the next leases each time, in the order of their keys.
func leasePages(prefix string) func(*conn, visit) ([]driver.Found, bool, error) {
	from := prefix
	return func(c *conn, v visit) (page []driver.Found, more bool, err error) {
		s, err := c.stmt(leases)
		if err != nil {
			return nil, false, err
		}
		defer s.Reset()
		s.BindBytes(1, []byte(from))
		s.BindInt64(2, scanning.Page)
		now, n, last := time.Now(), 0, ""
		for {
			row, err := s.Step()
			if err != nil {
				return nil, true, err
			}
			if !row {
				break
			}
			var h held
			h.read(s)
			n, last = n+1, text(s, 6)
			if !strings.HasPrefix(last, prefix) {
				return page, false, nil // and so do none of those after it
			}
			if v.holds(h, now) {
				who := h.who()
				page = append(page, driver.Found{Key: last, TTL: time.UnixMilli(h.expires).Sub(now), Holder: &who})
			}
		}
		from = last + "\x00" // the first key after it
		return page, n == scanning.Page, nil
	}
}
