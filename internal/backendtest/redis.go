//go:build unix

package backendtest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Redis starts a redis-server with nothing in it, which is stopped when the test ends. The URL
// is one that both Go and Python take. It is that of a socket, not of a port: a port that is
// free now may be another process's by the time at which the server asks for it.
func Redis(t testing.TB) (url string) {
	t.Helper()
	_, url = StartRedis(t)
	return url
}

// StartRedis is Redis for those who want to kill the server, or to stop it for a while.
func StartRedis(t testing.TB) (p *Process, url string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // the path of a socket has to be shorter than t.TempDir's can be
	OK(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	p = &Process{
		Command: func() []string {
			return []string{"redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir}
		},
		Ready: func() bool {
			conn, err := net.Dial("unix", socket)
			if err == nil {
				conn.Close()
			}
			return err == nil
		},
	}
	t.Cleanup(p.Kill)
	p.Start(t)
	return p, "unix://" + socket
}
