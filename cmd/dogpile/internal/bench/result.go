package bench

import (
	"time"
)

// Result is what a run has measured.
type Result struct {
	Requests    int // calls that were answered
	Errors      int // calls that have failed
	Took        time.Duration
	Interrupted bool
	Err         error // of the first call that has failed; nil: none has

	get, set Histogram
}

func (r *Result) merge(other *Result) {
	r.Requests += other.Requests
	r.Errors += other.Errors
	r.get.merge(&other.get)
	r.set.merge(&other.set)
}

// PerSecond returns how many calls were answered in a second.
func (r *Result) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Took.Seconds()
}

// Op is the calls of one kind.
type Op struct {
	Name      string
	Histogram *Histogram
}

// Ops returns the kinds of calls of which there were any.
func (r *Result) Ops() (ops []Op) {
	for _, op := range []Op{{"get", &r.get}, {"set", &r.set}} {
		if op.Histogram.Count() > 0 {
			ops = append(ops, op)
		}
	}
	return ops
}

// JSON returns what programs are told.
func (r *Result) JSON(backend string, load Load) any {
	ops := map[string]any{}
	for _, op := range r.Ops() {
		h := op.Histogram
		bars := []any{}
		for _, bar := range h.Bars() {
			bars = append(bars, map[string]any{"up_to_us": micros(bar.UpTo), "requests": bar.Count})
		}
		ops[op.Name] = map[string]any{
			"requests": h.Count(), "min_us": micros(h.Quantile(0)), "p50_us": micros(h.Quantile(.5)), "p99_us": micros(h.Quantile(.99)),
			"p999_us": micros(h.Quantile(.999)), "max_us": micros(h.Quantile(1)), "histogram": bars,
		}
	}
	result := map[string]any{
		"backend": backend, "seconds": r.Took.Seconds(), "requests": r.Requests, "per_second": r.PerSecond(), "errors": r.Errors,
		"interrupted": r.Interrupted, "ops": ops, "keys": load.Keys, "value_bytes": load.Size, "concurrency": load.Concurrency, "writes": load.Writes,
	}
	if r.Err != nil {
		result["error"] = r.Err.Error()
	}
	return result
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
