package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/rueidis"
)

// mark begins every token of ours. Those of dogpile.cache are 32 hexadecimal
// digits, and a lease that it holds must not be taken from it: its release
// would raise.
const mark = "dogpile-go."

// script is a Lua script over two keys of one slot, the lease's and the
// entry's.
type script struct{ text, sha string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

var (
	// lockScript takes the lease and reads the entry. MGET takes an entry of
	// another type for missing. The script may be run twice for one TryLock, when
	// the first answer was lost.
	lockScript = newScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1] then
  return {redis.call('MGET', KEYS[2])[1]}
end
return 0`)

	extendScript = newScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0`)

	releaseScript = newScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0`)

	// fencedScript stores under the lease and releases it.
	fencedScript = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[2], ARGV[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[1])
return 1`)

	// setScript stores and revokes the lease if it is one of ours.
	setScript = newScript(`
local held = redis.call('GET', KEYS[1])
if ARGV[3] == '0' then
  redis.call('SET', KEYS[2], ARGV[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1`)

	deleteScript = newScript(`
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
redis.call('DEL', KEYS[2])
return 1`)
)

// call is one script with what it is run on.
type call struct {
	script *script
	key    string
	lock   string
	args   [3]string
	n      int // how many args there are
}

func (c *core) call(s *script, key, lock string, args ...string) call {
	l := call{script: s, key: key, lock: lock}
	l.n = copy(l.args[:], args)
	return l
}

// evalsha and eval are not typed as commands that only read, so that the
// client sends them to the primary and never repeats them by itself.
func (c *core) evalsha(l *call) rueidis.Completed {
	return c.client.B().Evalsha().Sha1(l.script.sha).Numkeys(2).Key(l.lock, l.key).Arg(l.args[:l.n]...).Build()
}

func (c *core) eval(l *call) rueidis.Completed {
	return c.client.B().Eval().Script(l.script.text).Numkeys(2).Key(l.lock, l.key).Arg(l.args[:l.n]...).Build()
}

// run runs one script. The server is sent its text when it does not know it.
func (c *core) run(ctx context.Context, l call) rueidis.RedisResult {
	res := c.do(ctx, c.evalsha(&l))
	if unknown(res) {
		res = c.do(ctx, c.eval(&l))
	}
	return res
}

// runAll runs scripts in one round trip to each server.
func (c *core) runAll(ctx context.Context, calls []call) []rueidis.RedisResult {
	if len(calls) == 1 {
		return []rueidis.RedisResult{c.run(ctx, calls[0])}
	}
	cmds := make(rueidis.Commands, len(calls))
	for i := range calls {
		cmds[i] = c.evalsha(&calls[i])
	}
	results := c.doMulti(ctx, cmds)
	var again []int
	for i, res := range results {
		if unknown(res) {
			again = append(again, i)
		}
	}
	if again == nil {
		return results
	}
	cmds = make(rueidis.Commands, len(again))
	for i, at := range again {
		cmds[i] = c.eval(&calls[at])
	}
	for i, res := range c.doMulti(ctx, cmds) {
		results[again[i]] = res
	}
	return results
}

func unknown(res rueidis.RedisResult) bool {
	err, ok := rueidis.IsRedisErr(res.Error())
	return ok && err.IsNoScript()
}
