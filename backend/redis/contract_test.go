package redis_test

import (
	"testing"

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
	c := startCluster(t, nil)
	for name, o := range map[string]*redis.Options{"told": nil, "polling": {Poll: true}} {
		t.Run(name, func(t *testing.T) { drivertest.Run(t, over(c.url(), o), nil) })
	}
}

func TestContractOnSentinel(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, over(startSentinel(t, nil).url(), nil), nil)
}
