package lease

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
)

// Holder implements [driver.Holders]. It is always this process.
func (g *Guard) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	if err := ctx.Err(); err != nil {
		return driver.Holder{}, false, err
	}
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.keys[key].lease
	if !l.live() {
		return driver.Holder{}, false, nil
	}
	return l.holder(), true, nil
}

func (l *held) holder() driver.Holder {
	h := holder.Self()
	h.Since = base.Add(l.since).Round(0) // a reading of the monotonic clock is nobody's business
	return h
}

// Leases returns the leases on keys that begin with prefix, for [driver.Scanner]. There are no
// errors.
func (g *Guard) Leases(prefix string) iter.Seq2[[]driver.Found, error] {
	return func(yield func([]driver.Found, error) bool) {
		for i := range g.shards {
			if !yield(g.shards[i].leases(prefix), nil) {
				return
			}
		}
	}
}

func (s *shard) leases(prefix string) (page []driver.Found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.keys {
		if e.lease.live() && strings.HasPrefix(key, prefix) {
			h := e.lease.holder()
			page = append(page, driver.Found{Key: key, TTL: e.lease.deadline - time.Since(base), Holder: &h})
		}
	}
	return page
}
