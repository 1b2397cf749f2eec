package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
)

// mode makes up a result of 1000 requests.
func mode(m demo.Mode, creations int, p99 time.Duration) *demo.Result {
	return &demo.Result{
		Mode: m, Requests: 1000, Creations: creations, Latency: demo.Latency{P99: time.Second},
		Steady: demo.Phase{Requests: 800, Latency: demo.Latency{P99: p99}},
	}
}

func of(results ...*demo.Result) *report.Report { return &report.Report{Results: results} }

// against puts a made-up result of dogpile behind two that are the same in all
// tests.
func against(ours *demo.Result) *report.Report {
	return of(mode(demo.None, 500, 2*time.Second), mode(demo.Coalesced, 100, 50*time.Millisecond), ours)
}

func changed(m *demo.Result, change func(*demo.Result)) *demo.Result {
	change(m)
	return m
}

var verdicts = []struct {
	name   string
	report *report.Report
	want   []string
}{
	{"dogpile is better in both", against(mode(demo.Dogpile, 60, 2*time.Millisecond)), []string{
		"dogpile asked the origin least often, and had the lowest latency p99.",
		"It asked the origin 60 times (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 2.00 ms (mode none: 2.00 s, mode coalesced: 50 ms).",
	}},
	{"dogpile is worse in both", against(mode(demo.Dogpile, 600, 3*time.Second)), []string{
		"dogpile asked the origin more often than mode coalesced, and had a higher latency p99 than mode coalesced.",
		"It asked the origin 600 times (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 3.00 s (mode none: 2.00 s, mode coalesced: 50 ms).",
	}},
	{"dogpile is better than the worse of the others", against(mode(demo.Dogpile, 200, time.Second)), []string{
		"dogpile asked the origin more often than mode coalesced, and had a higher latency p99 than mode coalesced.",
		"It asked the origin 200 times (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 1.00 s (mode none: 2.00 s, mode coalesced: 50 ms).",
	}},
	{"less often but slower", against(mode(demo.Dogpile, 1, 60*time.Millisecond)), []string{
		"dogpile asked the origin least often, but had a higher latency p99 than mode coalesced.",
		"It asked the origin 1 time (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 60 ms (mode none: 2.00 s, mode coalesced: 50 ms).",
	}},
	{"more often but faster", against(mode(demo.Dogpile, 112, 5*time.Millisecond)), []string{
		"dogpile asked the origin more often than mode coalesced, but had the lowest latency p99.",
		"It asked the origin 112 times (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 5.00 ms (mode none: 2.00 s, mode coalesced: 50 ms).",
	}},
	{"about the same", against(mode(demo.Dogpile, 95, 52*time.Millisecond)), []string{
		"dogpile asked the origin about as often as mode coalesced, and had about the same latency p99 as mode coalesced.",
		"It asked the origin 95 times (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 52 ms (mode none: 2.00 s, mode coalesced: 50 ms).",
	}},
	{"dogpile fails fast", against(changed(mode(demo.Dogpile, 0, time.Microsecond), func(m *demo.Result) { m.Errors = 1000 })), []string{
		"dogpile had more errors and unanswered requests than mode none. It asked the origin least often, and had the lowest latency p99.",
		"It asked the origin 0 times (mode none: 500 times, mode coalesced: 100 times).",
		"In the steady state its latency p99 was 0.00 ms (mode none: 2.00 s, mode coalesced: 50 ms).",
		"Errors and unanswered requests: 1000 (mode none: 0, mode coalesced: 0).",
	}},
	{"others fail", of(
		changed(mode(demo.None, 500, 2*time.Second), func(m *demo.Result) { m.Unanswered, m.Errors = 30, 4 }),
		changed(mode(demo.Dogpile, 60, time.Millisecond), func(m *demo.Result) { m.StaleServed = 225 })), []string{
		"dogpile asked the origin least often, and had the lowest latency p99.",
		"It asked the origin 60 times (mode none: 500 times).",
		"In the steady state its latency p99 was 1.00 ms (mode none: 2.00 s).",
		"Errors and unanswered requests: 0 (mode none: 34).",
		"Of its 1000 requests, 225 got a stale value.",
	}},
	{"no steady state", of(
		changed(mode(demo.None, 12, 0), func(m *demo.Result) { m.Steady = demo.Phase{} }),
		changed(mode(demo.Dogpile, 12, 0), func(m *demo.Result) { m.Steady = demo.Phase{} })), []string{
		"dogpile asked the origin about as often as mode none, and had about the same latency p99 as mode none.",
		"It asked the origin 12 times (mode none: 12 times).",
		"Over the whole run, which ended before anything could expire, its latency p99 was 1.00 s (mode none: 1.00 s).",
	}},
	{"nothing happened", of(&demo.Result{Mode: demo.None}, &demo.Result{Mode: demo.Dogpile}), []string{
		"dogpile asked the origin about as often as mode none, and had about the same latency p99 as mode none.",
		"It asked the origin 0 times (mode none: 0 times).",
		"Over the whole run, which ended before anything could expire, its latency p99 was 0.00 ms (mode none: 0.00 ms).",
	}},
	{"copies are not judged", of(mode(demo.None, 500, 2*time.Second),
		changed(mode(demo.Dogpile, 60, 2*time.Millisecond), func(m *demo.Result) { m.Hits, m.HitTook.P50 = 900, 45*time.Microsecond }),
		changed(mode(demo.Near, 1, time.Microsecond), func(m *demo.Result) { m.Hits, m.NearHits, m.HitTook.P50 = 950, 900, 250*time.Nanosecond })), []string{
		"dogpile asked the origin least often, and had the lowest latency p99.",
		"It asked the origin 60 times (mode none: 500 times).",
		"In the steady state its latency p99 was 2.00 ms (mode none: 2.00 s).",
		"With copies in its processes, mode near answered 900 of 1000 requests without the backend; half of its fresh hits took no more than 0.25 µs (mode dogpile: 45 µs).",
	}},
	{"no dogpile", of(mode(demo.None, 1, 1)), nil},
	{"nothing to compare with", of(mode(demo.Dogpile, 1, 1)), nil},
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, row := range verdicts {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, want := strings.Join(row.report.Verdict(), "\n"), strings.Join(row.want, "\n")
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
