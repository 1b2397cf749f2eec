package redis_test

import (
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/backend/redis"
)

func TestSlotIsTheServers(t *testing.T) {
	t.Parallel()
	c := startServer(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t)).client(t)
	for _, key := range []string{"", "a", "users:42", "{a}b", "a{b}c", "{}a", "a{}b", "{a", "a}", "a}{b}", "{{a}}b", "{a}{b}", "ключ", "\x00\xff", "a{b", "}{", strings.Repeat("l", 5000)} {
		want, err := do(t, c, "CLUSTER", "KEYSLOT", key).AsInt64()
		if got := redis.Slot(key); err != nil || got != int(want) {
			t.Errorf("slot of %q is %d, the server says %d, %v", key, got, want, err)
		}
		lock := redis.LockKey("_lock", key, true)
		if redis.Slot(lock) != redis.Slot(key) || !strings.HasPrefix(lock, "_lock") {
			t.Errorf("%q is in slot %d, its lease %q in %d", key, redis.Slot(key), lock, redis.Slot(lock))
		}
	}
}

func TestLockKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key     string
		cluster bool
		want    string
	}{
		{"users:42", false, "_lockusers:42"},
		{"{a}b", false, "_lock{a}b"},
		{"{a}b", true, "_lock{a}b"}, // as in Python
		{"users:42", true, "_lock{users:42}~"},
		{"{users:42}", true, "_lock{users:42}"},
	} {
		if got := redis.LockKey("_lock", tt.key, tt.cluster); got != tt.want {
			t.Errorf("lease of %q, cluster %v: %q, want %q", tt.key, tt.cluster, got, tt.want)
		}
	}
}
