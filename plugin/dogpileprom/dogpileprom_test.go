package dogpileprom_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
	"github.com/dogpile-go/dogpile/plugin/internal/tallytest"
)

var bg = context.Background()

// register returns a registry with nothing but c in it, which has to be as it should.
func register(t testing.TB, c *dogpileprom.Collector) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	return reg
}

// scrape asks for what a server of Prometheus asks for, and reads it as that does.
func scrape(t testing.TB, reg *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	server := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// flat returns metrics as tallytest.Want writes them.
func flat(families map[string]*dto.MetricFamily) map[string]string {
	all := make(map[string]string)
	for name, family := range families {
		name = strings.TrimPrefix(strings.TrimSuffix(strings.TrimSuffix(name, "_total"), "_seconds"), "dogpile_")
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			key := strings.ReplaceAll(name, "_", ".") + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.Counter != nil:
				all[key] = fmt.Sprint(m.Counter.GetValue())
			case m.Gauge != nil:
				all[key] = fmt.Sprint(m.Gauge.GetValue())
			default:
				h := m.Histogram
				all[key] = fmt.Sprint(h.GetSampleCount(), " in ", time.Duration(h.GetSampleSum()*float64(time.Second)).Round(time.Millisecond))
			}
		}
	}
	return all
}

// load returns a Collector that was told of the load of tallytest.
func load(t *testing.T) (c *dogpileprom.Collector, shop *dogpile.Region) {
	t.Helper()
	shop, bytes := tallytest.Regions()
	c = dogpileprom.NewCollector(shop, bytes)
	synctest.Test(t, func(t *testing.T) {
		if err := tallytest.Run(t.Context(), c.Hooks(), shop, bytes); err != nil {
			t.Fatal(err)
		}
	})
	return c, shop
}

func TestScrapeTellsWhatHappened(t *testing.T) {
	c, region := load(t)
	got := flat(scrape(t, register(t, c)))
	for series, want := range tallytest.Want {
		if got[series] != want {
			t.Errorf("%s = %q, want %q", series, got[series], want)
		}
	}
	for series, value := range got {
		name, _, _ := strings.Cut(series, "{")
		if _, counted := tallytest.Want[series]; !counted && slices.Contains([]string{"requests", "misses", "creation.duration", "wait.duration", "errors"}, name) {
			t.Errorf("%s = %q is not wanted", series, value)
		}
	}
	if failed := got["backend.duration{backend=memory,op=get,outcome=error}"]; failed != "2 in 400ms" {
		t.Errorf("calls of the backend that fail: %q", failed)
	}
	for _, op := range []string{"set", "delete", "get"} {
		if got["backend.duration{backend=memory,op="+op+",outcome=ok}"] == "" {
			t.Errorf("no call of the backend: %s", op)
		}
	}
	shop := region.Stats()
	for series, n := range map[string]int64{"stores": shop.Stores, "deletes": shop.Deletes, "invalidations": shop.Invalidations, "early.creations": 0, "pending.deletes": 0, "flights": 0, "creators": 0} {
		if series += "{region=shop}"; got[series] != fmt.Sprint(n) {
			t.Errorf("%s = %q, want %d", series, got[series], n)
		}
	}
	if shop.Stores == 0 || shop.Deletes == 0 || shop.Invalidations == 0 {
		t.Errorf("%+v", shop)
	}
}

