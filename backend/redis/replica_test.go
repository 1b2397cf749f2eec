package redis_test

import (
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// TestReadsGoToThePrimary has a client that sends what only reads to a replica,
// which here is one that lags behind for ever.
func TestReadsGoToThePrimary(t *testing.T) {
	t.Parallel()
	primary, replica := startServer(t), startServer(t)
	client := newClient(t, rueidis.ClientOption{
		InitAddress:    []string{primary.addr},
		Standalone:     rueidis.StandaloneOption{ReplicaAddress: []string{replica.addr}},
		SendToReplicas: func(cmd rueidis.Completed) bool { return cmd.IsReadOnly() },
		DisableCache:   true,
	})
	b, err := redis.New(client, nil)
	ok(t, err)
	t.Cleanup(func() { b.Close() })
	ctx := t.Context()
	ok(t, b.Set(ctx, []driver.Item{{Key: "a", Data: []byte("1")}, {Key: "b", Data: []byte("2")}}))
	if err := client.Do(ctx, client.B().Get().Key("a").Build()).Error(); !rueidis.IsRedisNil(err) {
		t.Fatalf("the client's own GET = %v: it does not read from the replica", err)
	}
	for _, items := range [][]driver.Item{{{Key: "a"}}, {{Key: "a"}, {Key: "b"}}} {
		ok(t, b.Get(ctx, items))
		for _, it := range items {
			if !it.Found() {
				t.Errorf("%s of %d was not found", it.Key, len(items))
			}
		}
	}
	l, err := b.TryLock(ctx, "a", time.Minute)
	ok(t, err)
	if locked, err := b.Locked(ctx, "a"); !locked || err != nil {
		t.Errorf("Locked = %v, %v", locked, err)
	}
	ok(t, l.Release(ctx))
}
