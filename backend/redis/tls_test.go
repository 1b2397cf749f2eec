package redis_test

import (
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

func TestContractOverTLS(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	s := newServer(t)
	s.secure(id)
	s.Start(t)
	for what, args := range map[string]string{
		"the server wants a client's certificate and got none, but there was no error": "?ca_file=" + id.CA,
		"a server whose CA is unknown was trusted":                                     "",
	} {
		b := open(t, "rediss://"+s.addr+args, &redis.Options{Timeout: 5 * time.Second})
		if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err == nil {
			t.Error(what)
		}
	}
	backendtest.Contract(t, map[string]string{"by the URL": backendtest.WithArgs("rediss://"+s.addr, id.Args()...)})
	b := open(t, "redis://"+s.addr, &redis.Options{TLS: id.Config(t)})
	if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err != nil {
		t.Errorf("with a tls.Config of one's own, Get = %v", err)
	}
}

func TestContractOnClusterOverTLS(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	backendtest.Contract(t, map[string]string{"by the URL": backendtest.WithArgs("rediss+cluster://"+startCluster(t, id).hosts(), id.Args()...)})
}

func TestContractOnSentinelOverTLS(t *testing.T) {
	t.Parallel()
	id := backendtest.NewIdentity(t)
	backendtest.Contract(t, map[string]string{"by the URL": backendtest.WithArgs("rediss+sentinel://"+startSentinel(t, id).hosts()+"/mymaster/0", id.Args()...)})
}
