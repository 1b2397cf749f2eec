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
	"github.com/dogpile-go/dogpile/internal/scan"
)

// scanCount is at about how many keys the server looks in one SCAN. While it does, for a few
// tenths of a millisecond, it serves nobody else.
const scanCount = "500"

var errUnknownNodes = errors.New("redis: no node of the Cluster has told which slots it has")

// scan is Backend.Scan.
func (c *core) scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	return scan.Each(ctx, c.life.Err, func(yield func([]driver.Found, error) bool) {
		nodes, err := c.primaries(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, node := range nodes {
			if !c.scanNode(ctx, node, prefix, yield) {
				return
			}
		}
	}, found)
}

// asks is what sends a command to one server.
type asks func(ctx context.Context, cmd command) rueidis.RedisResult

// primaries returns all servers that have keys of their own.
func (c *core) primaries(ctx context.Context) ([]asks, error) {
	if !c.cluster {
		return []asks{c.do}, nil
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	cl, err := c.link.get(ctx)
	if err != nil {
		return nil, failed(err)
	}
	c.topology.read(ctx, cl)
	m := c.topology.now.Load()
	if m == nil {
		return nil, errUnknownNodes
	}
	var all []asks
	for _, name := range m.names[1:] { // the first is nobody
		all = append(all, func(ctx context.Context, cmd command) rueidis.RedisResult {
			return c.doAt(ctx, name, cmd)
		})
	}
	return all, nil
}

// doAt is do on a node of the Cluster, whatever the keys of the command are.
func (c *core) doAt(ctx context.Context, name string, cmd command) (res rueidis.RedisResult) {
	var t tries
	for t.next() {
		cl, err := c.link.get(ctx)
		if err != nil {
			return rueidis.NewErrorResult(err)
		}
		node := cl.Nodes()[name]
		if node == nil {
			return rueidis.NewErrorResult(fmt.Errorf("the client knows no node %s any more", name))
		}
		res = node.Do(ctx, cmd.build(node.B()))
		if !c.again(ctx, cl, res, &cmd, &t) {
			break
		}
	}
	if err := res.Error(); err != nil {
		return rueidis.NewErrorResult(fmt.Errorf("node %s: %w", name, err))
	}
	return res
}

// scanNode yields what a server has, and reports whether to go on.
func (c *core) scanNode(ctx context.Context, node asks, prefix string, yield func([]driver.Found, error) bool) bool {
	// In the key of a lease the prefix comes later than at the begin. One pattern for both
	// has the server look at each key once.
	args := []string{"COUNT", scanCount}
	if prefix != "" {
		args = append(args, "MATCH", "*"+literally(prefix)+"*")
	}
	for cursor := "0"; ; {
		next, page, err := c.scanOnce(ctx, node, cursor, args, prefix)
		if !yield(page, err) || err != nil {
			return false
		}
		if next == "0" {
			return true
		}
		cursor = next
	}
}

// special are the characters that mean something in a pattern.
var special = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// literally returns a pattern that only text matches.
func literally(text string) string { return special.Replace(text) }

// scanOnce makes one SCAN, and asks for what is to be told of the keys.
func (c *core) scanOnce(ctx context.Context, node asks, cursor string, args []string, prefix string) (next string, page []driver.Found, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return "", nil, err
	}
	defer cancel()
	cmd := one("SCAN", cursor)
	cmd.nargs = copy(cmd.args[:], args)
	answer, err := node(ctx, cmd).AsScanEntry()
	if err != nil {
		return "", nil, failed(err)
	}
	var cmds []command // two for each of page
	for _, name := range answer.Elements {
		key, lease := c.leased(name)
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		f := driver.Found{Key: key}
		if lease {
			f.Holder = new(driver.Holder)
			cmds = append(cmds, one("GET", name), one("PTTL", name))
		} else {
			cmds = append(cmds, one("STRLEN", name), one("PTTL", name))
		}
		page = append(page, f)
	}
	if len(page) > 0 {
		page, err = c.describe(page, c.doMulti(ctx, cmds))
	}
	return strconv.FormatUint(answer.Cursor, 10), page, err
}

// describe fills in what the server has answered, and leaves out what is gone, and what is no
// string.
func (c *core) describe(page []driver.Found, results []rueidis.RedisResult) (there []driver.Found, err error) {
	for i, f := range page {
		left, err := results[2*i+1].AsInt64()
		if err != nil {
			return nil, failed(err)
		}
		held := true
		if f.Holder != nil {
			*f.Holder, held, err = holderIn(results[2*i])
		} else {
			var n int64
			n, err = results[2*i].AsInt64()
			f.Size = int(n)
		}
		switch reply, ok := rueidis.IsRedisErr(err); {
		case ok && begins(reply, "WRONGTYPE"):
			continue
		case err != nil:
			return nil, failed(err)
		case !held || left == -2:
			continue
		}
		if left != -1 { // no limit
			f.TTL = time.Duration(max(left, 1)) * time.Millisecond // PTTL has cut off what is below one
		}
		there = append(there, f)
	}
	return there, nil
}

// leased returns the key on which name is the key of the lease, or name itself for an entry.
func (c *core) leased(name string) (key string, lease bool) {
	rest, lease := strings.CutPrefix(name, c.lockPrefix)
	if !lease {
		return name, false
	}
	// lockKey has three forms. The whole key as the tag comes first: a key that looks like
	// that itself has the same lease as the key in its braces.
	if whole, ok := strings.CutPrefix(rest, "{"); ok {
		if key, ok := strings.CutSuffix(whole, "}~"); ok && c.lockKey(key) == name {
			return key, true
		}
		if _, key, ok := strings.Cut(whole, "}"); ok && c.lockKey(key) == name {
			return key, true
		}
	}
	return rest, true
}
