package main_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo-terminal of 60 columns.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 60}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func TestTerminalGetsBars(t *testing.T) {
	t.Parallel()
	master, slave := terminal(t)
	cmd := exec.CommandContext(t.Context(), binary, with(small, "--report=")...)
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
