package memcached

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

const (
	maxKey      = 250               // bytes of a key
	hashed      = "sha256:"         // begins the name of a key that memcached cannot have
	maxRelative = 60 * 60 * 24 * 30 // seconds; what is longer is taken for a date
)

// fits reports whether memcached can have an item with a name like key, of at
// most that many bytes.
func fits(key string, longest int) bool {
	if key == "" || len(key) > longest {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] == 0x7f {
			return false
		}
	}
	return true
}

// mangler returns a function that keeps keys that fit and hashes all others. A
// key that looks like a hash is hashed too, so that no two keys become one.
func mangler(longest int) func(key string) string {
	return func(key string) string {
		if fits(key, longest) && !strings.HasPrefix(key, hashed) {
			return key
		}
		sum := sha256.Sum256([]byte(key))
		return hashed + hex.EncodeToString(sum[:])
	}
}

// check refuses a key that memcached cannot have, before anything is sent.
func (c *core) check(key string) error {
	longest := maxKey - len(c.lockPrefix)
	if fits(key, longest) {
		return nil
	}
	return fmt.Errorf("%w: it has %d bytes; a key has 1 to %d, and no space or control byte", memcache.ErrKey, len(key), longest)
}

// slack is how many seconds an item may end before those it was given are over.
// memcached looks at the clock once in a bit more than a second, and drops the
// fraction:
//
//  1. It looks at 5.99 s, and reads 5.
//  2. At 6.98 s an item for n seconds is stored. It ends at 5+n.
//  3. It looks at 7.00 s, and reads 7. That is two seconds of n.
const slack = 2

// seconds returns d as a command has it: in seconds, rounded up and with the slack,
// or as a date if these are more than 30 days; 0 for no limit. What ends after 2038,
// which is no date that memcached can have, has no limit.
func seconds(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return clamp(ceil(d) + slack)
}

func ceil(d time.Duration) int64 { return int64((d-1)/time.Second) + 1 }

func clamp(n int64) uint32 {
	if n <= maxRelative {
		return uint32(n)
	}
	if n += time.Now().Unix(); n > math.MaxInt32 {
		return 0
	}
	return uint32(n)
}
