package redis_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
)

type key struct{}

func TestSharedDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller := context.WithValue(context.Background(), key{}, "v")
		ctx := redis.Shared(caller, 8*time.Second)
		if d, ok := ctx.Deadline(); !ok || time.Until(d) < 8*time.Second || time.Until(d) > 9*time.Second {
			t.Errorf("the deadline is %v, %v", d, ok)
		}
		if ctx.Value(key{}) != "v" {
			t.Error("the caller's values are lost")
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if ctx.Err() != context.DeadlineExceeded {
			t.Errorf("after the time: %v", ctx.Err())
		}
	})
	if err := redis.Shared(context.Background(), math.MaxInt64).Err(); err != nil {
		t.Errorf("with the longest timeout: %v", err)
	}
}
