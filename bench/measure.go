package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A sample is what one measurement saw: ns, allocs and bytes per get, and for
// what share of the time a thread was kept from running by other processes.
type sample struct {
	ns, allocs, bytes, disturbed float64
}

// sampleOf opens a contestant with GOMAXPROCS at procs, warms it, and measures
// it. Nothing of it is left afterwards, so that no contestant pays for the heap
// of another.
func sampleOf(c contestant, w *workload, procs int, o *options) (sample, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	defer runtime.GC()
	opened, err := c.open(w)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", c.name, err)
	}
	defer opened.Close()
	w.misses.Store(0)
	if _, err := hammer(opened, w, procs, o.time/4); err != nil {
		return sample{}, fmt.Errorf("%s: %w", c.name, err)
	}
	runtime.GC()
	s, err := quietest(o.tries, func() (sample, error) { return hammer(opened, w, procs, o.time) })
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", c.name, err)
	}
	if n := w.misses.Load(); n > 0 {
		return sample{}, fmt.Errorf("%s: %d misses: not the hit path", c.name, n)
	}
	o.count(s)
	return s, nil
}

// hammer gets from as many goroutines as there are procs for about d, and
// checks every value. The time of one get is that of the whole divided by all
// gets: with two CPUs a cache that scales shows half of what it takes with one.
func hammer(c *cache, w *workload, procs int, d time.Duration) (sample, error) {
	var (
		wg            sync.WaitGroup
		before, after runtime.MemStats
		gets          = make([]int, procs)
		rates         = make([]float64, procs) // gets per ns
		errs          = make([]error, procs)
	)
	runtime.ReadMemStats(&before)
	for p := range procs {
		wg.Go(func() {
			start := time.Now()
			gets[p], errs[p] = getFor(c, w, p*len(w.asks)/procs, start.Add(d))
			rates[p] = float64(gets[p]) / float64(time.Since(start))
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	var s sample
	var n, rate float64
	for p := range procs {
		if errs[p] != nil {
			return s, errs[p]
		}
		n += float64(gets[p])
		rate += rates[p]
	}
	s.ns = 1 / rate
	s.allocs = float64(after.Mallocs-before.Mallocs) / n
	s.bytes = float64(after.TotalAlloc-before.TotalAlloc) / n
	return s, nil
}

// getFor makes the calls of the workload, from place at on, until end.
func getFor(c *cache, w *workload, at int, end time.Time) (gets int, err error) {
	const batch = 2048 // between two looks at the clock
	ctx := context.Background()
	get, asks, mask := c.get, w.asks, len(w.asks)-1
	for {
		for range batch {
			a := &asks[at&mask]
			at++
			v, err := get(ctx, a.key, a.id)
			if err != nil {
				return gets, err
			}
			if v.ID != a.id {
				return gets, fmt.Errorf("key %d: got the value of %d", a.id, v.ID)
			}
		}
		gets += batch
		if !time.Now().Before(end) {
			return gets, nil
		}
	}
}

// median returns the middle of values, the mean of the two middle ones if
// their number is even.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	m := len(s) / 2
	if len(s)%2 == 0 {
		return (s[m-1] + s[m]) / 2
	}
	return s[m]
}

// medians returns the median of each field of samples.
func medians(samples []sample) sample {
	field := func(get func(sample) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = get(s)
		}
		return median(values)
	}
	return sample{
		ns:     field(func(s sample) float64 { return s.ns }),
		allocs: field(func(s sample) float64 { return s.allocs }),
		bytes:  field(func(s sample) float64 { return s.bytes }),

		disturbed: field(func(s sample) float64 { return s.disturbed }),
	}
}
