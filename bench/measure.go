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
	all := make([]sample, max(1, int(o.time/slice)))
	for i := range all {
		if all[i], err = o.sample(opened, w, procs); err != nil {
			return sample{}, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if n := w.misses.Load(); n > 0 {
		return sample{}, fmt.Errorf("%s: %d misses: not the hit path", c.name, n)
	}
	return mean(all), nil
}

// slice is the length of a measurement. It is short, so that the machine has
// such moments for itself even when it is busy.
const slice = 30 * time.Millisecond

// sample measures c for a slice, and notes whether the machine was quiet.
func (o *options) sample(c *cache, w *workload, procs int) (sample, error) {
	s, err := quietest(o.tries, func() (sample, error) { return hammer(c, w, procs, min(slice, o.time)) })
	o.samples++
	if s.disturbed > quietEnough {
		o.disturbed++
	}
	return s, err
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

// mean returns the mean of each field of samples: a median would leave out the
// slices in which garbage was collected.
func mean(samples []sample) sample {
	var m sample
	for _, s := range samples {
		m.ns += s.ns / float64(len(samples))
		m.allocs += s.allocs / float64(len(samples))
		m.bytes += s.bytes / float64(len(samples))
	}
	return m
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
	}
}
