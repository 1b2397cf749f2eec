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
	b, err := redis.Open(t.Context(), "rediss://"+s.addr+"?ca_file="+id.CA, &redis.Options{Timeout: 5 * time.Second})
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
	backendtest.Contract(t, map[string]string{"by the URL": backendtest.WithArgs("rediss://"+s.addr, id.Args()...)})
	b = open(t, "redis://"+s.addr, &redis.Options{TLS: id.Config(t)})
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
