package memcache_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// TestLines: what a server answers to a command of the text protocol, and what it may not.
func TestLines(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, answer, want, problem string }{
		{"lines", "STAT a 1\r\nSTAT b  2 \r\nEND\r\n", "STAT a 1,STAT b  2 ", ""},
		{"none", "END\r\n", "", ""},
		{"an error", "ERROR\r\n", "", `"ERROR"`},
		{"the client's error", "CLIENT_ERROR bad command line\r\n", "", "CLIENT_ERROR bad"},
		{"an end too soon", "STAT a 1\r\n", "", "closed"},
		{"no end", strings.Repeat("STAT a 1\r\n", 10_001), "", "more than 10000 lines"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				in := bufio.NewReader(conn)
				in.ReadString('\n') // mn
				fmt.Fprint(conn, "MN\r\n")
				if command, _ := in.ReadString('\n'); command == "stats\r\n" {
					fmt.Fprint(conn, row.answer)
				}
			}()
			lines, _, err := memcache.NewEndpoint(l.Addr().String(), &memcache.Options{ConnectTimeout: 20 * time.Second}).Lines(t.Context(), "stats", "END")
			if row.problem == "" && (err != nil || strings.Join(lines, ",") != row.want) {
				t.Errorf("%q, %v", lines, err)
			}
			if row.problem != "" && (err == nil || !strings.Contains(err.Error(), row.problem) || !strings.Contains(err.Error(), l.Addr().String())) {
				t.Errorf("%q, %v, want %q", lines, err, row.problem)
			}
		})
	}
}

// TestTheEndOfTheContextIsNoClosedClient: who has no more time for a server that hangs is told that,
// and not that somebody has closed the client.
func TestTheEndOfTheContextIsNoClosedClient(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // and answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, _, err = memcache.NewEndpoint(l.Addr().String(), &memcache.Options{ConnectTimeout: 20 * time.Second}).Lines(ctx, "stats", "END")
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, memcache.ErrClosed) {
		t.Errorf("%v", err)
	}
}
