package report_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"image/png"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
)

// node is an element of the page.
type node struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []node     `xml:",any"`
	Text    string     `xml:",chardata"`
}

func (n *node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all returns n and the elements in it that are wanted, in their order.
func (n *node) all(want func(*node) bool) (found []*node) {
	if want(n) {
		found = append(found, n)
	}
	for i := range n.Nodes {
		found = append(found, n.Nodes[i].all(want)...)
	}
	return found
}

func named(name string) func(*node) bool {
	return func(n *node) bool { return n.XMLName.Local == name }
}

// pageOf returns the page of r, which is written so that it is well-formed XML too.
func pageOf(t *testing.T, r *report.Report) (text string, root *node) {
	t.Helper()
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil {
		t.Fatal(err)
	}
	root = new(node)
	if err := xml.Unmarshal(out.Bytes(), root); err != nil {
		t.Fatalf("not well-formed: %v", err)
	}
	return out.String(), root
}

func TestPage(t *testing.T) {
	t.Parallel()
	text, root := pageOf(t, sample(t))
	elements := map[string]int{}
	for _, n := range root.all(func(*node) bool { return true }) {
		elements[n.XMLName.Local]++
		for _, a := range n.Attrs {
			checkAttribute(t, a.Name.Local, a.Value)
		}
	}
	want := map[string]int{"svg": 6, "img": 1, "table": 3, "style": 1, "script": 0, "link": 0, "a": 0, "path": 9}
	for name, n := range want {
		if elements[name] != n {
			t.Errorf("%d elements %s, want %d", elements[name], name, n)
		}
	}
	if found := regexp.MustCompile(`(?i:https?:|//|url\(|@import)|NaN|Inf|%!|ZgotmplZ`).FindString(withoutData(text)); found != "" {
		t.Errorf("the page has %q in it", found)
	}
	for _, want := range []string{"prefers-color-scheme: dark", "250 ms", "most creators at once for one key", "6 May 2024", "dogpile demo in 4 processes over memory",
		"&lt;a href=&#34;x&#34;&gt;&amp;.log", "0.00 s: 50 requests, p50 1.23 ms, p99 250 ms, max 3.00 s", "cold start: the first 1 s", "steady state: from 1 s on",
		"latency p99, steady state", "dogpile asked the origin about as often as mode coalesced, and had the lowest latency p99."} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestPageWithNear(t *testing.T) {
	t.Parallel()
	text, root := pageOf(t, nearSample(t))
	for _, want := range []string{"One load, four ways", "All four charts", "each process keeps copies", "of these, near", "mode near answered 80 of 100 requests"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := len(root.all(named("svg"))); n != 8 {
		t.Errorf("%d charts, want 8", n)
	}
}

// checkAttribute lets only pictures in that are part of the page.
func checkAttribute(t *testing.T, name, value string) {
	t.Helper()
	if name != "src" && name != "href" {
		return
	}
	data, ok := strings.CutPrefix(value, "data:image/png;base64,")
	raw, err := base64.StdEncoding.DecodeString(data)
	if !ok || err != nil {
		t.Errorf("%s=%q refers to something outside (%v)", name, value, err)
		return
	}
	if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
		t.Errorf("embedded picture: %v", err)
	}
}

func withoutData(page string) string {
	return regexp.MustCompile(`data:image/png;base64,[^"]*`).ReplaceAllString(page, "")
}

// A narrow screen shows the first card, the first column and the first chart.
func TestDogpileIsFirst(t *testing.T) {
	t.Parallel()
	_, root := pageOf(t, sample(t))
	var got []string
	for _, n := range root.all(func(n *node) bool { return n.attr("class") == "name" }) {
		got = append(got, n.Text)
	}
	// The cards, the table, two charts and their tables.
	want := strings.TrimSpace(strings.Repeat("dogpile coalesced none ", 6))
	if strings.Join(got, " ") != want {
		t.Errorf("modes %q, want %q", got, want)
	}
}

// What a screen reader says of a chart is its title and its text.
func TestChartsHaveNames(t *testing.T) {
	t.Parallel()
	_, root := pageOf(t, sample(t))
	ids := map[string]*node{}
	for _, n := range root.all(func(n *node) bool { return n.attr("id") != "" }) {
		if ids[n.attr("id")] != nil {
			t.Errorf("id %q is there twice", n.attr("id"))
		}
		ids[n.attr("id")] = n
	}
	var got []string
	for _, svg := range root.all(named("svg")) {
		title, text, _ := strings.Cut(svg.attr("aria-labelledby"), " ")
		if svg.attr("role") != "img" || ids[title] == nil || ids[text] == nil {
			t.Fatalf("svg %v has no name or no text", svg.Attrs)
		}
		if ids[title] != &svg.Nodes[0] || ids[text] != &svg.Nodes[1] || svg.Nodes[0].XMLName.Local != "title" || svg.Nodes[1].XMLName.Local != "desc" {
			t.Errorf("svg %v has its name elsewhere", svg.Attrs)
		}
		got = append(got, ids[title].Text+": "+ids[text].Text)
	}
	want := []string{
		"Creations over time in mode dogpile: 28 creations, of them 20 in the cold start; at most 28 within 50 ms, from 0.00 s on.",
		"Creations over time in mode coalesced: 29 creations, of them 20 in the cold start; at most 29 within 50 ms, from 0.00 s on.",
		"Creations over time in mode none: 30 creations, of them 20 in the cold start; at most 30 within 50 ms, from 0.00 s on.",
		"Latency over time in mode dogpile: Median 1.23 ms and 99th percentile 250 ms in the cold start, 1.00 ms and 10 ms in the steady state.",
		"Latency over time in mode coalesced: Median 1.23 ms and 99th percentile 250 ms in the cold start, 1.00 ms and 20 ms in the steady state.",
		"Latency over time in mode none: Median 1.23 ms and 99th percentile 250 ms in the cold start, 1.00 ms and 30 ms in the steady state.",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The figures that the charts are drawn of are there to be read, too, and so are
// those of the cold start and the steady state.
func TestFigures(t *testing.T) {
	t.Parallel()
	_, root := pageOf(t, sample(t))
	var got []string
	for _, tr := range root.all(named("tr")) {
		var cells []string
		for _, cell := range tr.Nodes {
			cells = append(cells, cell.Text)
		}
		got = append(got, strings.Join(cells, " | "))
	}
	for _, want := range [][]string{
		{"cold start: the first 1 s, in which nothing can expire", "creations | 20 | 20 | 20", "latency p50 | 1.23 ms | 1.23 ms | 1.23 ms", "latency p99 | 250 ms | 250 ms | 250 ms"},
		{"steady state: from 1 s on, when entries expire", "creations | 8 | 9 | 10", "latency p50 | 1.00 ms | 1.00 ms | 1.00 ms", "latency p99 | 10 ms | 20 ms | 30 ms"},
		{"0.00 s | 28 | 29 | 30", "0.05 s | 0 | 0 | 0", "2.00 s | 0 | 0 | 0"},
		{"0.00 s | 1.23 ms, 250 ms | 1.23 ms, 250 ms | 1.23 ms, 250 ms", "0.05 s | 1.23 ms, 250 ms | 1.23 ms, 250 ms | 1.23 ms, 250 ms"},
	} {
		i := slices.Index(got, want[0])
		if i < 0 || i+len(want) > len(got) || !slices.Equal(got[i:i+len(want)], want) {
			t.Errorf("no rows %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// Runs with nothing in them draw empty charts.
func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	r := sample(t)
	for _, m := range r.Results {
		*m = demo.Result{Mode: m.Mode, Buckets: make([]demo.Phase, demo.BucketCount)}
	}
	r.Settings.Duration, r.Tiles = 0, nil
	text, root := pageOf(t, r)
	if found := regexp.MustCompile(`NaN|Inf`).FindString(text); found != "" {
		t.Errorf("the page has %q in it", found)
	}
	if n := len(root.all(named("svg"))); n != 6 {
		t.Errorf("%d charts", n)
	}
}

// A page with a great many requests in one slice is not larger for it.
func TestPageScales(t *testing.T) {
	t.Parallel()
	large := sample(t)
	for _, m := range large.Results {
		for i := range m.Buckets {
			m.Buckets[i] = demo.Phase{Creations: 1_000_000 * (i + 1), Requests: 5_000_000, Latency: m.Latency}
		}
	}
	text, _ := pageOf(t, large)
	if len(text) > 200_000 {
		t.Errorf("the page has %d bytes", len(text))
	}
	if !strings.Contains(text, fmt.Sprint(60_000_000)) {
		t.Error("the scale does not reach the greatest value")
	}
}
