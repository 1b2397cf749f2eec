package report

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// modeTexts say what a mode does.
var modeTexts = map[demo.Mode]string{
	demo.None:      "Get; on a miss create and set. Every caller that misses creates.",
	demo.Coalesced: "Callers of one process that miss the same key share one creation and wait for it.",
	demo.Dogpile:   "One creator in the background; all other callers read the old value meanwhile.",
	demo.Near:      "The same, and each process keeps copies of what it reads, for as long as they are known to be right.",
}

type card struct {
	*demo.Result
	Text, P99Text string
}

type fact struct{ Name, Value string }

// HTML writes the report as a page that needs nothing else: no script, no
// picture, no font from outside. The modes stand in the reverse of their order, so
// that a narrow screen shows mode dogpile first.
func (r *Report) HTML(w io.Writer) error {
	results := slices.Clone(r.Results)
	slices.Reverse(results)
	axis := timeAxis{
		end:  time.Duration(r.Settings.Duration*float64(time.Second)) + demo.Grace,
		cold: time.Duration(r.Settings.Expiration * float64(time.Second)),
	}
	data := struct {
		Began, Where, Ways string
		Verdict            []string
		Cards              []card
		P99Name            string
		Modes              row
		Columns            int // of the table
		Whole              []row
		Phases             []phase
		Creations, Latency chart
		Slice              string
		Facts              []fact
		Tiles              []template.URL
		Grace              string
	}{
		Began:     r.Settings.Began.Format("2 January 2006, 15:04:05 MST"),
		Where:     r.Settings.Where(),
		Ways:      Times(len(results)),
		Verdict:   r.Verdict(),
		Modes:     modesOf(results),
		Columns:   1 + len(results),
		Whole:     r.whole(results),
		Phases:    r.phases(results),
		Creations: creationChart(results, axis),
		Latency:   latencyChart(results, axis),
		Slice:     span(axis.end / demo.BucketCount),
		Facts:     r.Settings.facts(),
		Grace:     demo.Grace.String(),
	}
	for _, m := range results {
		c := card{m, modeTexts[m.Mode], span(m.Steady.P99)}
		data.P99Name = "latency p99, steady state"
		if m.Steady.Requests == 0 {
			c.P99Text, data.P99Name = span(m.P99), "latency p99"
		}
		data.Cards = append(data.Cards, c)
	}
	for _, png := range r.Tiles {
		// html/template drops a URL with data in it unless it is declared to be safe.
		data.Tiles = append(data.Tiles, template.URL("data:image/png;base64,"+base64.StdEncoding.EncodeToString(png)))
	}
	return page.Execute(w, data)
}

// Times writes how many modes there are.
func Times(modes int) string {
	if modes == 4 {
		return "four"
	}
	return "three"
}

func (s *Settings) facts() []fact {
	load := ""
	switch {
	case s.Zipf != nil:
		load = fmt.Sprintf("zipf distribution over %d keys, skew %v, seed %d", s.Zipf.Keys, s.Zipf.Skew, s.Zipf.Seed)
	case s.Log != nil:
		load = fmt.Sprintf("access log %s at %v times its pace, %d lines, %d more malformed",
			s.Log.File, s.Log.Speed, s.Log.Lines, s.Log.Malformed)
	}
	return []fact{
		{"Load", load},
		{"Requests", fmt.Sprintf("%d for %d keys within %.3g s, by %d clients in %s", s.Requests, s.Keys, s.Duration, s.Clients, s.Where())},
		{"Entries expire after", fmt.Sprintf("%.3g s", s.Expiration)},
		{"Stale served for", fmt.Sprintf("%.3g s more (dogpile only)", s.StaleFor)},
		{"Origin", fmt.Sprintf("Mandelbrot tiles of %d×%d pixels, about %.3g ms of CPU each, %d at once, for all processes together", s.TileSize, s.TileSize, s.Cost, s.Workers)},
		{"Machine", fmt.Sprintf("%d CPUs", s.CPUs)},
	}
}
