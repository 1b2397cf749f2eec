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
	Buckets     []Bucket // the run in equal slices of time, without gaps
}

// Latency sums up how long requests waited for their answers, from when they
// arrived.
type Latency struct {
	P50, P99, Max time.Duration
}

// Bucket is one slice of the time of a run.
type Bucket struct {
	Creations int // begun in this slice
	Requests  int // arrived in this slice
	Latency       // of those
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
		Buckets:     make([]Bucket, BucketCount),
	}
	bucket := func(at time.Duration) int {
		return min(max(0, int(float64(at)/float64(t.End)*BucketCount)), BucketCount-1)
	}
	for _, at := range o.Creations {
		r.Buckets[bucket(at.Sub(start))].Creations++
	}
	all := make([]time.Duration, len(outcomes))
	by := make([][]time.Duration, BucketCount)
	for i, got := range outcomes {
		all[i] = got.Waited
		b := bucket(t.Requests[i].At)
		by[b] = append(by[b], got.Waited)
		if got.End == Unanswered {
			r.Unanswered++
		}
	}
	r.Latency = latencyOf(all)
	for i, waits := range by {
		r.Buckets[i].Requests = len(waits)
		r.Buckets[i].Latency = latencyOf(waits)
	}
	return r
}
