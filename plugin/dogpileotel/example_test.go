package dogpileotel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileotel"
)

func ExampleHooks() {
	ctx := context.Background()
	reader, spans := metric.NewManualReader(), tracetest.NewInMemoryExporter() // in a program those of OTLP
	hooks, err := dogpileotel.Hooks(dogpileotel.Options{
		Meter:  metric.NewMeterProvider(metric.WithReader(reader)).Meter("example.com/shop"),
		Tracer: trace.NewTracerProvider(trace.WithSyncer(spans)).Tracer("example.com/shop"),
	})
	if err != nil {
		panic(err)
	}

	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	region := dogpile.NewRegion("shop")
	if err := region.Configure(backend, &dogpile.Options{Hooks: hooks}); err != nil {
		panic(err)
	}
	price := dogpile.NewFunc(region, "price", func(context.Context, int) (string, error) { return "5 €", nil }, nil)
	for range 3 {
		if _, err := price.Call(ctx, 42); err != nil {
			panic(err)
		}
	}

	for _, span := range spans.GetSpans() {
		fmt.Println("span", span.Name)
	}
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &metrics); err != nil {
		panic(err)
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if requests, is := m.Data.(metricdata.Sum[int64]); is && m.Name == "dogpile.requests" {
			for _, point := range requests.DataPoints {
				name, _ := point.Attributes.Value("name")
				result, _ := point.Attributes.Value("result")
				fmt.Println(m.Name, name.AsString(), result.AsString(), point.Value)
			}
		}
	}
	// Unordered output:
	// span dogpile.create
	// dogpile.requests price hit 2
	// dogpile.requests price miss 1
	// dogpile.requests price near_hit 0
	// dogpile.requests price stale 0
}
