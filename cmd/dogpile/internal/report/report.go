// Package report shows what the demonstration measured: as a table, as JSON and
// as a page.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// Report is everything there is to show. Results are in the order of the runs.
type Report struct {
	Settings Settings
	Results  []*demo.Result
	Tiles    [][]byte // PNGs of some keys, for the page
}

// Settings tells what was run. It holds nothing secret.
type Settings struct {
	Began      time.Time `json:"began"`
	Backend    string    `json:"backend"` // its scheme alone
	Requests   int       `json:"requests"`
	Keys       int       `json:"keys"` // that were asked for
	Clients    int       `json:"clients"`
	Processes  int       `json:"processes"`  // in which they were
	Duration   float64   `json:"duration_s"` // until the last arrival
	Expiration float64   `json:"expiration_s"`
	StaleFor   float64   `json:"stale_for_s"`
	Workers    int       `json:"origin_workers"`
	TileSize   int       `json:"tile_px"`
	Cost       float64   `json:"tile_cost_ms"` // that the size was chosen for
	CPUs       int       `json:"cpus"`
	Zipf       *Zipf     `json:"zipf,omitempty"`
	Log        *Log      `json:"log,omitempty"`
}

// Where tells in how many processes the clients ran, and over which backend.
func (s *Settings) Where() string {
	if s.Processes == 1 {
		return "one process over " + s.Backend
	}
	return fmt.Sprintf("%d processes over %s", s.Processes, s.Backend)
}

// Zipf is where the load came from, if it was made up.
type Zipf struct {
	Keys int     `json:"keys"`
	Skew float64 `json:"skew"`
	Seed uint64  `json:"seed"`
}

// Log is where the load came from, if it was an access log.
type Log struct {
	File      string  `json:"file"`
	Speed     float64 `json:"speed"`
	Lines     int     `json:"lines"` // well-formed
	Malformed int     `json:"malformed"`
}

type modeJSON struct {
	Mode        demo.Mode `json:"mode"`
	Requests    int       `json:"requests"`
	Creations   int       `json:"creations"`
	MaxCreators int       `json:"max_creators"`
	OriginCPU   float64   `json:"origin_cpu_s"`
	P50         float64   `json:"p50_ms"`
	P99         float64   `json:"p99_ms"`
	Max         float64   `json:"max_ms"`
	StaleServed int       `json:"stale_served"`
}

// JSON writes the report as one object on one line.
func (r *Report) JSON(w io.Writer) error {
	out := struct {
		Modes      []modeJSON        `json:"modes"`
		Unanswered map[demo.Mode]int `json:"unanswered"`
		Errors     map[demo.Mode]int `json:"errors"`
		Settings   Settings          `json:"settings"`
	}{[]modeJSON{}, map[demo.Mode]int{}, map[demo.Mode]int{}, r.Settings}
	for _, m := range r.Results {
		out.Modes = append(out.Modes, modeJSON{
			m.Mode, m.Requests, m.Creations, m.MaxCreators, m.OriginCPU.Seconds(),
			millis(m.P50), millis(m.P99), millis(m.Max), m.StaleServed,
		})
		out.Unanswered[m.Mode] = m.Unanswered
		out.Errors[m.Mode] = m.Errors
	}
	return json.NewEncoder(w).Encode(out)
}

// Table writes the report as text, with a column for each mode.
func (r *Report) Table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	for _, row := range r.rows() {
		fmt.Fprint(tw, row.Name, "\t")
		for _, cell := range row.Cells {
			fmt.Fprint(tw, cell, "\t")
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

type row struct {
	Name  string
	Cells []string // one for each result
}

// rows returns the table, whose first row has the names of the modes.
func (r *Report) rows() []row {
	columns := []struct {
		name string
		cell func(*demo.Result) string
	}{
		{"", func(m *demo.Result) string { return string(m.Mode) }},
		{"requests", func(m *demo.Result) string { return fmt.Sprint(m.Requests) }},
		{"processes", func(*demo.Result) string { return fmt.Sprint(r.Settings.Processes) }},
		{"creations", func(m *demo.Result) string { return fmt.Sprint(m.Creations) }},
		{"most creators at once for one key", func(m *demo.Result) string { return fmt.Sprint(m.MaxCreators) }},
		{"CPU time of the origin", func(m *demo.Result) string { return fmt.Sprintf("%.2f s", m.OriginCPU.Seconds()) }},
		{"latency p50", func(m *demo.Result) string { return span(m.P50) }},
		{"latency p99", func(m *demo.Result) string { return span(m.P99) }},
		{"latency max", func(m *demo.Result) string { return span(m.Max) }},
		{"stale served", func(m *demo.Result) string { return fmt.Sprint(m.StaleServed) }},
		{"unanswered at the end", func(m *demo.Result) string { return fmt.Sprint(m.Unanswered) }},
		{"errors", func(m *demo.Result) string { return fmt.Sprint(m.Errors) }},
	}
	rows := make([]row, len(columns))
	for i, c := range columns {
		rows[i].Name = c.name
		for _, m := range r.Results {
			rows[i].Cells = append(rows[i].Cells, c.cell(m))
		}
	}
	return rows
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// span writes a duration with three digits or less.
func span(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", millis(d))
	}
	return fmt.Sprintf("%.2f ms", millis(d))
}
