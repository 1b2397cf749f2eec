package screen_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/pty"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/screen"
)

// onTerminal returns what a terminal of so many columns gets to see of what show
// does, and how many columns the screen says that it has.
func onTerminal(t *testing.T, columns int, show func(*screen.Screen)) (shown string, said int) {
	t.Helper()
	master, slave, err := pty.Open(columns)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	s := screen.New(slave, demo.Modes, 200)
	said = s.Columns()
	show(s)
	slave.Close()
	b, _ := io.ReadAll(master) // ends with an error, since the other end is closed
	return string(b), said
}

func runs(s *screen.Screen) {
	s.Follow(demo.Dogpile, func() demo.Counts { return demo.Counts{Answered: 100, Creations: 3, StaleServed: 7} })()
	s.Follow(demo.None, func() demo.Counts { return demo.Counts{Answered: 200, Errors: 1} })()
}

// A terminal has no columns if nobody has told it how many: one behind a serial
// line, or that of a container.
func TestTerminalOfAnyWidth(t *testing.T) {
	t.Parallel()
	lines := []string{
		"████████████ none       0.0s  200 of 200 answered, 0 creations, 0 stale, 1 errors",
		"░░░░░░░░░░░░ coalesced",
		"██████░░░░░░ dogpile    0.0s  100 of 200 answered, 3 creations, 7 stale",
	}
	for _, columns := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 40, 80, 200} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			t.Parallel()
			shown, said := onTerminal(t, columns, runs)
			if said != columns {
				t.Errorf("the screen has %d columns", said)
			}
			width := columns
			if columns == 0 {
				width = 80
			}
			var want strings.Builder
			for _, line := range lines {
				runes := []rune(line)
				fmt.Fprintf(&want, "\r%s\x1b[K\r\n", string(runes[:min(width-1, len(runes))]))
			}
			first, second, redrawn := strings.Cut(shown, "\x1b[3A")
			if !redrawn || second != want.String() {
				t.Errorf("got %q, want %q", second, want.String())
			}
			if strings.Count(first, "\n") != 3 || strings.Contains(shown, "%!") {
				t.Errorf("got %q", shown)
			}
		})
	}
}

func TestPrintBreaksBetweenWords(t *testing.T) {
	t.Parallel()
	const text = "12×12 pixels cost  much: too long a word"
	rows := []struct {
		columns int
		want    string
	}{
		{0, text + "\r\n"},
		{1, "12×12\r\npixels\r\ncost\r\n\r\nmuch:\r\ntoo\r\nlong\r\na\r\nword\r\n"},
		{11, "12×12\r\npixels cost\r\n much: too\r\nlong a word\r\n"},
		{12, "12×12 pixels\r\ncost  much:\r\ntoo long a\r\nword\r\n"},
		{40, text + "\r\n"},
	}
	for _, row := range rows {
		t.Run(fmt.Sprint(row.columns), func(t *testing.T) {
			t.Parallel()
			got, _ := onTerminal(t, row.columns, func(s *screen.Screen) { s.Print(text) })
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
