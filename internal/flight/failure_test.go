package flight_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// failFor makes a call one whose errors are remembered for an hour.
func (c *call) failFor(err error) *call {
	c.FailFor = func(error) time.Duration { return time.Hour }
	return c.creates(func(context.Context, []int) error { return err })
}

func wantRemembered(t *testing.T, caller string, done chan results, remembered bool) {
	t.Helper()
	synctest.Wait()
	got := <-done
	r := new(flight.Remembered)
	if !errors.Is(got.err, errBroken) || errors.As(got.err, &r) != remembered {
		t.Errorf("%s got %v; want it remembered: %v", caller, got.err, remembered)
	}
}

func TestFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		then       func(table *flight.Table, b *backend)
		remembered bool
	}{
		"nothing":         {func(*flight.Table, *backend) {}, true},
		"another key":     {func(table *flight.Table, _ *backend) { table.Forget("j") }, true},
		"Forget":          {func(table *flight.Table, _ *backend) { table.Forget("k") }, false},
		"ForgetAll":       {func(table *flight.Table, _ *backend) { table.ForgetAll(context.Background()) }, false},
		"another version": {func(_ *flight.Table, b *backend) { b.invalidate() }, false},
		"time":            {func(*flight.Table, *backend) { time.Sleep(time.Hour); synctest.Wait() }, false},
		"a renewal that is not stored": {func(table *flight.Table, b *backend) {
			c := b.call(table, "k").renewing()
			c.src.store = func(_ context.Context, at []int, _ []flight.Result[string]) []bool { return make([]bool, len(at)) }
			c.do(context.Background())
			b.delete("k")
		}, false},
		"a renewal that fails": {func(table *flight.Table, b *backend) {
			b.call(table, "k").renewing().creates(func(context.Context, []int) error { return errors.New("another") }).do(context.Background())
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("k", "j")
				wantRemembered(t, "A", b.call(&table, "k").failFor(errBroken).start(t.Context()), false)
				row.then(&table, b)
				wantRemembered(t, "B", b.call(&table, "k").failFor(errBroken).start(t.Context()), row.remembered)
				if c := <-b.call(&table, "k").start(t.Context()); c.err != nil || c.values["k"] == "" {
					t.Errorf("C, who takes no earlier error, got %v, %v", c.values, c.err)
				}
			})
		})
	}
}

// What was forgotten while its creator ran is not remembered when that fails.
func TestFailureOfAForgottenFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		c := b.call(&table, "k").failFor(errBroken)
		c.creates(func(context.Context, []int) error { time.Sleep(time.Second); return errBroken })
		a := c.start(t.Context())
		table.Forget("k")
		b.delete("k")
		time.Sleep(2 * time.Second)
		wantRemembered(t, "A", a, false)
		wantRemembered(t, "B", b.call(&table, "k").failFor(errBroken).start(t.Context()), false)
	})
}

// A program that asks for ever new keys, all of which fail, does not fill the memory.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const keys, most = 20000, 16 * 1024
		var table flight.Table
		var creations atomic.Int64
		b := newBackend("k")
		for range 2 {
			creations.Store(0)
			for i := range keys {
				c := b.call(&table, "k").failFor(errBroken)
				c.Keys = []string{fmt.Sprint(i)}
				c.src.create = func(context.Context, []int) ([]flight.Result[string], error) { creations.Add(1); return nil, errBroken }
				if got := c.do(t.Context()); !errors.Is(got.err, errBroken) {
					t.Fatalf("got %v", got.err)
				}
			}
		}
		if n := creations.Load(); n < keys-most {
			t.Errorf("%d of %d failures were remembered, want %d at most", keys-n, keys, most)
		}
	})
}
