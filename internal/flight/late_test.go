package flight_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// A store is told whether anybody has joined since the creator began.
func TestStoreIsToldOfLateCallers(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		early, late bool
		want        string
	}{
		"nobody":                            {want: "[]"},
		"a caller before the creator began": {early: true, want: "[]"},
		"a caller afterwards":               {late: true, want: "[true]"},
		"both":                              {early: true, late: true, want: "[true]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("k")
				locking, gate := make(chan struct{}), make(chan struct{})
				a := b.call(&table, "k").gated(gate)
				tryLock := a.src.tryLock
				a.src.tryLock = func(ctx context.Context, at int) (bool, error) {
					<-locking // the flight is there, and its creator has not begun
					return tryLock(ctx, at)
				}
				called := a.start(t.Context())
				var callers []chan results
				join := func(yes bool) {
					synctest.Wait()
					if yes {
						callers = append(callers, b.call(&table, "k").start(t.Context()))
						synctest.Wait()
					}
				}
				join(row.early)
				close(locking)
				join(row.late)
				close(gate)
				want(t, "A", called, "k=k1", nil)
				for _, c := range callers {
					want(t, "who joins", c, "k=k1", nil)
				}
				if got := a.src.late; !slices.Equal(got, []string{row.want}) {
					t.Errorf("the store was told %v, want %v", got, row.want)
				}
				b.idle(t)
			})
		})
	}
}
