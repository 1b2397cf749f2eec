package driver_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
)

func wantRight(t *testing.T, what string, m driver.Mark, asked, want time.Duration, right bool) {
	t.Helper()
	if at, ok := m.Right(asked); ok != right || ok && at != want {
		t.Errorf("%s: Right = %v, %v; want %v, %v", what, at, ok, want, right)
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	c, p := driver.NewChanges(), new(driver.Proof)
	wantRight(t, "the zero Mark", driver.Mark{}, 5, 0, false)
	wantRight(t, "without a proof", c.Mark("k", nil), 5, 5, true)
	m := c.Mark("k", p)
	wantRight(t, "before any proof", m, -5, -5, true)
	p.Renew(0)
	wantRight(t, "a proof of the moment 0", m, -5, -1, true)
	p.Renew(7)
	wantRight(t, "a later proof", m, 5, 7, true)
	p.Renew(6)
	wantRight(t, "an earlier proof", m, 5, 7, true)
	wantRight(t, "what was asked for later", m, 9, 9, true)
	c.Note("another")
	wantRight(t, "after a change of another key", m, 5, 7, true)
	c.Note("k")
	wantRight(t, "after a change", m, 5, 0, false)
	m = c.Mark("k", p)
	c.NoteAll()
	wantRight(t, "after a change of every key", m, 5, 0, false)
}

// TestChangesThatAreUnderWay: see driver.Changes.
func TestChangesThatAreUnderWay(t *testing.T) {
	t.Parallel()
	c, p := driver.NewChanges(), new(driver.Proof)
	p.Renew(math.MaxInt64)
	before := c.Mark("k", p)
	c.Begin("k")
	wantRight(t, "a mark from before, when a change has begun", before, 5, 0, false)
	during := c.Mark("k", p)
	wantRight(t, "a mark from the middle", during, 5, 5, true)
	c.Begin("k") // another one
	wantRight(t, "when another change has begun", during, 5, 0, false)
	during = c.Mark("k", p)
	c.Done("k")
	wantRight(t, "when one is done", during, 5, 0, false)
	during = c.Mark("k", p)
	wantRight(t, "while the other is under way", during, 5, 5, true)
	c.Settle()
	wantRight(t, "when nobody can be in the middle of it", during, 5, 0, false)
	wantRight(t, "afterwards", c.Mark("k", p), 5, math.MaxInt64, true)
}

// TestChangesOverflow: neither half of a counter runs into the other.
func TestChangesOverflow(t *testing.T) {
	t.Parallel()
	counts := make([]atomic.Uint64, 1)
	counts[0].Store(math.MaxUint64)
	c, p := driver.ChangesIn(counts), new(driver.Proof)
	p.Renew(9)
	m := c.Mark("k", p)
	c.Note("k")
	wantRight(t, "a mark from before", m, 5, 0, false)
	if m := c.Mark("k", p); m.Seen != 0 || m.Proof != p {
		t.Errorf("after the overflow the mark is %+v", m)
	}
}

func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	c := driver.ChangesIn(make([]atomic.Uint64, 2))
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 5000 {
				c.Begin(fmt.Sprint(g, i))
				c.Done(fmt.Sprint(g, i))
			}
		})
	}
	all.Wait()
	p := new(driver.Proof)
	for _, key := range []string{"a", "b", "c"} {
		if c.Mark(key, p).Proof != p {
			t.Errorf("a change of %s is said to be under way", key)
		}
	}
}

func TestChangesInOddNumbers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 3} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d counters are taken", n)
				}
			}()
			driver.ChangesIn(make([]atomic.Uint64, n))
		}()
	}
}

// bus is a backend whose server tells all clients, in order, which keys have changed.
type bus struct {
	driver.Backend
	changes *driver.Changes
	proof   driver.Proof
}

// heard is called with what the server tells.
func (b *bus) heard(key string) { b.changes.Note(key) }

// answered is called when the server has answered a question that was sent at that moment.
// What it has told before that it has told by now.
func (b *bus) answered(sent time.Duration) { b.proof.Renew(sent) }

func (b *bus) Watch(lag time.Duration) (stop func(), atOnce bool) {
	// Here begins what sends a question every third of lag, at least.
	return func() {}, false
}

func (b *bus) Get(ctx context.Context, items []driver.Item) error {
	for i := range items {
		if it := &items[i]; it.Keep && it.Lease == nil {
			it.Mark = b.changes.Mark(it.Key, &b.proof) // before it is read
		}
	}
	return b.Backend.Get(ctx, items)
}

func (b *bus) Set(ctx context.Context, items []driver.Item) error {
	defer func() {
		for i := range items {
			b.changes.Note(items[i].Key)
		}
	}()
	return b.Backend.Set(ctx, items)
}

// A backend that hears of changes tells so with marks. (Delete is like Set.)
func ExampleWatcher() {
	b := &bus{Backend: new(null.Backend), changes: driver.NewChanges()}
	var _ driver.Watcher = b
	items := []driver.Item{{Key: "k", Keep: true}}
	asked := driver.Now()
	_ = b.Get(context.Background(), items)
	known := func() string {
		at, right := items[0].Mark.Right(asked)
		switch {
		case !right:
			return "it has changed"
		case at > asked:
			return "it was right when the server was asked last"
		}
		return "it was right when it was read"
	}
	fmt.Println(known())
	b.answered(driver.Now())
	fmt.Println(known())
	b.heard("k")
	fmt.Println(known())
	// Output:
	// it was right when it was read
	// it was right when the server was asked last
	// it has changed
}
