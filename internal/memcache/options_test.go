package memcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

func TestAuthentication(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("ann:other\njoe:s3cret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	closed := startServer(t, "-Y", file)
	open := sharedServer(t)
	for _, row := range []struct {
		name, user, password string
		server               *server
		want                 string
	}{
		{"right", "joe", "s3cret", closed, ""},
		{"wrong password", "joe", "wr0ng", closed, "authentication: "},
		{"another's password", "joe", "other", closed, "authentication: "},
		{"unknown user", "jim", "s3cret", closed, "authentication: "},
		{"no password", "joe", "", closed, "authentication: "},
		{"nothing", "", "", closed, "unauthenticated"},
		{"a command in the password", "joe", "s3cret\r\nmn", closed, "authentication: "},
		{"a server that does not ask", "joe", "s3cret", open, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newClient(t, row.server.Addr(), memcache.Options{Credentials: known(row.user, row.password)})
			ops := []memcache.Op{{Kind: set, Key: "auth", Value: []byte("v")}, {Key: "auth"}}
			err := c.Do(t.Context(), ops)
			if row.want == "" {
				if err != nil || string(ops[1].Value) != "v" {
					t.Errorf("Do = %v, %+v", err, ops)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("Do = %v, want %s", err, row.want)
			}
			if err != nil && row.password != "" && strings.Contains(err.Error(), row.password) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	if op := do(t, newClient(t, open.Addr(), memcache.Options{}), memcache.Op{Key: "dogpile:login"})[0]; op.Status != missing {
		t.Errorf("the server that does not ask has kept the password: %q", op.Value)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	s := backendtest.StartMemcachedSocket(t)
	c := newClient(t, "unix:"+s.Addr(), memcache.Options{})
	large := bytes.Repeat([]byte("v"), 500_000)
	ops := do(t, c, memcache.Op{Kind: set, Key: "a", Value: large}, memcache.Op{Key: "a"}, memcache.Op{Key: "b"})
	if !bytes.Equal(ops[1].Value, large) || ops[2].Status != missing {
		t.Errorf("%v, %v", ops[1].Status, ops[2].Status)
	}
	s.Kill()
	ops = []memcache.Op{{Key: "a"}}
	eventually(t, "an error that names the socket", func() bool {
		err := c.Do(t.Context(), ops)
		return err != nil && strings.Contains(err.Error(), s.Addr())
	})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	pool := id.Pool
	s := startServer(t, "-Z", "-o", "ssl_chain_cert="+id.Cert+",ssl_key="+id.Key)
	plain := sharedServer(t)
	for _, row := range []struct {
		name   string
		addr   string
		config *tls.Config
		want   string
	}{
		{"trusted", s.Addr(), &tls.Config{RootCAs: pool}, ""},
		{"trusted by name", strings.Replace(s.Addr(), "127.0.0.1", "localhost", 1), &tls.Config{RootCAs: pool}, ""},
		{"ServerName", s.Addr(), &tls.Config{RootCAs: pool, ServerName: "localhost"}, ""},
		{"another ServerName", s.Addr(), &tls.Config{RootCAs: pool, ServerName: "elsewhere"}, "TLS: "},
		{"not trusted", s.Addr(), &tls.Config{}, "TLS: "},
		{"not verified", s.Addr(), &tls.Config{InsecureSkipVerify: true}, ""},
		{"server without TLS", plain.Addr(), &tls.Config{RootCAs: pool}, "TLS: "},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := memcache.Options{TLS: secured(row.config), ConnectTimeout: patient}
			if row.addr == plain.Addr() {
				o.ConnectTimeout = time.Second // it waits for the end of the line
			}
			c := newClient(t, row.addr, o)
			large := bytes.Repeat([]byte("v"), 500_000)
			ops := []memcache.Op{{Kind: set, Key: "a", Value: large}, {Key: "a"}, {Kind: set, Key: "b", Value: []byte("w")}}
			err := c.Do(t.Context(), ops)
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) && !strings.Contains(err.Error(), "no answer") {
					t.Errorf("Do = %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(ops[1].Value, large) {
				t.Fatalf("Do = %v, %v", err, ops[1].Status)
			}
			manyValues(t, c)
			// With a context that can end, calls that are alone read with a
			// deadline, which passes now and then.
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for i := range 200 {
				ops := []memcache.Op{{Key: "b"}}
				if err := c.Do(ctx, ops); err != nil || string(ops[0].Value) != "w" {
					t.Fatalf("call %d: %v, %+v", i, err, ops[0])
				}
				if i%40 == 0 {
					pause(5 * time.Millisecond)
				}
			}
		})
	}
	c := newClient(t, s.Addr(), memcache.Options{ConnectTimeout: time.Second})
	if err := c.Do(t.Context(), []memcache.Op{{Key: "a"}}); err == nil {
		t.Error("a client without TLS has been served by a server with TLS")
	}
}

// manyValues are sent at once, more than fit into a record, and asked for.
func manyValues(t *testing.T, c *memcache.Client) {
	t.Helper()
	for _, size := range []int{50, 3000, 4096, 5000, 8192, 20000} {
		var ops []memcache.Op
		for i := range 200 {
			ops = append(ops, memcache.Op{Kind: set, Key: fmt.Sprint("many", i/2), Value: make([]byte, size+i/2)})
			if i%2 == 1 {
				ops[i] = memcache.Op{Key: ops[i-1].Key}
			}
		}
		for i, op := range do(t, c, ops...) {
			if op.Status != found || len(op.Value) != size+i/2 {
				t.Fatalf("%d bytes, op %d: %v, %d bytes", size, i, op.Status, len(op.Value))
			}
		}
	}
}

// The options of a client are its own.
func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	o := &memcache.Options{Timeout: patient, ConnectTimeout: patient, TLS: nil}
	c := memcache.New(sharedServer(t).Addr(), o)
	defer c.Close()
	o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }
	do(t, c, memcache.Op{Key: "a"})
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, addr := range []string{l.Addr().String(), "unix:" + filepath.Join(t.TempDir(), "none"), "127.0.0.1", "127.0.0.1:99999", ""} {
		c := newClient(t, addr, memcache.Options{})
		if err := c.Do(t.Context(), []memcache.Op{{Key: "a"}}); err == nil || !strings.HasPrefix(err.Error(), "memcached "+strings.TrimPrefix(addr, "unix:")+": ") {
			t.Errorf("%q: Do = %v", addr, err)
		}
	}
}
