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
// connections. When the server was started again, or has closed connections that
// were idle, the client notices for each of them when it sends the next command
// over it.
const attempts = 10

// do sends a command, and sends it again when its connection turns out to be
// dead. The server may have run it the first time: all commands of this package
// may be run twice. The worst is this: 1. A Set under a lease stores, and
// releases the lease.  2. The connection breaks before the answer.  3. The Set
// is sent again, finds no lease and is refused. The value is stored, and its
// caller takes the lease for lost.
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
		// The client uses the memory of a command again once it was answered, so
		// only those without an answer may be sent once more.
		var again rueidis.Commands
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

// dead reports whether a connection ended under a command. It is false if no
// connection could be made: then the server is gone, and not only a connection.
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
