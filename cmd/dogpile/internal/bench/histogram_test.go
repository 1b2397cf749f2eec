package bench_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/bench"
)

// TestQuantiles are those of the durations, or at most 3 % more.
func TestQuantiles(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, spread := range []time.Duration{1, 31, 32, 33, 64, 1000, time.Millisecond, time.Hour, 1 << 62} {
		var h bench.Histogram
		var all []time.Duration
		for range 2000 {
			d := rand.N(spread + 1)
			if random.IntN(2) == 0 {
				d = min(d, spread/1000+1)
			}
			h.Add(d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, q := range []float64{0, .001, .5, .9, .99, .999, 1} {
			want := all[max(int(q*float64(len(all))+.9999999)-1, 0)]
			got := h.Quantile(q)
			if got < want || float64(got) > float64(want)*1.032+1 || q == 1 && got != want {
				t.Errorf("up to %v: quantile %v is %v, want %v", spread, q, got, want)
			}
		}
		n := uint64(0)
		for _, bar := range h.Bars() {
			n += bar.Count
		}
		if n != h.Count() || h.Count() != 2000 {
			t.Errorf("up to %v: bars of %d, count %d", spread, n, h.Count())
		}
	}
}

func TestBarsArePowersOfTwoOfAMicrosecond(t *testing.T) {
	t.Parallel()
	var h bench.Histogram
	if h.Quantile(.5) != 0 || h.Bars() != nil {
		t.Error("an empty histogram has something in it")
	}
	for _, d := range []time.Duration{1500, 1900, 7 * time.Microsecond, 9 * time.Microsecond} {
		h.Add(d)
	}
	want := []bench.Bar{{2 * time.Microsecond, 2}, {4 * time.Microsecond, 0}, {8 * time.Microsecond, 1}, {16 * time.Microsecond, 1}}
	if got := h.Bars(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"0": 0, "100": 100, "1KiB": 1024, "64MiB": 64 << 20} {
		if got, ok := bench.ParseSize(text); got != want || !ok {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1kb", "1.5", "99999999999", "9999999999MiB"} {
		if got, ok := bench.ParseSize(text); ok {
			t.Errorf("%q: %d", text, got)
		}
	}
}
