package pty

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"
)

// Screen is a terminal with somebody before it. Its methods may be called from many
// goroutines.
type Screen struct {
	master, slave *os.File
	before, after *unix.Termios // after: nil until Close

	mu    sync.Mutex
	vt    *vt.Emulator
	all   bytes.Buffer
	ended chan struct{}
}

// Show returns a screen of so many columns, or of 80 and a terminal that does not know it for 0,
// and 20 rows. The caller closes it.
func Show(columns int) (*Screen, error) {
	master, slave, err := Open(columns)
	if err != nil {
		return nil, err
	}
	s := &Screen{master: master, slave: slave, vt: vt.NewEmulator(cmp.Or(columns, 80), 20), ended: make(chan struct{})}
	if s.before, err = unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS); err != nil {
		master.Close()
		slave.Close()
		return nil, err
	}
	go s.read()
	go io.Copy(master, s.vt) // what a terminal answers to what it is asked
	return s, nil
}

// read shows what is written, until nobody has the terminal open any more.
func (s *Screen) read() {
	defer close(s.ended)
	buf := make([]byte, 4096)
	for {
		n, err := s.master.Read(buf)
		s.mu.Lock()
		s.all.Write(buf[:n])
		s.vt.Write(buf[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// On makes the terminal that of cmd, as a shell does: its input, its outputs, and what it gets
// signals from.
func (s *Screen) On(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: syscall.SIGKILL}
}

// Terminal is what a program writes to.
func (s *Screen) Terminal() *os.File { return s.slave }

// Text is what is seen: lines without the blanks at their ends.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(s.vt.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// Written is everything that was written so far.
func (s *Screen) Written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// Restored reports, once the screen is closed, whether the terminal was as in the beginning: its
// modes, its cursor, and which of its two screens is seen.
func (s *Screen) Restored() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.after != nil && *s.after == *s.before && !s.vt.CursorHidden() && !s.vt.IsAltScreen()
}

// Type has the keys pressed.
func (s *Screen) Type(keys string) error { _, err := s.master.WriteString(keys); return err }

// Resize gives the terminal another size, and tells its program.
func (s *Screen) Resize(columns, rows int) error {
	s.mu.Lock()
	s.vt.Resize(columns, rows)
	s.mu.Unlock()
	return unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
}

// Close takes the terminal away, and returns when everything that was written has been shown.
// Other calls may follow it, and it may be repeated.
func (s *Screen) Close() {
	if after, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS); err == nil {
		s.after = after
	}
	s.slave.Close()
	<-s.ended
	if answers, ok := s.vt.InputPipe().(io.Closer); ok {
		answers.Close() // Close of the emulator itself races with its Read
	}
	s.master.Close()
}
