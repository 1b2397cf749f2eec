package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// hotKeys are those of the table near. All of them are in memory.
const hotKeys = 1000

// printNear prints what a hit costs that is answered from the memory of the
// process, with caches whose entries are in Redis or in a file as well.
func printNear(o *options) error {
	server, err := startRedis()
	if err != nil {
		return err
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "dogpile-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var all []*hotCache
	for _, h := range hots(filepath.Join(dir, "near")) {
		if !o.filter.MatchString(h.name) {
			continue
		}
		c, err := openHot(h, setting{Addr: server.addr, Lease: lease})
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		defer c.close()
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil
	}
	for _, procs := range procs {
		if err := o.printNear(all, procs); err != nil {
			return err
		}
	}
	return nil
}

// printNear has all take turns with each number of goroutines.
func (o *options) printNear(all []*hotCache, procs int) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	rows := [][]string{{fmt.Sprintf("near hit, GOMAXPROCS %d", procs)}}
	for _, c := range all {
		rows = append(rows, []string{c.name})
	}
	var seen [][]sample
	for _, n := range goroutines {
		o.progress(fmt.Sprintf("near: GOMAXPROCS %d, goroutines: %d", procs, n))
		seen = make([][]sample, len(all))
		for range o.rounds * max(1, int(o.time/turn)) {
			for _, i := range rand.Perm(len(all)) {
				s, err := o.sampleHot(all[i], n)
				if err != nil {
					return fmt.Errorf("%s: %w", all[i].name, err)
				}
				seen[i] = append(seen[i], s)
			}
		}
		rows[0] = append(rows[0], fmt.Sprintf("%d: ns/op", n), "/ first")
		for i := range all {
			rows[i+1] = append(rows[i+1], fmt.Sprintf("%.0f", medians(seen[i]).ns), fmt.Sprintf("%.2f", ratioOf(seen[i], seen[0])))
		}
	}
	rows[0] = append(rows[0], "allocs/op", "B/op")
	for i := range all {
		last := medians(seen[i])
		rows[i+1] = append(rows[i+1], fmt.Sprintf("%.2f", last.allocs), fmt.Sprintf("%.0f", last.bytes))
	}
	printTable(o.out, fmt.Sprintf("Near hits: %d hot keys, strings of 100 bytes, by goroutines", hotKeys), rows)
	return nil
}

// ratioOf returns the median of what samples took as against those of base of the same turn.
func ratioOf(samples, base []sample) float64 {
	ratios := make([]float64, len(samples))
	for i, s := range samples {
		ratios[i] = s.ns / base[i].ns
	}
	return median(ratios)
}

// A hotCache is an opened hot.
type hotCache struct {
	name string
	*conn
	all []stored
}

// openHot stores the keys and gets each so often that it is in memory.
func openHot(h hot, s setting) (*hotCache, error) {
	all := numbered(h.name+":", hotKeys)
	opened, err := h.open(s, all)
	if err != nil {
		return nil, err
	}
	c := &hotCache{h.name, opened, all}
	for range 2 {
		for _, e := range all {
			if _, err := c.get(context.Background(), e.key); err != nil {
				c.close()
				return nil, err
			}
		}
	}
	return c, nil
}

// sampleHot measures c with n goroutines for a slice, after a shorter one to warm up.
func (o *options) sampleHot(c *hotCache, n int) (sample, error) {
	d := min(slice, o.time)
	if _, err := c.hammer(n, d/4); err != nil {
		return sample{}, err
	}
	runtime.GC() // nobody pays for the garbage of another
	s, err := quietest(1, func() (sample, error) { return c.hammer(n, d) })
	o.samples++
	if s.disturbed > quietEnough {
		o.disturbed++
	}
	return s, err
}

// hammer gets from n goroutines for about d. The time of one get is that of the
// whole divided by all gets.
func (c *hotCache) hammer(n int, d time.Duration) (sample, error) {
	var (
		wg            sync.WaitGroup
		before, after runtime.MemStats
		gets          = make([]int, n)
		errs          = make([]error, n)
		near          int64
	)
	if c.near != nil {
		near = -c.near()
	}
	runtime.ReadMemStats(&before)
	start := time.Now()
	for g := range n {
		wg.Go(func() { gets[g], errs[g] = c.turns(g*len(c.all)/n, start.Add(d)) })
	}
	wg.Wait()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	sum := 0
	for g := range n {
		if errs[g] != nil {
			return sample{}, errs[g]
		}
		sum += gets[g]
	}
	if c.near != nil {
		if near += c.near(); near < int64(sum)*9/10 {
			return sample{}, fmt.Errorf("copies answered only %d of %d gets", near, sum)
		}
	}
	return sample{
		ns:     float64(took) / float64(sum),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(sum),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(sum),
	}, nil
}

// turns gets keys in turn, from place at on, until end.
func (c *hotCache) turns(at int, end time.Time) (gets int, err error) {
	const batch = 100 // between two looks at the clock
	ctx := context.Background()
	for {
		for range batch {
			e := &c.all[at%len(c.all)]
			at++
			v, err := c.get(ctx, e.key)
			if err != nil {
				return gets, err
			}
			if v != e.value {
				return gets, fmt.Errorf("got %q for %q", v, e.key)
			}
		}
		gets += batch
		if !time.Now().Before(end) {
			return gets, nil
		}
	}
}
