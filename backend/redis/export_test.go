package redis

// Slot and LockKey are what a Cluster needs.
func Slot(key string) int { return slot(key) }

func LockKey(prefix, key string, cluster bool) string {
	return (&core{cluster: cluster, lockPrefix: prefix}).lockKey(key)
}
