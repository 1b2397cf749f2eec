// Package bars shows how far the runs of the demonstration are.
package bars

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// Bars shows the runs on a terminal as one bar for each mode, redrawn in place, and elsewhere
// as lines. A terminal that calls itself dumb gets lines.
type Bars struct {
	w        io.Writer
	terminal bool
	modes    []demo.Mode
	total    int
	program  *tea.Program // nil before the first run
	ended    chan error   // what the program has returned
}

// New returns bars on w for runs of total requests in each of modes. Nothing is written before
// Follow.
func New(w io.Writer, modes []demo.Mode, total int) *Bars {
	file, ok := w.(*os.File)
	return &Bars{w: w, modes: modes, total: total,
		terminal: ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"}
}

// Follow shows how far the run in a mode has come, until the function that it returns has been
// called. That one shows the counts for the last time.
func (b *Bars) Follow(mode demo.Mode, counts func() demo.Counts) (stop func()) {
	every := time.Second
	if b.terminal {
		every = 100 * time.Millisecond
		b.start()
	}
	start, done, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.show(mode, counts(), time.Since(start))
			case <-done:
				b.show(mode, counts(), time.Since(start))
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// Close leaves the bars as they are and the cursor below them. It returns what has kept them
// from being shown. It may be repeated.
func (b *Bars) Close() error {
	if b.program == nil {
		return nil
	}
	b.program.Quit()
	err := <-b.ended
	b.program = nil
	return err
}

func (b *Bars) show(mode demo.Mode, c demo.Counts, elapsed time.Duration) {
	line := fmt.Sprintf("%-9s %4.1fs  %d of %d answered, %d creations, %d stale",
		mode, elapsed.Seconds(), c.Answered, b.total, c.Creations, c.StaleServed)
	if c.Errors > 0 {
		line += fmt.Sprintf(", %d errors", c.Errors)
	}
	if b.terminal {
		b.program.Send(progress{mode, bar(float64(c.Answered)/float64(b.total)) + " " + line})
	} else {
		fmt.Fprintln(b.w, line)
	}
}

// start starts the program that draws, if it does not run yet.
func (b *Bars) start() {
	if b.program != nil {
		return
	}
	m := model{modes: b.modes}
	for _, mode := range b.modes {
		m.lines = append(m.lines, bar(0)+" "+string(mode))
	}
	b.program = tea.NewProgram(m, tea.WithOutput(b.w), tea.WithFilter(anySize), tea.WithoutSignalHandler(),
		// The keyboard stays the shell's and the terminal's: Ctrl-C is a signal, and the demo may
		// run in the background.
		tea.WithInput(nil),
		// Without this the library asks the terminal what it can do. Nobody would read the
		// answer, which would then be what the user has typed to the shell.
		tea.WithEnvironment(unasked(os.Environ())))
	b.ended = make(chan error, 1)
	program, ended := b.program, b.ended
	go func() {
		_, err := program.Run()
		ended <- err
	}()
}

// unasked returns the environment as that of a session over a network, in which the library asks
// nothing, and without the names of terminals that it asks even there. All of these do what
// xterm does.
func unasked(env []string) []string {
	env = append(slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "WT_SESSION=") }), "SSH_TTY=unasked")
	for _, name := range []string{"ghostty", "wezterm", "alacritty", "kitty", "rio"} {
		if strings.Contains(os.Getenv("TERM"), name) {
			return append(env, "TERM=xterm-256color")
		}
	}
	return env
}

// anySize is for terminals that nobody has told their size: those behind a serial line, or in a
// container.
func anySize(_ tea.Model, msg tea.Msg) tea.Msg {
	if size, is := msg.(tea.WindowSizeMsg); is && (size.Width == 0 || size.Height == 0) {
		return tea.WindowSizeMsg{Width: 80, Height: 24}
	}
	return msg
}

// progress is the line of a mode.
type progress struct {
	mode demo.Mode
	line string
}

// model is the bars as they are shown. Modes that have not run yet have an empty bar.
type model struct {
	modes []demo.Mode
	lines []string
}

func (m model) Init() tea.Cmd { return nil }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	p, is := msg.(progress)
	if !is {
		return m, nil
	}
	lines := make([]string, len(m.lines))
	for i, mode := range m.modes {
		if lines[i] = m.lines[i]; mode == p.mode {
			lines[i] = p.line
		}
	}
	m.lines = lines
	return m, nil
}

var cyan = lipgloss.NewStyle().Foreground(lipgloss.Cyan)

func (m model) View() tea.View {
	var b strings.Builder
	for _, line := range m.lines {
		bar, text, _ := strings.Cut(line, " ")
		// What does not fit is cut off by the library.
		b.WriteString(cyan.Render(bar) + " " + text + "\n")
	}
	v := tea.NewView(b.String())
	v.DisableBracketedPasteMode = true
	return v
}

func bar(part float64) string {
	const width = 12
	full := int(part * width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
