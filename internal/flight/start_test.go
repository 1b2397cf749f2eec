package flight_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// looked is a context that tells when somebody asks whether it has ended. Do asks that
// for each key that is not fresh, after it has looked into the table, and before it
// starts any flight.
type looked struct {
	context.Context
	at func()
}

func (l looked) Err() error { l.at(); return l.Context.Err() }

// TestStaleCallersThatComeTogether: 1. A finds a stale value, and nobody who creates
// it.  2. At this moment B starts to create it.  3. A returns the stale value, without
// waiting for B.
func TestStaleCallersThatComeTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		gate := make(chan struct{})
		var callB chan results
		// Do looks at its context after it has looked into the table.
		ctx := looked{t.Context(), func() {
			if callB == nil {
				callB = make(chan results, 1)
				go func() { callB <- b.call(&table, "k").gated(gate).do(t.Context()) }()
				time.Sleep(time.Second)
			}
		}}
		want(t, "A", await(b.call(&table, "k").start(ctx)), "k=old", nil)
		close(gate)
		want(t, "B", callB, "k=k1", nil)
		b.idle(t)
	})
}

// TestStaleCallerMeetsARenewer: 1. A finds a stale value that nobody creates.  2. At
// this moment B starts to renew it.  3. A, which shares nothing with a renewer, finds
// the key locked within the process, and returns the stale value. There is no need to
// back off from the key: the table tells when B is done.
func TestStaleCallerMeetsARenewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		gate := make(chan struct{})
		var callB chan results
		ctx := looked{t.Context(), func() {
			if callB == nil {
				callB = make(chan results, 1)
				go func() { callB <- b.call(&table, "k").renewing().gated(gate).do(t.Context()) }()
				time.Sleep(time.Second)
			}
		}}
		want(t, "A", await(b.call(&table, "k").start(ctx)), "k=old", nil)
		if table.BackingOff("k") {
			t.Error("the process backs off from itself")
		}
		close(gate)
		want(t, "B", callB, "k=k1", nil)
		b.idle(t)
	})
}

// TestStartsNothingForACallerThatLeaves: 1. A looks at a: missing, A is about to create
// it.  2. B joins for a, if it can.  3. A looks at b, and its context ends.  4. A gets
// its error, B the value.
func TestStartsNothingForACallerThatLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		leaving, cancel := context.WithCancel(t.Context())
		callB := make(chan results, 1)
		looks := 0
		ctx := looked{leaving, func() {
			if looks++; looks == 1 {
				go func() { callB <- b.call(&table, "a").do(t.Context()) }()
				time.Sleep(time.Second)
				cancel()
			}
		}}
		want(t, "A", await(b.call(&table, "a", "b").start(ctx)), "", context.Canceled)
		want(t, "B", callB, "a=a1", nil)
		if got := b.creations("a", "b"); got != "a1 b0" {
			t.Errorf("creations: %s", got)
		}
		b.idle(t)
	})
}

// TestStartsNothingForARecursiveCaller: 1. A's creator, for b, asks for a and b.
// 2. Before it looks at b, B joins for a, if it can.  3. A gets ErrRecursive, B the
// value.
func TestStartsNothingForARecursiveCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		callB := make(chan results, 1)
		callA := b.call(&table, "b").creates(func(ctx context.Context, _ []int) error {
			looks := 0
			return b.call(&table, "a", "b").do(looked{ctx, func() {
				if looks++; looks == 1 {
					go func() { callB <- b.call(&table, "a").do(t.Context()) }()
					time.Sleep(time.Second)
				}
			}}).err
		}).start(t.Context())
		want(t, "A", await(callA), "", flight.ErrRecursive)
		want(t, "B", callB, "a=a1", nil)
		b.idle(t)
	})
}

// TestStartsNothingInAClosedTable: 1. A looks at a and b.  2. The table is closed.
// 3. A gets ErrClosed, and Close has nothing to wait for.
func TestStartsNothingInAClosedTable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		looks := 0
		ctx := looked{t.Context(), func() {
			if looks++; looks == 2 {
				if err := table.Close(t.Context()); err != nil {
					t.Errorf("Close = %v", err)
				}
			}
		}}
		want(t, "A", b.call(&table, "a", "b").start(ctx), "", flight.ErrClosed)
		b.idle(t)
	})
}
