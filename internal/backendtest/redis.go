//go:build unix

package backendtest

import (
	"net"
	"testing"
	"time"
)

// Redis starts a redis-server with nothing in it, and returns its address, host:port. It is
// stopped when the test ends.
func Redis(t testing.TB) (address string) {
	t.Helper()
	port, dir := FreePort(t), t.TempDir()
	address = "127.0.0.1:" + port
	p := &Process{
		Command: func() []string {
			return []string{"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}
		},
		Ready: func() bool {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				conn.Close()
			}
			return err == nil
		},
	}
	t.Cleanup(p.Kill)
	p.Start(t)
	return address
}
