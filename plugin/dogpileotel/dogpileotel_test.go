package dogpileotel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileotel"
	"github.com/dogpile-go/dogpile/plugin/internal/tallytest"
)

var bg = context.Background()

// meter is a Meter whose metrics are read at will.
type meter struct {
	reader *sdk.ManualReader
	metric.Meter
}

func newMeter() *meter {
	reader := sdk.NewManualReader()
	// The SDK has a bound of its own for the number of series; here only ours is to count.
	provider := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithCardinalityLimit(0))
	return &meter{reader, provider.Meter("test")}
}

func (m *meter) read(t testing.TB) (all []metricdata.Metrics) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := m.reader.Collect(bg, &rm); err != nil {
		t.Fatal(err)
	}
	for _, scope := range rm.ScopeMetrics {
		all = append(all, scope.Metrics...)
	}
	return all
}

// flat returns metrics as tallytest.Want writes them.
func flat(t testing.TB, metrics []metricdata.Metrics) map[string]string {
	t.Helper()
	all := make(map[string]string)
	series := func(m metricdata.Metrics, set attribute.Set) string {
		var labels []string
		for _, a := range set.ToSlice() {
			labels = append(labels, string(a.Key)+"="+a.Value.AsString())
		}
		slices.Sort(labels)
		return strings.TrimPrefix(m.Name, "dogpile.") + "{" + strings.Join(labels, ",") + "}"
	}
	for _, m := range metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			if !data.IsMonotonic {
				t.Errorf("%s may go down", m.Name)
			}
			for _, p := range data.DataPoints {
				all[series(m, p.Attributes)] = fmt.Sprint(p.Value)
			}
		case metricdata.Histogram[float64]:
			if m.Unit != "s" {
				t.Errorf("%s is in %q", m.Name, m.Unit)
			}
			for _, p := range data.DataPoints {
				all[series(m, p.Attributes)] = fmt.Sprint(p.Count, " in ", time.Duration(p.Sum*float64(time.Second)).Round(time.Millisecond))
			}
		case metricdata.Gauge[int64]:
			for _, p := range data.DataPoints {
				all[series(m, p.Attributes)] = fmt.Sprint(p.Value)
			}
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				all[series(m, p.Attributes)] = fmt.Sprint(p.Value)
			}
		default:
			t.Errorf("%s is a %T", m.Name, m.Data)
		}
	}
	return all
}

func hooks(t testing.TB, o dogpileotel.Options) *dogpile.Hooks {
	t.Helper()
	h, err := dogpileotel.Hooks(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMetricsTellWhatHappened(t *testing.T) {
	m := newMeter()
	synctest.Test(t, func(t *testing.T) {
		shop, bytes := tallytest.Regions()
		if err := tallytest.Run(t.Context(), hooks(t, dogpileotel.Options{Meter: m}), shop, bytes); err != nil {
			t.Fatal(err)
		}
	})
	metrics := m.read(t)
	got := flat(t, metrics)
	for series, want := range tallytest.Want {
		if got[series] != want {
			t.Errorf("%s = %q, want %q", series, got[series], want)
		}
	}
	for series, value := range got {
		if _, wanted := tallytest.Want[series]; !wanted && !strings.HasPrefix(series, "backend.duration{") {
			t.Errorf("%s = %q is not wanted", series, value)
		}
	}
	if failed := got["backend.duration{backend=memory,op=get,outcome=error}"]; failed != "2 in 400ms" {
		t.Errorf("calls of the backend that fail: %q", failed)
	}
	for _, m := range metrics {
		if m.Description == "" || m.Unit == "" || !strings.HasPrefix(m.Name, "dogpile.") {
			t.Errorf("%q is described by %q, in %q", m.Name, m.Description, m.Unit)
		}
		if strings.Contains(fmt.Sprint(m.Data), tallytest.Secret) {
			t.Errorf("%s has a key: %v", m.Name, m.Data)
		}
	}
}

// TestHooksOfOneMeter: what two Hooks count for regions of one name adds up.
func TestHooksOfOneMeter(t *testing.T) {
	m := newMeter()
	for range 2 {
		c := newCache(t, "twin", &dogpile.Options{Hooks: hooks(t, dogpileotel.Options{Meter: m})})
		for range 3 {
			_, _, _ = c.Get(bg, "k")
		}
	}
	if got := flat(t, m.read(t))["requests{name=,region=twin,result=miss}"]; got != "6" {
		t.Errorf("%q misses", got)
	}
}

func newCache(t testing.TB, region string, o *dogpile.Options) *dogpile.Cache[int] {
	t.Helper()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion(region)
	if err := r.Configure(b, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(bg) })
	return dogpile.NewCache[int](r, nil)
}

func create(context.Context) (int, error) { return 1, nil }

// TestNamesAreBounded: 10 000 names, some of which are no UTF-8, while the metrics are read, and
// nothing is lost.
func TestNamesAreBounded(t *testing.T) {
	for name, limit := range map[string]int{"by default": 0, "by choice": 7} {
		t.Run(name, func(t *testing.T) {
			m := newMeter()
			c := newCache(t, "names\xff", &dogpile.Options{Hooks: hooks(t, dogpileotel.Options{Meter: m, MaxNames: limit})})
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := g; i < 10_000; i += 4 {
						named := c.With(dogpile.CacheOptions[int]{Name: fmt.Sprint("\xfename\" ", i)})
						if _, err := named.GetOrCreate(bg, fmt.Sprint(i%50), create); err != nil {
							t.Error(err)
						}
						if i%1000 == 0 {
							m.read(t)
						}
					}
				})
			}
			wg.Wait()
			if limit == 0 {
				limit = 100
			}
			names, requests := make(map[string]bool), 0
			for series, value := range flat(t, m.read(t)) {
				if _, labels, found := strings.Cut(series, "{name="); found {
					name, _, _ := strings.Cut(labels, ",")
					names[name] = true
				}
				if n := 0; strings.HasPrefix(series, "requests{") {
					fmt.Sscan(value, &n)
					requests += n
				}
			}
			if len(names) != limit+1 || !names["other"] || requests != 10_000 {
				t.Errorf("%d names, %d requests", len(names), requests)
			}
		})
	}
}

// failingMeter cannot make a histogram.
type failingMeter struct{ noop.Meter }

var errMeter = errors.New("no meter")

func (failingMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return noop.Float64Histogram{}, errMeter
}

func TestHooksCannotBeMade(t *testing.T) {
	if h, err := dogpileotel.Hooks(dogpileotel.Options{}); h != nil || err == nil {
		t.Errorf("of nothing: %v, %v", h, err)
	}
	if h, err := dogpileotel.Hooks(dogpileotel.Options{Meter: failingMeter{}}); h != nil || !errors.Is(err, errMeter) {
		t.Errorf("of a meter that fails: %v, %v", h, err)
	}
}
