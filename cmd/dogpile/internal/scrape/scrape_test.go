package scrape_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/scrape"
)

// exposed serves one text of metrics after the other, and the last one from then on.
func exposed(t *testing.T, texts ...string) *scrape.Process {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, texts[min(n, len(texts)-1)])
		n++
	}))
	t.Cleanup(server.Close)
	p, err := scrape.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// changed returns what a process tells of the time between two texts.
func changed(t *testing.T, before, after string) *scrape.Sum {
	t.Helper()
	p := exposed(t, before, after)
	if first, err := p.Read(t.Context()); first != nil || err != nil {
		t.Fatalf("the first reading has nothing to compare to: %v, %v", first, err)
	}
	values, err := p.Read(t.Context())
	if err != nil || values == nil {
		t.Fatal(values, err)
	}
	return scrape.Add(values)
}

const metrics = `# TYPE dogpile_requests_total counter
dogpile_requests_total{region="users",name="user",result="hit"} %d
dogpile_requests_total{region="users",name="user",result="near_hit"} %d
dogpile_requests_total{region="users",name="user",result="stale"} %d
dogpile_requests_total{region="users",name="user",result="miss"} %d
# TYPE dogpile_creation_duration_seconds histogram
dogpile_creation_duration_seconds_bucket{region="users",name="user",outcome="ok",le="0.1"} %d
dogpile_creation_duration_seconds_bucket{region="users",name="user",outcome="ok",le="1"} %d
dogpile_creation_duration_seconds_bucket{region="users",name="user",outcome="ok",le="+Inf"} %d
dogpile_creation_duration_seconds_sum{region="users",name="user",outcome="ok"} %d
dogpile_creation_duration_seconds_count{region="users",name="user",outcome="ok"} %[7]d
`

func near(got, want float64) bool { return math.Abs(got-want) < 1e-6*max(1, math.Abs(want)) }

// The time between two readings is whatever it is; what does not depend on it is exact.
func TestWhatHasChanged(t *testing.T) {
	t.Parallel()
	sum := changed(t, fmt.Sprintf(metrics, 1000, 50, 7, 100, 0, 90, 100, 20), fmt.Sprintf(metrics, 1060, 60, 27, 110, 0, 185, 200, 70))
	if len(sum.Caches) != 1 || len(sum.Regions) != 0 || len(sum.Backends) != 0 {
		t.Fatalf("%+v", sum)
	}
	c := sum.Caches[0]
	n := c.Requests()
	if c.Region != "users" || c.Name != "user" || !near(c.Hits/n, .7) || !near(c.Stale/n, .2) || !near(c.Misses/n, .1) || c.Failures != 0 {
		t.Errorf("%+v", c)
	}
	// 100 creations took 50 s, and 95 of them up to 1 s.
	if c.Created.Mean.Round(time.Millisecond) != 500*time.Millisecond || c.Created.Most != time.Second || !near(c.Created.PerSecond/n, 1) {
		t.Errorf("%+v", c.Created)
	}
	if c.Waited.PerSecond != 0 || c.Waited.Mean != 0 || c.Waited.Most != 0 {
		t.Errorf("there were no waits: %+v", c.Waited)
	}
}

func TestDurationsAboveAllBounds(t *testing.T) {
	t.Parallel()
	sum := changed(t, fmt.Sprintf(metrics, 0, 0, 0, 0, 0, 0, 0, 0), fmt.Sprintf(metrics, 0, 0, 0, 0, 0, 94, 100, 70))
	if got := sum.Caches[0].Created.Most; got != -1 {
		t.Errorf("94 of 100 took up to 1 s, and 95 up to %v", got)
	}
}

// A process that has begun anew counts from 0, and nothing has happened less than never.
func TestAProcessThatHasBegunAnew(t *testing.T) {
	t.Parallel()
	c := changed(t, fmt.Sprintf(metrics, 1000, 0, 0, 500, 0, 400, 500, 100), fmt.Sprintf(metrics, 30, 0, 0, 10, 10, 10, 10, 1)).Caches[0]
	if c.Hits <= 0 || !near(c.Hits/c.Misses, 3) || c.Created.Mean.Round(time.Millisecond) != 100*time.Millisecond {
		t.Errorf("%+v", c)
	}
}

