package redis

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"
)

// failed says where a call failed. The caller adds which call it was and for
// which key.
func failed(err error) error {
	var reply *rueidis.RedisError
	if errors.As(err, &reply) {
		err = refusal{err, reply}
	}
	return fmt.Errorf("redis: %w", err)
}

// refusal is an error with which a server has answered.
type refusal struct {
	error
	reply *rueidis.RedisError
}

func (r refusal) Unwrap() error { return r.error }

// Unavailable tells a breaker whether the server can serve at all. One that is
// full, say, can still be read and deleted from, and a client that may not run one
// command may run others.
func (r refusal) Unavailable() bool {
	return !begins(r.reply, "NOPERM") && (isElsewhere(r.reply) || isBusy(r.reply) || r.reply.IsClusterDown())
}

// elsewhere reports whether a server has said that it is not, or not any more, the
// one to ask. Behind a name that has moved to another server, connections stay
// with the old one, and only new ones come to the new one.
func (c *core) elsewhere(reply *rueidis.RedisError) bool {
	// On a Cluster the latter are of one node, in whose stead others answer.
	return isElsewhere(reply) || reply.IsClusterDown() || !c.cluster && isBusy(reply)
}

func isElsewhere(reply *rueidis.RedisError) bool {
	// Redis 6 puts what happens in a script into a sentence of its own.
	return begins(reply, "READONLY", "NOAUTH", "WRONGPASS", "NOPERM") || strings.Contains(reply.Error(), "-READONLY ")
}

func isBusy(reply *rueidis.RedisError) bool { return begins(reply, "MASTERDOWN", "LOADING") }

func begins(reply *rueidis.RedisError, codes ...string) bool {
	for _, code := range codes {
		if strings.HasPrefix(reply.Error(), code) {
			return true
		}
	}
	return false
}

// moves reports whether the slots of a Cluster are moving or have moved.
func moves(reply *rueidis.RedisError) bool {
	_, moved := reply.IsMoved()
	_, ask := reply.IsAsk()
	return moved || ask || reply.IsTryAgain() || reply.IsClusterDown()
}

// told makes an error that says what to write of a server's refusal that only
// says where a key is, and one that names the server of a time-out that does not.
func (c *core) told(cmd *command, res rueidis.RedisResult) rueidis.RedisResult {
	err := res.Error()
	var late net.Error
	switch reply, ok := rueidis.IsRedisErr(err); {
	case err == nil || errors.As(err, new(unsent)):
	case ok && !c.cluster:
		if _, moved := reply.IsMoved(); moved || strings.HasPrefix(reply.Error(), "CROSSSLOT") {
			return rueidis.NewErrorResult(fmt.Errorf("%w (%w)", errNode, reply))
		}
	case !ok && !errors.As(err, new(*net.OpError)) && errors.As(err, &late) && late.Timeout():
		return rueidis.NewErrorResult(fmt.Errorf("no answer from %s: %w", c.where(cmd), err))
	}
	return res
}

// where names the server that a command was for.
func (c *core) where(cmd *command) string {
	if c.cluster {
		return c.Shard(cmd.few[0]) // in a Cluster no command has many keys
	}
	for addr := range c.link.now.Load().Nodes() {
		return addr // the only one, or the master that Sentinel names
	}
	return "the server"
}

// unsent is an error because of which a command was not sent.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

// sent reports whether a command that failed with err may have reached the
// server, or may still, without its answer having come.
func sent(err error) bool {
	var reply *rueidis.RedisError
	var op *net.OpError
	if errors.As(err, &reply) || errors.As(err, new(unsent)) {
		return false
	}
	return !errors.As(err, &op) || op.Op != "dial"
}
