package memcache_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// Small commands are sent at once, and the kernel has a timer for a connection
// that it probes.
func TestConnectionsHaveNoDelayAndAreProbed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var conn *net.TCPConn
	c := newClient(t, s.Addr(), memcache.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		conn, _ = nc.(*net.TCPConn)
		return nc, err
	}})
	do(t, c, memcache.Op{Key: "a"})
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		noDelay, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
		if err != nil || noDelay == 0 {
			t.Errorf("TCP_NODELAY is %d, %v", noDelay, err)
		}
	}); err != nil {
		t.Error(err)
	}

	probed := startServer(t)
	do(t, newClient(t, probed.Addr(), memcache.Options{}), memcache.Op{Key: "a"})
	eventually(t, "the timer of an idle connection", func() bool { return timerOf(t, probed.Addr()) == "02" })
}

// timerOf returns which timer the kernel has for the connection to addr.
func timerOf(t *testing.T, addr string) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	remote := fmt.Sprintf("0100007F:%04X", a.Port)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 5 && f[2] == remote && f[3] == "01" {
			timer, _, _ := strings.Cut(f[5], ":")
			return timer
		}
	}
	return ""
}
