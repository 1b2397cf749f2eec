package redis_test

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

var historyFor = flag.Duration("history", 20*time.Second, "how long TestHistory records for")

// fleet starts n processes, lets them begin together, and returns them.
func fleet(t *testing.T, n int, k task) []*child {
	t.Helper()
	var all []*child
	for range n {
		all = append(all, launch(t, k))
	}
	for _, c := range all {
		c.await("ready")
	}
	for _, c := range all {
		c.begin()
	}
	return all
}

func (c *child) begin() {
	c.t.Helper()
	if _, err := c.in.Write([]byte("go\n")); err != nil {
		c.t.Fatal(err)
	}
}

func told(all []*child) (events []event) {
	var wg sync.WaitGroup
	parts := make([][]event, len(all))
	for i, c := range all {
		wg.Go(func() { parts[i] = c.rest() })
	}
	wg.Wait()
	events = slices.Concat(parts...)
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.Start, b.Start) })
	return events
}

func TestOneCreatorAmongProcesses(t *testing.T) {
	const expiration, creating = time.Second, 600 * time.Millisecond
	s := startServer(t)
	all := fleet(t, 8, task{
		Role: "storm", URL: "redis://" + s.addr, Admin: s.addr, Goroutines: 50, For: 10 * time.Second, Creating: creating,
		Expiration: expiration,
	})
	var creations, calls []event
	for _, e := range told(all) {
		switch {
		case e.Err != "":
			t.Errorf("GetOrCreate = %s", e.Err)
		case e.Op == "create":
			creations = append(creations, e)
		case e.Op == "slow":
			calls = append(calls, e)
		}
	}
	if len(creations) < 4 {
		t.Errorf("%d creations in 10 s", len(creations))
	}
	for i := 1; i < len(creations); i++ {
		last, c := creations[i-1], creations[i]
		if c.Start < last.End {
			t.Errorf("two creators at once: %d begins before %d is over", c.Start, last.End)
		}
		if age := time.Duration(c.Start - last.Start); age < expiration {
			t.Errorf("created again after %v, before the value expired", age)
		}
		// There was a value to return. Only the creator's own caller waits; others
		// may be slow because the machine is, but not from beginning to end.
		waited := 0
		for _, e := range calls {
			if e.Start < c.Start+int64(creating)/4 && e.End >= c.End {
				waited++
			}
		}
		if waited != 1 {
			t.Errorf("%d callers waited for a new value while there was an old one", waited)
		}
	}
}

func TestStampedeOfProcesses(t *testing.T) {
	s := startServer(t)
	for round := range 3 {
		do(t, s.client(t), "FLUSHALL")
		all := fleet(t, 8, task{Role: "stampede", URL: "redis://" + s.addr, Admin: s.addr, Goroutines: 50, Creating: 50 * time.Millisecond})
		var took []time.Duration
		var made []event
		for _, e := range told(all) {
			switch e.Op {
			case "create":
				made = append(made, e)
			case "done":
				took = append(took, time.Duration(e.End-e.Start))
				if e.Err != "" || len(made) > 0 && e.N != made[0].N {
					t.Errorf("a caller got %d, %q", e.N, e.Err)
				}
			}
		}
		if len(made) != 1 || len(took) != 400 {
			t.Fatalf("%d creations for %d callers, want 1 for 400", len(made), len(took))
		}
		slices.Sort(took)
		t.Logf("round %d: p50 %v, p99 %v, slowest %v", round, took[200], took[396], took[399])
	}
}

func TestHolderThatIsKilled(t *testing.T) {
	const ttl = 2 * time.Second
	s := startServer(t)
	k := task{Role: "create", URL: "redis://" + s.addr, Admin: s.addr, Creating: time.Hour, Value: "1", LockTTL: ttl}
	a := fleet(t, 1, k)[0]
	a.await("creating")
	k.Creating, k.Value = 0, "2"
	b := fleet(t, 1, k)[0]
	pause(100 * time.Millisecond) // B waits
	ok(t, a.cmd.Process.Kill())
	killed := time.Now().UnixNano()
	e := b.await("done")
	if e.N != 2 || e.Err != "" {
		t.Errorf("B got %d, %q", e.N, e.Err)
	}
	if took := time.Duration(e.End - killed); took > ttl+time.Second {
		t.Errorf("B was served %v after A was killed, its lease lasted for %v", took, ttl)
	}
}