func TestLinterHasNoProblem(t *testing.T) {
	c, _ := load(t)
	problems, err := testutil.GatherAndLint(register(t, c))
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestDocumentationNamesAllMetrics, and no other.
func TestDocumentationNamesAllMetrics(t *testing.T) {
	c, _ := load(t)
	source, err := os.ReadFile("dogpileprom.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, _, _ := strings.Cut(string(source), "\npackage ")
	documented := regexp.MustCompile(`dogpile_\w+`).FindAllString(doc, -1)
	slices.Sort(documented)
	if exported := slices.Sorted(maps.Keys(scrape(t, register(t, c)))); !slices.Equal(documented, exported) {
		t.Errorf("documented: %v\nexported: %v", documented, exported)
	}
}

// TestNoLabelHoldsAKey: whatever keys, tags and errors look like.
func TestNoLabelHoldsAKey(t *testing.T) {
	c, _ := load(t)
	families := scrape(t, register(t, c))
	for name, family := range families {
		if strings.Contains(family.String(), tallytest.Secret) {
			t.Errorf("%s has a key: %v", name, family)
		}
	}
	if len(families) < 16 {
		t.Errorf("only %d families", len(families))
	}
}

// TestNamesAreBounded: 10 000 names, some of which are no UTF-8, are 101 for each metric, and
// nothing is lost.
func TestNamesAreBounded(t *testing.T) {
	for name, limit := range map[string]int{"by default": 0, "by choice": 7} {
		t.Run(name, func(t *testing.T) {
			c := dogpileprom.NewCollector()
			c.MaxNames = limit
			regions := []*dogpile.Region{newRegion(t, "one", c.Hooks()), newRegion(t, "two\xff", c.Hooks())}
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := g; i < 10_000; i += 4 {
						cache := dogpile.NewCache(regions[i/4%2], &dogpile.CacheOptions[int]{Name: fmt.Sprint("\xfename\" ", i)})
						_, err := cache.GetOrCreate(bg, "k", func(context.Context) (int, error) { return 1, nil })
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if limit == 0 {
				limit = 100
			}
			names, sum := make(map[string]float64), 0.0
			for _, family := range scrape(t, register(t, c)) {
				for _, m := range family.Metric {
					for _, l := range m.Label {
						if l.GetName() == "name" {
							names[l.GetValue()] += m.Counter.GetValue()
						}
					}
					if strings.HasPrefix(family.GetName(), "dogpile_requests") {
						sum += m.Counter.GetValue()
					}
				}
			}
			if len(names) != limit+1 || names["other"] == 0 || sum != 10_000 {
				t.Errorf("%d names, %v of %v requests are of others", len(names), names["other"], sum)
			}
		})
	}
}

func newRegion(t testing.TB, name string, hooks *dogpile.Hooks) *dogpile.Region {
	t.Helper()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion(name)
	if err := r.Configure(b, &dogpile.Options{Hooks: hooks}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(bg) })
	return r
}

// TestWhatGoesOn: creators that run, and who waits for them.
func TestWhatGoesOn(t *testing.T) {
	c := dogpileprom.NewCollector()
	reg := register(t, c)
	r := newRegion(t, "going on", c.Hooks())
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			_, _ = dogpile.NewCache[int](r, nil).GetOrCreate(bg, "k", func(context.Context) (int, error) { <-gate; return 1, nil })
		})
	}
	for len(r.Creating()) == 0 || r.Creating()[0].Waiters < 3 {
		runtime.Gosched()
	}
	got := flat(scrape(t, reg))
	for series, want := range map[string]string{"flights": "1", "creators": "1", "creation.waiters": "3"} {
		if got[series+"{region=going on}"] != want {
			t.Errorf("%s = %q, want %q", series, got[series+"{region=going on}"], want)
		}
	}
	if got["creation.oldest{region=going on}"] <= "0" {
		t.Errorf("the creator has run for %s s", got["creation.oldest{region=going on}"])
	}
	close(gate)
	wg.Wait()
}

// TestRegionsThatAreGiven are all that is read: not others, though they share the hooks.
func TestRegionsThatAreGiven(t *testing.T) {
	one, other := dogpile.NewRegion("given"), dogpile.NewRegion("not given")
	twin := dogpile.NewRegion("given")
	c := dogpileprom.NewCollector(one, twin)
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*dogpile.Region{one, other, twin} {
		if err := r.Configure(b, &dogpile.Options{Hooks: c.Hooks()}); err != nil {
			t.Fatal(err)
		}
		if err := dogpile.NewCache[int](r, nil).Set(bg, "k", 1); err != nil {
			t.Fatal(err)
		}
		_, _, _ = dogpile.NewCache[int](r, nil).Get(bg, "k")
	}
	reg := register(t, c)
	got := flat(scrape(t, reg))
	for series, want := range map[string]string{
		"stores{region=given}": "2", "stores{region=not given}": "",
		"requests{name=,region=given,result=hit}": "2", "requests{name=,region=not given,result=hit}": "1",
	} {
		if got[series] != want {
			t.Errorf("%s = %q, want %q", series, got[series], want)
		}
	}
	for _, r := range []*dogpile.Region{one, other, twin} {
		if err := r.Close(bg); err != nil {
			t.Fatal(err)
		}
	}
	if after := flat(scrape(t, reg)); !maps.Equal(got, after) {
		t.Errorf("closed regions tell %v, and %v before", after, got)
	}
}

