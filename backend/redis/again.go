package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/redis/rueidis"
)

// attempts is how often a command is sent at most. A client has several
// connections, and after a restart of the server, or when it has closed them for
// being idle, each is found to be dead only by the next command.
const attempts = 10

// do sends a command, and again when its connection turns out to be dead. All
// commands of this package can be sent twice: at worst, a Set under a lease that
// was done, and whose answer was lost, is told that the lease is gone.
func (c *core) do(ctx context.Context, cmd rueidis.Completed) (res rueidis.RedisResult) {
	for range attempts {
		res = c.client.Do(ctx, cmd)
		if !dead(res) || ctx.Err() != nil {
			break
		}
	}
	return res
}

// doMulti is do for several commands.
func (c *core) doMulti(ctx context.Context, cmds rueidis.Commands) []rueidis.RedisResult {
	results := c.client.DoMulti(ctx, cmds...)
	for range attempts - 1 {
		var again rueidis.Commands // those that were answered are no longer ours
		var at []int
		for i, res := range results {
			if dead(res) {
				again, at = append(again, cmds[i]), append(at, i)
			}
		}
		if at == nil || ctx.Err() != nil {
			break
		}
		for i, res := range c.client.DoMulti(ctx, again...) {
			results[at[i]] = res
		}
	}
	return results
}

// dead reports whether a connection ended under a command. One that could not
// be made is something else.
func dead(res rueidis.RedisResult) bool {
	err := res.NonRedisError()
	if err == nil {
		return false
	}
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
