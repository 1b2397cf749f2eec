package demo

import (
	"math"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
)

// Result is what one run measured. A request that was not answered counts in
// the latencies with the time it had waited, which is less than it would have
// taken.
type Result struct {
	Mode        Mode
	Requests    int
	Creations   int           // calls of the origin
	MaxCreators int           // largest number of them at once for one key
	OriginCPU   time.Duration // spent by the origin
	Latency                   // over all requests
	StaleServed int
	Unanswered  int // requests neither answered nor failed when the run ended
	Errors      int
	Hits        int     // calls that found a fresh entry
	NearHits    int     // those of them that a copy in a process has answered
	HitTook     Latency // by those calls, from their beginning
	Cold        Phase   // the time before Task.Expiration has passed: nothing can have expired yet
	Steady      Phase   // the time from then on
	Buckets     []Phase // the run in equal slices of time, without gaps
}

// Phase is a part of a run.
type Phase struct {
	Creations int // begun in this part
	Requests  int // arrived in this part
	Latency       // of those
}

// Latency sums up how long requests waited for their answers, from when they
// arrived.
type Latency struct {
	P50, P99, Max time.Duration
}

// BucketCount is how many slices a run is cut into.
const BucketCount = 60

// Percentile returns the smallest of sorted that at least the fraction p of
// them do not exceed: the 0.5 is the median, the 1 the maximum. It is 0 if there
// are none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func latencyOf(waits []time.Duration) Latency {
	slices.Sort(waits)
	return Latency{Percentile(waits, 0.5), Percentile(waits, 0.99), Percentile(waits, 1)}
}

// Summarise makes the result of a run that began at start: of the whole task, what
// became of all its requests, what was asked of the origin, and the counts.
func Summarise(t *Task, start time.Time, outcomes []Outcome, o origin.Stats, c Counts) *Result {
	r := &Result{
		Mode:        t.Mode,
		Requests:    len(outcomes),
		Creations:   len(o.Creations),
		MaxCreators: o.MaxCreators,
		OriginCPU:   o.CPU,
		StaleServed: c.StaleServed,
		Errors:      c.Errors,
		NearHits:    c.NearHits,
		Buckets:     make([]Phase, BucketCount),
	}
	for _, at := range o.Creations {
		for _, p := range r.phases(t, at.Sub(start)) {
			p.Creations++
		}
	}
	all := make([]time.Duration, len(outcomes))
	var hits []time.Duration
	waits := make(map[*Phase][]time.Duration)
	for i, got := range outcomes {
		all[i] = got.Waited
		for _, p := range r.phases(t, t.Requests[i].At) {
			waits[p] = append(waits[p], got.Waited)
		}
		if got.End == Unanswered {
			r.Unanswered++
		}
		if got.Hit {
			hits = append(hits, got.Took)
		}
	}
	r.Latency = latencyOf(all)
	r.Hits, r.HitTook = len(hits), latencyOf(hits)
	for p, w := range waits {
		p.Requests, p.Latency = len(w), latencyOf(w)
	}
	return r
}

// phases returns the parts of the run of t that a moment belongs to.
func (r *Result) phases(t *Task, at time.Duration) [2]*Phase {
	part := &r.Steady
	if at < t.Expiration {
		part = &r.Cold
	}
	i := int(float64(at) / float64(t.End) * BucketCount)
	return [2]*Phase{part, &r.Buckets[min(max(0, i), BucketCount-1)]}
}
