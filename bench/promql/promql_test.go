// Package promql checks the queries of the documentation with the parser of Prometheus, which the
// library itself is not to depend on.
package promql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
)

// metric is a series that a Collector exports: its labels with their values, and whether it only
// grows.
type metric struct {
	labels  map[string][]string
	counter bool
}

var errFailed = errors.New("errFailed")

// exported returns what a Collector exports after all that can happen has happened.
func exported(t *testing.T) map[string]*metric {
	t.Helper()
	backend, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := dogpile.NewRegion("users")
	c := dogpileprom.NewCollector(r)
	h, ctx := c.Hooks(), t.Context()
	if err := r.Configure(backend, &dogpile.Options{Hooks: h}); err != nil {
		t.Fatal(err)
	}
	if _, err := dogpile.NewCache[int](r, nil).GetOrCreate(ctx, "k", func(context.Context) (int, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	lost, cancel := context.WithCancelCause(ctx)
	cancel(dogpile.ErrLeaseLost)
	left, cancelLeft := context.WithCancel(ctx)
	cancelLeft()
	e := dogpile.Event{Region: "users", Name: "user", Backend: "memory"}
	for _, e.Reason = range []dogpile.Reason{"", dogpile.ReasonAbsent, dogpile.ReasonExpired, dogpile.ReasonInvalidated, dogpile.ReasonTagged, dogpile.ReasonDamaged} {
		h.Miss(ctx, e)
	}
	for _, e.Err = range []error{nil, errFailed, dogpile.ErrAborted, dogpile.ErrCreateTimeout} {
		h.Create(ctx, e)
	}
	h.Create(lost, e)
	h.Wait(ctx, e)
	for _, e.Op = range []string{"get", "set", "delete", "lock", "wait", "extend", "unlock", "locked", "holder", "scan"} {
		for _, e.Err = range []error{nil, errFailed, dogpile.ErrLeaseLost} {
			h.Backend(ctx, e)
			h.Backend(left, e)
		}
	}
	for _, e.Op = range []string{"get", "decode", "version", "lock", "extend", "unlock", "create", "store", "delete", "invalidate", "close"} {
		h.Error(ctx, e)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*metric)
	for _, family := range families {
		for _, suffix := range map[dto.MetricType][]string{
			dto.MetricType_COUNTER: {""}, dto.MetricType_GAUGE: {""}, dto.MetricType_HISTOGRAM: {"_bucket", "_sum", "_count"},
		}[family.GetType()] {
			m := &metric{make(map[string][]string), family.GetType() != dto.MetricType_GAUGE}
			all[family.GetName()+suffix] = m
			if suffix == "_bucket" {
				m.labels["le"] = nil
			}
			for _, series := range family.Metric {
				for _, l := range series.Label {
					m.labels[l.GetName()] = append(m.labels[l.GetName()], l.GetValue())
				}
			}
		}
	}
	return all
}

// checker checks queries against what is exported.
type checker struct {
	t      *testing.T
	all    map[string]*metric
	parser parser.Parser
	where  string
	report func(text string)
}

func newChecker(t *testing.T) *checker {
	return &checker{t: t, all: exported(t), parser: parser.NewParser(parser.Options{}), report: func(text string) { t.Helper(); t.Error(text) }}
}

func (c *checker) errorf(format string, args ...any) {
	c.t.Helper()
	c.report(c.where + ": " + fmt.Sprintf(format, args...))
}

// query checks a query and returns the labels of its result.
func (c *checker) query(where, query string) []string {
	c.t.Helper()
	c.where = where
	expr, err := c.parser.ParseExpr(strings.ReplaceAll(query, "$__rate_interval", "5m"))
	if err != nil {
		c.errorf("%v in %s", err, query)
		return nil
	}
	return slices.Sorted(maps.Keys(c.labels(expr, false)))
}

// labels checks expr, and returns the labels of its series; nil: it is a number. ranged tells that
// it is looked at over a time.
func (c *checker) labels(expr parser.Expr, ranged bool) map[string]bool {
	c.t.Helper()
	switch e := expr.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return nil
	case *parser.ParenExpr:
		return c.labels(e.Expr, ranged)
	case *parser.MatrixSelector:
		return c.labels(e.VectorSelector, true)
	case *parser.VectorSelector:
		return c.selector(e, ranged)
	case *parser.AggregateExpr:
		return c.aggregate(e)
	case *parser.Call:
		of := c.labels(e.Args[len(e.Args)-1], false)
		if e.Func.Name == "histogram_quantile" {
			if !of["le"] {
				c.errorf("no buckets are left in %s", e)
			}
			delete(of, "le")
		}
		return of
	case *parser.BinaryExpr:
		left, right := c.labels(e.LHS, false), c.labels(e.RHS, false)
		if left != nil && right != nil && !maps.Equal(left, right) {
			c.errorf("the sides of %s never match: %v, %v", e, left, right)
		}
		if left == nil {
			return right
		}
		return left
	}
	c.errorf("%T is not known to this test: %s", expr, expr)
	return nil
}

func (c *checker) selector(e *parser.VectorSelector, ranged bool) map[string]bool {
	c.t.Helper()
	m := c.all[e.Name]
	if m == nil {
		c.errorf("%s is not exported", e.Name)
		return nil
	}
	if m.counter != ranged {
		c.errorf("%s is a counter: %v; looked at over a time: %v", e.Name, m.counter, ranged)
	}
	for _, matcher := range e.LabelMatchers {
		if matcher.Name == "__name__" {
			continue
		}
		values, there := m.labels[matcher.Name]
		if !there {
			c.errorf("%s has no label %s", e.Name, matcher.Name)
		}
		c.values(e.Name, matcher, values)
	}
	of := make(map[string]bool)
	for label := range m.labels {
		of[label] = true
	}
	return of
}

// values checks that each alternative of a matcher is a value that there is, and that it leaves
// something out.
func (c *checker) values(name string, m *labels.Matcher, values []string) {
	c.t.Helper()
	if strings.HasPrefix(m.Value, "$") { // of a variable of the dashboard
		return
	}
	if m.Type == labels.MatchRegexp && (m.Value == ".*" || m.Value == ".+") {
		c.errorf("%s of %s may be anything", m.Name, name)
	}
	for value := range strings.SplitSeq(m.Value, "|") {
		one, err := regexp.Compile("^(?:" + value + ")$")
		if err != nil || !slices.ContainsFunc(values, one.MatchString) {
			c.errorf("%s of %s is never %q", m.Name, name, value)
		}
	}
}

func (c *checker) aggregate(e *parser.AggregateExpr) map[string]bool {
	c.t.Helper()
	inner := c.labels(e.Expr, false)
	if e.Op == parser.TOPK {
		return inner
	}
	of := make(map[string]bool)
	for _, label := range e.Grouping {
		if !inner[label] {
			c.errorf("there is no label %s in %s", label, e)
		}
		of[label] = true
	}
	return of
}

// named checks that the labels which a text names are there.
func (c *checker) named(text string, pattern *regexp.Regexp, there []string) {
	c.t.Helper()
	for _, found := range pattern.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(there, found[1]) {
			c.errorf("%q names %s, and there are %v", text, found[1], there)
		}
	}
}

