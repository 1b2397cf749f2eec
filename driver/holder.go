package driver

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Holder is who holds a lease, as far as that is known. The zero Holder is one of whom nothing
// is known.
type Holder struct {
	// Program is what holds the lease, if that is not this library: "python" for a lock of
	// dogpile.cache, of which nothing else is known.
	Program string
	// Host is the name of the holder's host, of at most 64 bytes; a longer one is cut off. It
	// may have any characters in it.
	Host string
	// PID is the number of the holder's process on that host.
	PID int
	// Since is when the lease was taken, by the clock of the holder's host. Extend does not
	// change it.
	Since time.Time
}

// String names the holder in a few words without control characters, for logs and errors.
func (h Holder) String() string {
	var who []string
	switch {
	case h.Program != "":
		who = append(who, h.Program)
	case h.PID == 0 && h.Host == "":
		who = append(who, "unknown")
	}
	if h.PID != 0 {
		who = append(who, fmt.Sprintf("process %d", h.PID))
	}
	if h.Host != "" {
		who = append(who, fmt.Sprintf("on %q", h.Host))
	}
	if !h.Since.IsZero() {
		who = append(who, "since "+h.Since.UTC().Format(time.RFC3339))
	}
	return strings.Join(who, " ")
}

// Holders is implemented by backends with leases that can tell who holds one. It is for tools
// and for people; no lease is taken or given up on what it says.
type Holders interface {
	// Holder reports what Locked does, and who holds the lease on key. The Holder is the zero
	// one where the lease is not held, and has what is known where it is.
	Holder(ctx context.Context, key string) (h Holder, held bool, err error)
}

// Scanner is implemented by backends that can list what they have. It is for tools: no call of
// a cache needs it.
type Scanner interface {
	// Scan calls found with each entry whose key begins with prefix, and with each lease on
	// such a key, in no order. No character of prefix has a special meaning. What is there all
	// the time is found, and may be found twice; what is stored, taken or removed meanwhile may
	// be found or not.
	//
	// It asks for some at a time, so that it neither holds up other calls for long nor keeps
	// all keys in memory. found is called in the caller's goroutine, and may use the backend.
	// Scan returns nil when found returns false or all were found, and an error when ctx is done or
	// the backend is closed, without calling found again. Nothing else limits the time that it
	// takes.
	//
	// A backend that cannot list anything, as a proxy over one that is no Scanner, returns an
	// error that wraps [errors.ErrUnsupported], and calls nothing.
	Scan(ctx context.Context, prefix string, found func(Found) bool) error
}

// Found is an entry or a lease that a [Scanner] has found.
type Found struct {
	// Key is the key of the entry, or that on which the lease is.
	Key string
	// Size is how many bytes the entry has in the backend, as the last proxy has written it. It is
	// 0 for a lease, and where it is not known, as for Go values.
	Size int
	// TTL is what is left until the entry is dropped, or the lease runs out. 0: no time ends
	// it, or it is not known.
	TTL time.Duration
	// Holder is who holds the lease. nil: this is an entry.
	Holder *Holder
}
