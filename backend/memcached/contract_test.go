package memcached_test

import (
	"context"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/proxy"
)

// over makes backends for drivertest.Run, which closes them.
func over(url string, o *memcached.Options) func(t *testing.T) driver.Backend {
	return func(t *testing.T) driver.Backend {
		b, err := memcached.Open(t.Context(), url, patient(o))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{
		"meta":                 nil,
		"meta, other settings": {NoBreaker: true, Timeout: -1, LockPrefix: "l.", Conns: 1, Nagle: true, MaxValue: 1 << 20},
		"python_lock":          {PythonLock: true},
		"binary":               {Binary: true},
		"binary python_lock":   {Binary: true, PythonLock: true, MaxValue: 1 << 20, Conns: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, over("memcached://"+sharedServer(t).addr, o), nil)
		})
	}
}

func TestContractUnderProxies(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(driver.Backend) driver.Backend{
		"compress": proxy.Compress(nil),
		"log":      proxy.Log(nil),
		"chaos":    proxy.Chaos(nil),
		"breaker":  proxy.Breaker(nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(t *testing.T) driver.Backend {
				return wrap(over("memcached://"+sharedServer(t).addr, nil)(t))
			}, nil)
		})
	}
}

func TestContractOnThreeServers(t *testing.T) {
	t.Parallel()
	hosts := strings.Join([]string{sharedServer(t).addr, startServer(t).addr + "*2", startServer(t).addr}, ",")
	for name, o := range map[string]*memcached.Options{
		"meta":        {Hash: "ketama_weighted"},
		"python_lock": {PythonLock: true, Hash: "crc32"},
		"binary":      {Binary: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, over("memcached://"+hosts, o), nil)
		})
	}
}

// startSocket starts a server that listens on a unix socket.
func startSocket(t testing.TB) *server {
	t.Helper()
	s := newServer(t)
	s.addr = filepath.Join(t.TempDir(), "s")
	s.start(t)
	return s
}

func TestContractOnUnixSocket(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, over("memcached+unix://"+startSocket(t).addr, nil), nil)
}

// startTLS starts a server whose certificate ca has signed.
func startTLS(t testing.TB, args ...string) (s *server, ca, cert, key string) {
	t.Helper()
	ca, cert, key = certificates(t)
	s = newServer(t, append([]string{"-Z", "-o", "ssl_chain_cert=" + cert + ",ssl_key=" + key + ",ssl_ca_cert=" + ca}, args...)...)
	s.start(t)
	return s, ca, cert, key
}

// greets reports whether a backend can be opened; the error must not have secret
// in it.
func greets(t *testing.T, url string, o *memcached.Options, secret string) bool {
	t.Helper()
	if o == nil || o.TLS != nil {
		o = patient(o)
	}
	b, err := memcached.Open(t.Context(), url, o)
	if err != nil {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
		t.Log(err)
		return false
	}
	ok(t, b.Close())
	return true
}

func TestContractOverTLS(t *testing.T) {
	t.Parallel()
	s, ca, cert, key := startTLS(t, "-o", "ssl_verify_mode=2")
	url := "memcacheds://" + s.addr + "?ca_file=" + ca
	if greets(t, url, nil, "") {
		t.Error("the server wants a client's certificate and got none, but there was no error")
	}
	if greets(t, "memcacheds://"+s.addr+"?cert_file="+cert+"&key_file="+key, nil, "") {
		t.Error("a server whose CA is unknown was trusted")
	}
	if greets(t, "memcached://"+s.addr, nil, "") {
		t.Error("a server with TLS was talked to without")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	ok(t, err)
	own := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	if !greets(t, "memcached://"+s.addr, &memcached.Options{TLS: own}, "") {
		t.Error("a tls.Config of one's own does not work")
	}
	drivertest.Run(t, over(url+"&cert_file="+cert+"&key_file="+key, nil), nil)
}

func TestContractWithPassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users")
	ok(t, os.WriteFile(file, []byte("ann:p@ss:%/\n"), 0o600))
	s := startServer(t, "-Y", file)
	for user, want := range map[string]bool{
		"ann:p%40ss:%25%2F@": true, "": false, "ann:wrong@": false, "bob:p%40ss:%25%2F@": false,
	} {
		if got := greets(t, "memcached://"+user+s.addr, nil, "wrong"); got != want {
			t.Errorf("as %q: let in is %v", user, got)
		}
	}
	drivertest.Run(t, over("memcached://"+s.addr+"?username=ann&password=p%40ss:%25%2F", nil), nil)
}

// startSASL starts a server that speaks the binary protocol with users that know
// their password.
func startSASL(t testing.TB, user, password string) *server {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "sasldb")
	cmd := exec.CommandContext(context.Background(), need(t, "/usr/sbin/saslpasswd2"), "-p", "-c", "-a", "memcached", "-f", db, user)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	conf := "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: " + db + "\n"
	if err := os.WriteFile(filepath.Join(dir, "memcached.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, "-S")
	s.env = []string{"SASL_CONF_PATH=" + dir}
	s.start(t)
	return s
}

func TestContractWithSASL(t *testing.T) {
	t.Parallel()
	s := startSASL(t, "ann", "p@ss:%/")
	for user, want := range map[string]bool{"ann:p%40ss:%25%2F@": true, "": false, "ann:wrong@": false} {
		if got := greets(t, "memcached://"+user+s.addr+"?protocol=binary", nil, "wrong"); got != want {
			t.Errorf("as %q: let in is %v", user, got)
		}
	}
	drivertest.Run(t, over("memcached://"+s.addr+"?protocol=binary", &memcached.Options{Username: "ann", Password: "p@ss:%/"}), nil)
}
