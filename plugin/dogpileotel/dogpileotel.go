// Package dogpileotel has the metrics and spans of regions for OpenTelemetry.
//
//	hooks, err := dogpileotel.Hooks(dogpileotel.Options{
//		Meter:  otel.Meter("example.com/shop"),
//		Tracer: otel.Tracer("example.com/shop"),
//	})
//	…
//	err = users.Configure(backend, &dogpile.Options{Hooks: hooks, …})
//
//	_, err = dogpileotel.ObserveRegions(otel.Meter("example.com/shop"))
//
// One call of each is enough for all regions of a program. [dogpile.JoinHooks] adds the hooks to
// others.
//
// # Metrics
//
//	dogpile.requests {region, name, result}       keys that were asked for; result is hit, near_hit, stale or miss
//	dogpile.misses {region, name, reason}         the misses among them; reason is absent, expired, invalidated,
//	                                              tagged, damaged, or unknown where nothing was looked for
//	dogpile.creation.duration {region, name, outcome}  runs of creators; outcome is ok, error, panic, timeout
//	                                              (after Options.CreateTimeout) or lease_lost
//	dogpile.wait.duration {region, name}          waits of callers for another's creation
//	dogpile.backend.duration {backend, op, outcome}  calls of backends; outcome is ok, error, canceled (the caller
//	                                              had no time) or lease_lost; op "wait" waits for another's lease
//	dogpile.leases.lost {region}                  values that were not stored as their lease was lost
//	dogpile.errors {region, op}                   errors that no caller got; op is told at dogpile.Hooks
//
// The rest is read from the regions themselves when metrics are collected, by [ObserveRegions]:
//
//	dogpile.early.creations {region}              creations ahead of the expiration
//	dogpile.stores, dogpile.deletes, dogpile.invalidations {region}
//	dogpile.flights {region}                      creations, or waits for those of other processes, under way
//	dogpile.pending.deletes {region}              deletes and invalidations that failed and are tried again
//	dogpile.creators {region}                     keys whose creators run
//	dogpile.creation.waiters {region}             callers that wait for them
//	dogpile.creation.oldest {region}              for how long the one that began first has run, in seconds; 0: there is none
//
// Durations are histograms, in seconds. The attribute name is that of a cache or function, see
// [dogpile.CacheOptions]. Keys are in no attribute of a metric.
//
// # Spans
//
// There is a span for each run of a creator, "dogpile.create", in which the spans of what the
// creator does are nested; for each wait for another's creation, "dogpile.wait"; and for a call
// of the backend that has failed or was slow, "dogpile.backend.get" or whatever was called. A hit
// has none. The attribute dogpile.outcome is as in the metrics. A caller who leaves while it waits,
// or has no more time, is "canceled", which is no error.
//
// The span of a creation is a child of that of the caller who has brought the creator. That of
// one in the background, which may go on when the caller has long had its answer, begins a trace
// of its own, with a link to the caller's span.
package dogpileotel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/internal/tally"
)

// Options is what [Hooks] makes hooks for.
type Options struct {
	// Meter makes the instruments of the metrics. nil: there are no metrics.
	Meter metric.Meter
	// Tracer makes the spans. nil: there are no spans.
	Tracer trace.Tracer
	// MaxNames is how many names of caches have attributes of their own in metrics. Those that
	// are used later count together, under the name "other". 0: 100. There are four series of
	// requests for each name in each region, and the SDK has a bound of its own, 2000 by default.
	MaxNames int
	// SlowCall is how long a call of the backend may take without a span. 0: 100 ms; negative:
	// only calls that have failed have spans. For a lease that another has a call may wait as
	// long as it likes.
	SlowCall time.Duration
	// Details puts the keys and the texts of errors, which may name keys, into spans. Without
	// it a span tells the outcome, and the type of an error.
	Details bool
}

// Hooks returns hooks for [dogpile.Options] that many regions may share. The metrics among them
// stay with the Meter for as long as it lasts, so Hooks is not to be called for each of many
// regions that come and go. An error is that of the Meter, or tells that there is neither a
// Meter nor a Tracer.
func Hooks(o Options) (*dogpile.Hooks, error) {
	if o.Meter == nil && o.Tracer == nil {
		return nil, errors.New("dogpileotel: Options has neither a Meter nor a Tracer")
	}
	metrics, err := metricHooks(o)
	if err != nil {
		return nil, fmt.Errorf("dogpileotel: %w", err)
	}
	// Metrics are told of a creation while its span lasts, so that it can be their exemplar.
	return dogpile.JoinHooks(metrics, spanHooks(o)), nil
}

