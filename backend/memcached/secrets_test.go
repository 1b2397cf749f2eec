package memcached_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// changing is a server whose password can be changed, which ends its connections.
type changing struct {
	name   string
	addr   string
	args   string // of a URL
	change func(t testing.TB, password string)
}

func changingServers(t *testing.T) []changing {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	ok(t, os.WriteFile(users, []byte("ann:old\n"), 0o600))
	text := startServer(t, "-Y", users)
	sasl := startSASL(t, "ann", "old")
	return []changing{
		{"-Y", text.Addr(), "", func(t testing.TB, password string) {
			text.Kill()
			ok(t, os.WriteFile(users, []byte("ann:"+password+"\n"), 0o600))
			text.Start(t)
		}},
		{"SASL", sasl.Addr(), "&protocol=binary", func(t testing.TB, password string) {
			sasl.Kill()
			setSASL(t, sasl.db, "ann", password)
			sasl.Start(t)
		}},
	}
}

func asked(b driver.Backend) error {
	return b.Get(context.Background(), []driver.Item{{Key: "k"}})
}

func TestPasswordFileIsReadForEachConnection(t *testing.T) {
	t.Parallel()
	for _, s := range changingServers(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "password")
			ok(t, os.WriteFile(file, []byte("old\n"), 0o600))
			b := open(t, "memcached://ann@"+s.addr+"?password_file="+file+s.args, nil)
			ok(t, asked(b))
			s.change(t, "new")
			if err := asked(b); err == nil || !strings.Contains(err.Error(), "authentication") {
				t.Errorf("with a password that is not right any more: %v", err)
			}
			ok(t, os.WriteFile(file, []byte("new\n"), 0o600))
			eventually(t, "the password to be read again", func() bool { return asked(b) == nil })

			ok(t, os.Remove(file))
			ok(t, asked(b)) // over the connection that there is
			s.change(t, "new")
			eventually(t, "an error that names the file", func() bool {
				err := asked(b)
				return err != nil && strings.Contains(err.Error(), file)
			})
			ok(t, os.WriteFile(file, []byte("new\n"), 0o600))
			eventually(t, "the file to be back", func() bool { return asked(b) == nil })
		})
	}
}

func TestCredentialsAreAskedForByEachConnection(t *testing.T) {
	t.Parallel()
	for _, s := range changingServers(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var token atomic.Pointer[string]
			old, newer := "old", "new"
			token.Store(&old)
			errNone := errors.New("no token today")
			o := &memcached.Options{Username: "bob", Password: backendtest.Secret, Credentials: func(context.Context) (string, string, error) {
				if p := token.Load(); p != nil {
					return "ann", *p, nil
				}
				return "", "", errNone
			}}
			b := open(t, "memcached://"+s.addr+"?timeout=20s"+s.args, o)
			ok(t, asked(b))
			s.change(t, "new")
			token.Store(&newer)
			eventually(t, "the new token to be used", func() bool { return asked(b) == nil })
			token.Store(nil)
			s.change(t, "new")
			eventually(t, "the error of Credentials", func() bool { return errors.Is(asked(b), errNone) })
		})
	}
}

func TestArgumentsSayWhoTheClientIs(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	ok(t, os.WriteFile(users, []byte("ann:p@ss:%/\n"), 0o600))
	s := startServer(t, "-Y", users)
	for name, more := range map[string]map[string]string{
		"user":     {"user": "ann", "password": "p@ss:%/"},
		"username": {"username": "ann", "password": "p@ss:%/"},
	} {
		b, err := driver.OpenWith(t.Context(), s.URL(), more)
		ok(t, err)
		if err := asked(b); err != nil {
			t.Errorf("%s and password: %v", name, err)
		}
		ok(t, driver.Close(b))
	}
}

func TestCertificatesAreReadForEachConnection(t *testing.T) {
	t.Parallel()
	s, id := startTLS(t, "-o", "ssl_verify_mode=2")
	other := backendtest.NewIdentity(t)
	dir := t.TempDir()
	ca, cert, key := dir+"/ca", dir+"/cert", dir+"/key"
	install := func(from, to string) {
		text, err := os.ReadFile(from)
		ok(t, errors.Join(err, os.WriteFile(to, text, 0o600)))
	}
	for from, to := range map[string]string{id.CA: ca, id.Cert: cert, id.Key: key} {
		install(from, to)
	}
	b := open(t, "memcacheds://"+s.Addr()+"?ca_file="+ca+"&cert_file="+cert+"&key_file="+key, nil)
	ok(t, asked(b))
	wants := func(problem string) {
		t.Helper()
		s.Kill() // all connections end
		s.Start(t)
		eventually(t, "connections that are "+problem, func() bool {
			err := asked(b)
			if problem == "well" {
				return err == nil
			}
			return err != nil && strings.Contains(err.Error(), problem)
		})
	}
	install(other.Cert, cert)
	wants("cert_file " + cert)
	install(id.Cert, cert)
	install(other.CA, ca)
	wants("certificate")
	install(id.CA, ca)
	wants("well")
}
