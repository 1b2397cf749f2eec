package dogpile

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Mode says what an invalidation does to the entries that it reaches.
type Mode uint8

const (
	// Hard makes entries missing: callers wait for the new value.
	Hard Mode = iota
	// Soft makes entries stale: they are served while the new value is created.
	// It needs no expiration.
	Soft
)

// String returns "hard" or "soft".
func (m Mode) String() string {
	switch m {
	case Hard:
		return "hard"
	case Soft:
		return "soft"
	}
	return "Mode(" + strconv.Itoa(int(m)) + ")"
}

// State is what an entry is worth.
type State uint8

const (
	// Fresh entries are returned to everybody.
	Fresh State = iota
	// Stale entries are past their expiration or softly invalidated. They are
	// returned while somebody creates the new value.
	Stale
	// Invalidated entries are never returned.
	Invalidated
)

// String returns "fresh", "stale" or "invalidated".
func (s State) String() string {
	switch s {
	case Fresh:
		return "fresh"
	case Stale:
		return "stale"
	case Invalidated:
		return "invalidated"
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// Invalidator decides which entries are invalid. Its methods are called from
// many goroutines. [LocalInvalidator] and [SharedInvalidator] are the stock ones;
// another may, for one, keep a version for each tenant, which it finds in the
// key.
type Invalidator interface {
	// Invalidate makes the entries invalid that have been stored until now, or
	// whose creation has begun. It is what Region.Invalidate calls.
	Invalidate(ctx context.Context, mode Mode) error

	// Version returns the version under which an entry for key is stored whose
	// creation begins now. It must not contain '|'. It may be empty.
	Version(ctx context.Context, key string) (string, error)

	// Judge returns what the invalidations until now have made of the entry of key
	// that was stored under version and whose creation began at that time: Fresh,
	// Stale or Invalidated. Entries written by other programs have no version, and the
	// time is when their creation ended.
	Judge(key, version string, began time.Time) State
}

// token is the version of a region, or one of a tag's two, and where it comes from.
type token struct {
	Version  string   `json:"v"`
	Soft     bool     `json:"s,omitempty"` // what the last invalidation was
	At       int64    `json:"a,omitempty"` // when that was, Unix nanoseconds; 0: there was none
	HardAt   int64    `json:"h,omitempty"` // when the last hard one was
	Replaced []string `json:"r,omitempty"` // the versions before, the latest first, back to the last hard invalidation
	Until    int64    `json:"-"`           // of a tag's: when it goes, Unix seconds; 0: it does not
	Claims   []claim  `json:"c,omitempty"` // of processes that keep copies; see near_exact.go
}

// remembered is how many versions a token remembers. Entries of older ones are
// missing rather than stale.
const remembered = 8

// next returns the token that takes t's place after an invalidation.
func (t *token) next(version string, mode Mode) *token {
	n := &token{Version: version, At: time.Now().UnixNano()}
	if mode == Hard {
		n.HardAt = n.At
		return n
	}
	n.Soft, n.HardAt = true, t.HardAt
	n.Replaced = append(n.Replaced, t.Version)
	n.Replaced = append(n.Replaced, t.Replaced...)
	n.Replaced = n.Replaced[:min(len(n.Replaced), remembered)]
	return n
}

// judge compares the version of an entry with the region's.
func (t *token) judge(version string) State {
	switch {
	case version == t.Version:
		return Fresh
	case t.Soft && slices.Contains(t.Replaced, version):
		return Stale
	}
	return Invalidated
}

// judgeTime judges an entry that carries no version of ours.
func (t *token) judgeTime(began time.Time) State {
	switch at := began.UnixNano(); {
	case t.HardAt != 0 && at <= t.HardAt:
		return Invalidated
	case t.Soft && at <= t.At:
		return Stale
	}
	return Fresh
}

// LocalInvalidator keeps the version of a region in this process: an
// invalidation reaches the readers of this process alone. Regions may have one
// in common. The zero value is ready; it must not be copied.
type LocalInvalidator struct {
	now atomic.Pointer[token]
}

// Invalidate makes all older entries invalid for the regions that use l. It
// never fails.
func (l *LocalInvalidator) Invalidate(_ context.Context, mode Mode) error {
	for {
		old := l.token()
		id, seq, _ := strings.Cut(old.Version, ":")
		n, _ := strconv.Atoi(seq)
		// 1. Two invalidations read the same token.  2. Both replace it. One has to try
		// again, so that its own number is a new one.
		if l.now.CompareAndSwap(old, old.next(id+":"+strconv.Itoa(n+1), mode)) {
			return nil
		}
	}
}

// Version returns the version in force. The error is nil.
func (l *LocalInvalidator) Version(context.Context, string) (string, error) {
	return l.token().Version, nil
}

// Judge compares versions where the entry's is one of l, and otherwise the time
// of the entry with that of the last invalidation.
func (l *LocalInvalidator) Judge(_, version string, began time.Time) State {
	return l.token().judgeLocal(version, began)
}

func (t *token) judgeLocal(version string, began time.Time) State {
	if version == t.Version {
		return Fresh
	}
	ours := strings.IndexByte(t.Version, ':') + 1
	if strings.HasPrefix(version, t.Version[:ours]) {
		return t.judge(version)
	}
	return t.judgeTime(began)
}

func (l *LocalInvalidator) token() *token {
	if t := l.now.Load(); t != nil {
		return t
	}
	l.now.CompareAndSwap(nil, &token{Version: newVersion() + ":0"})
	return l.now.Load()
}

// newVersion returns 130 random bits in letters and digits.
func newVersion() string { return rand.Text() }
