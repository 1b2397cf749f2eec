package main

import (
	"math"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/scrape"
)

// topped is a look of top as JSON.
type topped struct {
	At        string          `json:"at"`
	Processes []toppedProcess `json:"processes,omitempty"`
	Caches    []toppedCache   `json:"caches,omitempty"`
	Regions   []toppedRegion  `json:"regions,omitempty"`
	Backends  []toppedBackend `json:"backends,omitempty"`
	Servers   []toppedServer  `json:"servers,omitempty"`
}

type toppedProcess struct {
	URL     string   `json:"url"`
	Error   string   `json:"error,omitempty"`
	Failing *float64 `json:"failing_s,omitempty"`
}

type toppedCache struct {
	Region       string   `json:"region"`
	Name         string   `json:"name"`
	Requests     float64  `json:"requests_per_s"`
	Hits         float64  `json:"hits_per_s"`
	Stale        float64  `json:"stale_per_s"`
	Misses       float64  `json:"misses_per_s"`
	Creations    float64  `json:"creations_per_s"`
	Failures     float64  `json:"failures_per_s"`
	CreationMean *float64 `json:"creation_mean_s,omitempty"`
	CreationP95  *float64 `json:"creation_p95_s,omitempty"`
	WaitMean     *float64 `json:"wait_mean_s,omitempty"`
	WaitP95      *float64 `json:"wait_p95_s,omitempty"`
}

type toppedRegion struct {
	Region     string             `json:"region"`
	Errors     map[string]float64 `json:"errors_per_s"`
	LeasesLost float64            `json:"leases_lost_per_s"`
	Creators   float64            `json:"creators"`
	Waiters    float64            `json:"waiters"`
	Oldest     *float64           `json:"oldest_s"`
	Pending    float64            `json:"pending_deletes"`
}

type toppedBackend struct {
	Backend  string             `json:"backend"`
	Calls    float64            `json:"calls_per_s"`
	Mean     *float64           `json:"mean_s,omitempty"`
	Failures map[string]float64 `json:"failures_per_s"`
}

type toppedServer struct {
	Server    string   `json:"server"`
	Error     string   `json:"error,omitempty"`
	Failing   *float64 `json:"failing_s,omitempty"`
	RoundTrip *float64 `json:"round_trip_s,omitempty"`
	Ops       *float64 `json:"ops_per_s,omitempty"`
	HitRatio  *float64 `json:"hit_ratio,omitempty"`
	Used      *float64 `json:"used_bytes,omitempty"`
	Max       *float64 `json:"max_bytes,omitempty"` // left out where there is no limit
	Evictions *float64 `json:"evictions_per_s,omitempty"`
	Clients   *float64 `json:"clients,omitempty"`
}

// add adds what processes count.
func (t *topped) add(sum *scrape.Sum) {
	for _, c := range sum.Caches {
		told := toppedCache{Region: c.Region, Name: c.Name, Requests: rounded(c.Requests()), Hits: rounded(c.Hits), Stale: rounded(c.Stale),
			Misses: rounded(c.Misses), Creations: rounded(c.Created.PerSecond), Failures: rounded(c.Failures)}
		told.CreationMean, told.CreationP95 = durations(c.Created)
		told.WaitMean, told.WaitP95 = durations(c.Waited)
		t.Caches = append(t.Caches, told)
	}
	for _, r := range sum.Regions {
		t.Regions = append(t.Regions, toppedRegion{Region: r.Name, Errors: roundedAll(r.Errors), LeasesLost: rounded(r.LeasesLost),
			Creators: r.Creators, Waiters: r.Waiters, Oldest: seconds(r.Oldest), Pending: r.Pending})
	}
	for _, b := range sum.Backends {
		told := toppedBackend{Backend: b.Name, Calls: rounded(b.Calls.PerSecond), Failures: roundedAll(b.Failures)}
		told.Mean, _ = durations(b.Calls)
		t.Backends = append(t.Backends, told)
	}
}

func durations(d scrape.Durations) (mean, most *float64) {
	switch {
	case d.PerSecond <= 0:
		return nil, nil
	case d.Most < 0:
		above := -1.0
		return seconds(d.Mean), &above
	}
	return seconds(d.Mean), seconds(d.Most)
}

func rounded(n float64) float64 { return math.Round(n*1e6) / 1e6 }

func roundedAll(all map[string]float64) map[string]float64 {
	some := make(map[string]float64)
	for name, n := range all {
		if n > 0 {
			some[name] = rounded(n)
		}
	}
	return some
}

func (s *seenServer) program(timeout time.Duration) toppedServer {
	t := toppedServer{Server: s.name}
	if s.err != nil {
		t.Error, t.Failing = unanswered(s.err, timeout), seconds(time.Since(s.failing))
		return t
	}
	t.RoundTrip = seconds(s.roundTrip)
	if !s.told {
		return t
	}
	t.Used, t.Clients = &s.used, &s.clients
	if s.max > 0 {
		t.Max = &s.max
	}
	if s.rates {
		n, evicted := rounded(s.perSecond[ops]), rounded(s.perSecond[evictions])
		t.Ops, t.Evictions = &n, &evicted
		if asked := s.perSecond[hits] + s.perSecond[misses]; asked > 0 {
			ratio := rounded(s.perSecond[hits] / asked)
			t.HitRatio = &ratio
		}
	}
	return t
}
