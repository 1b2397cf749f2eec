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

// measure takes one sample of each contestant for each of procs in every
// round, in an order that is drawn anew, so that what else the machine does
// falls on all alike.
func measure(o *options, contestants []contestant, w *workload) (results, error) {
	r := make(results)
	for round := range o.rounds {
		o.progress(fmt.Sprintf("hit: round %d of %d", round+1, o.rounds))
		for _, n := range rand.Perm(len(contestants)) {
			for p := range procs {
				s, err := sampleOf(contestants[n], w, procs[p], o)
				if err != nil {
					return nil, err
				}
				r.add(contestants[n].name, p, s)
			}
		}
	}
	return r, nil
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
	r, err := measure(o, chosen, newWorkload(o.keys))
	if err != nil {
		return err
	}
	rows := [][]string{{"hit path, 1 h to live", "ns/op 1 CPU", "ns/op 2 CPUs", "allocs/op", "B/op"}}
	for _, c := range chosen {
		one, two := medians(r[c.name][0]), medians(r[c.name][1])
		rows = append(rows, []string{c.name, fmt.Sprintf("%.0f", one.ns), fmt.Sprintf("%.0f", two.ns),
			fmt.Sprintf("%.2f", one.allocs), fmt.Sprintf("%.1f", one.bytes)})
	}
	title := fmt.Sprintf("Hits: %d keys, zipf s=%v, string keys, 100-byte struct values", o.keys, zipfS)
	printTable(o.out, title, rows)
	return nil
}
