package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/dogpile-go/dogpile"
)

const (
	readKeys  = 100 // in one call of many keys
	readBatch = 256 // calls between two looks at the clock
)

// A reading is a way to read from memory other than the hit of one key.
type reading struct {
	name   string
	misses bool // every call creates; else none does
	open   func() (*reader, error)
}

// A reader is an opened reading.
type reader struct {
	region *dogpile.Region
	call   func(ctx context.Context, i int) error // i: from 0 to readBatch
	again  func(ctx context.Context) error        // before each batch; nil: nothing to do
	close  func()
}

func readings() []reading {
	return []reading{
		{"GetOrCreate, stale, another caller creates", false, openStale},
		{"GetOrCreate, hit on a backend of bytes, JSON", false, openBytesHit},
		{fmt.Sprintf("GetMulti of %d fresh keys", readKeys), false, openGetMulti},
		{fmt.Sprintf("GetOrCreateMulti of %d fresh keys", readKeys), false, openGetOrCreateMulti},
		{fmt.Sprintf("MultiFunc.Call of %d fresh keys", readKeys), false, openMultiFunc},
		{"GetOrCreate, miss of one key", true, openMiss},
	}
}

// printReads shows what these readings take in one goroutine.
func printReads(o *options) error {
	var chosen []reading
	for _, r := range readings() {
		if o.filter.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	samples := make([][]sample, len(chosen))
	for round := range o.rounds {
		o.progress(fmt.Sprintf("reads: round %d of %d", round+1, o.rounds))
		for _, n := range rand.Perm(len(chosen)) {
			s, err := chosen[n].sample(o)
			if err != nil {
				return fmt.Errorf("%s: %w", chosen[n].name, err)
			}
			samples[n] = append(samples[n], s)
		}
	}
	rows := [][]string{{"call", "ns/op", "allocs/op", "B/op"}}
	for n, r := range chosen {
		m := medians(samples[n])
		rows = append(rows, []string{r.name, fmt.Sprintf("%.0f", m.ns), fmt.Sprintf("%.1f", m.allocs), fmt.Sprintf("%.0f", m.bytes)})
	}
	printTable(o.out, "Reads in memory: one goroutine, small structs", rows)
	return nil
}

// sample opens r, warms it with one batch, and measures it. It fails if r
// created where it is to hit, or hit where it is to create.
func (r reading) sample(o *options) (sample, error) {
	defer runtime.GC()
	opened, err := r.open()
	if err != nil {
		return sample{}, err
	}
	defer opened.close()
	if _, _, err := opened.run(0); err != nil {
		return sample{}, err
	}
	runtime.GC()
	all := make([]sample, max(1, int(o.time/slice)))
	for i := range all {
		all[i], err = quietest(o.tries, func() (sample, error) {
			before := opened.region.Stats().Creations
			s, calls, err := opened.run(min(slice, o.time))
			want := 0
			if r.misses {
				want = calls
			}
			if n := opened.region.Stats().Creations - before; err == nil && n != int64(want) {
				err = fmt.Errorf("%d creations in %d calls, want %d", n, calls, want)
			}
			return s, err
		})
		if err != nil {
			return sample{}, err
		}
		o.samples++
		if all[i].disturbed > quietEnough {
			o.disturbed++
		}
	}
	return mean(all), nil
}

// run makes batches of calls, at least one, until they have taken d. What goes
// before a batch does not count.
func (r *reader) run(d time.Duration) (s sample, calls int, err error) {
	ctx := context.Background()
	var took time.Duration
	var allocs, bytes uint64
	for calls == 0 || took < d {
		if r.again != nil {
			if err := r.again(ctx); err != nil {
				return s, calls, err
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		for i := range readBatch {
			if err := r.call(ctx, i); err != nil {
				return s, calls, err
			}
		}
		took += time.Since(begin)
		runtime.ReadMemStats(&after)
		allocs += after.Mallocs - before.Mallocs
		bytes += after.TotalAlloc - before.TotalAlloc
		calls += readBatch
	}
	n := float64(calls)
	return sample{ns: float64(took) / n, allocs: float64(allocs) / n, bytes: float64(bytes) / n}, calls, nil
}
