package redis_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
)

// TestCloseWhileAWaiterConnects: at whatever moment of it the end comes, the waiter is
// told that the backend is closed, and not of what Close has cancelled.
func TestCloseWhileAWaiterConnects(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	for i := range 100 {
		b, err := redis.Open(context.Background(), s.URL(), &redis.Options{Timeout: 20 * time.Second})
		ok(t, err)
		key := unique(t)
		locked(t, b, key)
		done := make(chan error)
		go func() { done <- b.Wait(t.Context(), key) }()
		for range i * 40 {
			runtime.Gosched()
		}
		ok(t, b.Close())
		if err := <-done; err == nil || !strings.HasSuffix(err.Error(), "redis: the backend is closed") {
			t.Fatalf("try %d: Wait = %v", i, err)
		}
	}
}
