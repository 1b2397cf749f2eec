package dogpileotel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/internal/tally"
)

// figure is what is read from regions of one name.
type figure struct {
	name, unit, help string
	counter          func(*tally.Counts) int64 // nil: it is a gauge
	gauge            func(*tally.Now) int64
}

var figures = []figure{
	{"early.creations", "{creation}", "Creations ahead of the expiration.", func(c *tally.Counts) int64 { return c.Early }, nil},
	{"stores", "{value}", "Values that were stored.", func(c *tally.Counts) int64 { return c.Stores }, nil},
	{"deletes", "{key}", "Keys that were deleted.", func(c *tally.Counts) int64 { return c.Deletes }, nil},
	{"invalidations", "{invalidation}", "Invalidations of the region and of tags.", func(c *tally.Counts) int64 { return c.Invalidations }, nil},
	{"flights", "{flight}", "Creations under way, and waits for those of other processes.", nil, func(n *tally.Now) int64 { return n.Flights }},
	{"pending.deletes", "{delete}", "Deletes and invalidations that have failed and are tried again.", nil, func(n *tally.Now) int64 { return n.Pending }},
	{"creators", "{key}", "Keys whose creators run.", nil, func(n *tally.Now) int64 { return n.Creators }},
	{"creation.waiters", "{caller}", "Callers that wait for creators that run.", nil, func(n *tally.Now) int64 { return n.Waiters }},
}

// ObserveRegions has what regions count themselves read from regions, or without any, whenever the
// metrics are collected, from those that [dogpile.Regions] returns then. Regions of one name are
// added up, and what they have counted does not go down when one of them is closed. It is to be
// called once for each Meter, as two would count everything twice; Unregister of what it returns
// ends it. An error is that of the Meter, or tells that this or a region is nil.
func ObserveRegions(meter metric.Meter, regions ...*dogpile.Region) (metric.Registration, error) {
	if meter == nil || slices.Contains(regions, nil) {
		return nil, errors.New("dogpileotel: ObserveRegions: the Meter or a region is nil")
	}
	instruments := make([]metric.Int64Observable, len(figures))
	var errs []error
	for i, f := range figures {
		var err error
		if name := "dogpile." + f.name; f.counter != nil {
			instruments[i], err = meter.Int64ObservableCounter(name, metric.WithUnit(f.unit), metric.WithDescription(f.help))
		} else {
			instruments[i], err = meter.Int64ObservableGauge(name, metric.WithUnit(f.unit), metric.WithDescription(f.help))
		}
		errs = append(errs, err)
	}
	oldest, err := meter.Float64ObservableGauge("dogpile.creation.oldest", metric.WithUnit("s"),
		metric.WithDescription("How long the creator that began first has run; 0: there is none."))
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("dogpileotel: %w", err)
	}
	reader := tally.NewRegions(slices.Clone(regions))
	all := []metric.Observable{oldest}
	for _, instrument := range instruments {
		all = append(all, instrument)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for name, r := range reader.Read() {
			of := metric.WithAttributes(attribute.String("region", name))
			for i, f := range figures {
				if f.counter != nil {
					o.ObserveInt64(instruments[i], f.counter(&r.Counts), of)
				} else if r.Now != nil {
					o.ObserveInt64(instruments[i], f.gauge(r.Now), of)
				}
			}
			if r.Now != nil {
				o.ObserveFloat64(oldest, r.Now.Oldest.Seconds(), of)
			}
		}
		return nil
	}, all...)
	if err != nil {
		return nil, fmt.Errorf("dogpileotel: %w", err)
	}
	return registration, nil
}
