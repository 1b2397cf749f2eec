package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// eventually waits for cond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("waited in vain for %s", what)
		}
		timer := time.NewTimer(5 * time.Millisecond)
		<-timer.C
	}
}

// server is a redis-server that belongs to one test.
type server struct {
	addr    string
	process *os.Process
	url     string // with a password that must not show, "hunter2"
	client  rueidis.Client
}

func startRedis(t *testing.T, more ...string) *server {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not installed: apt-get install redis-server")
	}
	port := backendtest.FreePort(t)
	addr := "127.0.0.1:" + port
	cmd := exec.Command(program, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--requirepass", "hunter2", "--dir", t.TempDir()}, more...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	s := &server{addr: addr, process: cmd.Process, url: "redis://:hunter2@" + addr + "/0?timeout=20s&connect_timeout=20s"} // the machine may be busy
	eventually(t, "redis-server to listen", func() bool {
		s.client, err = rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{addr}, Password: "hunter2", ForceSingleClient: true, DisableCache: true})
		return err == nil
	})
	t.Cleanup(s.client.Close)
	return s
}

func (s *server) keys(t *testing.T) []string {
	t.Helper()
	keys, err := s.client.Do(context.Background(), s.client.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// parent returns the parent of a process that is alive, else 0.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name before the last ")" may be anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

func alive(pid int) bool { return parent(pid) != 0 }

// children returns the processes that pid has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if child, _ := strconv.Atoi(filepath.Base(dir)); parent(child) == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	mine := s.client.B().Set().Key("/tile/1").Value("mine").Build()
	if err := s.client.Do(t.Context(), mine).Error(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := with(small, "--requests=400", "--duration=1s", "--cost=5ms", "--processes=4", "--json", "--backend="+s.url)
	got := execute(t, dir, args...)
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.stdout+got.stderr+string(page), "hunter2") {
		t.Error("the password shows")
	}
	if !strings.Contains(string(page), "in 4 processes over redis") || !strings.Contains(got.stderr, "in 4 processes over redis") {
		t.Errorf("the processes are not told of: %q", got.stderr)
	}
	out, _ := decode(t, got.stdout)
	if out.Settings.Processes != 4 || out.Settings.Backend != "redis" {
		t.Errorf("settings %+v", out.Settings)
	}
	most := map[string]int{"none": 100, "coalesced": 4, "dogpile": 1}
	for _, m := range out.Modes {
		if m.Requests != 400 || m.Creations < 5 || m.MaxCreators < 1 || m.MaxCreators > most[m.Mode] || m.OriginCPU <= 0 {
			t.Errorf("%+v", m)
		}
		if out.Errors[m.Mode] != 0 {
			t.Errorf("%s: %d errors", m.Mode, out.Errors[m.Mode])
		}
	}
	if keys := s.keys(t); !slices.Equal(keys, []string{"/tile/1"}) {
		t.Errorf("keys on the server: %q", keys)
	}
}

func TestDefaultProcesses(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	rows := []struct {
		name string
		args []string
		want int
	}{
		{"a shared backend", nil, 4},
		{"few clients", []string{"--clients=2"}, 2},
		{"fewer requests", []string{"--requests=2"}, 4},
		{"one", []string{"--processes=1"}, 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := execute(t, t.TempDir(), with(with(small, "--report=", "--json", "--backend="+s.url), row.args...)...)
			if got.code != 0 {
				t.Fatalf("exit %d: %s", got.code, got.stderr)
			}
			if out, _ := decode(t, got.stdout); out.Settings.Processes != row.want || out.Modes[2].Requests != out.Settings.Requests {
				t.Errorf("%+v", out)
			}
		})
	}
}

// long is a run of ten minutes in dir, in the four processes that it returns. Its
// first request comes after a second.
func long(t *testing.T, dir, backend string) (cmd *exec.Cmd, stderr *bytes.Buffer, pids []int) {
	t.Helper()
	cmd, stderr = started(t, dir, "demo", "--duration=10m", "--requests=100000", "--cost=1ms", "--backend="+backend)
	eventually(t, "four processes", func() bool {
		pids = children(t, cmd.Process.Pid)
		return len(pids) == 4
	})
	return cmd, stderr, pids
}

// stored waits until a run has stored something.
func (s *server) stored(t *testing.T) {
	t.Helper()
	eventually(t, "an entry", func() bool { return len(s.keys(t)) > 0 })
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, "all processes to end", func() bool { return !slices.ContainsFunc(pids, alive) })
}

func TestSecretIsNotOnCommandLines(t *testing.T) {
	t.Parallel()
	_, _, pids := long(t, t.TempDir(), startRedis(t).url)
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || !bytes.Contains(line, []byte("demo-process")) || bytes.Contains(line, []byte("hunter2")) {
			t.Errorf("command line %q (%v)", line, err)
		}
	}
}

func TestProcessIsKilled(t *testing.T) {
	t.Parallel()
	s, dir := startRedis(t), t.TempDir()
	cmd, stderr, pids := long(t, dir, s.url)
	s.stored(t)
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	text := stderr.String()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasSuffix(text, "of 4 has ended too early: signal: killed\n") || strings.Count(text, "\n") != 1 {
		t.Errorf("exit %d, stderr %q", code, text)
	}
	gone(t, pids)
	onlyFiles(t, dir)
	if keys := s.keys(t); len(keys) != 0 {
		t.Errorf("left on the server: %q", keys)
	}
}

func TestInterruptStopsProcesses(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s, dir := startRedis(t), t.TempDir()
			cmd, stderr, pids := long(t, dir, s.url)
			s.stored(t)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 130 || stderr.String() != "dogpile: interrupted\n" {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
			gone(t, pids)
			onlyFiles(t, dir)
			if keys := s.keys(t); len(keys) != 0 {
				t.Errorf("left on the server: %q", keys)
			}
		})
	}
}

// What the demo keeps its own cache file in is there while it runs, for this
// user alone, and removed whatever ends the run.
func TestTemporaryDirectory(t *testing.T) {
	t.Parallel()
	rows := map[string]func(cmd *exec.Cmd, pids []int) error{
		"interrupted": func(cmd *exec.Cmd, _ []int) error { return cmd.Process.Signal(os.Interrupt) },
		"failed":      func(_ *exec.Cmd, pids []int) error { return syscall.Kill(pids[3], syscall.SIGKILL) },
	}
	for name, end := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd, _, pids := long(t, dir, "file")
			made, err := filepath.Glob(filepath.Join(dir, "dogpile-demo-*", "cache.db"))
			if err != nil || len(made) != 1 {
				t.Fatalf("cache files %q (%v)", made, err)
			}
			if info, err := os.Stat(filepath.Dir(made[0])); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the directory has mode %v (%v)", info.Mode(), err)
			}
			if err := end(cmd, pids); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			gone(t, pids)
			onlyFiles(t, dir)
		})
	}
}

func TestProcessesDieWithTheirParent(t *testing.T) {
	t.Parallel()
	cmd, _, pids := long(t, t.TempDir(), "file")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	gone(t, pids)
}
