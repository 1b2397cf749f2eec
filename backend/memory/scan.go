package memory

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/scan"
)

// Scan implements driver.Scanner. Without a bound it looks at a 256th of all entries at a time,
// in which nothing can be stored meanwhile; with one it holds nothing up. Go values have no size.
func (b *Backend) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	return scan.Each(ctx, b.over, func(yield func([]driver.Found, error) bool) {
		for _, pages := range []iter.Seq2[[]driver.Found, error]{b.entries(prefix), b.leases.Leases(prefix)} {
			for page, err := range pages {
				if !yield(page, err) {
					return
				}
			}
		}
	}, found)
}

// over returns an error once b is closed.
func (b *Backend) over() error {
	if b.closed.Load() {
		return errClosed
	}
	return nil
}

// entries returns the entries whose keys begin with prefix. There are no errors.
func (b *Backend) entries(prefix string) iter.Seq2[[]driver.Found, error] {
	if b.lru != nil {
		return b.lru.entries(prefix)
	}
	return b.table.entries(prefix)
}

// add appends a record to page if its key begins with prefix, and it is not past its deadline.
func add(page []driver.Found, prefix, key string, rec record, now time.Duration) []driver.Found {
	if !strings.HasPrefix(key, prefix) || rec.deadline != 0 && now >= rec.deadline {
		return page
	}
	f := driver.Found{Key: key}
	if rec.deadline != 0 {
		f.TTL = rec.deadline - now
	}
	data, _ := rec.value()
	f.Size = len(data)
	return append(page, f)
}

func (t *table) entries(prefix string) iter.Seq2[[]driver.Found, error] {
	return func(yield func([]driver.Found, error) bool) {
		for i := range t.shards {
			if !yield(t.shards[i].list(prefix), nil) {
				return
			}
		}
	}
}

func (s *shard) list(prefix string) (page []driver.Found) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := time.Since(base)
	for key, rec := range s.entries {
		page = add(page, prefix, key, rec, now)
	}
	return page
}

func (l *lru) entries(prefix string) iter.Seq2[[]driver.Found, error] {
	return func(yield func([]driver.Found, error) bool) {
		var page []driver.Found
		looked := 0
		for key, rec := range l.cache.All() {
			page = add(page, prefix, key, rec, time.Since(base))
			if looked++; looked%scan.Page == 0 {
				if !yield(page, nil) {
					return
				}
				page = page[:0]
			}
		}
		yield(page, nil)
	}
}
