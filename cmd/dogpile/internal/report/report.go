// Package report shows what the demonstration measured: as a table, as JSON and
// as a page.
package report

import (
	"encoding/json"
	"fmt"
	"io"
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
	Cost       float64   `json:"tile_cost_ms"` // of CPU time, which the size was chosen for
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
	*nearJSON             // with mode near alone
}

type nearJSON struct {
	Hits     int     `json:"hits"`
	NearHits int     `json:"near_hits"`
	HitP50   float64 `json:"hit_p50_us"`
}

type phaseJSON struct {
	Requests  int     `json:"requests"`
	Creations int     `json:"creations"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

// JSON writes the report as one object on one line.
func (r *Report) JSON(w io.Writer) error {
	out := struct {
		Modes      []modeJSON              `json:"modes"`
		Cold       map[demo.Mode]phaseJSON `json:"cold_start"`
		Steady     map[demo.Mode]phaseJSON `json:"steady_state"`
		Unanswered map[demo.Mode]int       `json:"unanswered"`
		Errors     map[demo.Mode]int       `json:"errors"`
		Settings   Settings                `json:"settings"`
	}{[]modeJSON{}, map[demo.Mode]phaseJSON{}, map[demo.Mode]phaseJSON{}, map[demo.Mode]int{}, map[demo.Mode]int{}, r.Settings}
	for _, m := range r.Results {
		out.Modes = append(out.Modes, modeJSON{
			m.Mode, m.Requests, m.Creations, m.MaxCreators, m.OriginCPU.Seconds(),
			millis(m.P50), millis(m.P99), millis(m.Max), m.StaleServed, r.nearJSON(m),
		})
		out.Cold[m.Mode], out.Steady[m.Mode] = jsonOf(m.Cold), jsonOf(m.Steady)
		out.Unanswered[m.Mode] = m.Unanswered
		out.Errors[m.Mode] = m.Errors
	}
	return json.NewEncoder(w).Encode(out)
}

func (r *Report) nearJSON(m *demo.Result) *nearJSON {
	if !r.hasNear() {
		return nil
	}
	return &nearJSON{m.Hits, m.NearHits, float64(m.HitTook.P50.Nanoseconds()) / 1000}
}

// hasNear reports whether mode near was run.
func (r *Report) hasNear() bool { return r.of(demo.Near) != nil }

// of returns the result of a mode, or nil.
func (r *Report) of(mode demo.Mode) *demo.Result {
	for _, m := range r.Results {
		if m.Mode == mode {
			return m
		}
	}
	return nil
}

func jsonOf(p demo.Phase) phaseJSON {
	return phaseJSON{p.Requests, p.Creations, millis(p.P50), millis(p.P99), millis(p.Max)}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
