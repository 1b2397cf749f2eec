package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func get(t testing.TB, b *redis.Backend) error {
	return b.Get(t.Context(), []driver.Item{{Key: "k"}})
}

func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	// 1. The password changes, on the server and in the file.  2. Connections break.
	// 3. New ones have the new password.
	s := startServer(t)
	file := filepath.Join(t.TempDir(), "password")
	ok(t, os.WriteFile(file, []byte("first\n"), 0o600))
	admin := s.client(t)
	do(t, admin, "ACL", "SETUSER", "ann", "on", ">first", "~*", "+@all")
	for _, url := range []string{
		"redis://ann@" + s.addr + "?password_file=" + file,
		s.URL() + "?user=ann&password_file=" + file,
	} {
		ok(t, os.WriteFile(file, []byte("first\n"), 0o600))
		do(t, admin, "ACL", "SETUSER", "ann", "resetpass", ">first")
		b := open(t, url, nil)
		ok(t, get(t, b))
		do(t, admin, "ACL", "SETUSER", "ann", "resetpass", ">second")
		do(t, admin, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if err := get(t, b); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "first") {
			t.Errorf("Get with the old password = %v", err)
		}
		ok(t, os.WriteFile(file, []byte("second\n"), 0o600))
		ok(t, get(t, b))
	}
}

func TestPasswordAsAnArgument(t *testing.T) {
	t.Parallel()
	s := newServer(t, "--requirepass", "p@ss:%/", "--user", "ann", "on", ">secret", "~*", "+@all")
	s.Start(t)
	for url, works := range map[string]bool{
		s.URL() + "?password=p%40ss%3A%25%2F":        true,
		s.URL() + "?user=ann&password=secret":        true,
		"redis://ann@" + s.addr + "?password=secret": true,
		s.URL() + "?user=ann&password=another":       false,
	} {
		if err := get(t, open(t, url, nil)); (err == nil) != works {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestCredentialsAreAskedForEachConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	admin := s.client(t)
	do(t, admin, "ACL", "SETUSER", "ann", "on", ">1", "~*", "+@all")
	var token, asked atomic.Int64
	errGone := errors.New("the issuer of tokens is gone")
	b := open(t, "redis://bob:wrong@"+s.addr, &redis.Options{Credentials: func(ctx context.Context) (user, password string, err error) {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("the context has no deadline")
		}
		asked.Add(1)
		if token.Load() == 0 {
			return "", "", errGone
		}
		return "ann", fmt.Sprint(token.Load()), nil
	}})
	if err := get(t, b); !errors.Is(err, errGone) {
		t.Errorf("Get = %v", err)
	}
	for n := range int64(3) {
		token.Store(n + 1)
		do(t, admin, "ACL", "SETUSER", "ann", "resetpass", ">"+fmt.Sprint(n+1))
		do(t, admin, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		before := asked.Load()
		eventually(t, "a Get with the new token", func() bool { return get(t, b) == nil })
		if asked.Load() == before {
			t.Error("nobody asked for the new token")
		}
	}
}

func TestCredentialsThatHangDoNotHoldUpClose(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	b, err := redis.Open(t.Context(), sharedServer(t).URL()+"?connect_timeout=1h", &redis.Options{Credentials: func(context.Context) (string, string, error) {
		<-release
		return "", "", nil
	}})
	ok(t, err)
	if err := get(t, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get = %v", err)
	}
	ok(t, b.Close())
}

func TestSentinelsHaveCredentialsOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newSentinel(t, nil)
	for _, s := range w.servers {
		s.args = append(s.args, "--requirepass", "data", "--masterauth", "data")
	}
	for _, s := range w.sentinels {
		f, err := os.OpenFile(s.args[0], os.O_APPEND|os.O_WRONLY, 0)
		ok(t, err)
		_, err = f.WriteString("sentinel auth-pass mymaster data\nrequirepass watch\nsentinel sentinel-pass watch\n")
		ok(t, errors.Join(err, f.Close()))
	}
	for _, s := range append(w.servers[:], w.sentinels...) {
		s.Start(t)
	}
	b := open(t, w.url()+"?sentinel_password=watch", &redis.Options{
		Credentials: func(context.Context) (string, string, error) { return "", "data", nil },
	})
	eventually(t, "a Set by way of the Sentinels", func() bool {
		return backendtest.Set(t.Context(), b, driver.Item{Key: "k", Data: []byte("v")}) == nil
	})
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	// 1. All certificates are made anew, by another CA, and written over the old
	// ones.  2. The server is started again with them.
	used := backendtest.NewIdentity(t)
	s := newServer(t)
	s.secure(used)
	s.Start(t)
	b := open(t, backendtest.WithArgs("rediss://"+s.addr, used.Args()...), nil)
	ok(t, get(t, b))
	for range 2 {
		s.Kill()
		if err := get(t, b); err == nil {
			t.Error("Get without a server succeeded")
		}
		fresh := backendtest.NewIdentity(t)
		for from, to := range map[string]string{fresh.CA: used.CA, fresh.Cert: used.Cert, fresh.Key: used.Key} {
			pem, err := os.ReadFile(from)
			ok(t, err)
			ok(t, os.WriteFile(to, pem, 0o600))
		}
		s.Start(t)
		eventually(t, "a Get over the new certificates", func() bool { return get(t, b) == nil })
	}
}

func TestFilesThatAreWrongAreToldByOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	ok(t, os.WriteFile(empty, nil, 0o600))
	for url, want := range map[string]string{
		"redis://h?password_file=" + dir + "/none":             "password_file: open",
		"redis://h?password_file=" + empty:                     "is empty",
		"rediss://h?ca_file=" + empty:                          "no certificate",
		"rediss://h?cert_file=" + empty + "&key_file=" + empty: "cert_file",
	} {
		start := time.Now()
		if _, err := redis.Open(t.Context(), url, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s) = %v after %v", url, err, time.Since(start))
		}
	}
	if _, err := redis.New(sharedServer(t).client(t), &redis.Options{Credentials: func(context.Context) (string, string, error) { return "", "", nil }}); err == nil {
		t.Error("New took Credentials")
	}
}

func ExampleOptions_credentials() {
	rotating := func(context.Context) (user, password string, err error) {
		return "default", "", nil // a token of the cloud's, say, which the caller keeps for as long as it is good
	}
	b, err := redis.Open(context.Background(), "redis://"+address(), &redis.Options{Credentials: rotating})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	show(b)
	// Output: value <nil>
}
