package neterr_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dogpile-go/dogpile/internal/neterr"
)

func TestWithoutAddr(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, refused := net.Dial("tcp", addr)
	_, noFile := net.Dial("unix", "/nonexistent/socket")
	plain := errors.New("plain")
	for _, tt := range []struct {
		name string
		err  error
		is   error
		want string
	}{
		{"refused", refused, syscall.ECONNREFUSED, "connection refused"},
		{"no such socket", noFile, syscall.ENOENT, "no such file or directory"},
		{"no such host", &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "nowhere"}}, nil, "no such host"},
		{"timeout", &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, os.ErrDeadlineExceeded, "i/o timeout"},
		{"of another package", plain, plain, "plain"},
		{"wrapped by another package", fmt.Errorf("TLS: %w", plain), plain, "TLS: plain"},
	} {
		got := neterr.WithoutAddr(tt.err)
		if got.Error() != tt.want || !errors.Is(got, tt.err) || tt.is != nil && !errors.Is(got, tt.is) {
			t.Errorf("%s: %q became %q, want %q", tt.name, tt.err, got, tt.want)
		}
		if strings.Contains(got.Error(), addr) {
			t.Errorf("%s: %q has the address", tt.name, got)
		}
		var op *net.OpError
		if errors.As(tt.err, &op) && !errors.As(got, &op) {
			t.Errorf("%s: the net.OpError is lost", tt.name)
		}
	}
}
