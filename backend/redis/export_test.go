package redis

import (
	"context"
	"time"
)

// Slot and LockKey are what a Cluster needs.
func Slot(key string) int { return slot(key) }

func LockKey(prefix, key string, cluster bool) string {
	return (&core{cluster: cluster, lockPrefix: prefix}).lockKey(key)
}

// Shared returns a context as calls share it.
func Shared(ctx context.Context, timeout time.Duration) context.Context {
	return (&deadlines{timeout: timeout}).bound(ctx)
}