// instruments are made once, and used by all hooks.
type instruments struct {
	table                   tally.Table
	requests, misses        metric.Int64ObservableCounter
	creation, wait, backend metric.Float64Histogram
	lost, errors            metric.Int64Counter
}

func metricHooks(o Options) (*dogpile.Hooks, error) {
	if o.Meter == nil {
		return nil, nil
	}
	m := &instruments{table: tally.Table{Names: o.MaxNames}}
	if err := m.register(o.Meter); err != nil {
		return nil, err
	}
	hooks := &dogpile.Hooks{
		Create: func(ctx context.Context, e dogpile.Event) {
			of := m.table.Of(e.Region, e.Name)
			m.creation.Record(ctx, e.Duration.Seconds(), of3("region", of.Region, "name", of.Name, "outcome", tally.Creation(ctx, e)))
		},
		Wait: func(ctx context.Context, e dogpile.Event) {
			of := m.table.Of(e.Region, e.Name)
			m.wait.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(attribute.String("region", of.Region), attribute.String("name", of.Name)))
		},
		Backend: func(ctx context.Context, e dogpile.Event) {
			m.backend.Record(ctx, e.Duration.Seconds(), of3("backend", tally.Label(e.Backend), "op", e.Op, "outcome", tally.Call(ctx, e)))
		},
		Store: func(ctx context.Context, e dogpile.Event) {
			if errors.Is(e.Err, dogpile.ErrLeaseLost) {
				m.lost.Add(ctx, 1, metric.WithAttributes(attribute.String("region", tally.Label(e.Region))))
			}
		},
		Error: func(ctx context.Context, e dogpile.Event) {
			m.errors.Add(ctx, 1, metric.WithAttributes(attribute.String("region", tally.Label(e.Region)), attribute.String("op", e.Op)))
		},
	}
	m.table.Count(hooks)
	return hooks, nil
}

// of3 is three attributes of a measurement.
func of3(k1, v1, k2, v2, k3, v3 string) metric.MeasurementOption {
	return metric.WithAttributes(attribute.String(k1, v1), attribute.String(k2, v2), attribute.String(k3, v3))
}

// register makes the instruments. Requests are counted here and observed, as a hit must not pay
// for a measurement.
func (m *instruments) register(meter metric.Meter) error {
	var errs [7]error
	m.requests, errs[0] = meter.Int64ObservableCounter("dogpile.requests", metric.WithUnit("{key}"), metric.WithDescription("Keys that were asked for, by what was found."))
	m.misses, errs[1] = meter.Int64ObservableCounter("dogpile.misses", metric.WithUnit("{key}"), metric.WithDescription("Keys without an entry that could be returned at once, by the reason."))
	histogram := func(name, description string, bounds []float64) (metric.Float64Histogram, error) {
		return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
	}
	m.creation, errs[2] = histogram("dogpile.creation.duration", "How long creators ran.", tally.Creations)
	m.wait, errs[3] = histogram("dogpile.wait.duration", "How long callers waited for the creation of another.", tally.Creations)
	m.backend, errs[4] = histogram("dogpile.backend.duration", "How long calls of the backend took.", tally.Calls)
	m.lost, errs[5] = meter.Int64Counter("dogpile.leases.lost", metric.WithUnit("{lease}"), metric.WithDescription("Values that were not stored, as their lease was lost."))
	m.errors, errs[6] = meter.Int64Counter("dogpile.errors", metric.WithUnit("{error}"), metric.WithDescription("Errors that no caller got."))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(m.observe, m.requests, m.misses)
	return err
}

// observe tells what was counted.
func (m *instruments) observe(_ context.Context, o metric.Observer) error {
	for _, of := range m.table.All() {
		for i, result := range tally.Results {
			o.ObserveInt64(m.requests, of.Results[i].Load(), of3("region", of.Region, "name", of.Name, "result", result))
		}
		for i, reason := range tally.Reasons {
			if n := of.Misses[i].Load(); n > 0 {
				o.ObserveInt64(m.misses, n, of3("region", of.Region, "name", of.Name, "reason", reason))
			}
		}
	}
	return nil
}
