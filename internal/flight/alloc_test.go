package flight_test

import (
	"context"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// frugal is a Source of one key, or of several, that allocates nothing by itself.
type frugal struct {
	readings []flight.Reading[int]
	results  []flight.Result[int]
	held     []bool
}

func newFrugal(n int) *frugal {
	return &frugal{
		make([]flight.Reading[int], n), slicesOf(flight.Result[int]{Value: 1, OK: true}, n), slicesOf(true, n),
	}
}

func (f *frugal) Read(_ context.Context, at []int) ([]flight.Reading[int], error) {
	return f.readings[:len(at)], nil
}
func (f *frugal) TryLock(context.Context, int) (bool, error) { return true, nil }
func (f *frugal) Wait(context.Context, int) (bool, error)    { return false, nil }
func (f *frugal) Unlock(int)                                 {}
func (f *frugal) Create(_ context.Context, at []int) ([]flight.Result[int], error) {
	return f.results[:len(at)], nil
}
func (f *frugal) Store(_ context.Context, at []int, _ []flight.Result[int], _ []bool) []bool {
	return f.held[:len(at)]
}
func (f *frugal) Enter(context.Context, bool) (func(), error) { return leave, nil }
func (f *frugal) Backoff(int) time.Duration                   { return 0 }
func (f *frugal) Unseen(context.Context, []int, error)        {}
func (f *frugal) Name(int) string                             { return "" }

func leave() {}

// TestAllocs: what a call costs, from Do to the end of its flights. The figures are the
// ones that were measured; code that needs less lowers them.
func TestAllocs(t *testing.T) {
	for _, row := range []struct {
		name  string
		keys  int
		state flight.State
		busy  bool
		most  float64
	}{
		{"fresh", 1, flight.Fresh, false, 2},
		{"stale, while somebody creates it", 1, flight.Stale, true, 2},
		{"missing", 1, flight.Missing, false, 48},
		{"a hundred missing keys", 100, flight.Missing, false, 1040},
	} {
		t.Run(row.name, func(t *testing.T) {
			var table flight.Table
			source := newFrugal(row.keys)
			call := flight.Call[int]{Table: &table, Keys: numbered(row.keys), Source: source}
			if row.busy {
				table.BackOff(call.Keys[0], time.Hour)
				defer table.Forget(call.Keys...)
			}
			readings := slicesOf(flight.Reading[int]{State: row.state}, row.keys)
			got := testing.AllocsPerRun(200, func() {
				call.Called = table.Now()
				if _, err := call.Do(t.Context(), readings); err != nil {
					t.Error(err)
				}
			})
			ends(t, &table)
			if got > row.most {
				t.Errorf("%v allocations, want at most %v", got, row.most)
			}
		})
	}
}
