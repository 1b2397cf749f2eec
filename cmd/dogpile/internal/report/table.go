package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// Table writes the report as text, with a column for each mode. If the terminal
// has too few columns for that, each name of a row stands on a line of its own. 0
// columns are as many as it takes.
func (r *Report) Table(w io.Writer, columns int) error {
	rows := append([]row{modesOf(r.Results)}, r.whole(r.Results)...)
	for _, p := range r.phases(r.Results) {
		for _, in := range p.Rows {
			rows = append(rows, row{in.Name + ", " + p.Name, in.Cells})
		}
	}
	names, cells := 0, make([]int, len(r.Results)) // their widths
	for _, row := range rows {
		names = max(names, len(row.Name))
		for i, cell := range row.Cells {
			cells[i] = max(cells[i], utf8.RuneCountInString(cell))
		}
	}
	total := names
	for _, width := range cells {
		total += len(gap) + width
	}
	var b strings.Builder
	for _, row := range rows {
		// Lines that wrap would put the figures of a row under names of others.
		switch {
		case columns == 0 || total <= columns:
			fmt.Fprintf(&b, "%*s", names, row.Name)
		case row.Name != "":
			fmt.Fprintln(&b, row.Name)
		}
		for i, cell := range row.Cells {
			fmt.Fprintf(&b, "%s%*s", gap, cells[i], cell)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const gap = "   " // between columns

type row struct {
	Name  string
	Cells []string // one for each result
}

// phase is the rows of one part of the runs.
type phase struct {
	Name, Text string
	Rows       []row
}

// rowOf makes a row of what cell says of each result.
func rowOf(name string, results []*demo.Result, cell func(*demo.Result) string) row {
	in := row{Name: name}
	for _, m := range results {
		in.Cells = append(in.Cells, cell(m))
	}
	return in
}

func modesOf(results []*demo.Result) row {
	return rowOf("", results, func(m *demo.Result) string { return string(m.Mode) })
}

// whole returns the rows about the whole runs.
func (r *Report) whole(results []*demo.Result) []row {
	var rows []row
	add := func(name string, cell func(*demo.Result) string) { rows = append(rows, rowOf(name, results, cell)) }
	add("requests", func(m *demo.Result) string { return fmt.Sprint(m.Requests) })
	add("processes", func(*demo.Result) string { return fmt.Sprint(r.Settings.Processes) })
	add("creations", func(m *demo.Result) string { return fmt.Sprint(m.Creations) })
	add("most creators at once for one key", func(m *demo.Result) string { return fmt.Sprint(m.MaxCreators) })
	add("CPU time of the origin", func(m *demo.Result) string { return fmt.Sprintf("%.2f s", m.OriginCPU.Seconds()) })
	add("latency p50", func(m *demo.Result) string { return span(m.P50) })
	add("latency p99", func(m *demo.Result) string { return span(m.P99) })
	add("latency max", func(m *demo.Result) string { return span(m.Max) })
	add("stale served", func(m *demo.Result) string { return fmt.Sprint(m.StaleServed) })
	if r.hasNear() {
		add("fresh hits", func(m *demo.Result) string { return fmt.Sprint(m.Hits) })
		add("of these, near", func(m *demo.Result) string { return fmt.Sprint(m.NearHits) })
		add("a fresh hit took, p50", hitTook)
	}
	add("unanswered at the end", func(m *demo.Result) string { return fmt.Sprint(m.Unanswered) })
	add("errors", func(m *demo.Result) string { return fmt.Sprint(m.Errors) })
	return rows
}

// phases returns the rows about the cold start and about what follows it.
func (r *Report) phases(results []*demo.Result) []phase {
	rows := func(of func(*demo.Result) demo.Phase) []row {
		return []row{
			rowOf("creations", results, func(m *demo.Result) string { return fmt.Sprint(of(m).Creations) }),
			rowOf("latency p50", results, func(m *demo.Result) string { return within(of(m), of(m).P50) }),
			rowOf("latency p99", results, func(m *demo.Result) string { return within(of(m), of(m).P99) }),
		}
	}
	expiration := fmt.Sprintf("%.3g s", r.Settings.Expiration)
	return []phase{
		{"cold start", "the first " + expiration + ", in which nothing can expire",
			rows(func(m *demo.Result) demo.Phase { return m.Cold })},
		{"steady state", "from " + expiration + " on, when entries expire",
			rows(func(m *demo.Result) demo.Phase { return m.Steady })},
	}
}

// within writes a latency of the requests of p, of which there may be none.
func within(p demo.Phase, d time.Duration) string {
	if p.Requests == 0 {
		return none
	}
	return span(d)
}

// hitTook writes what a hit took, of which there may be none.
func hitTook(m *demo.Result) string {
	if m.Hits == 0 {
		return none
	}
	return brief(m.HitTook.P50)
}

// brief writes a duration that may be less than a microsecond.
func brief(d time.Duration) string {
	switch micros := float64(d.Nanoseconds()) / 1000; {
	case d >= time.Millisecond:
		return span(d)
	case micros >= 10:
		return fmt.Sprintf("%.0f µs", micros)
	default:
		return fmt.Sprintf("%.2f µs", micros)
	}
}

// none stands where there is no figure.
const none = "–"

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
