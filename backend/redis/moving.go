package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
)

// While a slot of a Cluster moves, its keys are on two nodes: each key on the one
// or the other, new ones on the one where the slot will be. A command on one key
// finds it, since the client follows ASK. A script over two keys runs on the node
// that has both, and is TRYAGAIN where there is none: for most keys of the slot,
// as long as it takes. What follows does the same by scripts over one key each.

// splits reports whether a script was refused because its keys are not, or not
// yet, on one node.
func (c *core) splits(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	return ok && c.cluster && reply.IsTryAgain()
}

var (
	// seizeScript puts a token of ours in the place of any but dogpile.cache's.
	seizeScript = newScript(`
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

	// takeScript is lockScript without the entry.
	takeScript = newScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1] then
  return 1
end
return 0`)

	// storeScript is fencedScript with the entry for its only key, which decides
	// where it runs. It returns -1 where the key of the lease is on the other node.
	storeScript = newScript(`
local held = redis.pcall('GET', ARGV[1])
if type(held) == 'table' then
  return -1
end
if held ~= ARGV[2] then
  return 0
end
if ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
redis.call('DEL', ARGV[1])
return 1`)

	putScript = newScript(`
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1`)
)

// errOvertaken is why a Set was not made again.
var errOvertaken = errors.New("the slot of the key is moving, and another call has set or deleted it meanwhile")

// errMoving is why a Set under a lease was refused.
var errMoving error = movingError{}

type movingError struct{}

// Error says what moves.
func (movingError) Error() string {
	return "the slot of the key is moving, and its lease is on another node"
}

// Unavailable tells the breaker that nodes are well whose slots move.
func (movingError) Unavailable() bool { return false }

// seized calls write while it holds the lease on key itself, in place of all
// others but dogpile.cache.
//
//  1. A's creator begins, under a lease.
//  2. B deletes the key. It seizes the lease: A's is revoked, and nobody gets one.
//  3. A stores, and is refused: a store compares the lease in the step in which it
//     writes, here as elsewhere.
//  4. B deletes the entry.
//  5. B gives the lease up. C takes it, and its creator begins after 2.
//
// With 4 before 2, A could store between the two, and what it has read before B
// would stay. And if B only revoked the lease at 2, C could take one before 4, and
// store after it what a Set of B has just replaced. If another Set or Delete
// has seized the lease from B by 5, C may have got in: B does it all again.
//
// A B that dies after 2 leaves a lease that ends by itself.
func (c *core) seized(ctx context.Context, key string, write command) error {
	lock := []string{c.lockKey(key)}
	for {
		token := holder.NewToken()
		got, err := c.do(ctx, run(seizeScript, lock, mark, token, millis(seizedFor))).AsInt64()
		if err != nil {
			return err
		}
		err = c.do(ctx, write).Error()
		if got == 0 {
			return err // nothing guards against what dogpile.cache does
		}
		freed, e := c.giveBack(ctx, lock, token)
		switch {
		case err != nil || e != nil || freed > 0:
			return errors.Join(err, e)
		case write.once:
			return errOvertaken
		}
	}
}

// giveBack gives a lease up, also when the time of ctx is over.
func (c *core) giveBack(ctx context.Context, lock []string, token string) (freed int64, err error) {
	ctx, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	return c.do(ctx, run(releaseScript, lock, token)).AsInt64()
}

// seizedFor is how long a lease that was seized lasts if it is not given up.
const seizedFor = 5 * time.Second

// deleteApart is Delete of one key.
func (c *core) deleteApart(ctx context.Context, key string) error {
	return c.seized(ctx, key, one("DEL", key))
}

// setApart is Set of one item, whose command is whole. It returns 0 if the lease is
// lost.
func (c *core) setApart(ctx context.Context, it *driver.Item, whole *command) (stored int64, err error) {
	entry := []string{it.Key}
	data, ttl := whole.args[1], whole.args[2]
	if it.Lease == nil {
		put := run(putScript, entry, data, ttl)
		put.once = it.Once
		return 1, c.seized(ctx, it.Key, put)
	}
	lock, token := c.lockKey(it.Key), whole.args[0]
	store := run(storeScript, entry, lock, token, data, ttl)
	// Where there is no entry this runs on the node where the slot will be, which
	// is where new leases are. There it is as atomic as anywhere.
	switch stored, err = c.do(ctx, store).AsInt64(); {
	case err != nil || stored > 0:
		return stored, err
	case stored < 0:
		// The entry, which is to be replaced, has not moved yet, and the lease is a
		// new one. Without the entry the store finds the lease. If the lease is lost
		// meanwhile, an entry is lost with it, which is no harm to a cache.
		if holds, err := c.holds(ctx, lock, token); !holds || err != nil {
			return 0, err
		}
		if err := c.do(ctx, one("DEL", it.Key)).Error(); err != nil {
			return 0, err
		}
		stored, err = c.do(ctx, store).AsInt64()
		if stored > 0 || err != nil {
			return stored, err
		}
	}
	// Either the lease is lost, or it was taken before the slot began to move and
	// has not moved yet. Then no step can both compare it and store.
	if holds, err := c.holds(ctx, lock, token); !holds || err != nil {
		return 0, err
	}
	return 0, errMoving
}

// holds reports whether the lease is held under that token.
func (c *core) holds(ctx context.Context, lock, token string) (bool, error) {
	held, err := c.do(ctx, one("GET", lock)).ToString()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return held == token, err
}

// lockApart is TryLock, which leaves the entry to Get.
func (c *core) lockApart(ctx context.Context, l *lease, ttl time.Duration) (driver.Lease, error) {
	got, err := c.do(ctx, run(takeScript, []string{l.lock}, l.token, millis(ttl))).AsInt64()
	switch {
	case err != nil:
		if sent(err) {
			c.giveUp(l, ttl)
		}
		return nil, failed(err)
	case got == 0:
		return nil, nil
	}
	return l, nil
}
