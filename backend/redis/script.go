package redis

import (
	"crypto/sha1"
	"encoding/hex"

	"github.com/dogpile-go/dogpile/internal/holder"
)

// mark begins every token of ours. Those of dogpile.cache are 32 hexadecimal
// digits. A lease that dogpile.cache holds must not be taken from it, because
// its release raises an exception when the lock is gone.
const mark = holder.Mark

// script is a Lua script over two keys of one slot, the lease's and the
// entry's, or over one. A server runs a script as a whole, before any other
// command.
type script struct{ text, sha string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

var (
	// lockScript takes the lease and reads the entry. The second condition is for
	// a TryLock that is sent twice: 1. The script takes the lease.  2. The
	// connection breaks before the answer.  3. The script runs again, and finds
	// its own token. MGET and not GET, which fails on an entry of another type:
	// the lease would be taken and TryLock would not know.
	lockScript = newScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1] then
  return {redis.call('MGET', KEYS[2])[1]}
end
return 0`)

	// extendScript and releaseScript compare first: 1. A's lease runs out.  2. B
	// takes it.  3. A, which was stopped, goes on, and must not touch B's.
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

	// fencedScript stores under the lease and releases it. That the lease is
	// compared in the same step is the fence: 1. A's creator begins.  2. B deletes
	// the key, and with it A's lease.  3. A stores, and is refused.
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

	// setScript stores without a lease and revokes the lease if it is one of
	// ours. It reads the lease first: GET fails on a key of another type, and the
	// call has then changed nothing.
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

	// deleteScript removes the entry and revokes the lease if it is one of ours.
	deleteScript = newScript(`
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
redis.call('DEL', KEYS[2])
return 1`)
)
