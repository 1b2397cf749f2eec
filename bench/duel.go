package main

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/dogpile-go/dogpile"
)

// A duel is what two contestants took, in turns: ns per get, pair by pair.
type duel struct{ ns, base []float64 }

// fight measures contestants a and b in turns, slice by slice, with both opened
// at once, so that what else the machine does in a moment falls on both. It
// appends to the duel.
func (f *duel) fight(o *options, a, b contestant, w *workload, procs int) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	defer runtime.GC()
	var opened [2]*cache
	for i, c := range []contestant{a, b} {
		var err error
		if opened[i], err = c.open(w); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer opened[i].Close()
	}
	runtime.GC()
	w.misses.Store(0)
	pairs := max(1, int(o.time/slice))
	for pair := -1; pair < pairs; pair++ { // the first one warms up
		var ns [2]float64
		for turn := range 2 {
			i := (pair + turn) & 1
			s, err := o.sample(opened[i], w, procs)
			if err != nil {
				return fmt.Errorf("%s or %s: %w", a.name, b.name, err)
			}
			ns[i] = s.ns
		}
		if pair >= 0 {
			f.ns, f.base = append(f.ns, ns[0]), append(f.base, ns[1])
		}
	}
	if n := w.misses.Load(); n > 0 {
		return fmt.Errorf("%s or %s: %d misses: not the hit path", a.name, b.name, n)
	}
	return nil
}

// ratio returns the median over the pairs of ns of the one over ns of the
// other, and the quartiles.
func (f *duel) ratio() ratio {
	all := make([]float64, len(f.ns))
	for i := range all {
		all[i] = f.ns[i] / f.base[i]
	}
	slices.Sort(all)
	return ratio{median(all), all[len(all)/4], all[len(all)*3/4]}
}

// String returns the medians of ns per get, "120 / 100".
func (f *duel) String() string { return fmt.Sprintf("%.0f / %.0f", median(f.ns), median(f.base)) }

type ratio struct{ median, lower, upper float64 }

func (r ratio) String() string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", r.median, r.lower, r.upper)
}

// duels returns the duel of a with b for each of procs, over all rounds.
func duels(o *options, a, b contestant, w *workload) ([]duel, error) {
	fs := make([]duel, len(procs))
	for range o.rounds {
		for p := range procs {
			if err := fs[p].fight(o, a, b, w, procs[p]); err != nil {
				return nil, err
			}
		}
	}
	return fs, nil
}

// limits are the ratios that are asked for. A map without expiration does not
// look at a clock; the last two compare like with like.
var limits = []struct {
	a, b  contestant
	limit float64
}{
	{contestant{nameBounded, openBounded}, contestant{nameOtter, openOtterGet(ttl)}, 1},
	{contestant{nameUnbounded, openUnbounded}, contestant{nameFlight, openFlight}, 1.3},
	{contestant{nameUnbounded, openUnbounded}, contestant{nameFlightTTL, openFlightTTL}, 1.2},
	{contestant{nameUnbounded + ", no expiration", openCache(false, dogpile.Never)}, contestant{nameFlight, openFlight}, 1.3},
}

func printRatios(o *options) error {
	w := newWorkload(o.keys)
	rows := [][]string{{"ratio of ns/op, median (quartiles)", "ns/op", "1 CPU", "ns/op", "2 CPUs", "limit", "verdict"}}
	for _, l := range limits {
		o.progress("ratio: " + l.a.name + " / " + l.b.name)
		fs, err := duels(o, l.a, l.b, w)
		if err != nil {
			return err
		}
		one, two := fs[0].ratio(), fs[1].ratio()
		rows = append(rows, []string{l.a.name + " / " + l.b.name, fs[0].String(), one.String(), fs[1].String(), two.String(),
			fmt.Sprintf("%.2f", l.limit), verdict(max(one.median, two.median) <= l.limit)})
	}
	printTable(o.out, "Ratios of a hit, measured in turns", rows)
	return nil
}

func verdict(ok bool) string {
	if ok {
		return "held"
	}
	return "NOT HELD"
}

// printSizes shows how the cost of a hit grows with the number of keys.
func printSizes(o *options) error {
	a, b := contestant{nameBounded, openBounded}, contestant{nameOtter, openOtterGet(ttl)}
	rows := [][]string{{"keys", "otter 1 CPU", "dogpile 1 CPU", "ratio", "otter 2 CPUs", "dogpile 2 CPUs", "ratio"}}
	for _, n := range o.sizes {
		o.progress(fmt.Sprintf("size: %d keys", n))
		fs, err := duels(o, a, b, newWorkload(n))
		if err != nil {
			return err
		}
		row := []string{fmt.Sprint(n)}
		for _, f := range fs {
			row = append(row, fmt.Sprintf("%.0f", median(f.base)), fmt.Sprintf("%.0f", median(f.ns)), f.ratio().String())
		}
		rows = append(rows, row)
	}
	printTable(o.out, "Cost of a hit by number of keys, ns/op: "+a.name+", beside "+b.name, rows)
	return nil
}
