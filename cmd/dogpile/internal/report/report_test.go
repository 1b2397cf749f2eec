package report_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
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
			StaleServed: 5 * i, Unanswered: 2 - i, Errors: i, Buckets: make([]demo.Phase, demo.BucketCount),
		}
		m.Cold = demo.Phase{Creations: 20, Requests: 50, Latency: m.Latency}
		m.Steady = demo.Phase{Creations: 10 - i, Requests: 50, Latency: demo.Latency{P50: time.Millisecond, P99: time.Duration(30-10*i) * time.Millisecond}}
		m.Buckets[0] = demo.Phase{Creations: 30 - i, Requests: 50, Latency: m.Latency}
		m.Buckets[1] = demo.Phase{Requests: 40, Latency: m.Latency}
		m.Buckets[40] = demo.Phase{Requests: 10, Latency: m.Latency}
		r.Results = append(r.Results, m)
	}
	return r
}

// nearSample is sample with a run in mode near.
func nearSample(t *testing.T) *report.Report {
	t.Helper()
	r := sample(t)
	near := *r.Results[2]
	near.Mode, near.NearHits = demo.Near, 80
	r.Results = append(r.Results, &near)
	for i, m := range r.Results[1:] {
		m.Hits, m.HitTook = 85+i, demo.Latency{P50: []time.Duration{12 * time.Millisecond, 45678 * time.Nanosecond, 123 * time.Nanosecond}[i]}
	}
	return r
}

func TestJSONWithNear(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := nearSample(t).JSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct{ Modes []map[string]any }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]any{
		{"mode": "none", "hits": 0., "near_hits": 0., "hit_p50_us": 0.},
		{"mode": "coalesced", "hits": 85., "near_hits": 0., "hit_p50_us": 12000.},
		{"mode": "dogpile", "hits": 86., "near_hits": 0., "hit_p50_us": 45.678},
		{"mode": "near", "hits": 87., "near_hits": 80., "hit_p50_us": .123},
	} {
		for name, value := range want {
			if got.Modes[i][name] != value {
				t.Errorf("%v: %s is %v, want %v", want["mode"], name, got.Modes[i][name], value)
			}
		}
	}
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
		Cold       map[string]any   `json:"cold_start"`
		Steady     map[string]any   `json:"steady_state"`
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
	cold := map[string]any{"requests": 50., "creations": 20., "p50_ms": 1.234, "p99_ms": 250., "max_ms": 3000.}
	steady := map[string]any{"requests": 50., "creations": 8., "p50_ms": 1., "p99_ms": 10., "max_ms": 0.}
	if !reflect.DeepEqual(got.Cold["none"], cold) || !reflect.DeepEqual(got.Steady["dogpile"], steady) {
		t.Errorf("cold start %v, steady state %v", got.Cold, got.Steady)
	}
	if !maps.Equal(got.Unanswered, map[string]int{"none": 2, "coalesced": 1, "dogpile": 0}) ||
		!maps.Equal(got.Errors, map[string]int{"none": 0, "coalesced": 1, "dogpile": 2}) {
		t.Errorf("unanswered %v, errors %v", got.Unanswered, got.Errors)
	}
	if got.Settings["backend"] != "memory" || got.Settings["processes"] != 4. || got.Settings["zipf"] != nil || got.Settings["log"] == nil {
		t.Errorf("settings %v", got.Settings)
	}
}
