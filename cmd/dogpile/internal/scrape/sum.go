package scrape

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Durations are what a histogram tells.
type Durations struct {
	PerSecond float64       // how many there were
	Mean      time.Duration // 0: there were none
	// Most is the least bound of the histogram that 95 of 100 durations have kept. 0: there were
	// none; -1: they have kept none.
	Most time.Duration

	sum  float64
	upTo map[float64]float64
}

// add adds a value of a histogram.
func (d *Durations) add(part string, upTo, n float64) {
	switch part {
	case "_count":
		d.PerSecond += n
	case "_sum":
		d.sum += n
	case "_bucket":
		if d.upTo == nil {
			d.upTo = make(map[float64]float64)
		}
		d.upTo[upTo] += n
	}
}

func (d *Durations) finish() {
	if d.PerSecond <= 0 {
		return
	}
	d.Mean = seconds(d.sum / d.PerSecond)
	d.Most = -1
	for bound, n := range d.upTo {
		// The parts of a rate do not add up to the last digit.
		if n >= .95*d.PerSecond*(1-1e-9) && (d.Most < 0 || seconds(bound) < d.Most) {
			d.Most = seconds(bound)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Cache is what was asked of the caches of one name, in a second.
type Cache struct {
	Region, Name                  string
	Hits, Stale, Misses, Failures float64 // Failures: creations that have failed
	Created, Waited               Durations
}

// Requests is how many keys were asked for.
func (c *Cache) Requests() float64 { return c.Hits + c.Stale + c.Misses }

// Region is what a region tells of itself, in a second but for what goes on now.
type Region struct {
	Name              string
	Errors            map[string]float64 // that no caller got, by what was done
	LeasesLost        float64
	Creators, Waiters float64       // now
	Oldest            time.Duration // for how long the creator that began first has run
	Pending           float64       // deletes and invalidations that are tried again
}

// Backend is what was asked of a backend, in a second.
type Backend struct {
	Name     string
	Calls    Durations          // but for waits for the lease of another
	Failures map[string]float64 // by what was done
}

// Sum is the metrics of some processes together, in alphabetical order.
type Sum struct {
	Caches   []*Cache
	Regions  []*Region
	Backends []*Backend
}

// Add returns the sum of the values of some processes.
func Add(all ...Values) *Sum {
	caches := make(map[[2]string]*Cache)
	regions := make(map[string]*Region)
	backends := make(map[string]*Backend)
	for _, values := range all {
		for s, n := range values {
			switch {
			case s.Backend != "":
				of(backends, s.Backend, func() *Backend { return &Backend{Name: s.Backend, Failures: make(map[string]float64)} }).add(s, n)
			case ofCache(s.Metric):
				of(caches, [2]string{s.Region, s.Name}, func() *Cache { return &Cache{Region: s.Region, Name: s.Name} }).add(s, n)
			default:
				of(regions, s.Region, func() *Region { return &Region{Name: s.Region, Errors: make(map[string]float64)} }).add(s, n)
			}
		}
	}
	sum := new(Sum)
	for _, c := range caches {
		c.Created.finish()
		c.Waited.finish()
		sum.Caches = append(sum.Caches, c)
	}
	for _, r := range regions {
		sum.Regions = append(sum.Regions, r)
	}
	for _, b := range backends {
		b.Calls.finish()
		sum.Backends = append(sum.Backends, b)
	}
	slices.SortFunc(sum.Caches, func(a, b *Cache) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(sum.Regions, func(a, b *Region) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(sum.Backends, func(a, b *Backend) int { return cmp.Compare(a.Name, b.Name) })
	return sum
}

func of[K comparable, V any](all map[K]*V, key K, make func() *V) *V {
	if all[key] == nil {
		all[key] = make()
	}
	return all[key]
}

const (
	creation = "creation_duration_seconds"
	wait     = "wait_duration_seconds"
	backend  = "backend_duration_seconds"
)

// ofCache reports whether a metric is one of caches, and not of regions.
func ofCache(metric string) bool {
	return metric == "requests_total" || metric == "misses_total" || strings.HasPrefix(metric, creation) || strings.HasPrefix(metric, wait)
}

func (c *Cache) add(s Series, n float64) {
	if part, is := strings.CutPrefix(s.Metric, creation); is {
		c.Created.add(part, s.UpTo, n)
		if part == "_count" && s.Result != "ok" {
			c.Failures += n
		}
	}
	if part, is := strings.CutPrefix(s.Metric, wait); is {
		c.Waited.add(part, s.UpTo, n)
	}
	if s.Metric != "requests_total" {
		return
	}
	switch s.Result {
	case "hit", "near_hit":
		c.Hits += n
	case "stale":
		c.Stale += n
	case "miss":
		c.Misses += n
	}
}

func (r *Region) add(s Series, n float64) {
	switch s.Metric {
	case "errors_total":
		r.Errors[s.Op] += n
	case "leases_lost_total":
		r.LeasesLost += n
	case "creators":
		r.Creators += n
	case "creation_waiters":
		r.Waiters += n
	case "creation_oldest_seconds":
		r.Oldest = max(r.Oldest, seconds(n))
	case "pending_deletes":
		r.Pending += n
	}
}

func (b *Backend) add(s Series, n float64) {
	part, is := strings.CutPrefix(s.Metric, backend)
	if !is || s.Op == "wait" {
		return
	}
	b.Calls.add(part, s.UpTo, n)
	if part == "_count" && s.Result == "error" {
		b.Failures[s.Op] += n
	}
}
