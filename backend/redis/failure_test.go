package redis_test

import (
	"testing"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestFailoverBySentinel(t *testing.T) {
	t.Parallel()
	w := startSentinel(t, nil)
	w.replaces(t)
	l := backendtest.StartLoad(t, backendtest.Open(t, kind.URL(w.url(), backendtest.Hasty...)), 5, "")
	w.servers[0].Kill()
	l.GoesOn("without a master")
	replica := w.servers[1].client(t)
	eventually(t, "the replica to become master", func() bool {
		// Sentinel closes the connections of a server whose role it changes.
		role, err := replica.Do(t.Context(), replica.B().Role().Build()).ToArray()
		if err != nil {
			return false
		}
		name, err := role[0].ToString()
		return err == nil && name == "master"
	})
	l.GoesOn("afterwards")
	l.Healed()
	if n, err := do(t, replica, "DBSIZE").AsInt64(); n == 0 || err != nil {
		t.Errorf("the new master has %d keys, %v", n, err)
	}
}
