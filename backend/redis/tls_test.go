package redis_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

// identity is a CA and a certificate for 127.0.0.1 that it has signed, in files.
type identity struct{ ca, cert, key string }

// arguments are those of a URL whose client trusts the CA and has the
// certificate for its own.
func (id *identity) arguments() string {
	return "?ca_file=" + id.ca + "&cert_file=" + id.cert + "&key_file=" + id.key
}

// config is the same for a client of the tests' own.
func (id *identity) config(t testing.TB) *tls.Config {
	t.Helper()
	if id == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(id.cert, id.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
}

// secure makes a server that has not been started speak nothing but TLS, and ask
// its clients for certificates.
func (s *server) secure(id *identity, more ...string) {
	if s.id = id; id != nil {
		s.args = append(s.args, "--port", "0", "--tls-port", s.port, "--tls-cert-file", id.cert, "--tls-key-file", id.key, "--tls-ca-cert-file", id.ca)
		s.args = append(s.args, more...)
	}
}

func newIdentity(t testing.TB) *identity {
	t.Helper()
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "s.crt"), filepath.Join(dir, "s.key")
	ext := filepath.Join(dir, "ext")
	err := os.WriteFile(ext, []byte("subjectAltName=IP:127.0.0.1,DNS:localhost"), 0o600)
	for _, args := range [][]string{
		{"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca", "-keyout", filepath.Join(dir, "ca.key"), "-out", ca},
		{"req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server", "-keyout", key, "-out", filepath.Join(dir, "s.csr")},
		{"x509", "-req", "-in", filepath.Join(dir, "s.csr"), "-CA", ca, "-CAkey", filepath.Join(dir, "ca.key"), "-CAcreateserial", "-days", "2", "-extfile", ext, "-out", cert},
	} {
		out, e := exec.Command(need(t, "openssl"), args...).CombinedOutput()
		if e != nil {
			err = errors.Join(err, fmt.Errorf("openssl %v: %w\n%s", args, e, out))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return &identity{ca, cert, key}
}

func TestContractOverTLS(t *testing.T) {
	t.Parallel()
	id := newIdentity(t)
	s := newServer(t)
	s.secure(id)
	s.start(t)
	b, err := redis.Open(t.Context(), "rediss://"+s.addr+"?ca_file="+id.ca, &redis.Options{Timeout: 5 * time.Second})
	if err == nil {
		err = b.Get(t.Context(), []driver.Item{{Key: "k"}})
		b.Close()
	}
	if err == nil {
		t.Error("the server wants a client's certificate and got none, but there was no error")
	}
	if _, err := redis.Open(t.Context(), "rediss://"+s.addr, nil); err == nil {
		t.Error("a server whose CA is unknown was trusted")
	}
	drivertest.Run(t, over("rediss://"+s.addr+id.arguments(), nil), nil)
	b = open(t, "redis://"+s.addr, &redis.Options{TLS: id.config(t)})
	if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err != nil {
		t.Errorf("with a tls.Config of one's own, Get = %v", err)
	}
}

func TestContractOnClusterOverTLS(t *testing.T) {
	t.Parallel()
	id := newIdentity(t)
	drivertest.Run(t, over("rediss+cluster://"+startCluster(t, id).hosts()+id.arguments(), nil), nil)
}

func TestContractOnSentinelOverTLS(t *testing.T) {
	t.Parallel()
	id := newIdentity(t)
	drivertest.Run(t, over("rediss+sentinel://"+startSentinel(t, id).hosts()+"/mymaster/0"+id.arguments(), nil), nil)
}

// TestSchemes opens a server by each spelling of its URL.
func TestSchemes(t *testing.T) {
	t.Parallel()
	id := newIdentity(t)
	plain, secure := newServer(t), newServer(t)
	plain.args = append(plain.args, "--unixsocket", plain.dir+"/s")
	secure.secure(id)
	plain.start(t)
	secure.start(t)
	socket := plain.dir + "/s"
	for _, url := range []string{
		"redis://" + plain.addr, "valkey://" + plain.addr, "redis://" + plain.addr + "/1",
		"unix://" + socket, "redis+unix://" + socket, "valkey+unix://" + socket + "?db=2",
		"rediss://" + secure.addr + id.arguments(), "valkeys://" + secure.addr + "/1" + id.arguments(),
	} {
		checkURL(t, url)
	}
	cluster, sentinel := startCluster(t, nil), startSentinel(t, nil)
	for _, url := range []string{
		"redis+cluster://" + cluster.hosts(), "valkey+cluster://" + cluster.hosts(),
		"redis+sentinel://" + sentinel.hosts() + "/mymaster", "valkey+sentinel://" + sentinel.hosts() + "/mymaster/0",
	} {
		checkURL(t, url)
	}
}

// checkURL stores something by way of url and finds it again.
func checkURL(t *testing.T, url string) {
	t.Helper()
	b, err := driver.Open(t.Context(), url)
	if err != nil {
		t.Errorf("%s: %v", url, err)
		return
	}
	defer driver.Close(b)
	key := unique(t)
	err = b.Set(t.Context(), []driver.Item{{Key: key, Data: []byte("v")}})
	items := []driver.Item{{Key: key}}
	if err := errors.Join(err, b.Get(t.Context(), items), items[0].Err); err != nil || string(items[0].Data) != "v" {
		t.Errorf("%s: %q, %v", url, items[0].Data, err)
	}
}
