package dogpile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
)

// anchors is the version tokens of a region whose backend keeps its keys on several
// servers. Were there one token, the server that keeps it would take the entries of all
// servers with it. So there are anchorCount of them, under keys that spread over the
// servers like any others, and an entry is judged by a token on its own server: both
// come, or fail to come, in one answer of that server.
//
// Which tokens there are does not depend on the servers. So it does not matter that two
// processes may see the servers change at different moments, and take different tokens
// for the same entry:
//
//  1. P reads token 3, of the server that it takes for the entry's, and begins a
//     creation under its version.
//  2. Q, to which the entry belongs to token 5, invalidates. It replaces all tokens, and
//     so 3 as well.  3. P stores. Whichever token the entry is judged by from now on, its
//     version is not in it: it is missing.
//
// What changes of the servers cost is entries, then: one that was stored under token 3
// and is judged by token 5 is missing, though nothing was invalidated. The versions of
// two tokens are never the same, not even those that one invalidation has written:
//
//  1. I invalidates, and has written version V as token 3.  2. P reads V, and begins a
//     creation.  3. J invalidates: it replaces 3, 5 and all others, and returns.
//  4. I comes to token 5. If that was V too, P's entry would be valid wherever 5 judges
//     it, though it began before J.
//
// An invalidation that cannot replace all tokens is an error, for the tokens of a server
// that is down are still in force if that server comes back with its memory.
type anchors struct {
	s      *state
	all    [anchorCount]*tokens
	places atomic.Pointer[places]
}

// anchorCount is how many tokens there are. One of four servers has none with a chance of
// 1 in 10⁸, and one of sixteen with a chance of 1 in 60.
const anchorCount = 64

// places tells which token judges the entries of a server: the first of those that it
// keeps. All processes that see the same servers choose the same. A server that keeps
// none has a nil one.
type places struct {
	at    int64 // when that was found out, on the clock of now
	first map[string]*tokens
}

// placesFor is how long places count without another look. For as long a process may
// judge by a token that is not the first of its server any more.
const placesFor = time.Second

func newAnchors(s *state, keys []string) *anchors {
	a := &anchors{s: s}
	for i, key := range keys {
		a.all[i] = newTokens(s, key)
	}
	return a
}

// of implements versions. The entries of a server that keeps no token are spread over
// all tokens by their keys.
func (a *anchors) of(mangled string) history {
	name := a.s.sharder.Shard(mangled)
	if ts := a.firstOn(name); ts != nil {
		return ts
	}
	return a.all[fnv1a(mangled)%anchorCount]
}

// firstOn returns the first of the tokens that a server keeps; nil: it keeps none. It
// looks for them again when it hears of a server that it does not know.
func (a *anchors) firstOn(name string) *tokens {
	p, at := a.places.Load(), now()
	if p != nil && at-p.at < int64(placesFor) {
		if ts, known := p.first[name]; known {
			return ts
		}
	}
	p = &places{at, map[string]*tokens{name: nil}}
	for _, ts := range slices.Backward(a.all[:]) {
		p.first[a.s.sharder.Shard(ts.key)] = ts
	}
	a.places.Store(p)
	return p.first[name]
}

func (a *anchors) invalidate(ctx context.Context, mode Mode, only []*tokens) (err error) {
	if only == nil {
		only = a.all[:]
	}
	var failed map[string]error
	if mode == Hard {
		failed = a.s.replaceTokens(ctx, only, Hard)
	} else if failed, err = a.soften(ctx, only); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(only), func(ts *tokens) bool { return failed[ts.key] == nil })
	return &partError{a.s.byServer(failed), left}
}

// partError is the error of an invalidation that has reached some tokens, and not those
// that are left.
type partError struct {
	error
	left []*tokens
}

// Unwrap returns what the servers have failed with.
func (e *partError) Unwrap() error { return e.error }

// soften gives each token a successor that remembers it. One that is absent has nothing
// to remember, but has to be written all the same:
//
//  1. Token 3 is absent.  2. P, which has found that too, writes T under a lease, or is
//     about to, and begins a creation under T.  3. This invalidation returns, and has left
//     token 3 alone.  4. P stores under T, which is in force.
//
// It is written without a lease, so that P's is revoked: P writes nothing, or its T is
// replaced.
func (a *anchors) soften(ctx context.Context, only []*tokens) (failed map[string]error, err error) {
	items := make([]driver.Item, len(only))
	for i, ts := range only {
		items[i].Key = ts.key
	}
	if err := a.s.get(ctx, items); err != nil {
		return nil, err
	}
	failed = make(map[string]error) // by key
	var absent, present []*tokens
	for i, ts := range only {
		switch it := &items[i]; {
		case it.Err != nil && !errors.Is(it.Err, driver.ErrCorrupt):
			failed[ts.key] = it.Err
		case it.Found():
			present = append(present, ts)
		default:
			absent = append(absent, ts)
		}
	}
	if len(absent) > 0 {
		maps.Copy(failed, a.s.replaceTokens(ctx, absent, Soft))
	}
	for i, err := range each(len(present), softenAtOnce, func(i int) error { return present[i].soften(ctx) }) {
		if err != nil {
			failed[present[i].key] = err
		}
	}
	return failed, nil
}

// softenAtOnce is how many leases on tokens are asked for at the same time.
const softenAtOnce = 16

