package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// view shows frames on a terminal until it is left, or ctx ends.
func (l *live) view(ctx context.Context, w io.Writer) error {
	ticks, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &model{live: l, ctx: ticks, sorted: l.sorted, asked: time.Now(), width: 80, height: 24}
	program := tea.NewProgram(m, tea.WithOutput(w), tea.WithoutSignalHandler())
	// The library's own ways to be interrupted close the keyboard while it is still read.
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	switch {
	case err != nil:
		return failure{err}
	case ctx.Err() != nil:
		return ctx.Err()
	case m.interrupted:
		return errInterrupted
	}
	return nil
}

// model is a view. The library calls its methods one after the other.
type model struct {
	live  *live
	ctx   context.Context // of looks
	frame *frame          // nil: there was none yet
	asked time.Time       // when the look began that goes on; zero: none does

	width, height   int
	sorted          int // by this column; -1: as the rows come
	reverse, paused bool
	help            bool
	typing          bool   // the filter
	filter          string // what is to be in a row
	offset          int    // lines above the first one that is seen
	interrupted     bool
}

// clock has the view drawn anew, as it tells how long a look takes.
type clock struct{}

// again is the time for another look.
type again struct{}

func (m *model) Init() tea.Cmd { return tea.Batch(m.look, second()) }

func second() tea.Cmd { return tea.Tick(time.Second, func(time.Time) tea.Msg { return clock{} }) }

func (m *model) look() tea.Msg {
	f := m.live.tick(m.ctx)
	return &f
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 && msg.Height > 0 { // else nobody has told the terminal
			m.width, m.height = msg.Width, msg.Height
		}
	case *frame:
		m.asked = time.Time{}
		if !m.paused {
			m.frame = msg
		}
		return m, tea.Tick(m.live.interval, func(time.Time) tea.Msg { return again{} })
	case again:
		m.asked = time.Now()
		return m, m.look
	case clock:
		return m, second()
	case tea.PasteMsg:
		if m.typing {
			m.filter += flat(msg.Content)
		}
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	if k.String() == "ctrl+c" {
		m.interrupted = true
		return tea.Quit
	}
	if m.typing {
		m.edit(k)
		return nil
	}
	if m.scroll(k.String()) {
		return nil
	}
	if m.help {
		m.help, m.offset = false, 0
		return nil
	}
	switch k.String() {
	case "q":
		return tea.Quit
	case "?", "h":
		m.help, m.offset = true, 0
	case "s":
		if m.sorted++; m.frame == nil || m.sorted >= len(m.frame.columns) {
			m.sorted = -1
		}
	case "r":
		m.reverse = !m.reverse
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
	case "space", "p":
		m.paused = !m.paused
	}
	return nil
}

// scroll goes up and down, and reports whether that is what a key is for.
func (m *model) scroll(key string) bool {
	page := max(m.height-8, 1)
	switch key {
	case "down", "j":
		m.offset++
	case "up", "k":
		m.offset--
	case "pgdown":
		m.offset += page
	case "pgup":
		m.offset -= page
	case "home", "g":
		m.offset = 0
	case "end", "G":
		m.offset = 1 << 30 // drawing knows where the end is
	default:
		return false
	}
	return true
}

// edit is a key while the filter is typed.
func (m *model) edit(k tea.KeyPressMsg) {
	switch k.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if runes := []rune(m.filter); len(runes) > 0 {
			m.filter = string(runes[:len(runes)-1])
		}
	case "ctrl+u":
		m.filter = ""
	default:
		m.filter += flat(k.Text)
	}
	m.offset = 0
}

var (
	bold    = lipgloss.NewStyle().Bold(true)
	trouble = lipgloss.NewStyle().Foreground(lipgloss.Red)
	titles  = lipgloss.NewStyle().Reverse(true)
	changed = lipgloss.NewStyle().Foreground(lipgloss.Yellow).Bold(true)
	quiet   = lipgloss.NewStyle().Faint(true)
)

func (m *model) View() tea.View {
	var lines []string
	add := func(style lipgloss.Style, texts ...string) {
		for _, text := range texts {
			parts := []string{flat(text)}
			if lipgloss.Width(parts[0]) > m.width {
				parts = wrap(parts[0], m.width)
			}
			for _, line := range parts {
				lines = append(lines, style.Render(fit(line, m.width, true)))
			}
		}
	}
	switch {
	case m.help:
		add(lipgloss.NewStyle(), strings.Split(keysHelp+m.live.about, "\n")...)
		m.offset = max(min(m.offset, len(lines)-(m.height-1)), 0)
		lines = lines[m.offset:]
	case m.frame == nil:
		add(bold, "The first look takes "+brief(max(m.live.interval, time.Second))+" or so …")
	default:
		add(bold, m.frame.head...)
		add(trouble, m.frame.notes...)
		room := m.height - 1
		if len(lines) > room/2 {
			// Half of the screen is for the table. The head comes first, and then what is worst.
			lines = append(lines[:max(room/2-1, 0)], trouble.Render(fit("… and more", m.width, true)))
		}
		lines = append(lines, m.rows(room-len(lines))...)
	}
	lines = lines[:min(len(lines), max(m.height-1, 0))]
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	v := tea.NewView(strings.Join(append(lines, quiet.Render(fit(m.foot(), m.width, true))), "\n"))
	v.AltScreen = true
	return v
}

const keysHelp = `Any key but those to go up and down goes back.

  q        leave; so does Ctrl-C
  s, r     sort by the next column; the other way round
  /        show only rows with a text: type it, then Enter; Esc takes it back
  ↑ ↓      the rows above and below, as PgUp, PgDn, Home and End
  space    stand still, and go on

`

// rows returns the part of the table for which there is room.
func (m *model) rows(room int) []string {
	rows := order(m.frame, m.sorted, m.reverse)
	if m.filter != "" {
		kept := rows[:0]
		for _, r := range rows {
			if m.matches(r) {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	if room < 1 || len(m.frame.columns) == 0 {
		return nil
	}
	// The columns are those of all rows, and stay where they are when one goes up and down.
	header, body := m.frame.table(m.width, rows, m.sorted, m.reverse)
	lines := []string{titles.Render(header)}
	m.offset = max(min(m.offset, len(rows)-(room-1)), 0)
	for i := m.offset; i < min(len(rows), m.offset+room-1); i++ {
		if rows[i].changed {
			body[i] = changed.Render(body[i])
		}
		lines = append(lines, body[i])
	}
	return lines
}

// matches reports whether a row has the filter in one of its texts, in capitals or not.
func (m *model) matches(r row) bool {
	for i, c := range r.cells {
		if m.frame.columns[i].text && strings.Contains(strings.ToLower(flat(c.text)), strings.ToLower(m.filter)) {
			return true
		}
	}
	return false
}

// foot is the last line: what was typed, or how old it is what is seen, and the keys.
func (m *model) foot() string {
	if m.typing {
		return "/" + m.filter + "▏  Enter keeps it, Esc takes it back"
	}
	var parts []string
	if m.frame != nil {
		parts = append(parts, m.frame.at.Format(time.TimeOnly))
	}
	switch took := time.Since(m.asked); {
	case m.paused:
		parts = append(parts, "stands still: space goes on")
	case m.frame != nil && !m.asked.IsZero() && took > max(2*time.Second, 2*m.live.interval):
		parts = append(parts, fmt.Sprintf("no answer for %d s", int(took.Seconds())))
	}
	if m.filter != "" {
		parts = append(parts, "only /"+m.filter)
	}
	return strings.Join(append(parts, "? help  q leave  s sort  r reverse  / filter  space pause"), "  ")
}
