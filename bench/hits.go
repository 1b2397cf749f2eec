package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

var procs = []int{1, 2} // values of GOMAXPROCS

// results are the samples of contestants, by name and place in procs.
type results map[string][][]sample

func (r results) add(name string, p int, s sample) {
	if r[name] == nil {
		r[name] = make([][]sample, len(procs))
	}
	r[name][p] = append(r[name][p], s)
}

func (r results) median(name string, p int) sample { return medians(r[name][p]) }

// ratio describes ns per get of one contestant over that of another: the
// median of the ratios of each round, and the least and the greatest.
type ratio struct{ median, least, greatest float64 }

func (r results) ratio(name, base string, p int) ratio {
	var all []float64
	for round, s := range r[name][p] {
		all = append(all, s.ns/r[base][p][round].ns)
	}
	return ratio{median(all), slices.Min(all), slices.Max(all)}
}

func (r ratio) String() string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", r.median, r.least, r.greatest)
}

// measure takes one sample of each contestant for each of procs in every
// round, in an order that is drawn anew, so that what else the machine does
// falls on all alike.
func measure(o *options, table string, contestants []contestant, w *workload) (results, error) {
	r := make(results)
	for round := range o.rounds {
		o.progress(table, round)
		for _, n := range rand.Perm(len(contestants)) {
			for p := range procs {
				s, err := sampleOf(contestants[n], w, procs[p], o.time, o.tries)
				if err != nil {
					return nil, err
				}
				r.add(contestants[n].name, p, s)
				o.samples++
				if s.disturbed > quietEnough {
					o.disturbed++
				}
			}
		}
	}
	return r, nil
}

// limits are the ratios that are asked for.
var limits = []struct {
	name, base string
	limit      float64
}{
	{nameBounded, nameOtter, 1.25},
	{nameUnbounded, nameFlight, 1.3},
	{nameUnbounded, nameFlightTTL, 1.3},
}

func printHits(o *options) error {
	var chosen []contestant
	for _, c := range slices.Concat(dogpiles(), rivals()) {
		if o.filter.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-filter %q matches no contestant", o.filter)
	}
	r, err := measure(o, "hit", chosen, newWorkload(defaultLen))
	if err != nil {
		return err
	}
	rows := [][]string{{"hit path, 1 h to live", "ns/op 1 CPU", "ns/op 2 CPUs", "allocs/op", "B/op"}}
	for _, c := range chosen {
		one, two := r.median(c.name, 0), r.median(c.name, 1)
		rows = append(rows, []string{c.name, fmt.Sprintf("%.0f", one.ns), fmt.Sprintf("%.0f", two.ns),
			fmt.Sprintf("%.2f", one.allocs), fmt.Sprintf("%.1f", one.bytes)})
	}
	title := fmt.Sprintf("Hits: %d keys, zipf s=%v, string keys, 100-byte struct values", defaultLen, zipfS)
	printTable(o.out, title, rows)
	printLimits(o, r)
	return nil
}

func printLimits(o *options, r results) {
	rows := [][]string{{"ratio of ns/op, median (least–greatest)", "1 CPU", "2 CPUs", "limit", "verdict"}}
	for _, l := range limits {
		if r[l.name] == nil || r[l.base] == nil {
			continue
		}
		one, two := r.ratio(l.name, l.base, 0), r.ratio(l.name, l.base, 1)
		rows = append(rows, []string{l.name + " / " + l.base, one.String(), two.String(),
			fmt.Sprintf("%.2f", l.limit), verdict(max(one.median, two.median) <= l.limit)})
	}
	if len(rows) > 1 {
		printTable(o.out, "Ratios", rows)
	}
}

func verdict(ok bool) string {
	if ok {
		return "held"
	}
	return "NOT HELD"
}

// printSizes shows how the cost of a hit grows with the number of keys.
func printSizes(o *options) error {
	contestants := []contestant{{nameBounded, openBounded}, {nameOtter, openOtterGet(ttl)}}
	rows := [][]string{{"keys", "otter 1 CPU", "dogpile 1 CPU", "ratio", "otter 2 CPUs", "dogpile 2 CPUs", "ratio"}}
	for _, n := range o.sizes {
		r, err := measure(o, fmt.Sprintf("size %d", n), contestants, newWorkload(n))
		if err != nil {
			return err
		}
		row := []string{fmt.Sprint(n)}
		for p := range procs {
			row = append(row, fmt.Sprintf("%.0f", r.median(nameOtter, p).ns),
				fmt.Sprintf("%.0f", r.median(nameBounded, p).ns), r.ratio(nameBounded, nameOtter, p).String())
		}
		rows = append(rows, row)
	}
	printTable(o.out, "Cost of a hit by number of keys, ns/op: "+nameBounded+", beside "+nameOtter, rows)
	return nil
}
