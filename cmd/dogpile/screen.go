package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// screen shows how the runs go: on a terminal as one bar for each mode, redrawn
// in place, elsewhere as lines.
type screen struct {
	w        io.Writer
	terminal *os.File // w, if it is one
	modes    []demo.Mode
	total    int
	lines    []string // of the bars, as they are on the terminal
}

func newScreen(w io.Writer, modes []demo.Mode, total int) *screen {
	s := &screen{w: w, modes: modes, total: total}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.terminal = file
	}
	return s
}

// follow shows the counts until the function that it returns has been called.
func (s *screen) follow(mode demo.Mode, counts func() demo.Counts) (stop func()) {
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

func (s *screen) show(mode demo.Mode, c demo.Counts, elapsed time.Duration) {
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
func (s *screen) redraw(mode demo.Mode, line string) {
	width, _, err := term.GetSize(int(s.terminal.Fd()))
	if err != nil {
		width = 80
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
		fmt.Fprintf(&b, "\r%.*s\x1b[K\n", width-1, s.lines[i]) // one that wraps would not be redrawn in place
	}
	io.WriteString(s.w, b.String())
}

func bar(part float64) string {
	const width = 12
	full := int(part * width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
