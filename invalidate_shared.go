package dogpile

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// SharedInvalidator, as [Options.Invalidator], has a region keep its version in its
// backend: an invalidation reaches all processes that share it. The version is read
// with every entry, so that one round trip answers for both, unless
// [Options.InvalidationLag] allows less. If the backend loses the version, older
// entries are invalid.
//
// Over a [driver.Sharder] it keeps versions on every server, so that an entry and its
// version come from the same one: a server that is down takes its own entries and no
// others. An entry whose key has gone to another server is missing once.
//
// Entries of other programs, which have no version, are judged by the time of the last
// invalidation. A process that has never seen a version takes them for valid.
//
// It is a marker without methods of its own: only the region can do what it says. All
// its values mean the same.
type SharedInvalidator struct{ regionInvalidator }

// regionInvalidator makes a marker of SharedInvalidator that can be an Invalidator. It
// is nil in every value of it.
type regionInvalidator interface{ Invalidator }

// tokens is the version tokens that are kept under one key of a backend, one after the
// other: those of a region, or of a tag.
type tokens struct {
	s    *state
	key  string
	tag  bool // they are a tag's, which say no more than their version and when they go
	last atomic.Pointer[readToken]
	gone atomic.Int64  // when forget was last called, on the clock of now
	seen atomic.Bool   // there was a token once
	turn chan struct{} // has room for the one goroutine that looks for an absent token

	lastFailure atomic.Pointer[failure]
}

// failure is what became of the last turn, if it failed.
type failure struct {
	err error
	at  int64 // when, on the clock of now
}

// readToken is a token as it was read.
type readToken struct {
	raw   string
	token *token      // nil: there was none
	at    int64       // when it was asked for, on the clock of now
	mark  driver.Mark // zero: it is not known for how long it is right

	disagrees bool // it tells of another Near.Lag
}

func newTokens(s *state, key string) *tokens {
	ts := &tokens{s: s, key: key, turn: make(chan struct{}, 1)}
	ts.gone.Store(math.MinInt64)
	return ts
}

func (ts *tokens) of(string) history { return ts }

// known returns the token that was read last while the lag allows, and otherwise the
// key to read it under.
func (ts *tokens) known() (t *token, ask string) {
	lag := int64(ts.s.o.InvalidationLag)
	if lag == 0 {
		return nil, ts.key
	}
	if ts.s.near != nil && ts.proved(driver.Now()) == nil {
		return nil, ts.key // read, it makes copies good again
	}
	if seen := ts.last.Load(); seen != nil && seen.token != nil && now()-seen.at < lag {
		return seen.token, ""
	}
	return nil, ts.key
}

func (ts *tokens) judge(t *token, _, version string, began time.Time) State {
	switch {
	case t == nil && version == "" && !ts.seen.Load():
		return Fresh // written by another program, and nothing was ever invalidated
	case t == nil:
		return Invalidated // the token was evicted, or deleted by an invalidation
	case version == "":
		return t.judgeTime(began)
	}
	return t.judge(version)
}

func (ts *tokens) shared(ctx context.Context) (string, error) {
	t, err := ts.current(ctx)
	if err != nil {
		return "", err
	}
	return t.Version, nil
}

func (*tokens) entry(_ context.Context, shared, _ string) (string, error) { return shared, nil }

func (ts *tokens) parse(it *driver.Item, asked int64) *token {
	if t, ok := it.Object.(*token); ok {
		ts.noteRead(&readToken{token: t, at: asked, mark: it.Mark})
		return t
	}
	if !ts.tag {
		ts.s.readAt(asked)
	}
	seen := ts.last.Load()
	if it.Data == nil {
		if !ts.tag && ts.s.near.claims() {
			ts.s.near.tellAgain()
		}
		if it.Keep && !ts.seen.Load() { // entries of other programs are valid by that
			ts.last.CompareAndSwap(seen, &readToken{at: asked, mark: it.Mark})
		}
		return nil
	}
	if seen != nil && seen.token != nil && seen.raw == string(it.Data) {
		if ts.s.o.InvalidationLag > 0 || it.Keep {
			ts.noteRead(&readToken{raw: seen.raw, token: seen.token, at: asked, mark: it.Mark, disagrees: ts.hear(seen.token)})
		}
		return seen.token
	}
	t := ts.decode(it.Data)
	if t == nil {
		return nil // what cannot be read is as good as evicted
	}
	ts.noteRead(&readToken{raw: string(it.Data), token: t, at: asked, mark: it.Mark, disagrees: ts.hear(t)})
	return t
}

