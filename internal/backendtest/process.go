//go:build unix

package backendtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// packages names what to install for each program.
var packages = map[string]string{
	"memcached":             "memcached",
	"redis-server":          "redis-server",
	"redis-sentinel":        "redis-sentinel",
	"node":                  "nodejs",
	"npm":                   "npm",
	"/usr/sbin/saslpasswd2": "sasl2-bin libsasl2-modules libsasl2-modules-db",
	python:                  "python3-dogpile.cache python3-redis python3-memcache python3-pylibmc python3-pymemcache",
}

// Need returns the path of a program, and fails the test if it is missing: a
// test that skips proves nothing.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", program, packages[program])
	}
	return path
}

// given are the ports that FreePort has returned.
var given sync.Map

// FreePort returns a port of the loopback interface that nobody listens on, and another
// one each time. It is none of those that the system gives to those who ask for any port:
// another test's listener or connection would take it before the server that it is for
// has started.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return ""
}

// Process is a server process, to be killed in a Cleanup.
type Process struct {
	// Command returns the program and its arguments.
	Command func() []string
	// Env is added to the environment.
	Env []string
	// Ready reports whether the process, which runs, serves.
	Ready func() bool

	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
}

// Start starts the process, and returns when it is ready. One that is started
// again may find that its port is still in use, and tries until it is not.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	again := p.cmd != nil
	command := p.Command()
	Eventually(t, command[0]+" to start", func() bool {
		ended := p.run(t, command)
		if ended && !again {
			t.Fatalf("%q ended:\n%s", command, &p.log)
		}
		return !ended
	})
}

// run starts the process, and reports whether it has ended before it was ready.
func (p *Process) run(t testing.TB, command []string) (ended bool) {
	t.Helper()
	cmd, done := exec.Command(Need(t, command[0]), command[1:]...), make(chan struct{})
	cmd.Env = append(os.Environ(), p.Env...)
	p.log.Reset()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.SysProcAttr = dieWithParent()
	OK(t, cmd.Start())
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	Eventually(t, command[0]+" to serve", func() bool {
		select {
		case <-done:
			ended = true
			return true
		default:
			return p.Ready()
		}
	})
	return ended
}

// Kill ends the process at once. It may be repeated.
func (p *Process) Kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Stop has the process stand still until Resume. When it returns, no thread of
// it runs.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	OK(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	threads := fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid)
	Eventually(t, "the process to stop", func() bool {
		files, _ := filepath.Glob(threads)
		for _, file := range files {
			stat, err := os.ReadFile(file)
			if _, state, found := strings.Cut(string(stat), ") "); err != nil || !found || state[0] != 'T' {
				return false
			}
		}
		return true
	})
}

// Resume ends Stop.
func (p *Process) Resume(t testing.TB) { t.Helper(); OK(t, p.cmd.Process.Signal(syscall.SIGCONT)) }
