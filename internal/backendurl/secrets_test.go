package backendurl_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	backendtest.OK(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestWhoTheClientIsMayStandInTheURLOrInArguments(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "s e c\r\n")
	for _, tt := range []struct {
		url            string
		more           map[string]string
		user, password string
	}{
		{"backendurl://ann:p%40ss@h", nil, "ann", "p@ss"},
		{"backendurl://h?user=ann&password=p%40ss", nil, "ann", "p@ss"},
		{"backendurl://h?username=ann", nil, "ann", ""},
		{"backendurl://ann@h", map[string]string{"password": "p@s%20s:/?#"}, "ann", "p@s%20s:/?#"},
		{"backendurl://ann:p@h", map[string]string{"user": "ann", "username": "ann", "password": "p"}, "ann", "p"},
		{"backendurl://:p@h", nil, "", "p"},
		{"backendurl://h", map[string]string{"password_file": file}, "", "s e c"},
		{"backendurl://ann@h", map[string]string{"password_file": file}, "ann", "s e c"},
	} {
		b, err := driver.OpenWith(t.Context(), tt.url, tt.more)
		if err != nil {
			t.Errorf("%s %v: %v", tt.url, tt.more, err)
			continue
		}
		user, password, err := b.(*backend).credentials(t.Context())
		if user != tt.user || password != tt.password || err != nil {
			t.Errorf("%s %v: user %q, password %q, %v", tt.url, tt.more, user, password, err)
		}
	}
	b, err := opener.FromURL(t.Context(), "backendurl://h", nil)
	if err != nil || b.credentials != nil {
		t.Errorf("nobody became somebody, %v", err)
	}
}

func TestPasswordFileThatChangesIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "old\n")
	b, err := opener.FromURL(t.Context(), "backendurl://ann@h?password_file="+file, nil)
	backendtest.OK(t, err)
	want := func(password, problem string) {
		t.Helper()
		_, got, err := b.credentials(t.Context())
		if got != password || problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("password %q, %v; want %q, %s", got, err, password, problem)
		}
	}
	want("old", "")
	write(t, file, "new\n")
	want("new", "")
	write(t, file, "")
	want("", "password_file "+file+" is empty")
	backendtest.OK(t, os.Remove(file))
	want("", "password_file: open "+file)
	write(t, file, "newer")
	want("newer", "")
}

// handshake has a client with what secure says now meet a server that has the
// identity of and wants a certificate that of has signed.
func handshake(t *testing.T, b *backend, of *backendtest.Identity, name string) error {
	t.Helper()
	config, err := b.secure()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(of.Cert, of.Key)
	backendtest.OK(t, err)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	backendtest.OK(t, err)
	defer inner.Close()
	l := tls.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: of.Pool})
	served := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err == nil {
			err = nc.(*tls.Conn).Handshake()
			nc.Close()
		}
		served <- err
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	nc, err := (&tls.Dialer{Config: config}).DialContext(context.Background(), "tcp", net.JoinHostPort(name, port))
	if err == nil {
		nc.Close()
	}
	return errors.Join(err, <-served)
}

func TestCertificatesThatChangeAreReadAgain(t *testing.T) {
	t.Parallel()
	one, two := backendtest.NewIdentity(t), backendtest.NewIdentity(t)
	dir := t.TempDir()
	ca, cert, key := dir+"/ca", dir+"/cert", dir+"/key"
	copyFile := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		backendtest.OK(t, err)
		write(t, to, string(text))
	}
	copyFile(one.CA, ca)
	copyFile(one.Cert, cert)
	copyFile(one.Key, key)
	b, err := opener.FromURL(t.Context(), "backendurls://h?ca_file="+ca+"&cert_file="+cert+"&key_file="+key, nil)
	backendtest.OK(t, err)
	want := func(server *backendtest.Identity, problem string) {
		t.Helper()
		err := handshake(t, b, server, "127.0.0.1")
		if (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%v; want %q", err, problem)
		}
	}
	want(one, "")
	want(two, "certificate")
	copyFile(two.CA, ca)
	want(one, "certificate")
	copyFile(two.Cert, cert)
	want(two, "cert_file "+cert+" and key_file "+key+": ")
	copyFile(two.Key, key)
	want(two, "")
	write(t, ca, "-----BEGIN CERT")
	want(two, "ca_file "+ca+" has no certificate")
	backendtest.OK(t, os.Remove(ca))
	want(two, "ca_file: open "+ca)
	copyFile(one.CA, ca)
	copyFile(one.Key, key)
	copyFile(one.Cert, cert)
	want(one, "")
}

// The name is checked where it is an IP address and where it is none.
func TestServersNameIsCheckedThoughFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	for _, tt := range []struct{ name, host, arg, problem string }{
		{"address of the certificate", "127.0.0.1", "", ""},
		{"name of the certificate", "localhost", "", ""},
		{"another address", "127.0.0.1", "&server_name=127.0.0.2", "127.0.0.2"},
		{"another name", "127.0.0.1", "&server_name=elsewhere.test", "elsewhere.test"},
		{"not to be checked", "127.0.0.1", "&server_name=elsewhere.test&insecure=true", ""},
	} {
		b, err := opener.FromURL(t.Context(), backendtest.WithArgs("backendurls://h", id.Args()...)+tt.arg, nil)
		backendtest.OK(t, err)
		err = handshake(t, b, id, tt.host)
		if (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.problem)
		}
	}
}
