// Package dogpileprom has the metrics of regions for Prometheus.
//
//	metrics := dogpileprom.NewCollector()
//	prometheus.MustRegister(metrics)
//	err := users.Configure(backend, &dogpile.Options{Hooks: metrics.Hooks(), …})
//
// One Collector is enough for all regions of a program. [dogpile.JoinHooks] adds its hooks to
// others. What hooks are told of is counted from the moment at which a region has them:
//
//	dogpile_requests_total{region,name,result}      keys that were asked for; result is hit, near_hit, stale or miss
//	dogpile_misses_total{region,name,reason}        the misses among them; reason is absent, expired, invalidated,
//	                                                tagged, damaged, or unknown where nothing was looked for
//	dogpile_creation_duration_seconds{region,name,outcome}  runs of creators; outcome is ok, error, panic, timeout
//	                                                (after Options.CreateTimeout) or lease_lost
//	dogpile_wait_duration_seconds{region,name}      waits of callers for another's creation
//	dogpile_backend_duration_seconds{backend,op,outcome}  calls of backends; outcome is ok, error, canceled (the caller
//	                                                had no time) or lease_lost; op "wait" waits for another's lease
//	dogpile_errors_total{region,op}                 errors that no caller got; op is told at dogpile.Hooks
//
// The rest is read from the regions themselves when they are scraped, so that they need no hooks
// for it:
//
//	dogpile_leases_lost_total{region}               values that were not stored as their lease was lost
//	dogpile_early_creations_total{region}           creations ahead of the expiration
//	dogpile_stores_total, dogpile_deletes_total, dogpile_invalidations_total{region}
//	dogpile_flights{region}                         creations, or waits for those of other processes, under way
//	dogpile_pending_deletes{region}                 deletes and invalidations that failed and are tried again
//	dogpile_creators{region}                        keys whose creators run
//	dogpile_creation_waiters{region}                callers that wait for them
//	dogpile_creation_oldest_seconds{region}         for how long the one that began first has run; 0: there is none
//
// The label name is that of a cache or function, see [dogpile.CacheOptions]. Keys are in no label.
package dogpileprom

import (
	"context"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/internal/tally"
)

// Collector is a [prometheus.Collector] for one or more regions. It may be used by many
// goroutines.
type Collector struct {
	// MaxNames is how many names of caches have labels of their own. Those that are used later
	// count together, under the name "other". 0: 100. It has to be set before Hooks is called first.
	MaxNames int

	limit                   sync.Once // sets the table's Names
	regions                 *tally.Regions
	table                   tally.Table
	creation, wait, backend *prometheus.HistogramVec
	errors                  *prometheus.CounterVec
}

// NewCollector returns a Collector that reads what it does not learn by hooks from regions, or
// without any, when it is scraped, from those that [dogpile.Regions] returns then. Regions of one
// name are added up. What they have counted does not go down when one of them is closed: it is as
// it was at the last scrape, or at the end if something refers to the region still. It panics if
// one of regions is nil.
func NewCollector(regions ...*dogpile.Region) *Collector {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	if slices.Contains(regions, nil) {
		panic("dogpileprom: NewCollector: a region is nil")
	}
	return &Collector{
		regions:  tally.NewRegions(slices.Clone(regions)),
		creation: histogram("dogpile_creation_duration_seconds", "How long creators ran.", tally.Creations, "region", "name", "outcome"),
		wait:     histogram("dogpile_wait_duration_seconds", "How long callers waited for the creation of another.", tally.Creations, "region", "name"),
		backend:  histogram("dogpile_backend_duration_seconds", "How long calls of the backend took.", tally.Calls, "backend", "op", "outcome"),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dogpile_errors_total", Help: "Errors that no caller got.",
		}, []string{"region", "op"}),
	}
}

