//go:build unix

package backendtest

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Memcached is a memcached.
type Memcached struct {
	Process
	addr     string // host:port, or the path of a socket
	port     string // which it has after Kill and Start, too
	args     []string
	portFile string
}

// NewMemcached returns a memcached that is not started yet, and is killed when
// the test ends.
func NewMemcached(t testing.TB, args ...string) *Memcached {
	t.Helper()
	m := &Memcached{args: append([]string{"-U", "0"}, args...), port: FreePort(t)}
	if os.Geteuid() == 0 {
		// Another user's process would not die with this one.
		m.args = append(m.args, "-u", "root")
	}
	m.portFile = filepath.Join(t.TempDir(), "port")
	m.Env = []string{"MEMCACHED_PORT_FILENAME=" + m.portFile}
	m.Command, m.Ready = m.command, m.ready
	t.Cleanup(m.Kill)
	return m
}

// StartMemcached starts a memcached on a port that is free.
func StartMemcached(t testing.TB, args ...string) *Memcached {
	t.Helper()
	m := NewMemcached(t, args...)
	m.Start(t)
	return m
}

// StartMemcachedSocket starts one that listens on a unix socket.
func StartMemcachedSocket(t testing.TB, args ...string) *Memcached {
	t.Helper()
	return StartMemcachedAt(t, filepath.Join(t.TempDir(), "s"), args...)
}

// StartMemcachedAt starts one that listens on the unix socket at path.
func StartMemcachedAt(t testing.TB, path string, args ...string) *Memcached {
	t.Helper()
	m := NewMemcached(t, args...)
	m.addr = path
	m.Start(t)
	return m
}

// Addr returns host:port, or the path of a socket.
func (m *Memcached) Addr() string { return m.addr }

// Network returns what Addr is dialled on.
func (m *Memcached) Network() string {
	if strings.HasPrefix(m.addr, "/") {
		return "unix"
	}
	return "tcp"
}

func (m *Memcached) command() []string {
	command := append([]string{"memcached"}, m.args...)
	if m.Network() == "unix" {
		return append(command, "-s", m.addr)
	}
	_ = os.Remove(m.portFile) // which it writes once it listens
	return append(command, "-l", "127.0.0.1", "-p", m.port)
}

func (m *Memcached) ready() bool {
	if m.Network() == "tcp" {
		said, err := os.ReadFile(m.portFile)
		if err != nil {
			return false
		}
		m.addr = "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(string(said), "TCP INET:"))
	}
	conn, err := net.DialTimeout(m.Network(), m.addr, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}
