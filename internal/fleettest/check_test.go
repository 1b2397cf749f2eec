//go:build unix

package fleettest_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

func TestStale(t *testing.T) {
	t.Parallel()
	const read, del, set, invalidate, soften = "read", "Delete", "Set", "Invalidate", "soft Invalidate"
	created, given := fleettest.Created, fleettest.Set
	for _, row := range []struct {
		name   string
		events []fleettest.Event
		want   int
	}{
		{"no change", []fleettest.Event{{read, 0, created(0), 1, 2}}, 0},
		{"created before a Delete that had returned", []fleettest.Event{{del, 0, 1, 1, 2}, {read, 0, created(0), 3, 4}}, 1},
		{"created after it", []fleettest.Event{{del, 0, 1, 1, 2}, {read, 0, created(1), 3, 4}}, 0},
		{"another key", []fleettest.Event{{del, 1, 1, 1, 2}, {read, 0, created(0), 3, 4}}, 0},
		{"during a Delete", []fleettest.Event{{del, 0, 1, 1, 4}, {read, 0, created(0), 3, 5}}, 0},
		{"a Delete during the read", []fleettest.Event{{read, 0, created(0), 1, 5}, {del, 0, 1, 2, 3}}, 0},
		{"a Delete that has not returned", []fleettest.Event{{del, 0, 1, 1, 0}, {read, 0, created(0), 3, 4}}, 0},
		{"an Invalidate", []fleettest.Event{{invalidate, 0, 1, 1, 2}, {read, 0, created(0), 3, 4}}, 1},
		{"a soft one", []fleettest.Event{{soften, 0, 1, 1, 2}, {read, 0, created(0), 3, 4}}, 0},
		{"created before a Set", []fleettest.Event{{set, 0, 1, 1, 2}, {read, 0, created(0), 3, 4}}, 1},
		{"what was Set", []fleettest.Event{{set, 0, 1, 1, 2}, {read, 0, given(1), 3, 4}}, 0},
		{"what was Set before a Delete", []fleettest.Event{{set, 0, 1, 1, 2}, {del, 0, 2, 3, 4}, {read, 0, given(1), 5, 6}}, 1},
		{"what was Set before another Set", []fleettest.Event{{set, 0, 1, 1, 2}, {set, 0, 2, 3, 4}, {read, 0, given(1), 5, 6}}, 1},
		{"either of two Sets at once", []fleettest.Event{{set, 0, 1, 1, 4}, {set, 0, 2, 2, 3}, {read, 0, given(1), 5, 6}, {read, 0, given(2), 5, 6}}, 0},
		{"what was Set by one who did not return", []fleettest.Event{{set, 0, 1, 1, 0}, {del, 0, 2, 2, 3}, {read, 0, given(1), 5, 6}}, 0},
		{"what nobody has Set", []fleettest.Event{{read, 0, given(1), 1, 2}}, 1},
		{"nothing", []fleettest.Event{{del, 0, 1, 1, 2}, {read, 0, fleettest.Nothing, 3, 4}}, 0},
		{"a read that has not returned", []fleettest.Event{{del, 0, 1, 1, 2}, {read, 0, created(0), 3, 0}}, 0},
		// 1. A's Delete begins.  2. B's, of a later version, begins and returns.  3. A's
		// returns.  4. A read finds a version between the two.
		{"the latest of two changes counts, not the last to return",
			[]fleettest.Event{{del, 0, 1, 1, 4}, {del, 0, 2, 2, 3}, {read, 0, created(1), 5, 6}}, 1},
		{"two faults", []fleettest.Event{{del, 0, 1, 1, 2}, {read, 0, created(0), 3, 4}, {read, 0, created(0), 5, 6}, {read, 0, created(1), 7, 8}}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			if n := fleettest.Stale(row.events); n != row.want {
				t.Errorf("%d faults, want %d", n, row.want)
			}
		})
	}
}