var (
	inLegend = regexp.MustCompile(`{{\s*(\w+)\s*}}`)
	inAlert  = regexp.MustCompile(`\$labels\.(\w+)`)
	ofValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile("../../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDashboard(t *testing.T) {
	var dashboard struct {
		Title      string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []struct {
			ID                       int
			Title, Type, Description string
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(read(t, "grafana.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	c := newChecker(t)
	variables := []string{"__rate_interval"}
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
		if v.Type == "query" {
			parts := ofValues.FindStringSubmatch(v.Definition)
			if parts == nil {
				t.Errorf("variable %s: %q", v.Name, v.Definition)
				continue
			}
			// Which values a counter has is asked for without a rate.
			if of := c.query("variable "+v.Name, "rate("+parts[1]+"[5m])"); !slices.Contains(of, parts[2]) {
				t.Errorf("variable %s: %s has the labels %v", v.Name, parts[1], of)
			}
		}
	}
	ids, queries, metrics := make(map[int]bool), 0, ""
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d %q is not as it should be", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			queries++
			metrics += target.Expr
			of := c.query("panel "+p.Title, target.Expr)
			c.named(target.LegendFormat, inLegend, of)
			c.named(target.Expr, regexp.MustCompile(`\$(\w+)`), variables)
		}
	}
	for _, name := range []string{
		"requests_total", "misses_total", "creation_duration_seconds_bucket", "wait_duration_seconds_bucket",
		"backend_duration_seconds_bucket", "errors_total", "leases_lost_total", "pending_deletes",
	} {
		if !strings.Contains(metrics, "dogpile_"+name) {
			t.Errorf("no panel shows dogpile_%s", name)
		}
	}
	if dashboard.Title == "" || queries < 15 {
		t.Errorf("%q has %d queries", dashboard.Title, queries)
	}
}

func TestAlerts(t *testing.T) {
	type rule struct {
		Alert, Expr         string
		For                 string
		Labels, Annotations map[string]string
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	_, block, found := strings.Cut(string(read(t, "operating.md")), "```yaml\ngroups:")
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !closed {
		t.Fatal("there are no rules")
	}
	decoder := yaml.NewDecoder(strings.NewReader("groups:" + block))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	c, alerts := newChecker(t), make(map[string]bool)
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			of := c.query(r.Alert, r.Expr)
			c.named(fmt.Sprint(r.Annotations), inAlert, of)
			if _, err := time.ParseDuration(r.For); r.For != "" && err != nil || alerts[r.Alert] || r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%+v is not as it should be", r)
			}
			alerts[r.Alert] = true
		}
	}
	if len(alerts) < 5 {
		t.Errorf("only %d alerts", len(alerts))
	}
}

