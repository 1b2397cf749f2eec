package redis_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	backendtest.OpenTells(t, func(url string) error { _, err := redis.Open(t.Context(), url, nil); return err }, append(backendtest.FaultsOf("redis", "rediss"), []backendtest.Fault{
		{URL: "redis://u:" + backendtest.Secret + "@h/x", Want: "no database number"},
		{URL: "redis://h/-1", Want: "no database number"},
		{URL: "redis://h/1?db=2", Want: "another one than db"},
		{URL: "redis://h?db=-2", Want: `"db" is negative`},
		{URL: "redis://h1,h2", Want: "redis+cluster"},
		{URL: "redis://h?lock_prefix={x}", Want: "LockPrefix (lock_prefix) contains a brace"},
		{URL: "redis+sentinel://h", Want: "names the master in its path"},
		{URL: "redis+cluster://h/1", Want: "no databases"},
		{URL: "redis+unix://h/s", Want: "the path of the socket and no host"},
		{URL: "redis://h:port", Want: "no port number"},
		{URL: "redis+cluster://h:1,h:70000", Want: "no port number"},
		{URL: "redis://[::1", Want: "neither a host"},
	}...))
	if _, err := redis.Open(t.Context(), "unix:///s", &redis.Options{TLS: new(tls.Config)}); err == nil || !strings.Contains(err.Error(), "a unix socket has no TLS") {
		t.Errorf("Open of a unix socket with TLS = %v", err)
	}
}

func TestErrorsWithoutServersShowNoPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis+cluster://u:", "rediss://u:", "redis+sentinel://u:", "redis://u:"} {
		b := open(t, url+backendtest.Secret+"@127.0.0.1:"+freePort(t)+map[bool]string{true: "/m"}[strings.Contains(url, "sentinel")], nil)
		err := b.Get(t.Context(), []driver.Item{{Key: "k"}})
		if err == nil || strings.Contains(err.Error(), backendtest.Secret) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Get over %s = %v", url, err)
		}
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.args = append(s.args, "--requirepass", "p@ss:%/", "--user", "ann", "on", ">secret", "~*", "+@all")
	s.Start(t)
	for _, tt := range []struct {
		user string
		ok   bool
	}{{":p%40ss%3A%25%2F@", true}, {"ann:secret@", true}, {"", false}, {"ann:wrong@", false}} {
		b, err := redis.Open(t.Context(), "redis://"+tt.user+s.addr, nil)
		if err == nil {
			err = b.Get(t.Context(), []driver.Item{{Key: "k"}})
			b.Close()
		}
		if (err == nil) != tt.ok || err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("%q: %v", tt.user, err)
		}
	}
}

func TestDatabases(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	key := unique(t)
	for _, url := range []string{"redis://" + s.addr + "/5", "valkey://" + s.addr + "?db=5&client_name=me&connect_timeout=3&timeout=4s"} {
		b, err := driver.Open(t.Context(), url)
		ok(t, err)
		items := []driver.Item{{Key: key}}
		ok(t, b.Get(t.Context(), items))
		if items[0].Found() != strings.HasPrefix(url, "valkey") {
			t.Errorf("%s: found %v", url, items[0].Found())
		}
		ok(t, b.Set(t.Context(), []driver.Item{{Key: key, Data: []byte("v")}}))
		ok(t, driver.Close(b))
	}
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := sharedServer(t).client(t)
	if _, err := redis.New(nil, nil); err == nil {
		t.Error("a nil client was taken")
	}
	for _, o := range []*redis.Options{{Timeout: -2}, {LockPrefix: "}"}, {TLS: new(tls.Config)}} {
		if b, err := redis.New(c, o); err == nil || b != nil || !strings.HasPrefix(err.Error(), "dogpile: redis: ") {
			t.Errorf("New(%+v) = %v, %v", o, b, err)
		}
	}
}

func TestThereIsABreakerUnlessItIsOff(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	n := backendtest.NewNetwork(t, s.addr)
	for _, tt := range []struct {
		name string
		o    *redis.Options
		want bool
	}{
		{"nil Options", nil, true},
		{"zero Options", &redis.Options{}, true},
		{"Breaker", &redis.Options{Breaker: &proxy.BreakerOptions{Failures: 1}}, true},
		{"Off", &redis.Options{Breaker: off}, false},
	} {
		n.Mend()
		opened := open(t, "redis://"+n.Addr, tt.o)
		ok(t, opened.Get(t.Context(), []driver.Item{{Key: "k"}}))
		made, err := redis.New(opened.Client(), tt.o)
		ok(t, err)
		n.Cut()
		backendtest.WantBreaker(t, "Open with "+tt.name, opened, tt.want)
		backendtest.WantBreaker(t, "New with "+tt.name, made, tt.want)
		ok(t, made.Close())
	}
}
