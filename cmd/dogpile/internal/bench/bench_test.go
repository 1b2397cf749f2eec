package bench_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/bench"
	"github.com/dogpile-go/dogpile/driver"
)

// shortest is a backend that notes the shortest TTL of what it keeps.
type shortest struct {
	driver.Backend
	ttl atomic.Int64
}

func (s *shortest) Set(ctx context.Context, items []driver.Item) error {
	for i := range items {
		s.ttl.Store(min(s.ttl.Load(), int64(items[i].TTL)))
	}
	return s.Backend.Set(ctx, items)
}

// TestEntriesLiveForTheRun: what a long run reads is there until its end.
func TestEntriesLiveForTheRun(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ duration, least time.Duration }{
		"a short run": {time.Minute, 10 * time.Minute}, "a run of a day": {24 * time.Hour, 24*time.Hour + 5*time.Second},
	} {
		kept, err := memory.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		b := &shortest{Backend: kept}
		b.ttl.Store(int64(1000 * time.Hour))
		_, err = bench.Run(t.Context(), b, bench.Load{Duration: row.duration, Requests: 10, Concurrency: 1, Keys: 5, Size: 5, Writes: .5}, 5*time.Second)
		if ttl := time.Duration(b.ttl.Load()); err != nil || ttl < row.least || ttl > row.least+time.Second {
			t.Errorf("%s: an entry lives for %v (%v)", name, ttl, err)
		}
	}
}
