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
	if c.watch.Lag() > 0 {
		if ask = c.watch.get(ctx, ask); len(ask) == 0 {
			return nil
		}
	}
	switch {
	case len(ask) == 1:
		res := c.do(ctx, one("GET", ask[0].Key))
		if err := fill(ask[0], res); err != nil {
			return failed(err)
		}
		return nil
	case c.cluster:
		return c.getEach(ctx, ask)
	}
	return c.getTogether(ctx, ask)
}

// getEach asks for each key by itself: on a Cluster the keys are in several
// slots, and MGET takes keys of one. The client sends what goes to one node
// together.
func (c *core) getEach(ctx context.Context, ask []*driver.Item) error {
	cmds := make([]command, len(ask))
	for i, it := range ask {
		cmds[i] = one("GET", it.Key)
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
	keys := make([]string, len(ask))
	for i, it := range ask {
		keys[i] = it.Key
	}
	values, err := c.do(ctx, command{word: "MGET", many: keys}).ToArray()
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
	defer c.watch.noted(len(items), func(i int) string { return items[i].Key })
	cmds, at := make([]command, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		if cmd, ok := c.setCommand(&items[i]); ok {
			cmds, at = append(cmds, cmd), append(at, i)
		}
	}
	if len(cmds) == 0 {
		return nil
	}
	bad := 0
	for i, res := range c.doMulti(ctx, cmds) {
		it := &items[at[i]]
		stored, err := res.AsInt64()
		if c.splits(err) {
			stored, err = c.setApart(ctx, it, &cmds[i])
		}
		switch {
		case err != nil:
			it.Err = failed(err)
			bad++
		case stored == 0:
			it.Err = driver.ErrLeaseLost
		}
	}
	return all(bad, len(cmds), func(i int) error { return items[at[i]].Err })
}

// maxValue is the default of proto-max-bulk-len, in bytes. A server that is sent a
// longer value closes the connection, and all commands that are under way on it
// fail.
const maxValue = 512 << 20

// setCommand returns the script that stores it, or false after it has put into it
// why there is none.
func (c *core) setCommand(it *driver.Item) (command, bool) {
	if it.Data == nil {
		it.Err = errors.New("redis: the item has no bytes")
		return command{}, false
	}
	if len(it.Data) > maxValue {
		it.Err = fmt.Errorf("redis: value has %d bytes, a server takes %d", len(it.Data), maxValue)
		return command{}, false
	}
	keys, data, ttl := c.keys(it.Key), rueidis.BinaryString(it.Data), millis(it.TTL)
	if it.Lease == nil {
		cmd := run(setScript, keys[:], mark, data, ttl)
		cmd.once = it.Once
		return cmd, true
	}
	l, ok := it.Lease.(*lease)
	if !ok || l.key != it.Key {
		// A lease of another backend, or on another key, guards nothing here.
		it.Err = driver.ErrLeaseLost
		return command{}, false
	}
	return run(fencedScript, keys[:], l.token, data, ttl), true
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
	defer c.watch.noted(len(keys), func(i int) string { return keys[i] })
	cmds := make([]command, len(keys))
	for i, key := range keys {
		pair := c.keys(key)
		cmds[i] = run(deleteScript, pair[:], mark)
	}
	var left []string
	for i, res := range c.doMulti(ctx, cmds) {
		e := res.Error()
		if c.splits(e) {
			e = c.deleteApart(ctx, keys[i])
		}
		if e != nil {
			left, err = append(left, keys[i]), e
		}
	}
	if left != nil {
		return undeleted(left, len(keys), failed(err))
	}
	return nil
}

// undeleted names the keys that may still be there, if they are not too many.
func undeleted(left []string, of int, err error) error {
	if of == 1 {
		return err // the caller names the key
	}
	return keysError{err, left, of}
}

// keysError is why some keys may still be there.
type keysError struct {
	reason error
	left   []string
	of     int
}

// Error names the first five.
func (e keysError) Error() string {
	few := e.left[:min(len(e.left), 5)]
	more := ""
	if n := len(e.left) - len(few); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%v (for %d of %d keys: %q%s)", e.reason, len(e.left), e.of, few, more)
}

// Unwrap returns the reason.
func (e keysError) Unwrap() error { return e.reason }

// Reason is what a breaker tells the callers of later calls, which are about other
// keys.
func (e keysError) Reason() error { return e.reason }

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