// TestStaleTags: a read of what was made of a product is a read of the product's data.
func TestStaleTags(t *testing.T) {
	t.Parallel()
	const read, tags, soften, supply, del = "read", "InvalidateTags", "soft InvalidateTags", "Set of data", "Delete"
	created, given, data, fresh := fleettest.Created, fleettest.Set, fleettest.Data, fleettest.FreshData
	for _, row := range []struct {
		name   string
		events []fleettest.Event
		want   int
	}{
		{"made of old data", []fleettest.Event{{tags, data(0), 1, 1, 2}, {read, data(0), created(0), 3, 4}}, 1},
		{"made of new data", []fleettest.Event{{tags, data(0), 1, 1, 2}, {read, data(0), created(1), 3, 4}}, 0},
		{"another tag", []fleettest.Event{{tags, data(1), 1, 1, 2}, {read, data(0), created(0), 3, 4}}, 0},
		{"made of two products, and one is old",
			[]fleettest.Event{{tags, data(1), 1, 1, 2}, {read, data(0), created(0), 3, 4}, {read, data(1), created(0), 3, 4}}, 1},
		{"an InvalidateTags that has not returned, or has failed", []fleettest.Event{{tags, data(0), 1, 1, 0}, {read, data(0), created(0), 3, 4}}, 0},
		{"a caller from before it had returned", []fleettest.Event{{read, data(0), created(0), 2, 9}, {tags, data(0), 1, 1, 3}}, 0},
		// 1. The creator tags its value, and reads version 0.  2. The tag is invalidated.
		// 3. A late caller joins, and gets the value.
		{"a late caller", []fleettest.Event{{read, data(0), created(0), 1, 9}, {tags, data(0), 1, 2, 3}, {read, data(0), created(0), 4, 9}}, 1},
		{"a soft one, for what may be stale", []fleettest.Event{{soften, fresh(0), 1, 1, 2}, {read, data(0), created(0), 3, 4}}, 0},
		{"a soft one, for what is called fresh", []fleettest.Event{{soften, fresh(0), 1, 1, 2}, {read, fresh(0), created(0), 3, 4}}, 1},
		{"what was Set before it", []fleettest.Event{{supply, data(0), 1, 1, 2}, {tags, data(0), 2, 3, 4}, {read, data(0), given(1), 5, 6}}, 1},
		{"what was Set at the same time", []fleettest.Event{{supply, data(0), 1, 1, 3}, {tags, data(0), 2, 2, 4}, {read, data(0), given(1), 5, 6}}, 0},
		{"what nobody has Set", []fleettest.Event{{read, data(0), given(1), 1, 2}}, 1},
		{"made before another Set of the data", []fleettest.Event{{supply, data(0), 1, 1, 2}, {read, data(0), created(0), 3, 4}}, 0},
		{"made before a Delete of the product", []fleettest.Event{{del, fleettest.Product(0), 1, 1, 2}, {read, data(0), created(0), 3, 4}}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			if n := fleettest.Stale(row.events); n != row.want {
				t.Errorf("%d faults, want %d", n, row.want)
			}
		})
	}
}

func newWorld(t *testing.T) fleettest.World {
	t.Helper()
	w, err := fleettest.OpenWorld(filepath.Join(t.TempDir(), "world"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestTwoCreators(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		first func(w fleettest.World) // process 0 begins before process 1 does
		fault bool
	}{
		{"alone", func(w fleettest.World) { w.Lease(0, time.Hour) }, false},
		{"while the lease of another lasts", func(w fleettest.World) { w.Lease(0, time.Hour); w.Begin(0) }, true},
		{"when the other is done", func(w fleettest.World) { w.Lease(0, time.Hour); w.Begin(0); w.End(0) }, false},
		{"when its lease is over", func(w fleettest.World) { w.Lease(0, -time.Second); w.Begin(0) }, false},
		{"when it is dead", func(w fleettest.World) { w.Lease(0, time.Hour); w.Begin(0); w.Kill(0) }, false},
		{"twice in one process", func(w fleettest.World) { w.Begin(1) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			row.first(w)
			if fault := w.Begin(1); (fault != "") != row.fault {
				t.Errorf("fault %q", fault)
			}
		})
	}
}

func TestUnserved(t *testing.T) {
	t.Parallel()
	// Readers of version 1: (0, 0) creates version 2.  (0, 1) is in a call when
	// that begins.  (0, 2) has waited since there was nothing.
	w := newWorld(t)
	w.Ask(0, 0, 1)
	w.Begin(0)
	w.Ask(0, 1, 1)
	w.Ask(0, 2, 0)
	n := w.Unserved(2, 3)
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"begin", func() {}, 4},
		{"the end of a call that began before", func() { w.Answer(0, 1) }, 4},
		{"the end of one that began since", func() { w.Ask(0, 1, 1); w.Answer(0, 1) }, 3},
		{"the end of one that began when there was nothing", func() { w.Answer(0, 2) }, 4},
		{"another by the same", func() { w.Ask(0, 2, 1); w.Answer(0, 2) }, 3},
		{"one of another process", func() { w.Ask(1, 0, 1); w.Answer(1, 0) }, 2},
		{"the end of the creation", func() { w.End(0) }, 3},
		{"the end of the call that it was made in", func() { w.Answer(0, 0); w.Ask(0, 0, 2); w.Answer(0, 0) }, 2},
		{"a process that is stopped", func() { w.Away(1) }, 0},
	} {
		step.do()
		if got := n(); got != step.want {
			t.Fatalf("%s: %d readers are not served, want %d", step.name, got, step.want)
		}
	}
}

// TestWorldIsShared: two maps of one file are one world.
func TestWorldIsShared(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "world")
	var ws [2]fleettest.World
	for i := range ws {
		w, err := fleettest.OpenWorld(path)
		if err != nil {
			t.Fatal(err)
		}
		ws[i] = w
	}
	ws[0].Lease(0, time.Hour)
	ws[0].Begin(0)
	if fault := ws[1].Begin(1); fault == "" {
		t.Error("one does not see what the other does")
	}
	for _, w := range ws {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
