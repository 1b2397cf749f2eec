//go:build unix

package fleettest_test

import (
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// TestStaleByLag: process 1 may read for three seconds what process 0 has replaced.
func TestStaleByLag(t *testing.T) {
	t.Parallel()
	const lag = 3 * time.Second
	const read, del, set, tags = "read", "Delete", "Set", "InvalidateTags"
	type e = fleettest.Event
	created, given, data := fleettest.Created, fleettest.Set, fleettest.Data
	for _, row := range []struct {
		name   string
		events []fleettest.By
		want   int
		oldest time.Duration
	}{
		{"no change", []fleettest.By{{1, e{read, 0, created(0), 1, 2}}}, 0, 0},
		{"by another process within Lag", []fleettest.By{{0, e{del, 0, 1, 1, 2}}, {1, e{read, 0, created(0), 5, 9}}}, 0, lag},
		{"by another process before that", []fleettest.By{{0, e{del, 0, 1, 1, 2}}, {1, e{read, 0, created(0), 6, 9}}}, 1, 0},
		{"the new value", []fleettest.By{{0, e{del, 0, 1, 1, 2}}, {1, e{read, 0, created(1), 9, 10}}}, 0, 0},
		{"by its own process", []fleettest.By{{1, e{del, 0, 1, 1, 2}}, {1, e{read, 0, created(0), 3, 4}}}, 1, 0},
		{"by its own process at the same time", []fleettest.By{{1, e{del, 0, 1, 1, 3}}, {1, e{read, 0, created(0), 2, 4}}}, 0, 0},
		{"by a call that has not returned", []fleettest.By{{0, e{del, 0, 1, 1, 0}}, {1, e{read, 0, created(0), 9, 10}}}, 0, 0},
		{"by a call that returned during the read", []fleettest.By{{0, e{del, 0, 1, 1, 9}}, {1, e{read, 0, created(0), 8, 10}}}, 0, 0},
		// 1. A replaces version 0.  2. It replaces version 1.  3. B still reads version 0,
		// within Lag of 2 but not of 1.
		{"twice, the first time before that",
			[]fleettest.By{{0, e{del, 0, 1, 1, 2}}, {0, e{del, 0, 2, 5, 6}}, {1, e{read, 0, created(0), 7, 8}}}, 1, 0},
		{"twice, and the value is from in between",
			[]fleettest.By{{0, e{del, 0, 1, 1, 2}}, {0, e{del, 0, 2, 5, 6}}, {1, e{read, 0, created(1), 7, 8}}}, 0, time.Second},
		// 1. B deletes version 0.  2. A deletes version 1.  3. B finds version 1, which its own
		// Delete is no matter of.
		{"what was made after the own change",
			[]fleettest.By{{1, e{del, 0, 1, 1, 2}}, {0, e{del, 0, 2, 3, 4}}, {1, e{read, 0, created(1), 5, 6}}}, 0, time.Second},
		{"what another Set, within Lag", []fleettest.By{{0, e{set, 0, 1, 1, 2}}, {0, e{del, 0, 2, 3, 4}}, {1, e{read, 0, given(1), 5, 6}}}, 0, time.Second},
		{"what another Set, before that", []fleettest.By{{0, e{set, 0, 1, 1, 2}}, {0, e{del, 0, 2, 3, 4}}, {1, e{read, 0, given(1), 8, 9}}}, 1, 0},
		{"what another Set before the own Delete", []fleettest.By{{0, e{set, 0, 1, 1, 2}}, {1, e{del, 0, 2, 3, 4}}, {1, e{read, 0, given(1), 5, 6}}}, 1, 0},
		{"data whose tag another has invalidated within Lag", []fleettest.By{{0, e{tags, data(0), 1, 1, 2}}, {1, e{read, data(0), created(0), 4, 9}}}, 0, 2 * time.Second},
		{"data whose tag another has invalidated before that", []fleettest.By{{0, e{tags, data(0), 1, 1, 2}}, {1, e{read, data(0), created(0), 6, 9}}}, 1, 0},
		{"data whose tag its own process has invalidated", []fleettest.By{{1, e{tags, data(0), 1, 1, 2}}, {1, e{read, data(0), created(0), 3, 9}}}, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			n, oldest := fleettest.StaleBy(lag, row.events)
			if n != row.want || oldest != row.oldest {
				t.Errorf("%d faults, and nothing older than %v; want %d, %v", n, oldest, row.want, row.oldest)
			}
		})
	}
}
