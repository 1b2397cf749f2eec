package dogpile

import "time"

// Near says which copies of a shared backend's entries a region keeps in its process. A hit
// on a copy costs what a hit on a backend in memory costs, and no allocation. The zero value
// is ready to use.
type Near struct {
	// MaxEntries bounds the number of copies. 0: 10,000, or no bound if there is MaxBytes.
	MaxEntries int
	// MaxBytes bounds what the copies take, in bytes: the lengths of keys and of values as
	// the backend keeps them, and 288 for keeping each. Decoded values may take more, and so
	// does a table of 8 to 16 bytes for each copy that there is room for, which is made at
	// once: with MaxBytes alone, for copies of 512 bytes. 0: no bound but MaxEntries.
	MaxBytes int
	// Lag bounds how old the knowledge is by which a copy is served: what another process
	// has stored, deleted or invalidated by a call that returned longer ago than Lag is
	// never served. Most often it is noticed at once. For the regions over the backend that the
	// call was made with, in the same process, it always is. 0: 1 s; at least 10 ms, at most an
	// hour.
	Lag time.Duration
	// Exact has Set, Delete, Invalidate and InvalidateTags, of the region and of the
	// functions and caches in it, return only when no process serves an older copy any
	// more. Over a backend that tells of changes at once, as package file, that costs
	// nothing; over others these calls take as long as Lag, and a little more.
	//
	// Where one process is Exact, all that keep copies of the region's entries have to have
	// the same Lag, and so do regions that share its tags. The region's version token tells
	// it: a process with another one is refused when it is configured, and keeps no copies
	// when it finds out later. One without Near waits for that Lag too; of the first process
	// that keeps copies it hears within a minute. So Exact needs a [SharedInvalidator], and
	// leases that are fenced ([driver.Caps]) where the backend does not tell at once.
	Exact bool
}

const (
	defaultNearEntries = 10_000
	defaultNearLag     = time.Second
	minNearLag         = 10 * time.Millisecond
	maxNearLag         = time.Hour
)

// faults tells fault what is wrong with n.
func (n *Near) faults(fault func(name, format string, args ...any)) {
	if n == nil {
		return
	}
	if n.MaxEntries < 0 {
		fault("Near.MaxEntries", "%d is negative", n.MaxEntries)
	}
	if n.MaxBytes < 0 {
		fault("Near.MaxBytes", "%d is negative", n.MaxBytes)
	}
	switch {
	case n.Lag == Never:
		fault("Near.Lag", "cannot be Never")
	case n.Lag < 0:
		fault("Near.Lag", "%v is negative", n.Lag)
	case n.Lag > 0 && (n.Lag < minNearLag || n.Lag > maxNearLag):
		fault("Near.Lag", "%v is not from %v to %v", n.Lag, minNearLag, maxNearLag)
	}
}

// complete returns n with its defaults; nil for nil.
func (n *Near) complete() *Near {
	if n == nil {
		return nil
	}
	c := *n
	if c.MaxEntries == 0 && c.MaxBytes == 0 {
		c.MaxEntries = defaultNearEntries
	}
	setDefault(&c.Lag, defaultNearLag)
	return &c
}
