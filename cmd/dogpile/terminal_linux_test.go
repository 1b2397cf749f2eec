package main_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/pty"
)

func TestTerminalGetsBars(t *testing.T) {
	t.Parallel()
	master, slave, err := pty.Open(60)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	cmd := in(t, t.TempDir(), with(small, "--report=")...)
	cmd.Stdout, cmd.Stderr = slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var shown bytes.Buffer
	io.Copy(&shown, master) // ends with an error when the last slave is closed
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	redrawn := 0
	for line := range strings.SplitSeq(shown.String(), "\n") {
		if strings.HasPrefix(line, "\x1b[3A\r") {
			redrawn++
		}
		bar, isBar := strings.CutSuffix(strings.TrimRight(line, "\r"), "\x1b[K")
		if text := bar[strings.LastIndex(bar, "\r")+1:]; isBar && len([]rune(text)) >= 60 {
			t.Errorf("a bar of %d columns wraps: %q", len([]rune(text)), text)
		}
	}
	if redrawn < 3 || !strings.Contains(shown.String(), "█") {
		t.Errorf("redrawn %d times: %q", redrawn, shown.String())
	}
}
