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
// take a second more. A busy machine may as well, but hardly each time.
func TestRegionIsClosedWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var took []time.Duration
	for len(took) < 5 {
		if took = append(took, closeWhileHanging(t, s)); took[len(took)-1] < 1200*time.Millisecond {
			return
		}
	}
	t.Errorf("Close, with half a second's time, took %v", took)
}

// closeWhileHanging returns how long it takes to close a region in half a second.
func closeWhileHanging(t *testing.T, s *server) (took time.Duration) {
	t.Helper()
	r := dogpile.NewRegion("closing")
	ok(t, r.ConfigureFrom(t.Context(), map[string]string{"backend": s.URL()}, ""))
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
	if took = time.Since(began); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close = %v", err)
	}
	if err := <-got; !errors.Is(err, dogpile.ErrClosed) {
		t.Errorf("the caller got %v", err)
	}
	return took
}
