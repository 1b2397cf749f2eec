package dogpile

import (
	"context"
	"strconv"
	"sync/atomic"
)

// flags are what a context asks of the calls under it.
type flags uint8

const (
	bypass flags = 1 << iota
	renew
	noStale
)

// flagsKey is one key for all flags, so that a call looks for them once.
type flagsKey struct{}

// flagged is whether a context with flags was ever made. Looking for a value costs a
// comparison for each layer of a context, which hits in programs without flags are
// spared.
var flagged atomic.Bool

// Bypass returns a context under which the caches are left aside. The function of a call
// runs for this caller alone: without lock, nothing is read, nothing is stored, and nobody
// shares it. [Cache.Get], [Cache.GetMulti] and [Cache.Peek] find nothing. [Cache.Set] and
// [Cache.SetMulti] store nothing, but remove what is there, which is known to be old by
// then. Deleting and invalidating are as ever. It counts for more than Renew and NoStale.
//
// What is said of a context holds for all calls of all regions under it, those of
// creators that run for such a call included.
func Bypass(ctx context.Context) context.Context { return withFlag(ctx, bypass) }

// Renew returns a context under which [Cache.GetOrCreate], [Cache.GetOrCreateEntry],
// [Cache.GetOrCreateMulti] and the calls of functions create the value anew, as
// [Cache.Refresh] does: under the lock, whether or not there is a fresh one, and with an
// error if that fails. Reads that never create are as ever. See [Bypass] for which calls
// it holds for.
func Renew(ctx context.Context) context.Context { return withFlag(ctx, renew) }

// NoStale returns a context under which calls that create wait for the new value, or for
// the error of its creator, where they would return a stale one. At most one creator runs
// as ever. See [Bypass] for which calls it holds for.
func NoStale(ctx context.Context) context.Context { return withFlag(ctx, noStale) }

func withFlag(ctx context.Context, f flags) context.Context {
	if !flagged.Load() {
		flagged.Store(true)
	}
	return context.WithValue(ctx, flagsKey{}, flagsOf(ctx)|f)
}

// flagsOf returns the flags of a context. Bypass comes without others.
func flagsOf(ctx context.Context) flags {
	if !flagged.Load() {
		return 0
	}
	f, _ := ctx.Value(flagsKey{}).(flags)
	if f&bypass != 0 {
		return bypass
	}
	return f
}

// From tells how [Cache.GetOrCreateEntry] came to its entry.
type From uint8

const (
	// Hit: a fresh entry was there.
	Hit From = iota + 1
	// StaleHit: a stale entry was there, which another caller renews, or the Runner.
	StaleHit
	// Created: the creator of this call made it.
	Created
	// Waited: another caller made it, in this process or another one, and this call
	// waited for that.
	Waited
	// StoodIn: a stale entry stands in for a creator that failed; see
	// [Options.StaleIfError].
	StoodIn
)

// String returns "hit", "stale hit", "created", "waited", "stood in", or "" for 0.
func (f From) String() string {
	names := [...]string{"", "hit", "stale hit", "created", "waited", "stood in"}
	if int(f) < len(names) {
		return names[f]
	}
	return "From(" + strconv.Itoa(int(f)) + ")"
}
