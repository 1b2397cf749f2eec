package load_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/accesslog"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
)

func TestZipfIsDeterministic(t *testing.T) {
	t.Parallel()
	one := load.Zipf(1000, 50, 1.1, time.Minute, 7)
	if two := load.Zipf(1000, 50, 1.1, time.Minute, 7); !slices.Equal(one, two) {
		t.Error("the same seed gives other requests")
	}
	if other := load.Zipf(1000, 50, 1.1, time.Minute, 8); slices.Equal(one, other) {
		t.Error("another seed gives the same requests")
	}
	got := ""
	for _, r := range one[:3] {
		got += fmt.Sprintln(r.At.Round(time.Millisecond), r.Key)
	}
	if got != golden {
		t.Errorf("the first requests are\n%swant\n%s", got, golden)
	}
}

// golden are the first requests of seed 7: a new version shall not change them.
const golden = "209ms /tile/16\n1.552s /tile/1\n1.803s /tile/1\n"

func TestZipf(t *testing.T) {
	t.Parallel()
	const n, d = 100_000, time.Minute
	rows := []struct {
		name   string
		keys   int
		skew   float64
		shares map[string]float64
	}{
		{"skewed", 4, 1, map[string]float64{"/tile/1": 0.48, "/tile/2": 0.24, "/tile/3": 0.16, "/tile/4": 0.12}},
		{"all alike", 4, 0, map[string]float64{"/tile/1": 0.25, "/tile/2": 0.25, "/tile/3": 0.25, "/tile/4": 0.25}},
		{"one key", 1, 2, map[string]float64{"/tile/1": 1}},
		{"very skewed", 1000, 100, map[string]float64{"/tile/1": 1}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			requests := load.Zipf(n, row.keys, row.skew, d, 1)
			counts := make(map[string]float64)
			begun, firstHalf := 0, 0
			for i, r := range requests {
				counts[r.Key]++
				if r.At < 0 || r.At >= d || i > 0 && r.At < requests[i-1].At {
					t.Fatalf("request %d arrives at %v after one at %v", i, r.At, requests[max(0, i-1)].At)
				}
				if r.At < d/10 {
					begun++
				}
				if r.At < d/2 {
					firstHalf++
				}
			}
			for key, share := range row.shares {
				if got := counts[key] / n; math.Abs(got-share) > 0.01 {
					t.Errorf("%s: share %.3f, want %.3f", key, got, share)
				}
			}
			// The whole is a ramp of half a fifth and four fifths at the full rate.
			if math.Abs(float64(begun)/n-0.025/0.9) > 0.005 || math.Abs(float64(firstHalf)/n-0.4/0.9) > 0.01 {
				t.Errorf("%d of %d requests arrive in the first tenth, %d in the first half", begun, n, firstHalf)
			}
			if len(requests) != n || len(load.Keys(requests)) != len(row.shares) {
				t.Errorf("%d requests for %d keys", len(requests), len(load.Keys(requests)))
			}
		})
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	at := func(second int, path string) accesslog.Entry {
		return accesslog.Entry{Time: time.Date(2024, 1, 1, 0, 0, second, 0, time.UTC), Path: path}
	}
	elsewhere := at(10, "/d")
	elsewhere.Time = elsewhere.Time.In(time.FixedZone("", 3600))
	rows := []struct {
		name    string
		entries []accesslog.Entry
		speed   float64
		want    []load.Request
	}{
		{"nothing", nil, 1, []load.Request{}},
		{"the log's pace", []accesslog.Entry{at(5, "/a"), at(7, "/b")}, 1, []load.Request{{0, "/a"}, {2 * time.Second, "/b"}}},
		{"faster", []accesslog.Entry{at(5, "/a"), at(7, "/b")}, 10, []load.Request{{0, "/a"}, {200 * time.Millisecond, "/b"}}},
		{"slower", []accesslog.Entry{at(5, "/a"), at(7, "/b")}, 0.5, []load.Request{{0, "/a"}, {4 * time.Second, "/b"}}},
		{"out of order", []accesslog.Entry{at(7, "/b"), at(5, "/a"), at(6, "/c")}, 1,
			[]load.Request{{0, "/a"}, {time.Second, "/c"}, {2 * time.Second, "/b"}}},
		{"one second is spread", []accesslog.Entry{at(0, "/b"), at(0, "/a"), at(0, "/b"), at(0, "/c"), at(1, "/a")}, 1, []load.Request{
			{0, "/b"}, {250 * time.Millisecond, "/a"}, {500 * time.Millisecond, "/b"}, {750 * time.Millisecond, "/c"}, {time.Second, "/a"}}},
		{"time zones", []accesslog.Entry{elsewhere, at(8, "/a")}, 1, []load.Request{{0, "/a"}, {2 * time.Second, "/d"}}},
		{"beyond all durations", []accesslog.Entry{at(0, "/a"), at(1, "/b")}, 1e-300, []load.Request{{0, "/a"}, {math.MaxInt64, "/b"}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(row.entries)
			if got := load.Replay(row.entries, row.speed); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
			if !slices.Equal(before, row.entries) {
				t.Errorf("the entries were changed to %v", row.entries)
			}
		})
	}
}

func TestUntilAndKeys(t *testing.T) {
	t.Parallel()
	requests := []load.Request{{0, "/b"}, {1, "/a"}, {1, "/b"}, {2, "/c"}}
	for d, want := range map[time.Duration]int{0: 0, 1: 1, 2: 3, 3: 4} {
		if got := len(load.Until(requests, d)); got != want {
			t.Errorf("until %d: %d requests, want %d", d, got, want)
		}
	}
	if got := load.Keys(requests); !slices.Equal(got, []string{"/b", "/a", "/c"}) {
		t.Errorf("keys %v", got)
	}
}
