package redis_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/proxy"
)

// over makes backends over one server for drivertest.Run, which closes them.
func over(url string, o *redis.Options) func(t *testing.T) driver.Backend {
	return func(t *testing.T) driver.Backend {
		b, err := redis.Open(t.Context(), url, o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*redis.Options{
		"told":     nil,
		"polling":  {Poll: true},
		"unbroken": {NoBreaker: true, Timeout: -1, LockPrefix: "l."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, over("redis://"+sharedServer(t).addr+"/3", o), nil)
		})
	}
}

func TestContractOverAClientOfTheUsersOwn(t *testing.T) {
	t.Parallel()
	for name, co := range map[string]rueidis.ClientOption{
		"defaults":           {},
		"RESP2":              {AlwaysRESP2: true, DisableCache: true},
		"without pipelining": {DisableAutoPipelining: true},
		"always pipelining":  {AlwaysPipelining: true},
		"broadcasting":       {ClientTrackingOptions: []string{"BCAST"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			co.InitAddress = []string{sharedServer(t).addr}
			client := newClient(t, co)
			drivertest.Run(t, func(t *testing.T) driver.Backend {
				b, err := redis.New(client, nil)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}, nil)
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
				return wrap(over("redis://"+sharedServer(t).addr, nil)(t))
			}, nil)
		})
	}
}

func TestContractOnUnixSocket(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.args = append(s.args, "--unixsocket", s.dir+"/s")
	s.start(t)
	drivertest.Run(t, over("redis+unix://"+s.dir+"/s?db=1", nil), nil)
}

func TestContractOnCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	for name, o := range map[string]*redis.Options{"told": nil, "polling": {Poll: true}} {
		t.Run(name, func(t *testing.T) { drivertest.Run(t, over(c.url(), o), nil) })
	}
}

func TestContractOnSentinel(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, over(startSentinel(t).url(), nil), nil)
}

func TestContractOverTLS(t *testing.T) {
	t.Parallel()
	ca, cert, key := certificates(t)
	s := newServer(t)
	s.args = append(s.args, "--port", "0", "--tls-port", s.port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca)
	s.start(t)
	url := "rediss://" + s.addr + "?ca_file=" + ca
	b, err := redis.Open(t.Context(), url, &redis.Options{Timeout: 5 * time.Second})
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
	drivertest.Run(t, over(url+"&cert_file="+cert+"&key_file="+key, nil), nil)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	own := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	b = open(t, "redis://"+s.addr, &redis.Options{TLS: own})
	if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err != nil {
		t.Errorf("with a tls.Config of one's own, Get = %v", err)
	}
}
