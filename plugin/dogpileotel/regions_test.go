package dogpileotel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/plugin/dogpileotel"
	"github.com/dogpile-go/dogpile/plugin/internal/tallytest"
)

func ExampleObserveRegions() {
	ctx := context.Background()
	reader := sdk.NewManualReader() // in a program that of OTLP
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("example.com/shop")
	region := dogpile.NewRegion("prices")
	if _, err := dogpileotel.ObserveRegions(meter, region); err != nil {
		panic(err)
	}

	backend, err := memory.New(nil)
	if err != nil {
		panic(err)
	}
	if err := region.Configure(backend, nil); err != nil {
		panic(err)
	}
	if err := dogpile.NewCache[string](region, nil).Set(ctx, "lamp", "5 €"); err != nil {
		panic(err)
	}

	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &metrics); err != nil {
		panic(err)
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if sum, is := m.Data.(metricdata.Sum[int64]); is && m.Name == "dogpile.stores" {
			fmt.Println(m.Name, sum.DataPoints[0].Value)
		}
	}
	// Output: dogpile.stores 1
}

func observe(t *testing.T, m metric.Meter, regions ...*dogpile.Region) metric.Registration {
	t.Helper()
	registration, err := dogpileotel.ObserveRegions(m, regions...)
	if err != nil {
		t.Fatal(err)
	}
	return registration
}

// undeletable is a backend that can be made to delete nothing.
type undeletable struct {
	driver.Proxy
	is atomic.Bool
}

// Delete implements driver.Backend.
func (u *undeletable) Delete(ctx context.Context, keys []string) error {
	if u.is.Load() {
		return errors.New("read only")
	}
	return u.Proxy.Delete(ctx, keys)
}

// keepBusy makes all counters of a region move, and leaves a delete that is pending.
func keepBusy(t *testing.T, r *dogpile.Region, c *dogpile.Cache[int], b *undeletable) {
	t.Helper()
	for i := range 5 {
		if err := c.Set(bg, fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.Delete(bg, "0"), r.Invalidate(bg, dogpile.Soft), r.InvalidateTags(bg, dogpile.Hard, "a tag"), c.Set(bg, "k", 1)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Second)
	_, _ = c.GetOrCreate(bg, "k", create) // ahead of the expiration
	synctest.Wait()
	b.is.Store(true)
	if err := c.Delete(bg, "k"); !errors.Is(err, dogpile.ErrPending) {
		t.Fatal(err)
	}
}

// TestRegionsTellWhatTheyCount, and what goes on in them.
func TestRegionsTellWhatTheyCount(t *testing.T) {
	m := newMeter()
	synctest.Test(t, func(t *testing.T) {
		objects, err := memory.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		b := &undeletable{Proxy: driver.Proxy{Backend: objects}}
		r := dogpile.NewRegion("shop\xff")
		if err := r.Configure(b, &dogpile.Options{
			Expiration: time.Minute, RefreshAhead: 0.5, RetryDeletes: 10, Logger: slog.New(slog.DiscardHandler),
		}); err != nil {
			t.Fatal(err)
		}
		observe(t, m, r)
		c := dogpile.NewCache[int](r, nil)
		keepBusy(t, r, c, b)
		goOn := make(chan struct{})
		for range 3 {
			go func() { _, _ = c.GetOrCreate(bg, "slow", func(context.Context) (int, error) { <-goOn; return 1, nil }) }()
		}
		time.Sleep(100 * time.Millisecond)
		metrics := m.read(t)
		s := r.Stats()
		if s.Early == 0 || s.Stores == 0 || s.Deletes == 0 || s.Invalidations == 0 || s.Pending != 1 || s.Running == 0 {
			t.Errorf("%+v", s)
		}
		want := map[string]string{
			"early.creations": fmt.Sprint(s.Early), "stores": fmt.Sprint(s.Stores), "deletes": fmt.Sprint(s.Deletes), "invalidations": fmt.Sprint(s.Invalidations),
			"flights": fmt.Sprint(s.Running), "pending.deletes": "1", "creators": "1", "creation.waiters": "3", "creation.oldest": "0.1",
		}
		got := flat(t, metrics)
		for name, value := range want {
			if series := name + "{region=shop\uFFFD}"; got[series] != value {
				t.Errorf("%s = %q, want %q", series, got[series], value)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%v", got)
		}
		for _, m := range metrics {
			if m.Description == "" || m.Unit == "" || !strings.HasPrefix(m.Name, "dogpile.") {
				t.Errorf("%q is described by %q, in %q", m.Name, m.Description, m.Unit)
			}
		}
		close(goOn)
		b.is.Store(false)
		if err := r.Close(bg); err != nil {
			t.Error(err)
		}
	})
}

// TestRegionsThatAreConfigured are read if none are given; what they have counted does not go down
// when one of a name is closed, and ends with the registration.
func TestRegionsThatAreConfigured(t *testing.T) {
	m := newMeter()
	registration := observe(t, m)
	const stores, flights = "stores{region=twins}", "flights{region=twins}"
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var twins []*dogpile.Region
	for range 2 {
		r := dogpile.NewRegion("twins")
		if err := errors.Join(r.Configure(b, nil), dogpile.NewCache[int](r, nil).Set(bg, "k", 1)); err != nil {
			t.Fatal(err)
		}
		twins = append(twins, r)
	}
	for closed := range 3 {
		got := flat(t, m.read(t))
		if _, is := got[flights]; got[stores] != "2" || is != (closed < 2) {
			t.Errorf("%d are closed: %q stores, %q flights", closed, got[stores], got[flights])
		}
		if closed < 2 {
			if err := twins[closed].Close(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if got := flat(t, m.read(t)); len(got) != 0 {
		t.Errorf("without a registration: %v", got)
	}
}

// gaugelessMeter cannot make a gauge.
type gaugelessMeter struct{ noop.Meter }

func (gaugelessMeter) Int64ObservableGauge(string, ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	return noop.Int64ObservableGauge{}, errMeter
}

func TestRegionsCannotBeObserved(t *testing.T) {
	if registration, err := dogpileotel.ObserveRegions(nil); registration != nil || err == nil {
		t.Errorf("without a meter: %v, %v", registration, err)
	}
	if registration, err := dogpileotel.ObserveRegions(noop.Meter{}, nil, dogpile.NewRegion("r")); registration != nil || err == nil {
		t.Errorf("with a region that is nil: %v, %v", registration, err)
	}
	if registration, err := dogpileotel.ObserveRegions(gaugelessMeter{}); registration != nil || !errors.Is(err, errMeter) {
		t.Errorf("of a meter that fails: %v, %v", registration, err)
	}
}

// TestDocumentationNamesAllMetrics, and no other.
func TestDocumentationNamesAllMetrics(t *testing.T) {
	m := newMeter()
	synctest.Test(t, func(t *testing.T) {
		shop, bytes := tallytest.Regions()
		observe(t, m, shop, bytes)
		if err := tallytest.Run(t.Context(), hooks(t, dogpileotel.Options{Meter: m}), shop, bytes); err != nil {
			t.Fatal(err)
		}
	})
	source, err := os.ReadFile("dogpileotel.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, _, _ := strings.Cut(string(source), "// # Spans")
	documented := make(map[string]bool)
	for _, name := range regexp.MustCompile(`dogpile(\.[a-z]+)+`).FindAllString(doc, -1) {
		documented[name] = true
	}
	exported := make(map[string]bool)
	for _, m := range m.read(t) {
		exported[m.Name] = true
	}
	if !maps.Equal(documented, exported) {
		t.Errorf("documented: %v\nexported: %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(exported)))
	}
}
