package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

// command is what is sent to a server. It is built anew each time that it is sent,
// because a client uses the memory of a command again once that was answered.
type command struct {
	word   string
	script *script // in place of word
	text   bool    // send the text of the script, and not its hash
	once   bool    // it must not be run twice: Item.Once

	few   [2]string
	nkeys int      // of few
	many  []string // keys, in place of few
	args  [4]string
	nargs int
}

// one returns a command on one key.
func one(word, key string) command {
	return command{word: word, few: [2]string{key}, nkeys: 1}
}

// run returns a script on keys, of which there are at most 2, with at most 4
// arguments.
func run(s *script, keys []string, args ...string) command {
	l := command{script: s}
	l.nkeys, l.nargs = copy(l.few[:], keys), copy(l.args[:], args)
	return l
}

// build returns a command that writes, as far as the client knows, whatever it
// does: a client must neither send it to a replica nor repeat it by itself.
func (l *command) build(b rueidis.Builder) rueidis.Completed {
	keys, args := l.many, l.args[:l.nargs]
	if keys == nil {
		keys = l.few[:l.nkeys]
	}
	switch {
	case l.script == nil:
		return b.Arbitrary(l.word).Keys(keys...).Args(args...).Build()
	case l.text:
		return b.Eval().Script(l.script.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	}
	return b.Evalsha().Sha1(l.script.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// attempts is how often a command is sent at most. A client has several
// connections. When the server was started again, or has closed connections that
// were idle, the client notices for each of them when it sends the next command
// over it.
const attempts = 10

// tries is what a call has tried so far.
type tries struct {
	n       int  // times that connections were found dead
	dead    bool // at the last of them
	renewed bool // the client was replaced
}

// next reports whether to try once more. Only dead connections are counted: the
// rest happens once, or until the call's time is up.
func (t *tries) next() bool {
	if t.dead {
		t.n, t.dead = t.n+1, false
	}
	return t.n < attempts
}

// do sends a command, and sends it again when that may help; see again. A script
// is sent as the hash of its text, and the text only to a server that does not
// know it, as after a restart.
func (c *core) do(ctx context.Context, cmd command) (res rueidis.RedisResult) {
	var t tries
	c.look()
	for t.next() {
		cl, err := c.link.get(ctx)
		if err != nil {
			return rueidis.NewErrorResult(unsent{err})
		}
		res = cl.Do(ctx, cmd.build(cl.B()))
		if !c.again(ctx, cl, res, &cmd, &t) {
			break
		}
	}
	return c.told(&cmd, res)
}

// doMulti is do for several commands, in one round trip to each server.
func (c *core) doMulti(ctx context.Context, cmds []command) []rueidis.RedisResult {
	if len(cmds) == 1 {
		return []rueidis.RedisResult{c.do(ctx, cmds[0])}
	}
	if c.cluster {
		return c.byNode(ctx, cmds)
	}
	return c.together(ctx, cmds)
}

// byNode is doMulti on a Cluster. Were the commands of all nodes sent together, none
// would be sent again before each was answered:
//
//  1. A node hangs. Another does not know a script, and says so at once.
//  2. The time of the call is over before the first has answered.
//  3. There is none left to send the text of the script.
func (c *core) byNode(ctx context.Context, cmds []command) []rueidis.RedisResult {
	of := make(map[string][]int) // places in cmds, by the node of the key
	for i := range cmds {
		node := c.Shard(cmds[i].few[0]) // no command has many keys here
		of[node] = append(of[node], i)
	}
	if len(of) == 1 {
		return c.together(ctx, cmds)
	}
	results := make([]rueidis.RedisResult, len(cmds))
	var nodes sync.WaitGroup
	for _, places := range of {
		nodes.Go(func() {
			own := make([]command, len(places))
			for i, at := range places {
				own[i] = cmds[at]
			}
			for i, res := range c.together(ctx, own) {
				results[places[i]] = res
			}
		})
	}
	nodes.Wait()
	return results
}

// together is do for several commands that are sent, and sent again, as one.
func (c *core) together(ctx context.Context, cmds []command) []rueidis.RedisResult {
	results := make([]rueidis.RedisResult, len(cmds))
	left := make([]int, len(cmds)) // those that are to be sent
	for i := range left {
		left[i] = i
	}
	var t tries
	c.look()
	for len(left) > 0 && t.next() {
		cl, err := c.link.get(ctx)
		for i, res := range c.send(ctx, cl, err, cmds, left) {
			results[left[i]] = res
		}
		again := left[:0]
		for _, i := range left {
			if err == nil && c.again(ctx, cl, results[i], &cmds[i], &t) {
				again = append(again, i)
			}
		}
		left = again
	}
	for i := range results {
		results[i] = c.told(&cmds[i], results[i])
	}
	return results
}

// send sends the commands at the places in left.
func (c *core) send(ctx context.Context, cl *client, err error, cmds []command, left []int) []rueidis.RedisResult {
	if err != nil {
		results := make([]rueidis.RedisResult, len(left))
		for i := range results {
			results[i] = rueidis.NewErrorResult(unsent{err})
		}
		return results
	}
	built := make(rueidis.Commands, len(left))
	for i, at := range left {
		built[i] = cmds[at].build(cl.B())
	}
	results := cl.DoMulti(ctx, built...)
	if !c.cluster || len(left) == 1 || !noSlot(results) {
		return results
	}
	return c.sendApart(ctx, cl, cmds, left)
}

// look has checked now and then what no call is told: whether slots have moved, and
// whether the server is a master still.
func (c *core) look() {
	if c.cluster {
		c.topology.check()
	} else {
		c.link.check(c.lockPrefix)
	}
}

// again reports whether to send a command again, having prepared that.
//
// The server may have run a command whose answer did not come: all commands of
// this package but one that is marked may be run twice. The worst is this: 1. A Set under a lease
// stores, and releases the lease.  2. The connection breaks before the answer.
// 3. The Set is sent again, finds no lease and is refused. The value is stored,
// and its caller takes the lease for lost.
//
// A command that was answered with an error was not run, and may be run again by
// whatever server the next client finds. Only a lease guards a Set under it, and
// is on that server or is not.
func (c *core) again(ctx context.Context, cl *client, res rueidis.RedisResult, cmd *command, t *tries) bool {
	err := res.Error()
	if err == nil || rueidis.IsRedisNil(err) {
		return false
	}
	reply, isReply := rueidis.IsRedisErr(err)
	if c.cluster && (!isReply || moves(reply)) {
		c.topology.want()
	}
	switch {
	case ctx.Err() != nil || c.life.Err() != nil:
		return false
	case cmd.once && sent(err):
		return false
	case isReply && reply.IsNoScript() && cmd.script != nil && !cmd.text:
		cmd.text = true
		return true
	case isReply && res.NonRedisError() == nil && c.elsewhere(reply):
		if !t.renewed && c.link.now.Load() == cl {
			t.renewed = true
			_, err := c.link.renew(ctx, cl)
			return err == nil
		}
		return c.link.now.Load() != cl
	case errors.Is(err, rueidis.ErrClosing):
		return c.link.now.Load() != cl // it was closed because there is another
	case dead(err):
		t.dead = true
		return true
	}
	return hasty(ctx, err)
}

// dead reports whether a connection ended under a command. It is false if no
// connection could be made: then the server is gone, and not only a connection.
func dead(err error) bool {
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}

// hasty reports whether err is the end of another caller's context: 1. A, which has
// a millisecond left, begins to connect.  2. B joins it.  3. A's time is up, and
// both get A's error.
func hasty(ctx context.Context, err error) bool {
	var op *net.OpError
	dialed := errors.As(err, &op) && op.Op == "dial" && op.Timeout()
	if !dialed && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return false
	}
	// What ends a read is set by the same deadline as ctx, and may be the first to
	// notice.
	d, ok := ctx.Deadline()
	return ok && time.Now().Before(d)
}