// TestCheckerFindsFaults: what the two tests above are worth.
func TestCheckerFindsFaults(t *testing.T) {
	for query, want := range map[string]string{
		`sum by (result) (rate(dogpile_requests_total[5m]))`:                           "",
		`sum by (result) (rate(dogpile_requests[5m]))`:                                 "is not exported",
		`sum by (results) (rate(dogpile_requests_total[5m]))`:                          "no label results",
		`sum(rate(dogpile_requests_total{key="k"}[5m]))`:                               "has no label key",
		`sum(rate(dogpile_requests_total{result=~"hit|nearhit"}[5m]))`:                 `never "nearhit"`,
		`sum(dogpile_requests_total)`:                                                  "is a counter",
		`rate(dogpile_pending_deletes[5m])`:                                            "is a counter: false",
		`histogram_quantile(0.9, sum(rate(dogpile_wait_duration_seconds_bucket[5m])))`: "no buckets",
		`sum(dogpile_creators) / sum by (region) (dogpile_creators)`:                   "never match",
		`sum(dogpile_creators`:                                                         "unclosed",
		`sum(rate(dogpile_backend_duration_seconds_count{op=~"holder|scan"}[5m]))`:     "",
		`sum(rate(dogpile_backend_duration_seconds_count{backend=~".+"}[5m]))`:         "may be anything",
		`sum(rate(dogpile_errors_total{op=~"decode|version|close"}[5m]))`:              "",
		`sum(rate(dogpile_errors_total{op="holder"}[5m]))`:                             `never "holder"`,
	} {
		var said strings.Builder
		c := newChecker(t)
		c.report = func(text string) { said.WriteString(text) }
		c.query("query", query)
		if got := said.String(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
