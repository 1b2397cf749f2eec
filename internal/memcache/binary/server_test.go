package binary_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
	"github.com/dogpile-go/dogpile/internal/memcache/binary"
)

// patience is how long a test waits for another process.
const patience = 2 * time.Minute

// packages names what to install for each program.
var packages = map[string]string{
	"memcached":             "memcached",
	"/usr/sbin/saslpasswd2": "sasl2-bin libsasl2-modules libsasl2-modules-db",
}

func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", program, packages[program])
	}
	return path
}

// server is a memcached that ends with the test.
type server struct {
	addr  string // host:port
	args  []string
	env   []string
	log   bytes.Buffer
	cmd   *exec.Cmd
	ended chan struct{}
}

func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{args: args}
	s.start(t)
	return s
}

// start starts the server on a port that is free, or on the one that it had.
func (s *server) start(t testing.TB) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	port := "-1"
	if s.addr != "" {
		_, port, _ = net.SplitHostPort(s.addr)
	}
	portFile := filepath.Join(t.TempDir(), "port")
	args := append([]string{"-l", "127.0.0.1", "-p", port, "-U", "0", "-u", me.Username}, s.args...)
	s.cmd = exec.Command(need(t, "memcached"), args...)
	s.cmd.Env = append(append(os.Environ(), "MEMCACHED_PORT_FILENAME="+portFile), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	eventually(t, "memcached to say its port", func() bool {
		select {
		case <-ended:
			t.Fatalf("memcached %s ended:\n%s", args, &s.log)
		default:
		}
		written, err := os.ReadFile(portFile)
		s.addr = "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(string(written), "TCP INET:"))
		return err == nil
	})
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

const (
	stop = syscall.SIGSTOP
	cont = syscall.SIGCONT
)

func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	deadline := time.After(patience)
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for !happened() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-retry.C:
		}
	}
}

const (
	user1    = "joe"
	password = "tops3cret%s"
)

// startSASL starts a server that knows user1 with password.
func startSASL(t testing.TB, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "sasldb")
	cmd := exec.Command(need(t, "/usr/sbin/saslpasswd2"), "-p", "-c", "-a", "memcached", "-f", db, user1)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	conf := "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: " + db + "\n"
	if err := os.WriteFile(filepath.Join(dir, "memcached.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{args: append([]string{"-S"}, args...), env: []string{"SASL_CONF_PATH=" + dir}}
	s.start(t)
	return s
}

// certificate makes one for 127.0.0.1 that is its own authority, and returns
// the pool with it and the arguments with which memcached uses it.
func certificate(t testing.TB) (*x509.CertPool, []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "memcached"},
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool, []string{"-Z", "-o", "ssl_chain_cert=" + certFile, "-o", "ssl_key=" + keyFile}
}

func trusting(pool *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

// patient is for servers that are believed to answer, on a machine that may be
// slow.
func patient(o memcache.Options) *memcache.Options {
	o.Timeout, o.ConnectTimeout = patience, patience
	return &o
}

func newClient(t testing.TB, addr string, o *memcache.Options) *binary.Client {
	t.Helper()
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

// startSocket starts a server that listens on the unix socket at path.
func startSocket(t testing.TB, path string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(need(t, "memcached"), "-s", path, "-u", me.Username)
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "memcached to listen on "+path, func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