// replaceTokens invalidates what ts judge, and returns by their keys what it has failed
// with. It does not look at the tokens that are there, so that no holder of a lease on one
// of them can delay it. So the next one remembers none of their versions, and Soft is for
// tokens that are absent: what other programs have stored is stale then.
//
// A token that cannot be written is deleted, which a server does that has no room left.
// Where there is no token all that has a version is invalid:
//
//  1. P reads T, and begins a creation.  2. T is deleted: what was stored under it is
//     missing.  3. Q writes a new token U. It may have found T absent before 2, but a delete
//     revokes the lease under which it writes, so that it begins after 2.  4. P stores under
//     T, which is not U.
//
// Entries of other programs have no version. A process that has seen a token knows that
// it is gone, takes them for invalid, and writes the next token as one that invalidates
// them; see first.
func (s *state) replaceTokens(ctx context.Context, ts []*tokens, mode Mode) (failed map[string]error) {
	defer func() {
		for _, t := range ts {
			t.forget()
		}
	}()
	if limit := s.o.BackendTimeout; limit > 0 {
		var cancel context.CancelFunc // of all that is tried
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	items := make([]driver.Item, len(ts))
	for i, t := range ts {
		next := t.first().next(newVersion(), mode)
		t.seen.Store(true)
		items[i] = t.item(next)
	}
	err := s.set(ctx, items)
	errs := itemErrors(items)
	failed = make(map[string]error)
	for _, t := range ts {
		if cause := cmp.Or(errs[t.key], err); cause != nil {
			failed[t.key] = cause
		}
	}
	s.deleteTokens(ctx, failed)
	return failed
}

// deleteTokens deletes the tokens that could not be written, and takes those out of
// failed that are gone. Each is deleted by itself: a server that is down does not hide
// what became of the others, and no error names keys that nobody has heard of.
func (s *state) deleteTokens(ctx context.Context, failed map[string]error) {
	if len(failed) == 0 || ctx.Err() != nil {
		return
	}
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		return // the timer of ctx is late
	}
	keys := slices.Collect(maps.Keys(failed))
	for i, err := range each(len(keys), len(keys), func(i int) error {
		return s.remove(ctx, keys[i:i+1])
	}) {
		if err == nil {
			delete(failed, keys[i])
		} else if before := failed[keys[i]]; !strings.Contains(err.Error(), rootCause(before).Error()) {
			failed[keys[i]] = fmt.Errorf("%w; and then: %w", before, err)
		}
	}
}

// rootCause returns what err wraps last. Two errors of one cause may differ around it: a
// breaker tells each caller since when it is open.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// shard names the server that keeps key; "" where there is one.
func (s *state) shard(key string) string {
	if s.sharder == nil {
		return ""
	}
	return s.sharder.Shard(key)
}

// byServer makes one error of those of token keys, with one cause for each server. It is
// nil if there are none.
func (s *state) byServer(failed map[string]error) error {
	causes := make(map[string]error)
	for _, key := range slices.Sorted(maps.Keys(failed)) {
		name, err := s.shard(key), failed[key]
		if s.sharder == nil {
			return err
		}
		if causes[name] == nil && !strings.Contains(err.Error(), name) {
			err = fmt.Errorf("server %s: %w", name, err)
		}
		causes[name] = cmp.Or(causes[name], err)
	}
	if len(causes) == 0 {
		return nil
	}
	var errs serverErrors
	for _, name := range slices.Sorted(maps.Keys(causes)) {
		errs = append(errs, causes[name])
	}
	return errs
}

// serverErrors is what some of the servers have failed with.
type serverErrors []error

// Error returns all of them in one line.
func (e serverErrors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns one error for each server.
func (e serverErrors) Unwrap() []error { return e }

// ping reads the keys of tokens, which are on all servers, whatever is kept there.
func (s *state) ping(ctx context.Context, keys []string) error {
	items := make([]driver.Item, len(keys))
	for i := range keys {
		items[i].Key = keys[i]
	}
	if err := s.get(ctx, items); err != nil {
		return err
	}
	failed := make(map[string]error)
	for i := range items {
		if err := items[i].Err; err != nil && !errors.Is(err, driver.ErrCorrupt) {
			failed[items[i].Key] = err
		}
	}
	return s.byServer(failed)
}

// tokenKeys returns the keys that version tokens of the region are kept under: one, or
// anchorCount where there are several servers.
func (s *state) tokenKeys() ([]string, error) {
	suffixes := []string{""}
	if s.sharder != nil {
		suffixes = nil
		for i := range anchorCount {
			suffixes = append(suffixes, "#"+strconv.Itoa(i))
		}
	}
	keys := make([]string, len(suffixes))
	for i, suffix := range suffixes {
		var err error
		if keys[i], err = s.named(s.o.Prefix + "_inv:" + s.region.name + suffix); err != nil {
			return nil, fmt.Errorf("key of the version token: %w", err)
		}
	}
	return keys, nil
}

// each calls do for the numbers from 0 to n-1, in at most limit goroutines, and returns
// what it has returned. One call is made in the caller's own goroutine.
func each(n, limit int, do func(i int) error) []error {
	errs := make([]error, n)
	if n == 1 {
		errs[0] = do(0)
		return errs
	}
	// A proxy that panics must not end the process, nor one that calls Goexit be taken for
	// one that has succeeded.
	for i := range errs {
		errs[i] = flight.ErrGoexit
	}
	one := func(i int) {
		defer func() {
			if p := recover(); p != nil {
				errs[i] = &PanicError{Value: p, Stack: debug.Stack()}
			}
		}()
		errs[i] = do(i)
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, limit) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				one(i)
			}
		})
	}
	all.Wait()
	return errs
}
