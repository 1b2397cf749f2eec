// Package screen shows how the runs of the demonstration go.
package screen

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// Screen shows the runs on a terminal as one bar for each mode, redrawn in place,
// and elsewhere as lines.
type Screen struct {
	w        io.Writer
	terminal *os.File // w, if it is one
	modes    []demo.Mode
	total    int
	lines    []string // of the bars, as they are on the terminal
}

// New returns a screen on w for runs of total requests in each of modes.
func New(w io.Writer, modes []demo.Mode, total int) *Screen {
	s := &Screen{w: w, modes: modes, total: total}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.terminal = file
	}
	return s
}

// Follow shows how far the run in a mode has come, until the function that it
// returns has been called. That one shows the counts for the last time.
func (s *Screen) Follow(mode demo.Mode, counts func() demo.Counts) (stop func()) {
	every := time.Second
	if s.terminal != nil {
		every = 100 * time.Millisecond
	}
	start, done, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.show(mode, counts(), time.Since(start))
			case <-done:
				s.show(mode, counts(), time.Since(start))
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// Columns returns how many columns the terminal has, and 0 if there is no
// terminal or it does not tell.
func (s *Screen) Columns() int {
	if s.terminal == nil {
		return 0
	}
	width, _, err := term.GetSize(int(s.terminal.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Print writes a sentence or more, and a line end. On a terminal the lines are broken
// between words.
func (s *Screen) Print(text string) {
	columns, used := s.Columns(), 0
	var b strings.Builder
	for word := range strings.SplitSeq(text, " ") {
		width := utf8.RuneCountInString(word)
		switch {
		case b.Len() == 0:
		case columns > 0 && used+1+width > columns:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += width
	}
	fmt.Fprintln(s.w, b.String())
}

func (s *Screen) show(mode demo.Mode, c demo.Counts, elapsed time.Duration) {
	line := fmt.Sprintf("%-9s %4.1fs  %d of %d answered, %d creations, %d stale",
		mode, elapsed.Seconds(), c.Answered, s.total, c.Creations, c.StaleServed)
	if c.Errors > 0 {
		line += fmt.Sprintf(", %d errors", c.Errors)
	}
	if s.terminal == nil {
		fmt.Fprintln(s.w, line)
		return
	}
	s.redraw(mode, bar(float64(c.Answered)/float64(s.total))+" "+line)
}

// redraw replaces the line of a mode. Modes that have not run yet have an empty
// bar.
func (s *Screen) redraw(mode demo.Mode, line string) {
	columns := s.Columns()
	if columns == 0 {
		columns = 80
	}
	var b strings.Builder
	if s.lines == nil {
		for _, m := range s.modes {
			s.lines = append(s.lines, bar(0)+" "+string(m))
		}
	} else {
		fmt.Fprintf(&b, "\x1b[%dA", len(s.lines))
	}
	for i, m := range s.modes {
		if m == mode {
			s.lines[i] = line
		}
		// A line that wraps takes two rows, and the cursor would go up by too few.
		// Many terminals wrap as soon as the last column is written.
		fmt.Fprintf(&b, "\r%.*s\x1b[K\n", columns-1, s.lines[i])
	}
	io.WriteString(s.w, b.String())
}

func bar(part float64) string {
	const width = 12
	full := int(part * width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
