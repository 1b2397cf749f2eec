package bars_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/bars"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/pty"
)

// show runs bars on a terminal of so many columns, and returns it when they have ended.
func show(t *testing.T, columns int) *pty.Screen {
	t.Helper()
	s, err := pty.Show(columns)
	if err != nil {
		t.Fatal(err)
	}
	b := bars.New(s.Terminal(), demo.Modes, 200)
	b.Follow(demo.Dogpile, func() demo.Counts { return demo.Counts{Answered: 100, Creations: 3, StaleServed: 7} })()
	b.Follow(demo.None, func() demo.Counts { return demo.Counts{Answered: 200, Errors: 1} })()
	if err := b.Close(); err != nil {
		t.Errorf("%d columns: %v", columns, err)
	}
	s.Close()
	if !s.Restored() {
		t.Errorf("%d columns: the terminal is not as it was", columns)
	}
	return s
}

// A terminal has no columns if nobody has told it how many: one behind a serial line, or that
// of a container.
func TestTerminalOfAnyWidth(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	lines := []string{
		"████████████ none       0.0s  200 of 200 answered, 0 creations, 0 stale, 1 errors",
		"░░░░░░░░░░░░ coalesced",
		"██████░░░░░░ dogpile    0.0s  100 of 200 answered, 3 creations, 7 stale",
	}
	for _, columns := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 40, 80, 200} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			width := columns
			if columns == 0 {
				width = 80
			}
			var want []string
			for _, line := range lines {
				runes := []rune(line)
				want = append(want, strings.TrimRight(string(runes[:min(width, len(runes))]), " "))
			}
			if got := show(t, columns).Text(); got != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

// What a terminal would answer would be typed to the shell.
func TestTerminalIsAskedNothing(t *testing.T) {
	for _, name := range []string{"xterm-256color", "xterm-kitty", "alacritty", "linux", ""} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERM", name)
			t.Setenv("WT_SESSION", "1")
			for _, question := range []string{"$p", "[?u", "[c", "[6n"} {
				if written := show(t, 80).Written(); strings.Contains(written, question) || !strings.Contains(written, "█") {
					t.Errorf("it is asked: %q", written)
				}
			}
		})
	}
}

func TestNoColour(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	for _, want := range []bool{true, false} {
		if written := show(t, 80).Written(); strings.Contains(written, "\x1b[36m") != want {
			t.Errorf("coloured is not %v: %q", want, written)
		}
		t.Setenv("NO_COLOR", "1")
	}
}

// A terminal that can do nothing gets lines.
func TestDumbTerminal(t *testing.T) {
	t.Setenv("TERM", "dumb")
	if written := show(t, 80).Written(); strings.Contains(written, "\x1b") || strings.Count(written, "\n") != 2 {
		t.Errorf("got %q", written)
	}
}
