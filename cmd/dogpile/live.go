package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
)

// frame is what a live view shows of one moment. What is in it may come from anywhere: it is
// escaped when it is shown.
type frame struct {
	at      time.Time
	head    []string // what is looked at, a line each
	notes   []string // what is wrong, in plain words
	columns []column
	rows    []row
	program any   // the same for programs, as JSON
	err     error // why nothing is known at all; nil: something is
}

// column is a column of the table of a frame. Text is aligned on the left, and figures on the
// right.
type column struct {
	name string
	text bool
}

// row is a row of the table of a frame.
type row struct {
	cells   []cell
	changed bool // since the frame before
}

// cell is what stands in a column, and what that is sorted by; of text the text itself.
type cell struct {
	text string
	by   float64
}

// live shows frames: on a terminal as a view that is redrawn, else one after the other.
type live struct {
	interval   time.Duration
	once, json bool

	tick   func(context.Context) frame // takes its time, and is called again after interval
	about  string                      // for the help within the view: what the columns are
	sorted int                         // the column that rows are sorted by in the beginning; -1: they are as they come
}

// The bounds of --interval: a view is no load.
const (
	shortestInterval = 200 * time.Millisecond
	longestInterval  = time.Hour
)

func (l *live) add(cmd *cobra.Command, interval time.Duration) {
	flags := cmd.Flags()
	flags.DurationVar(&l.interval, "interval", interval, "time between two looks")
	flags.BoolVar(&l.once, "once", false, "look once, and end")
	cmd.RegisterFlagCompletionFunc("interval", cobra.NoFileCompletions)
	addJSON(cmd, &l.json)
}

func (l *live) check() error {
	if l.interval < shortestInterval || l.interval > longestInterval {
		return fmt.Errorf("--interval is %v, not from %v to %v", l.interval, shortestInterval, longestInterval)
	}
	return nil
}

// run shows frames until ctx ends, which is an error, or somebody has seen enough.
func (l *live) run(ctx context.Context, w io.Writer) error {
	if !l.once && !l.json && columnsOf(w) > 0 && os.Getenv("TERM") != "dumb" {
		return l.view(ctx, w)
	}
	for {
		f := l.tick(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.write(w, &f); err != nil {
			return failure{err}
		}
		if l.once {
			if f.err != nil {
				return failure{f.err}
			}
			return nil
		}
		timer := time.NewTimer(l.interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// write writes a frame as one JSON object, or as text and an empty line.
func (l *live) write(w io.Writer, f *frame) error {
	if l.json {
		return writeJSON(w, f.program)
	}
	shown := append([]string{f.at.Format(time.TimeOnly)}, f.head...)
	shown = append(shown, f.notes...)
	if len(f.rows) > 0 {
		header, body := f.table(columnsOf(w), order(f, l.sorted, false), l.sorted, false)
		shown = append(append(shown, header), body...)
	}
	var b strings.Builder
	for _, text := range shown {
		b.WriteString(strings.TrimRight(flat(text), " ") + "\n")
	}
	if !l.once {
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// order returns the rows of a frame sorted by a column, figures from the largest and text from A;
// -1: as they come.
func order(f *frame, by int, reverse bool) []row {
	rows := slices.Clone(f.rows)
	if by < 0 || by >= len(f.columns) {
		return rows
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		n := cmp.Compare(b.cells[by].by, a.cells[by].by)
		if f.columns[by].text {
			n = strings.Compare(a.cells[by].text, b.cells[by].text)
		}
		if reverse {
			return -n
		}
		return n
	})
	return rows
}

// table returns rows of a frame as lines of at most so many columns; 0: of any length. Where
// there is too little room the first column becomes narrower, and then lines are cut off.
func (f *frame) table(width int, rows []row, sorted int, reverse bool) (header string, body []string) {
	const gap = "  "
	var widths []int
	names := make([]cell, len(f.columns))
	for i, c := range f.columns {
		names[i].text = c.name
		if i == sorted {
			names[i].text += map[bool]string{false: "↓", true: "↑"}[c.text != reverse]
		}
		widths = append(widths, lipgloss.Width(names[i].text))
	}
	for _, r := range rows {
		for i, c := range r.cells {
			widths[i] = max(widths[i], lipgloss.Width(flat(c.text)))
		}
	}
	total := (len(widths) - 1) * len(gap)
	for _, n := range widths {
		total += n
	}
	if over := total - width; width > 0 && over > 0 && len(widths) > 0 {
		const narrow = 12 // enough to tell keys apart
		widths[0] = max(widths[0]-over, min(widths[0], narrow))
	}
	line := func(cells []cell) string {
		var b strings.Builder
		for i, c := range cells {
			if i > 0 {
				b.WriteString(gap)
			}
			b.WriteString(fit(flat(c.text), widths[i], f.columns[i].text))
		}
		if width > 0 {
			return fit(b.String(), width, true)
		}
		return b.String()
	}
	for _, r := range rows {
		body = append(body, line(r.cells))
	}
	return line(names), body
}

// fit returns text with blanks, or cut off, so that it takes width columns of a terminal. Some
// characters take two.
func fit(text string, width int, left bool) string {
	text = ansi.Truncate(text, width, "…")
	blanks := strings.Repeat(" ", max(width-ansi.StringWidth(text), 0))
	if left {
		return text + blanks
	}
	return blanks + text
}

// late is an error for want of the time of --timeout, and not of what a backend gives itself.
type late struct{ error }

// Unwrap returns the error.
func (l late) Unwrap() error { return l.error }

// inTime returns err, of a call with ctx that has just ended, as late if that is why.
func inTime(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return late{err}
	}
	return err
}

// unanswered tells in plain words why there was no answer.
func unanswered(err error, timeout time.Duration) string {
	if errors.As(err, new(late)) {
		return "there was none within " + timeout.String()
	}
	return line(err)
}

// flat returns text as one line that does nothing to a terminal.
func flat(text string) string { return strings.ReplaceAll(escaped(text), "\n", `\n`) }

// errInterrupted is that Ctrl-C was pressed in a view, in which it is a key and no signal.
var errInterrupted = errors.New("interrupted")
