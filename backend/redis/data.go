package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
)

// Get asks for what no lease has read already.
func (c *core) Get(ctx context.Context, items []driver.Item) error {
	var few [4]*driver.Item
	ask := few[:0]
	for i := range items {
		if it := &items[i]; !answered(it) {
			ask = append(ask, it)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	switch {
	case len(ask) == 1:
		res := c.do(ctx, c.get(ask[0].Key))
		if err := fill(ask[0], res); err != nil {
			return failed(err)
		}
		return nil
	case c.cluster:
		return c.getEach(ctx, ask)
	}
	return c.getTogether(ctx, ask)
}

// get is GET, but not as a command that only reads: the client must not send
// it to a replica.
func (c *core) get(key string) rueidis.Completed {
	return c.client.B().Arbitrary("GET").Keys(key).Build()
}

// getEach asks for each key by itself: on a Cluster the keys are in several
// slots, and MGET takes keys of one. The client sends what goes to one node
// together.
func (c *core) getEach(ctx context.Context, ask []*driver.Item) error {
	cmds := make(rueidis.Commands, len(ask))
	for i, it := range ask {
		cmds[i] = c.get(it.Key)
	}
	bad := 0
	for i, res := range c.doMulti(ctx, cmds) {
		if err := fill(ask[i], res); err != nil {
			ask[i].Err = failed(err)
			bad++
		}
	}
	return all(bad, len(ask), func(i int) error { return ask[i].Err })
}

// getTogether asks for all keys in one command. What MGET finds that is not a
// string it answers like a missing key.
func (c *core) getTogether(ctx context.Context, ask []*driver.Item) error {
	cmd := c.client.B().Arbitrary("MGET")
	for _, it := range ask {
		cmd = cmd.Keys(it.Key)
	}
	values, err := c.do(ctx, cmd.Build()).ToArray()
	switch {
	case err != nil:
		return failed(err)
	case len(values) != len(ask):
		return fmt.Errorf("redis: %d answers for %d keys", len(values), len(ask))
	}
	for i := range values {
		if data, err := values[i].AsBytes(); err == nil {
			ask[i].Data = found(data)
		}
	}
	return nil
}

// fill puts what was found into it, and returns the error if there is no
// answer.
func fill(it *driver.Item, res rueidis.RedisResult) error {
	data, err := res.AsBytes()
	switch e, ok := rueidis.IsRedisErr(err); {
	case err == nil:
		it.Data = found(data)
	case rueidis.IsRedisNil(err):
	case ok && strings.HasPrefix(e.Error(), "WRONGTYPE"):
		it.Err = driver.ErrCorrupt
	default:
		return err
	}
	return nil
}

// found makes sure that an empty value is one.
func found(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// all returns the first error if every item has one, for a call by which nothing
// could be done.
func all(bad, n int, err func(i int) error) error {
	if bad == 0 || bad < n {
		return nil
	}
	return err(0)
}

// Set runs one script for each item.
func (c *core) Set(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return nil
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	calls, at := make([]call, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		if l, ok := c.setCall(&items[i]); ok {
			calls, at = append(calls, l), append(at, i)
		}
	}
	if len(calls) == 0 {
		return nil
	}
	bad := 0
	for i, res := range c.runAll(ctx, calls) {
		it := &items[at[i]]
		switch stored, err := res.AsInt64(); {
		case err != nil:
			it.Err = failed(err)
			bad++
		case stored == 0:
			it.Err = driver.ErrLeaseLost
		}
	}
	return all(bad, len(calls), func(i int) error { return items[at[i]].Err })
}

// maxValue is the default of proto-max-bulk-len, in bytes. A server that is sent a
// longer value closes the connection, and all commands that are under way on it
// fail.
const maxValue = 512 << 20

// setCall returns the script that stores it, or false after it has put into it
// why there is none.
func (c *core) setCall(it *driver.Item) (call, bool) {
	if it.Data == nil {
		it.Err = errors.New("redis: the item has no bytes")
		return call{}, false
	}
	if len(it.Data) > maxValue {
		it.Err = fmt.Errorf("redis: value has %d bytes, a server takes %d", len(it.Data), maxValue)
		return call{}, false
	}
	lock, data, ttl := c.lockKey(it.Key), rueidis.BinaryString(it.Data), millis(it.TTL)
	if it.Lease == nil {
		return c.call(setScript, it.Key, lock, mark, data, ttl), true
	}
	l, ok := it.Lease.(*lease)
	if !ok || l.key != it.Key {
		// A lease of another backend, or on another key, guards nothing here.
		it.Err = driver.ErrLeaseLost
		return call{}, false
	}
	return c.call(fencedScript, it.Key, lock, l.token, data, ttl), true
}

// Delete runs one script for each key.
func (c *core) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	calls := make([]call, len(keys))
	for i, key := range keys {
		calls[i] = c.call(deleteScript, key, c.lockKey(key), mark)
	}
	bad := 0
	for _, res := range c.runAll(ctx, calls) {
		if e := res.Error(); e != nil {
			bad++
			err = e
		}
	}
	if bad > 0 {
		return failed(fmt.Errorf("%w (for %d of %d keys)", err, bad, len(keys)))
	}
	return nil
}

// millis returns d in milliseconds, rounded up, as the scripts take it. "0" is no
// limit.
func millis(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	n := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}