// Hooks returns the hooks by which c is told what happens, for [dogpile.Options]. One region may
// have them once; many regions may have the same.
func (c *Collector) Hooks() *dogpile.Hooks {
	c.limit.Do(func() { c.table.Names = c.MaxNames }) // later the table may be in use
	hooks := &dogpile.Hooks{
		Create: func(ctx context.Context, e dogpile.Event) {
			of := c.table.Of(e.Region, e.Name)
			c.creation.WithLabelValues(of.Region, of.Name, tally.Creation(ctx, e)).Observe(e.Duration.Seconds())
		},
		Wait: func(_ context.Context, e dogpile.Event) {
			of := c.table.Of(e.Region, e.Name)
			c.wait.WithLabelValues(of.Region, of.Name).Observe(e.Duration.Seconds())
		},
		Backend: func(ctx context.Context, e dogpile.Event) {
			c.backend.WithLabelValues(tally.Label(e.Backend), e.Op, tally.Call(ctx, e)).Observe(e.Duration.Seconds())
		},
		Error: func(_ context.Context, e dogpile.Event) {
			c.errors.WithLabelValues(tally.Label(e.Region), e.Op).Inc()
		},
	}
	c.table.Count(hooks)
	return hooks
}

var (
	requests = prometheus.NewDesc("dogpile_requests_total", "Keys that were asked for, by what was found.", []string{"region", "name", "result"}, nil)
	misses   = prometheus.NewDesc("dogpile_misses_total", "Keys without an entry that could be returned at once, by the reason.", []string{"region", "name", "reason"}, nil)
)

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- requests
	descs <- misses
	for _, m := range []prometheus.Collector{c.creation, c.wait, c.backend, c.errors} {
		m.Describe(descs)
	}
	for _, f := range figures {
		descs <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, n int64, of *tally.Cache, label string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), of.Region, of.Name, label)
	}
	for _, of := range c.table.All() {
		for i, result := range tally.Results {
			count(requests, of.Results[i].Load(), of, result)
		}
		for i, reason := range tally.Reasons {
			if n := of.Misses[i].Load(); n > 0 {
				count(misses, n, of, reason)
			}
		}
	}
	for _, m := range []prometheus.Collector{c.creation, c.wait, c.backend, c.errors} {
		m.Collect(metrics)
	}
	c.collectRegions(metrics)
}

// figure is what is read from regions of one name.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*tally.Reading) float64
}

var figures = []figure{
	counter("leases_lost_total", "Values that were not stored, as their lease was lost.", func(c *tally.Counts) int64 { return c.LeasesLost }),
	counter("early_creations_total", "Creations ahead of the expiration.", func(c *tally.Counts) int64 { return c.Early }),
	counter("stores_total", "Values that were stored.", func(c *tally.Counts) int64 { return c.Stores }),
	counter("deletes_total", "Keys that were deleted.", func(c *tally.Counts) int64 { return c.Deletes }),
	counter("invalidations_total", "Invalidations of the region and of tags.", func(c *tally.Counts) int64 { return c.Invalidations }),
	gauge("flights", "Creations under way, and waits for those of other processes.", func(n *tally.Now) float64 { return float64(n.Flights) }),
	gauge("pending_deletes", "Deletes and invalidations that have failed and are tried again.", func(n *tally.Now) float64 { return float64(n.Pending) }),
	gauge("creators", "Keys whose creators run.", func(n *tally.Now) float64 { return float64(n.Creators) }),
	gauge("creation_waiters", "Callers that wait for creators that run.", func(n *tally.Now) float64 { return float64(n.Waiters) }),
	gauge("creation_oldest_seconds", "How long the creator that began first has run.", func(n *tally.Now) float64 { return n.Oldest.Seconds() }),
}

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("dogpile_"+name, help, []string{"region"}, nil)
}

func counter(name, help string, of func(*tally.Counts) int64) figure {
	return figure{describe(name, help), prometheus.CounterValue, func(r *tally.Reading) float64 { return float64(of(&r.Counts)) }}
}

func gauge(name, help string, of func(*tally.Now) float64) figure {
	return figure{describe(name, help), prometheus.GaugeValue, func(r *tally.Reading) float64 { return of(r.Now) }}
}

// collectRegions reads the regions. Of a name that no region has any more only what was counted
// is left.
func (c *Collector) collectRegions(metrics chan<- prometheus.Metric) {
	for name, r := range c.regions.Read() {
		for _, f := range figures {
			if r.Now != nil || f.kind == prometheus.CounterValue {
				metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(&r), name)
			}
		}
	}
}