// hear notes the claims of a token of the region that was read, and reports whether this
// process serves no copies because of them.
func (ts *tokens) hear(t *token) (disagrees bool) {
	if ts.tag {
		return false
	}
	ts.s.hear(t)
	if ts.s.near.claims() && ts.s.lacks(t) {
		ts.s.near.tellAgain()
	}
	_, disagrees = ts.s.disagreeing()
	return disagrees
}

// decode returns the token that was stored as data; nil: it is none.
func (ts *tokens) decode(data []byte) *token {
	if ts.tag {
		return decodeTagToken(data)
	}
	t := new(token)
	if json.Unmarshal(data, t) != nil || t.Version == "" {
		return nil
	}
	return t
}

func (ts *tokens) noteRead(r *readToken) {
	if !ts.seen.Load() {
		ts.seen.Store(true)
	}
	// 1. T is asked for.  2. It is replaced, and forgotten; the call of that returns.
	// 3. T is noted: later callers must not trust it. Looked at before alone, gone might be
	// set between the look and the note.
	if ts.last.Store(r); r.at <= ts.gone.Load() {
		ts.last.CompareAndSwap(r, nil)
	}
}

// forget lets nobody trust what has been read or asked for until now.
func (ts *tokens) forget() {
	ts.gone.Store(now())
	ts.last.Store(nil)
}

func (ts *tokens) read(ctx context.Context) (*token, error) {
	return ts.readSince(ctx, nil, now())
}

// readSince reads the token, under a lease if there is one, for which the backend was asked
// at a moment of the clock of now. It may have read the token as it gave the lease:
//
//  1. T is read with the lease.  2. T is deleted, and forgotten; the call of that returns.
//  3. The backend answers with 1: later callers must not trust it.
func (ts *tokens) readSince(ctx context.Context, l driver.Lease, asked int64) (*token, error) {
	items := []driver.Item{{Key: ts.key, Lease: l, Keep: ts.s.near != nil && l == nil}}
	if err := ts.s.get(ctx, items); err != nil {
		return nil, err
	}
	if err := items[0].Err; err != nil && !errors.Is(err, driver.ErrCorrupt) {
		return nil, err
	}
	return ts.parse(&items[0], asked), nil
}

func (ts *tokens) write(ctx context.Context, t *token, l driver.Lease) error {
	it := ts.item(t)
	it.Lease = l
	items := []driver.Item{it}
	if err := ts.s.set(ctx, items); err != nil {
		return err
	}
	return items[0].Err
}

// item returns what the backend is to keep for t.
//
// It is stored once. Were a backend to store it again, not knowing that it has:
//
//  1. I invalidates: A is written, and the connection ends before the answer.
//  2. P reads A, begins a creation, and stores.
//  3. Q invalidates: B takes the place of A, and Q's call returns.
//  4. A is written again. P's entry, which began before 3, is valid once more.
func (ts *tokens) item(t *token) driver.Item {
	it := driver.Item{Key: ts.key, Once: true}
	if t.Until != 0 {
		it.TTL = max(time.Until(time.Unix(t.Until, 0)), time.Second)
	}
	switch {
	case ts.s.caps.Objects:
		it.Object = t
	case ts.tag:
		it.Data = encodeTagToken(t)
	default:
		it.Data, _ = json.Marshal(ts.s.stamp(t)) // strings and numbers never fail
	}
	return it
}

// first returns the token that is written where there is none. Where there was one it
// has been evicted, or deleted by an invalidation, and nobody knows what it said:
//
//  1. T tells of an invalidation at noon.  2. T is evicted.  3. U takes its place. An
//     entry that another program has made in the morning, and that has no version, must
//     not be valid again.
func (ts *tokens) first() *token {
	t := &token{Version: newVersion()}
	if ts.seen.Load() {
		t.At = time.Now().UnixNano()
		t.HardAt = t.At
	}
	return t
}

