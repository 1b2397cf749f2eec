package binary_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
)

// patience is how long a test waits for another process.
const patience = 2 * time.Minute

type server = backendtest.Memcached

var (
	startServer = backendtest.StartMemcached
	eventually  = backendtest.Eventually
)

const (
	user1    = "joe"
	password = "tops3cret%s"
)

// startSASL starts a server that knows user1 with password.
func startSASL(t testing.TB, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "sasldb")
	cmd := exec.Command(backendtest.Need(t, "/usr/sbin/saslpasswd2"), "-p", "-c", "-a", "memcached", "-f", db, user1)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	conf := "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: " + db + "\n"
	if err := os.WriteFile(filepath.Join(dir, "memcached.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := backendtest.NewMemcached(t, append([]string{"-S"}, args...)...)
	s.Env = append(s.Env, "SASL_CONF_PATH="+dir)
	s.Start(t)
	return s
}

// certificate makes one for 127.0.0.1, and returns the pool that trusts it and
// the arguments with which memcached uses it.
func certificate(t testing.TB) (*x509.CertPool, []string) {
	t.Helper()
	id := backendtest.NewIdentity(t)
	return id.Pool, []string{"-Z", "-o", "ssl_chain_cert=" + id.Cert, "-o", "ssl_key=" + id.Key}
}

func trusting(pool *x509.CertPool) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil }
}

// known are credentials that stay the same.
func known(user, password string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) { return user, password, nil }
}

// patient is for servers that are believed to answer, on a machine that may be
// slow.
func patient(o memcache.Options) *memcache.Options {
	o.Timeout, o.ConnectTimeout = patience, patience
	return &o
}

func newClient(t testing.TB, addr string, o *memcache.Options) *binary.Client {
	t.Helper()
	if o.Conns == 0 {
		o.Conns = 8
	}
	c := binary.New(addr, o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// do has c carry out ops, and the test fail if it cannot.
func do(t testing.TB, c doer, ops ...memcache.Op) []memcache.Op {
	t.Helper()
	if err := c.Do(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	return ops
}