// What is counted of it may be more than before by then: one count that has fallen, or is not there
// any more, tells.
func TestAProcessThatHasBegunAnewAndIsBusy(t *testing.T) {
	t.Parallel()
	before := fmt.Sprintf(metrics, 1000, 0, 0, 500, 0, 0, 0, 0)
	for name, after := range map[string]string{
		"one has fallen":     fmt.Sprintf(metrics, 1200, 0, 0, 400, 0, 0, 0, 0),
		"one is not there":   strings.ReplaceAll(fmt.Sprintf(metrics, 1200, 0, 0, 400, 0, 0, 0, 0), `result="miss"`, `result="stale"`),
		"of another one too": fmt.Sprintf(metrics, 1200, 0, 0, 400, 0, 0, 0, 0) + "dogpile_requests_total{region=\"new\",name=\"n\",result=\"hit\"} 1\n",
	} {
		sum := changed(t, before, after)
		if c := sum.Caches[len(sum.Caches)-1]; !near(c.Hits/(c.Stale+c.Misses), 3) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

const regions = `# TYPE dogpile_errors_total counter
dogpile_errors_total{region="users",op="get"} %d
dogpile_errors_total{region="users",op="store"} 5
# TYPE dogpile_leases_lost_total counter
dogpile_leases_lost_total{region="users"} %[1]d
# TYPE dogpile_creators gauge
dogpile_creators{region="users"} 3
# TYPE dogpile_creation_waiters gauge
dogpile_creation_waiters{region="users"} 12
# TYPE dogpile_creation_oldest_seconds gauge
dogpile_creation_oldest_seconds{region="users"} 1.5
# TYPE dogpile_pending_deletes gauge
dogpile_pending_deletes{region="users"} 2
# TYPE dogpile_backend_duration_seconds histogram
dogpile_backend_duration_seconds_sum{backend="redis",op="get",outcome="error"} %[1]d
dogpile_backend_duration_seconds_count{backend="redis",op="get",outcome="error"} %[1]d
dogpile_backend_duration_seconds_sum{backend="redis",op="get",outcome="canceled"} %[1]d
dogpile_backend_duration_seconds_count{backend="redis",op="get",outcome="canceled"} %[1]d
dogpile_backend_duration_seconds_sum{backend="redis",op="wait",outcome="ok"} 1000%[1]d
dogpile_backend_duration_seconds_count{backend="redis",op="wait",outcome="ok"} %[1]d
`

func TestRegionsAndBackends(t *testing.T) {
	t.Parallel()
	sum := changed(t, fmt.Sprintf(regions, 1), fmt.Sprintf(regions, 5))
	if len(sum.Regions) != 1 || len(sum.Backends) != 1 || len(sum.Caches) != 0 {
		t.Fatalf("%+v", sum)
	}
	r, b := sum.Regions[0], sum.Backends[0]
	if r.Errors["get"] <= 0 || r.Errors["store"] != 0 || !near(r.LeasesLost, r.Errors["get"]) || r.Creators != 3 || r.Waiters != 12 ||
		r.Oldest != 1500*time.Millisecond || r.Pending != 2 {
		t.Errorf("%+v", r)
	}
	// What the caller had no time for is no failure, and a wait for another's lease no slow call.
	if !near(b.Failures["get"], r.Errors["get"]) || len(b.Failures) != 1 || b.Calls.Mean.Round(time.Millisecond) != time.Second || !near(b.Calls.PerSecond, 2*r.Errors["get"]) {
		t.Errorf("%+v", b)
	}
}

// Counts of several processes are added up, and so is what goes on; of the oldest there is one.
func TestProcessesAreAddedUp(t *testing.T) {
	t.Parallel()
	series := scrape.Series{Metric: "requests_total", Region: "r", Result: "hit"}
	oldest := scrape.Series{Metric: "creation_oldest_seconds", Region: "r"}
	sum := scrape.Add(scrape.Values{series: 2, oldest: 1}, nil, scrape.Values{series: 3, oldest: 5, {Metric: "requests_total", Region: "a", Result: "hit"}: 1})
	if len(sum.Caches) != 2 || sum.Caches[0].Region != "a" || sum.Caches[1].Hits != 5 || sum.Regions[0].Oldest != 5*time.Second {
		t.Errorf("%+v %+v", sum.Caches, sum.Regions)
	}
}

func TestAProcessThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	for name, row := range map[string]struct {
		p    *scrape.Process
		want string
	}{
		"down":                 {at(t, down.URL), "connection refused"},
		"no such page":         {at(t, refusing.URL), "404"},
		"a page":               {exposed(t, "<!DOCTYPE html><html>\n"), "something else than metrics"},
		"metrics of others":    {exposed(t, "# TYPE up gauge\nup 1\n"), "no metric of dogpile"},
		"nothing":              {exposed(t, ""), "no metric of dogpile"},
		"a number that is not": {exposed(t, "dogpile_creators{region=\"r\"} many\n"), "something else than metrics"},
	} {
		if _, err := row.p.Read(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
		since := row.p.Failing()
		if since.IsZero() {
			t.Errorf("%s: it is said to answer", name)
		}
		if row.p.Read(t.Context()); row.p.Failing() != since {
			t.Errorf("%s: it fails since %v, and then since %v", name, since, row.p.Failing())
		}
	}
}

func at(t *testing.T, url string) *scrape.Process {
	t.Helper()
	p, err := scrape.New(url)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What comes after a time without an answer is a rate over all of that time, and none of it.
func TestAProcessThatAnswersAgain(t *testing.T) {
	t.Parallel()
	p := exposed(t, fmt.Sprintf(metrics, 10, 0, 0, 0, 0, 0, 0, 0), "nothing {", fmt.Sprintf(metrics, 20, 0, 0, 0, 0, 0, 0, 0))
	p.Read(t.Context())
	if _, err := p.Read(t.Context()); err == nil {
		t.Fatal("it answers")
	}
	values, err := p.Read(t.Context())
	if sum := scrape.Add(values); err != nil || !p.Failing().IsZero() || sum.Caches[0].Hits <= 0 {
		t.Errorf("%v (%v)", values, err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"10.0.0.5:8080":             "http://10.0.0.5:8080/metrics",
		"[::1]:8080":                "http://[::1]:8080/metrics",
		"https://app.example.com/":  "https://app.example.com/metrics",
		"http://h/internal/metrics": "http://h/internal/metrics",
	} {
		if p, err := scrape.New(given); err != nil || p.URL.String() != want {
			t.Errorf("%s: %v, %v", given, p, err)
		}
	}
	for _, given := range []string{"", "redis://h/0", "http:///x", "http://u:hunter2@h:port/", "http:/u:hunter2@h/0", "http:/u:hunter2%40h/0", "h/u:hunter2@x"} {
		if p, err := scrape.New(given); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, %v", given, p, err)
		}
	}
}