// current returns the token in force, after writing one where there is none.
func (ts *tokens) current(ctx context.Context) (*token, error) {
	if t, _ := ts.known(); t != nil {
		return t, nil
	}
	return ts.inTurn(ctx, now(), func() (*token, error) {
		t, err := ts.read(ctx)
		if t == nil && err == nil {
			t, err = ts.make(ctx, ts.first)
		}
		return t, err
	})
}

// make writes first's result where there is no token, and returns the one in force.
func (ts *tokens) make(ctx context.Context, first func() *token) (*token, error) {
	return ts.update(ctx, func(old *token) *token {
		if old != nil {
			return nil
		}
		return first()
	})
}

// inTurn finds out about the token, for a caller that has found none since it called, at a
// moment of the clock of now. Of many such callers one goes to the backend.
func (ts *tokens) inTurn(ctx context.Context, called int64, find func() (*token, error)) (*token, error) {
	leave, err := ts.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	// 1. This caller finds no token.  2. Another goroutine, whose turn it is, writes one.
	// 3. It is this one's turn. What was asked for after it called is good enough; what
	// was asked for before may have been replaced by an invalidation since.
	if seen := ts.last.Load(); seen != nil && seen.token != nil && seen.at > called {
		return seen.token, nil
	}
	if f := ts.lastFailure.Load(); f != nil && f.at > called {
		return nil, f.err
	}
	asked := now()
	t, err := find()
	switch {
	case err == nil:
		if seen := ts.last.Load(); seen == nil || seen.token != t { // find may have noted it already
			ts.noteRead(&readToken{token: t, at: asked})
		}
	case !gaveUp(ctx, err):
		ts.lastFailure.Store(&failure{err, now()})
	}
	return t, err
}

// enter waits for the turn, but not for ever: the goroutine that has it may be in a
// hook that asks for a token itself, and would wait for its own turn.
func (ts *tokens) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-ts.turn }
	select {
	case ts.turn <- struct{}{}:
		return leave, nil
	default:
	}
	timer := time.NewTimer(2 * defaultBackendTimeout)
	defer timer.Stop()
	select {
	case ts.turn <- struct{}{}:
		return leave, nil
	case <-timer.C:
		return func() {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (ts *tokens) invalidate(ctx context.Context, mode Mode, _ []*tokens) error {
	if mode == Soft {
		return ts.soften(ctx)
	}
	return ts.s.byServer(ts.s.replaceTokens(ctx, []*tokens{ts}, Hard))
}

// soften is a soft invalidation: the next token remembers the versions before.
func (ts *tokens) soften(ctx context.Context) error {
	defer ts.forget()
	_, err := ts.update(ctx, func(old *token) *token {
		if old == nil {
			old = ts.first()
		}
		return old.next(newVersion(), Soft)
	})
	return err
}

// update puts change's result in the place of the token, under the lease on it,
// and returns the token in force afterwards; change returns nil to leave it.
func (ts *tokens) update(ctx context.Context, change func(old *token) *token) (*token, error) {
	ctx, cancel := context.WithTimeout(ctx, ts.s.o.LockTTL+defaultBackendTimeout)
	defer cancel()
	for {
		t, done, err := ts.tryUpdate(ctx, change)
		if done || err != nil {
			return t, err
		}
		if err := ts.s.wait(ctx, ts.key); err != nil {
			return nil, err
		}
		if t, err := ts.read(ctx); err != nil || t != nil && change(t) == nil {
			return t, err
		}
	}
}

// tryUpdate is one attempt; not done means that another held the lease, or took
// it.
func (ts *tokens) tryUpdate(ctx context.Context, change func(old *token) *token) (t *token, done bool, err error) {
	asked := now()
	l, err := ts.s.tryLock(ctx, ts.key)
	if l == nil || err != nil {
		return nil, false, err
	}
	defer ts.s.release(l, Event{Op: "unlock"})
	old, err := ts.readSince(ctx, l, asked)
	if err != nil {
		return nil, false, err
	}
	if t = change(old); t == nil {
		return old, true, nil
	}
	switch err := ts.write(ctx, t, l); {
	case errors.Is(err, driver.ErrLeaseLost):
		// An invalidation overtook this one. Should that happen again and again,
		// it must not keep a processor busy.
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return t, true, nil
}