func TestHolderThatIsStopped(t *testing.T) {
	// 1. A creates, and is stopped.  2. Its lease runs out.  3. B creates.
	// 4. A goes on, and tries to store.  5. B's value stays.
	s := startServer(t)
	k := task{Role: "create", URL: "redis://" + s.addr, Admin: s.addr, Creating: time.Second, Value: "1", LockTTL: time.Second}
	a := fleet(t, 1, k)[0]
	a.await("creating")
	ok(t, a.cmd.Process.Signal(stop))
	k.Creating, k.Value = 0, "2"
	b := fleet(t, 1, k)[0]
	if e := b.await("done"); e.N != 2 || e.Err != "" {
		t.Errorf("B got %d, %q", e.N, e.Err)
	}
	ok(t, a.cmd.Process.Signal(cont))
	if e := a.await("done"); e.Err != "" || e.N != 1 && e.N != 2 {
		t.Errorf("A got %d, %q", e.N, e.Err)
	}
	k.Value = "3"
	if e := fleet(t, 1, k)[0].await("done"); e.N != 2 || e.Err != "" {
		t.Errorf("C got %d, %q, want B's value", e.N, e.Err)
	}
}

// TestHistory has processes read, delete, set and invalidate at random, and
// checks what they have recorded.
func TestHistory(t *testing.T) {
	s := startServer(t)
	all := fleet(t, 4, task{Role: "history", URL: "redis://" + s.addr, Admin: s.addr, Keys: 4, Goroutines: 8, For: *historyFor,
		Expiration: 20 * time.Millisecond})
	events := told(all)
	h := record(events)
	count, wrong := map[string]int{}, 0
	for _, e := range events {
		if count[e.Op]++; e.Err != "" {
			t.Errorf("%s = %s", e.Op, e.Err)
		}
		if e.Op != "read" || e.Err != "" {
			continue
		}
		if why := h.stale(e); why != "" {
			if wrong++; wrong <= 5 {
				t.Errorf("a read of %s found %s", e.Key, why)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d stale reads", wrong)
	}
	for _, op := range []string{"read", "delete", "set", "invalidate"} {
		if count[op] < 20 {
			t.Errorf("only %d of %q in %v", count[op], op, *historyFor)
		}
	}
	t.Log("recorded ", count)
}

// past is, of the changes of a key that had ended at some moment, the latest
// version and the latest start.
type past struct{ end, n, start int64 }

type records struct {
	changes map[string][]past          // by key, in order of end
	sets    map[string]map[int64]event // by key and version
}

func record(events []event) *records {
	h := &records{map[string][]past{}, map[string]map[int64]event{}}
	for _, e := range slices.SortedFunc(slices.Values(events), func(a, b event) int { return cmp.Compare(a.End, b.End) }) {
		if e.Op == "set" {
			if h.sets[e.Key] == nil {
				h.sets[e.Key] = map[int64]event{}
			}
			h.sets[e.Key][e.N] = e
		}
		if e.Op == "read" || e.Op == "ready" || e.Err != "" {
			continue
		}
		p := past{e.End, e.N, e.Start}
		if of := h.changes[e.Key]; len(of) > 0 {
			before := of[len(of)-1]
			p.n, p.start = max(p.n, before.n), max(p.start, before.start)
		}
		h.changes[e.Key] = append(h.changes[e.Key], p)
	}
	return h
}

// stale tells what is wrong with a read: it began after a change had returned,
// and found what a creator had read before that change, or what had been Set,
// with success, before that change began.
func (h *records) stale(e event) string {
	of := h.changes[e.Key]
	i, _ := slices.BinarySearchFunc(of, e.Start, func(p past, start int64) int { return cmp.Compare(p.end, start) })
	if i == 0 {
		return ""
	}
	p := of[i-1]
	if e.N%2 == 0 {
		if e.N/2 < p.n {
			return fmt.Sprintf("version %d of the origin, %v after version %d was in force", e.N/2, time.Duration(e.Start-p.end), p.n)
		}
		return ""
	}
	set, known := h.sets[e.Key][e.N/2]
	switch {
	case !known:
		return fmt.Sprintf("a value that nobody has Set: %d", e.N)
	case set.End < p.start:
		return fmt.Sprintf("what was Set %v before a change that had returned", time.Duration(p.start-set.End))
	}
	return ""
}
