package report_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
)

func sample(t *testing.T) *report.Report {
	t.Helper()
	tile, _, err := origin.Render(t.Context(), "/a", 8)
	if err != nil {
		t.Fatal(err)
	}
	r := &report.Report{
		Settings: report.Settings{
			Began: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), Backend: "memory",
			Requests: 100, Keys: 3, Clients: 10, Processes: 4, Duration: 2, Expiration: 1, StaleFor: 10,
			Workers: 2, TileSize: 8, Cost: 20, CPUs: 2,
			Log: &report.Log{File: `<a href="x">&.log`, Speed: 1.5, Lines: 100, Malformed: 4},
		},
		Tiles: [][]byte{tile},
	}
	for i, mode := range demo.Modes {
		m := &demo.Result{
			Mode: mode, Requests: 100, Creations: 30 - i, MaxCreators: 9 - i, OriginCPU: 1500 * time.Millisecond,
			Latency:     demo.Latency{P50: 1234567 * time.Nanosecond, P99: 250 * time.Millisecond, Max: 3 * time.Second},
			StaleServed: 5 * i, Unanswered: 2 - i, Errors: i, Buckets: make([]demo.Bucket, demo.BucketCount),
		}
		m.Buckets[0] = demo.Bucket{Creations: 30 - i, Requests: 50, Latency: m.Latency}
		m.Buckets[1] = demo.Bucket{Requests: 40, Latency: m.Latency}
		m.Buckets[40] = demo.Bucket{Requests: 10, Latency: m.Latency}
		r.Results = append(r.Results, m)
	}
	return r
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample(t).JSON(&out); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines", n)
	}
	var got struct {
		Modes      []map[string]any `json:"modes"`
		Unanswered map[string]int   `json:"unanswered"`
		Errors     map[string]int   `json:"errors"`
		Settings   map[string]any   `json:"settings"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Modes) != 3 {
		t.Fatalf("%d modes", len(got.Modes))
	}
	want := map[string]any{
		"mode": "coalesced", "requests": 100., "creations": 29., "max_creators": 8., "origin_cpu_s": 1.5,
		"p50_ms": 1.234, "p99_ms": 250., "max_ms": 3000., "stale_served": 5.,
	}
	if !maps.Equal(got.Modes[1], want) {
		t.Errorf("mode %v, want %v", got.Modes[1], want)
	}
	if !maps.Equal(got.Unanswered, map[string]int{"none": 2, "coalesced": 1, "dogpile": 0}) ||
		!maps.Equal(got.Errors, map[string]int{"none": 0, "coalesced": 1, "dogpile": 2}) {
		t.Errorf("unanswered %v, errors %v", got.Unanswered, got.Errors)
	}
	if got.Settings["backend"] != "memory" || got.Settings["processes"] != 4. || got.Settings["zipf"] != nil || got.Settings["log"] == nil {
		t.Errorf("settings %v", got.Settings)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample(t).Table(&out); err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(out.String()) {
		rows = append(rows, strings.Fields(line))
	}
	for _, want := range []string{
		"none coalesced dogpile",
		"requests 100 100 100",
		"processes 4 4 4",
		"creations 30 29 28",
		"most creators at once for one key 9 8 7",
		"CPU time of the origin 1.50 s 1.50 s 1.50 s",
		"latency p50 1.23 ms 1.23 ms 1.23 ms",
		"latency p99 250 ms 250 ms 250 ms",
		"latency max 3.00 s 3.00 s 3.00 s",
		"stale served 0 5 10",
		"unanswered at the end 2 1 0",
		"errors 0 1 2",
	} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return strings.Join(row, " ") == want }) {
			t.Errorf("no row %q in\n%s", want, out.String())
		}
	}
}

// The page is written so that it is well-formed XML too.
func TestPage(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample(t).HTML(&out); err != nil {
		t.Fatal(err)
	}
	elements := map[string]int{}
	dec := xml.NewDecoder(bytes.NewReader(out.Bytes()))
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		elements[start.Name.Local]++
		for _, a := range start.Attr {
			checkAttribute(t, a.Name.Local, a.Value)
		}
	}
	want := map[string]int{"svg": 6, "img": 1, "table": 1, "style": 1, "script": 0, "link": 0, "a": 0, "path": 9}
	for name, n := range want {
		if elements[name] != n {
			t.Errorf("%d elements %s, want %d", elements[name], name, n)
		}
	}
	text := out.String()
	if found := regexp.MustCompile(`(?i:https?:|//|url\(|@import)|NaN|Inf|%!|ZgotmplZ`).FindString(withoutData(text)); found != "" {
		t.Errorf("the page has %q in it", found)
	}
	for _, want := range []string{"prefers-color-scheme: dark", "250 ms", "most creators at once for one key", "6 May 2024", "dogpile demo in 4 processes over memory",
		"&lt;a href=&#34;x&#34;&gt;&amp;.log", "0.00 s: 50 requests, p50 1.23 ms, p99 250 ms, max 3.00 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
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

// Runs with nothing in them draw empty charts.
func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	r := sample(t)
	for _, m := range r.Results {
		*m = demo.Result{Mode: m.Mode, Buckets: make([]demo.Bucket, demo.BucketCount)}
	}
	r.Settings.Duration, r.Tiles = 0, nil
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(out.Bytes(), new(struct{})); err != nil {
		t.Errorf("not well-formed: %v", err)
	}
	if found := regexp.MustCompile(`NaN|Inf`).FindString(out.String()); found != "" {
		t.Errorf("the page has %q in it", found)
	}
}

// A page with a great many requests in one slice is not larger for it.
func TestPageScales(t *testing.T) {
	t.Parallel()
	small, large := sample(t), sample(t)
	for _, m := range large.Results {
		for i := range m.Buckets {
			m.Buckets[i] = demo.Bucket{Creations: 1_000_000 * (i + 1), Requests: 5_000_000, Latency: m.Latency}
		}
	}
	var a, b bytes.Buffer
	if err := small.HTML(&a); err != nil {
		t.Fatal(err)
	}
	if err := large.HTML(&b); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 200_000 {
		t.Errorf("the page has %d bytes", b.Len())
	}
	if !strings.Contains(b.String(), fmt.Sprint(60_000_000)) {
		t.Error("the scale does not reach the greatest value")
	}
}
