package redis_test

import (
	"testing"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).URL() + "/3"
	backendtest.Contract(t, map[string]string{
		"told":           url,
		"polling":        url + "?poll=true",
		"other settings": url + "?breaker=false&timeout=never&lock_prefix=l.",
	})
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
				b, err := redis.New(client, &redis.Options{Timeout: patience})
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
	backendtest.ContractUnderProxies(t, sharedServer(t).URL())
}

func TestContractOnUnixSocket(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.args = append(s.args, "--unixsocket", s.dir+"/s")
	s.Start(t)
	backendtest.Contract(t, map[string]string{"db 1": "redis+unix://" + s.dir + "/s?db=1"})
}

func TestContractOnCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	backendtest.Contract(t, map[string]string{"told": c.url(), "polling": c.url() + "?poll=true"})
}

func TestContractOnSentinel(t *testing.T) {
	t.Parallel()
	backendtest.Contract(t, map[string]string{"told": startSentinel(t, nil).url()})
}
