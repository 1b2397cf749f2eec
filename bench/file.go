package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Readers is how many processes read while one writes.
var readers = []int{1, 2, 4}

// fileEntries returns n entries of 1 KB.
func fileEntries(n int) []stored {
	all := make([]stored, n)
	for i := range all {
		key := fmt.Sprint("user:", i)
		all[i] = stored{key, key + strings.Repeat(".", 1000-len(key))}
	}
	return all
}

// A fileFleet are processes that have one file open.
type fileFleet struct {
	name string
	all  []*fileProcess
}

// onFiles calls print with n processes of each kind that the filter lets pass,
// each kind on a file of its own with a tenth of o's number of keys in it.
func onFiles(o *options, n int, print func(keys int, fleets []*fileFleet) error) error {
	dir, err := os.MkdirTemp("", "dogpile-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var fleets []*fileFleet
	defer func() {
		for _, f := range fleets {
			for _, p := range f.all {
				p.Close()
			}
		}
	}()
	keys := o.keys / 10
	for i, k := range fileKinds {
		if !o.filter.MatchString(k.name) {
			continue
		}
		f := &fileFleet{name: k.name}
		fleets = append(fleets, f)
		for at := range n {
			p, err := startFile(k, fileRole{Path: filepath.Join(dir, fmt.Sprint(i)), Keys: keys, Fill: at == 0})
			if err != nil {
				return err
			}
			f.all = append(f.all, p)
		}
		if dbm := f.all[0].dbm; dbm != "" {
			f.name = fmt.Sprintf("%s (Python, %s)", k.name, dbm)
			if dbm != "dbm.gnu" {
				o.progress(fmt.Sprintf("file: without gdbm, dogpile.cache uses %s: apt-get install python3-gdbm", dbm))
			}
		}
	}
	if len(fleets) == 0 {
		return nil
	}
	return print(keys, fleets)
}

// A fileLap is what one operation took, in µs, and how long its process had a
// CPU for it.
type fileLap struct{ took, cpu float64 }

// printFile prints what a get and a set cost a process that is alone.
func printFile(o *options) error {
	return onFiles(o, 1, func(keys int, fleets []*fileFleet) error {
		gets, sets := make([][]fileLap, len(fleets)), make([][]fileLap, len(fleets))
		o.progress("file: one process of each kind")
		for t := range 1 + o.rounds*max(1, int(o.time/turn)) {
			for _, i := range rand.Perm(len(fleets)) {
				got, err := fleets[i].all[0].lap(fileOrder{For: min(turn, o.time)})
				if err != nil {
					return err
				}
				set, err := fleets[i].all[0].lap(fileOrder{Writes: true, For: min(turn, o.time)})
				if err != nil {
					return err
				}
				if t > 0 { // the first one was to warm up
					gets[i], sets[i] = append(gets[i], got), append(sets[i], set)
				}
			}
		}
		rows := [][]string{{"one process", "get µs", "its CPU", "/ first", "set µs", "its CPU", "/ first"}}
		for i, f := range fleets {
			rows = append(rows, slices.Concat([]string{f.name}, fileCells(gets[i], gets[0]), fileCells(sets[i], sets[0])))
		}
		printTable(o.out, fmt.Sprintf("File: %d entries of 1 KB; µs", keys), rows)
		return nil
	})
}

// lap has a process obey, and tells what an operation took.
func (p *fileProcess) lap(o fileOrder) (l fileLap, err error) {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	before, _ := cpuTime(pid)
	if err := p.order(o); err != nil {
		return l, err
	}
	n, err := p.next()
	if err != nil {
		return l, err
	}
	after, _ := cpuTime(pid)
	ops := float64(n.Ops) * float64(time.Microsecond)
	return fileLap{took: float64(n.Took) / ops, cpu: float64(after-before) / ops}, nil
}

// fileCells shows medians: what an operation took, its CPU, and how many times
// as much as with the first.
func fileCells(laps, first []fileLap) []string {
	var took, cpu, ratio []float64
	for i, l := range laps {
		took, cpu, ratio = append(took, l.took), append(cpu, l.cpu), append(ratio, l.took/first[i].took)
	}
	return []string{fmt.Sprintf("%.1f", median(took)), fmt.Sprintf("%.1f", median(cpu)), fmt.Sprintf("%.2f", median(ratio))}
}

// printFileProcesses prints how much processes read, all together, while
// another one writes without a pause, and how much that writes.
func printFileProcesses(o *options) error {
	return onFiles(o, 1+slices.Max(readers), func(keys int, fleets []*fileFleet) error {
		rows := [][]string{{"kilo-operations per second"}}
		for _, f := range fleets {
			rows = append(rows, []string{f.name})
		}
		for _, n := range readers {
			reads, writes := make([][]float64, len(fleets)), make([][]float64, len(fleets))
			for round := range o.rounds {
				o.progress(fmt.Sprintf("file-processes: readers: %d, round %d of %d", n, round+1, o.rounds))
				for _, i := range rand.Perm(len(fleets)) {
					read, written, err := fleets[i].mix(n, o.time)
					if err != nil {
						return err
					}
					reads[i], writes[i] = append(reads[i], read), append(writes[i], written)
				}
			}
			rows[0] = append(rows[0], fmt.Sprintf("reads of %d", n), "writes")
			for i := range fleets {
				rows[i+1] = append(rows[i+1], fmt.Sprintf("%.2f", median(reads[i])/1e3), fmt.Sprintf("%.2f", median(writes[i])/1e3))
			}
		}
		printTable(o.out, fmt.Sprintf("File: 1, 2 and 4 processes read while another one writes; %d entries of 1 KB", keys), rows)
		return nil
	})
}

// mix has n processes read while another one writes, and returns how much they
// do per second.
func (f *fileFleet) mix(n int, d time.Duration) (reads, writes float64, err error) {
	busy := f.all[:n+1] // the first one writes
	for i, p := range busy {
		if err := p.order(fileOrder{Writes: i == 0, For: d}); err != nil {
			return 0, 0, err
		}
	}
	for i, p := range busy {
		done, err := p.next()
		if err != nil {
			return 0, 0, err
		}
		if rate := float64(done.Ops) / done.Took.Seconds(); i == 0 {
			writes = rate
		} else {
			reads += rate
		}
	}
	return reads, writes, nil
}
