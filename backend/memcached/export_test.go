package memcached

import (
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

// Seconds returns what the server is told of d.
func Seconds(d time.Duration) uint32 { return seconds(d) }

// Watch is what a waiter knows of a lease for TTL.
type Watch struct {
	watch
	TTL time.Duration
}

// Look takes note of the lease's item, for which the server says left.
func (w *Watch) Look(left int64, now time.Time) (over bool, pause time.Duration) {
	return w.look(&memcache.Op{Value: lockValue(mark+"token", w.TTL), CAS: 1, Left: left}, now)
}
