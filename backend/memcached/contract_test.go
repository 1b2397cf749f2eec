package memcached_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).URL()
	backendtest.Contract(t, map[string]string{
		"meta":                 url,
		"meta, other settings": url + "?breaker=false&timeout=never&lock_prefix=l.&max_value=1MiB",
		"python_lock":          url + "?python_lock=true",
		"binary":               url + "?protocol=binary",
		"binary python_lock":   url + "?protocol=binary&python_lock=true&max_value=1MiB",
	})
}

func TestContractUnderProxies(t *testing.T) {
	t.Parallel()
	backendtest.ContractUnderProxies(t, sharedServer(t).URL())
}

func TestContractOnThreeServers(t *testing.T) {
	t.Parallel()
	url := "memcached://" + strings.Join([]string{sharedServer(t).Addr(), startServer(t).Addr() + "*2", startServer(t).Addr()}, ",")
	backendtest.Contract(t, map[string]string{
		"meta":        url + "?hash=ketama_weighted",
		"python_lock": url + "?hash=crc32&python_lock=true",
		"binary":      url + "?protocol=binary",
	})
}

func TestContractOnUnixSocket(t *testing.T) {
	t.Parallel()
	backendtest.Contract(t, map[string]string{"meta": "memcached+unix://" + backendtest.StartMemcachedSocket(t, "-I", "8m").Addr()})
}

// startTLS starts a server with a certificate.
func startTLS(t testing.TB, args ...string) (*server, *backendtest.Identity) {
	t.Helper()
	id := backendtest.NewIdentity(t)
	return startServer(t, append([]string{"-Z", "-o", "ssl_chain_cert=" + id.Cert + ",ssl_key=" + id.Key + ",ssl_ca_cert=" + id.CA}, args...)...), id
}

// greets reports whether a backend can be opened and answers; the error must not
// have secret in it.
func greets(t *testing.T, url string, o *memcached.Options, secret string) bool {
	t.Helper()
	if o == nil || o.TLS != nil {
		o = patient(o)
	}
	b, err := memcached.Open(context.Background(), url, o)
	ok(t, err)
	defer b.Close()
	if err := b.Get(context.Background(), []driver.Item{{Key: "k"}}); err != nil {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
		t.Log(err)
		return false
	}
	return true
}

func TestContractOverTLS(t *testing.T) {
	t.Parallel()
	s, id := startTLS(t, "-o", "ssl_verify_mode=2")
	url := "memcacheds://" + s.Addr() + "?ca_file=" + id.CA
	if greets(t, url, nil, "") {
		t.Error("the server wants a client's certificate and got none, but there was no error")
	}
	if greets(t, "memcacheds://"+s.Addr()+"?cert_file="+id.Cert+"&key_file="+id.Key, nil, "") {
		t.Error("a server whose CA is unknown was trusted")
	}
	if greets(t, "memcached://"+s.Addr(), nil, "") {
		t.Error("a server with TLS was talked to without")
	}
	if !greets(t, s.URL(), &memcached.Options{TLS: id.Config(t)}, "") {
		t.Error("a tls.Config of one's own does not work")
	}
	backendtest.Contract(t, map[string]string{"by the URL": backendtest.WithArgs("memcacheds://"+s.Addr(), id.Args()...)})
}

func TestContractWithPassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users")
	ok(t, os.WriteFile(file, []byte("ann:p@ss:%/\n"), 0o600))
	s := startServer(t, "-Y", file)
	for user, want := range map[string]bool{
		"ann:p%40ss:%25%2F@": true, "": false, "ann:wrong@": false, "bob:p%40ss:%25%2F@": false,
	} {
		if got := greets(t, "memcached://"+user+s.Addr(), nil, "wrong"); got != want {
			t.Errorf("as %q: let in is %v", user, got)
		}
	}
	backendtest.Contract(t, map[string]string{"by arguments": s.URL() + "?username=ann&password=p%40ss:%25%2F"})
}

// setSASL sets a user's password.
func setSASL(t testing.TB, db, user, password string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), backendtest.Need(t, "/usr/sbin/saslpasswd2"), "-p", "-c", "-a", "memcached", "-f", db, user)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
}

// startSASL starts a server that speaks the binary protocol with users that know
// their password.
func startSASL(t testing.TB, user, password string) *server {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "sasldb")
	setSASL(t, db, user, password)
	conf := "mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: " + db + "\n"
	if err := os.WriteFile(filepath.Join(dir, "memcached.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := backendtest.NewMemcached(t, "-S", "-I", "8m")
	s.Env = append(s.Env, "SASL_CONF_PATH="+dir)
	s.Start(t)
	return &server{s, db}
}

func TestContractWithSASL(t *testing.T) {
	t.Parallel()
	s := startSASL(t, "ann", "p@ss:%/")
	for user, want := range map[string]bool{"ann:p%40ss:%25%2F@": true, "": false, "ann:wrong@": false} {
		if got := greets(t, "memcached://"+user+s.Addr()+"?protocol=binary", nil, "wrong"); got != want {
			t.Errorf("as %q: let in is %v", user, got)
		}
	}
	backendtest.Contract(t, map[string]string{"before the host": "memcached://ann:p%40ss:%25%2F@" + s.Addr() + "?protocol=binary"})
	if !greets(t, s.URL()+"?protocol=binary", patient(&memcached.Options{Username: "ann", Password: "p@ss:%/"}), "p@ss") {
		t.Error("Username and Password of Options do not let in")
	}
}
