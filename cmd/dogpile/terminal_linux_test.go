package main_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/pty"
)

// before runs the command before a terminal of so many columns, in dir.
func before(t *testing.T, dir string, columns int, args ...string) (*pty.Screen, *exec.Cmd) {
	t.Helper()
	cmd := in(t, dir, args...)
	cmd.Env = append(cmd.Env, "TERM=xterm-256color", "NO_COLOR=")
	return on(t, columns, cmd), cmd
}

// on starts cmd before a terminal.
func on(t *testing.T, columns int, cmd *exec.Cmd) *pty.Screen {
	t.Helper()
	s, err := pty.Show(columns)
	ok(t, err)
	t.Cleanup(s.Close)
	s.On(cmd)
	ok(t, cmd.Start())
	return s
}

// seen waits until something is to be seen on the screen.
func seen(t *testing.T, s *pty.Screen, what string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the screen is\n%s", s.Text())
		}
	}()
	eventually(t, what, func() bool { return strings.Contains(s.Text(), what) })
}

// over waits for the command to end, with that exit code, and leave the terminal as it was.
func over(t *testing.T, s *pty.Screen, cmd *exec.Cmd, code int) {
	t.Helper()
	cmd.Wait()
	s.Close()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit %d, want %d; the screen is\n%s", got, code, s.Text())
	}
	if !s.Restored() {
		t.Errorf("the terminal is not as it was; %q was written", s.Written())
	}
}

func TestTerminalGetsBars(t *testing.T) {
	t.Parallel()
	s, cmd := before(t, t.TempDir(), 100, with(small, "--report=", "--requests=600")...)
	over(t, s, cmd, 0)
	if blocks := strings.Count(s.Written(), "█"); !strings.Contains(s.Written(), "\x1b[2A") || blocks < 3*12/2 {
		t.Errorf("not redrawn in place, or bars of %d blocks: %q", blocks, s.Written())
	}
}

// A terminal that becomes narrow while the demo runs shows bars that do not wrap.
func TestBarsInANarrowTerminal(t *testing.T) {
	t.Parallel()
	s, cmd := before(t, t.TempDir(), 100, "demo", "--duration=10m", "--requests=100000", "--cost=1ms", "--backend=null", "--report=")
	seen(t, s, " answered, ")
	ok(t, s.Resize(40, 20))
	eventually(t, "narrow bars", func() bool {
		text := s.Text()
		return !strings.Contains(text, "answered,") && strings.Contains(text, "none ") && strings.HasSuffix(text, "░░░░░░░░░░░░ dogpile")
	})
	ok(t, s.Type("\x03"))
	over(t, s, cmd, 130)
	if !strings.HasSuffix(s.Text(), "dogpile: interrupted") {
		t.Errorf("the last line is not that it was interrupted:\n%s", s.Text())
	}
}

// TestASignalRestoresTheTerminal that no key has sent.
func TestASignalRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	s, cmd := before(t, t.TempDir(), 100, "demo", "--duration=10m", "--requests=100000", "--cost=1ms", "--backend=null", "--report=")
	seen(t, s, " answered, ")
	ok(t, cmd.Process.Signal(os.Interrupt))
	over(t, s, cmd, 130)
}
