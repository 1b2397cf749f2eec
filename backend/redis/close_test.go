package redis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestRegionIsClosedWhileTheServerHangs keeps to its context: with a creator that runs, and a lease
// that cannot be given back. A call of the backend, which Close does not wait for, would
// take half a minute more.
func TestRegionIsClosedWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	r := dogpile.NewRegion("closing")
	settings := map[string]string{"backend": s.URL() + "?timeout=30s&connect_timeout=30s", "backend_timeout": "30s"}
	ok(t, r.ConfigureFrom(t.Context(), settings, ""))
	c := dogpile.NewCache[int](r, nil)
	creating, got := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := c.GetOrCreate(t.Context(), unique(t), func(ctx context.Context) (int, error) {
			close(creating)
			<-ctx.Done()
			return 0, ctx.Err()
		})
		got <- err
	}()
	<-creating
	s.Stop(t)
	defer s.Resume(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := r.Close(ctx)
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 20*time.Second {
		t.Errorf("Close, with half a second's time, = %v after %v", err, took)
	}
	if err := <-got; !errors.Is(err, dogpile.ErrClosed) {
		t.Errorf("the caller got %v", err)
	}
}
