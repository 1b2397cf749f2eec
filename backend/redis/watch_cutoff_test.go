package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestWatchOfANodeThatIsCutOff: a node of a Cluster that does not see the others refuses to
// answer for its keys (CLUSTERDOWN), since others may have its slots by now. It must not vouch
// for copies of them either.
func TestWatchOfANodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	c := startCluster(t, nil)
	c.buries(t)
	b := open(t, c.url(), &redis.Options{Breaker: off})
	watching(t, b, lag)
	key := keysOf(c, 1)[0][0]
	put(t, b, key, "old")
	kept := keepProved(t, b, key)
	c[1].Kill()
	c[2].Kill()
	raw := c[0].client(t)
	eventually(t, "the node to refuse", func() bool {
		err := raw.Do(context.Background(), raw.B().Get().Key(key).Build()).Error()
		return err != nil && strings.HasPrefix(err.Error(), "CLUSTERDOWN")
	})
	backendtest.Pause(2 * lag)
	if kept.right(lag) {
		items := []driver.Item{{Key: key}}
		err := b.Get(context.Background(), items)
		t.Errorf("the copy is right, while a Get without copies gives %v, %v", err, items[0].Err)
	}
}
