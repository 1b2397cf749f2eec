package memcache_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

func TestNagle(t *testing.T) {
	t.Parallel()
	for _, nagle := range []bool{false, true} {
		var conn *net.TCPConn
		c := newClient(t, sharedServer(t).addr, memcache.Options{Nagle: nagle, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
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
			if err != nil || (noDelay == 0) != nagle {
				t.Errorf("Nagle %v: TCP_NODELAY is %d, %v", nagle, noDelay, err)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

// The kernel has a timer for a connection that it probes.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		keepAlive time.Duration
		timer     string
	}{{0, "02"}, {time.Minute, "02"}, {-1, "00"}} {
		s := startServer(t)
		c := newClient(t, s.addr, memcache.Options{KeepAlive: row.keepAlive})
		do(t, c, memcache.Op{Key: "a"})
		eventually(t, fmt.Sprintf("the timer of KeepAlive %v to be %s", row.keepAlive, row.timer), func() bool {
			return timerOf(t, s.addr) == row.timer
		})
	}
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