// TestCountersDoNotGoDown when one of the regions of a name is closed or collected, nor when another
// takes its name.
func TestCountersDoNotGoDown(t *testing.T) {
	c := dogpileprom.NewCollector()
	reg := register(t, c)
	const series = "stores{region=twin}"
	// stores is a region that stores so many values, and that nobody refers to but the caller.
	stores := func(n int) *dogpile.Region {
		b, err := memory.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := dogpile.NewRegion("twin")
		if err := r.Configure(b, nil); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := dogpile.NewCache[int](r, nil).Set(bg, fmt.Sprint(i), 1); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	wants := func(when, want string) {
		t.Helper()
		if got := flat(scrape(t, reg))[series]; got != want {
			t.Errorf("%s: %s = %q, want %q", when, series, got, want)
		}
	}
	one, two := stores(100), stores(10)
	wants("two regions", "110")
	if err := dogpile.NewCache[int](one, nil).Set(bg, "more", 1); err != nil {
		t.Fatal(err)
	}
	if err := one.Close(bg); err != nil {
		t.Fatal(err)
	}
	wants("one is closed, which has stored one value more", "111")
	gone := weak.Make(one)
	one = nil
	for began := time.Now(); gone.Value() != nil; runtime.GC() {
		if time.Since(began) > time.Minute {
			t.Fatal("the region is kept")
		}
	}
	wants("it is collected", "111")
	if err := dogpile.NewCache[int](two, nil).Set(bg, "more", 1); err != nil {
		t.Fatal(err)
	}
	wants("the other goes on", "112")
	if err := two.Close(bg); err != nil {
		t.Fatal(err)
	}
	wants("both are closed", "112")
	three := stores(5)
	wants("another has the name", "117")
	if err := three.Close(bg); err != nil {
		t.Fatal(err)
	}
}

// TestCollectorKeepsNoRegion that was not given to it, nor any goroutine.
func TestCollectorKeepsNoRegion(t *testing.T) {
	c := dogpileprom.NewCollector()
	reg := register(t, c)
	before := runtime.NumGoroutine()
	region := func() weak.Pointer[dogpile.Region] {
		b, err := memory.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := dogpile.NewRegion("short-lived")
		if err := r.Configure(b, &dogpile.Options{Hooks: c.Hooks()}); err != nil {
			t.Fatal(err)
		}
		_, _, _ = dogpile.NewCache[int](r, nil).Get(bg, "k")
		if _, err := reg.Gather(); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(bg); err != nil {
			t.Fatal(err)
		}
		return weak.Make(r)
	}()
	for began := time.Now(); region.Value() != nil || runtime.NumGoroutine() > before; runtime.GC() {
		if time.Since(began) > time.Minute {
			t.Fatalf("the region is kept: %v; %d goroutines, %d before", region.Value() != nil, runtime.NumGoroutine(), before)
		}
	}
	got := flat(scrape(t, reg))
	if _, left := got["flights{region=short-lived}"]; left || got["requests{name=,region=short-lived,result=miss}"] != "1" || got["stores{region=short-lived}"] != "0" {
		t.Errorf("afterwards it tells %v", got)
	}
}

// TestScrapesWhileItCounts: many goroutines of many regions and names, and nothing is lost.
func TestScrapesWhileItCounts(t *testing.T) {
	c := dogpileprom.NewCollector()
	reg := register(t, c)
	regions := []*dogpile.Region{newRegion(t, "busy a", c.Hooks()), newRegion(t, "busy b", c.Hooks())}
	const workers, calls = 8, 500
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			c.Hooks() // for one more region
			cache := dogpile.NewCache(regions[w%2], &dogpile.CacheOptions[int]{Name: fmt.Sprint("cache ", w%3)})
			for i := range calls {
				_, err := cache.GetOrCreate(bg, fmt.Sprint(i%10), func(context.Context) (int, error) { return 1, nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if _, err := reg.Gather(); err != nil {
			t.Fatal(err)
		}
	}
	sum := 0.0
	for _, m := range scrape(t, reg)["dogpile_requests_total"].Metric {
		sum += m.Counter.GetValue()
	}
	if sum != workers*calls {
		t.Errorf("%v requests of %d", sum, workers*calls)
	}
}
