package dogpile

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/flight"
	"github.com/dogpile-go/dogpile/internal/lease"
)

// now is the clock of objects, and of the proofs of a [driver.Watcher]. Monotonic time makes
// objects age right whatever is done to the wall clock, and is read in half the time.
func now() int64 { return int64(driver.Now()) }

// state is a region's configuration in force. It does not change.
type state struct {
	region  *Region
	o       Options        // complete
	chain   driver.Backend // as the user sees it
	backend driver.Backend // chain, with leases where it has none
	locker  driver.Locker
	sharder driver.Sharder // nil: there is one server
	caps    driver.Caps
	mangle  Mangler
	space   any // what the leases are kept in, the same for all regions over one backend; nil: unknown

	inUse     context.Context // ends when it will not be in force any more
	retired   func()          // ends inUse
	usage     *usage          // nil: the backend is the user's
	running   running         // creators
	flights   *flight.Table   // of this configuration alone: another one has other entries
	versions  versions
	tags      *tagScope
	local     *LocalInvalidator // what versions is made of, for the hit path; nil: another kind
	creators  limit
	near      *near                        // nil: no copies are kept
	claims    atomic.Pointer[[]heardClaim] // of copies anywhere, as heard; see near_exact.go
	tokenRead atomic.Int64                 // when a version token was asked for, on the clock of now; 0: never
	listening chan struct{}                // taken by who reads the tokens to hear of claims
	pending   *pending                     // deletes that have failed; nil: they are not tried again
	dropping  atomic.Bool                  // what was invalidated will be dropped in a moment

	// direct: a hit needs nothing but a look into this process's memory, with a
	// key made in a scratch.
	direct    bool
	quick     bool // it may need no more than that, there or at a copy
	exactTTL  bool // the backend tells exactly what is left of a TTL
	scratches sync.Pool
	stripe    atomic.Uint32
}

// guarded gives a backend without leases those of this process.
type guarded struct {
	driver.Backend
	lease.Guard
}

// Set and Get keep the leases to themselves: a backend below would take them
// for lost ones of its own.
func (g *guarded) Set(ctx context.Context, items []driver.Item) error {
	return g.Guard.Set(ctx, items, func(items []driver.Item) error {
		return withoutLeases(items, func(items []driver.Item) error { return g.Backend.Set(ctx, items) })
	})
}

// Get implements driver.Backend; see Set.
func (g *guarded) Get(ctx context.Context, items []driver.Item) error {
	return withoutLeases(items, func(items []driver.Item) error { return g.Backend.Get(ctx, items) })
}

func withoutLeases(items []driver.Item, do func([]driver.Item) error) error {
	if !slices.ContainsFunc(items, func(it driver.Item) bool { return it.Lease != nil }) {
		return do(items)
	}
	// The caller's items keep their leases: they are used after this call.
	bare := slices.Clone(items)
	for i := range bare {
		if bare[i].Lease != nil {
			bare[i].Lease, bare[i].Keep = nil, false // no copy is kept of what is read under a lease
		}
	}
	err := do(bare)
	for i := range items {
		l, keep := items[i].Lease, items[i].Keep
		items[i] = bare[i]
		items[i].Lease, items[i].Keep = l, keep
	}
	return err
}

// Delete implements driver.Backend. It revokes the leases of this process.
func (g *guarded) Delete(ctx context.Context, keys []string) error {
	return g.Guard.Delete(ctx, keys, func(keys []string) error { return g.Backend.Delete(ctx, keys) })
}

func newState(r *Region, b driver.Backend, o *Options) (*state, error) {
	if driver.IsNil(b) {
		return nil, errors.New("the backend is nil")
	}
	complete, err := o.complete(r.name)
	if err != nil {
		return nil, err
	}
	s := &state{region: r, o: complete, chain: b, flights: new(flight.Table), listening: make(chan struct{}, 1)}
	s.inUse, s.retired = context.WithCancel(context.Background())
	for i := len(complete.Proxies) - 1; i >= 0; i-- {
		if s.chain = complete.Proxies[i](s.chain); driver.IsNil(s.chain) {
			return nil, &optionError{"Proxies", fmt.Sprintf("element %d returned nil", i)}
		}
	}
	s.caps = driver.CapsOf(s.chain)
	if err := complete.checkFor(s.caps); err != nil {
		return nil, err
	}
	s.backend = s.chain
	// Leases that this region has by itself do not keep others from deleting: not other
	// processes, nor other regions over the same backend.
	fenced := s.caps.Fenced && s.caps.Locks
	if !s.caps.Locks {
		s.backend = &guarded{Backend: s.chain}
		s.caps.Fenced = true
	} else {
		s.space = leaseSpace(s.chain)
	}
	s.locker = s.backend.(driver.Locker)
	s.tags = newTagScope(s, fenced)
	if s.mangle = complete.Mangler; s.mangle == nil && s.caps.Mangle != nil {
		s.mangle = s.caps.Mangle
	}
	if sh, ok := s.chain.(driver.Sharder); ok && sh.Shard(s.o.Prefix) != "" {
		s.sharder = sh
	}
	if err := s.chooseVersions(); err != nil {
		return nil, err
	}
	if complete.MaxCreators > 0 {
		s.creators = make(limit, complete.MaxCreators)
	}
	if err := s.chooseNear(); err != nil {
		return nil, err
	}
	s.direct = s.caps.InMemory && s.caps.Objects && s.mangle == nil && s.local != nil
	s.quick = s.direct || s.near != nil
	s.pending = newPending(s)
	s.exactTTL = s.caps.InMemory && s.caps.TTLUnit <= time.Microsecond
	s.scratches.New = func() any {
		sc := &scratch{stripe: int(s.stripe.Add(1)) % stripes}
		sc.key = append(sc.key, s.o.Prefix...)
		return sc
	}
	return s, nil
}

// leaseSpace returns the backend inside all proxies, which keeps the leases. nil: it
// cannot be compared.
func leaseSpace(b driver.Backend) any {
	for {
		u, ok := b.(interface{ Unwrap() driver.Backend })
		if !ok {
			break
		}
		b = u.Unwrap()
	}
	if !reflect.ValueOf(b).Comparable() {
		return nil
	}
	return b
}

func (s *state) chooseVersions() error {
	inv := s.o.Invalidator
	if inv == nil {
		if s.caps.Shared {
			inv = SharedInvalidator{}
		} else {
			inv = new(LocalInvalidator)
		}
	}
	switch inv := inv.(type) {
	case *LocalInvalidator:
		s.local, s.versions = inv, localVersions{inv}
	case SharedInvalidator, *SharedInvalidator:
		keys, err := s.tokenKeys()
		if err != nil {
			return err
		}
		if s.versions = newTokens(s, keys[0]); s.sharder != nil {
			s.versions = newAnchors(s, keys)
		}
	default:
		s.versions = &customVersions{inv}
	}
	return nil
}

// scratch holds what a lookup needs and can be used again.
type scratch struct {
	key    []byte // begins with the region's prefix
	tag    []byte // the key of a tag's token
	items  [1]driver.Item
	stripe int
}

// text returns the key, for those who do not keep it.
func (sc *scratch) text() string { return unsafe.String(unsafe.SliceData(sc.key), len(sc.key)) }

// lookup asks for a key that is made in sc. left is what is left of the TTL, if the backend
// tells.
func (s *state) lookup(ctx context.Context, sc *scratch, key string) (object any, left time.Duration, err error) {
	it := &sc.items[0]
	// The backend does not keep the key: Caps.InMemory promises that.
	it.Key = key
	err = s.backend.Get(ctx, sc.items[:])
	object = it.Object
	if s.exactTTL {
		left = it.TTL
	}
	if it.Err != nil && err == nil {
		err = it.Err
	}
	*it = driver.Item{}
	return object, left, err
}

func (s *state) scratch() *scratch { return s.scratches.Get().(*scratch) }

func (s *state) free(sc *scratch) {
	sc.key = sc.key[:len(s.o.Prefix)]
	s.scratches.Put(sc)
}

// key returns what the backend knows key as.
func (s *state) key(op, key string) (string, error) {
	k, err := s.mangled(key, s.o.Prefix+key)
	return k, s.region.wrap(op, key, err)
}

// keys is key for many. Their prefixed forms share one piece of memory.
func (s *state) keys(op string, keys []string) ([]string, error) {
	size := len(keys) * len(s.o.Prefix)
	for _, key := range keys {
		size += len(key)
	}
	var all strings.Builder
	all.Grow(size)
	out := make([]string, len(keys))
	for i, key := range keys {
		from := all.Len()
		all.WriteString(s.o.Prefix)
		all.WriteString(key)
		var err error
		// The memory that the prefixed form is in does not move: it has room for all.
		if out[i], err = s.mangled(key, all.String()[from:]); err != nil {
			return nil, s.region.wrap(op, key, err)
		}
	}
	return out, nil
}

var errReserved = errors.New("keys that begin with _lock, _inv: or _tag: are reserved")

// mangled returns what the backend knows a key of the user's as, whose form with the
// prefix is prefixed.
func (s *state) mangled(key, prefixed string) (string, error) {
	if reserved(key) || reserved(prefixed) {
		return "", errReserved
	}
	return s.named(prefixed)
}

// named returns what the backend knows a key with its prefix as.
func (s *state) named(prefixed string) (string, error) {
	key := prefixed
	if s.mangle != nil {
		key = s.mangle(key)
	}
	if limit := s.caps.MaxKeyLen; limit > 0 && len(key) > limit {
		return "", fmt.Errorf("key has %d bytes with its prefix, the backend takes %d; a Mangler shortens keys", len(key), limit)
	}
	return key, nil
}

// bound limits the time of a call of the backend.
func (s *state) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.caps.InMemory || s.o.BackendTimeout < 0 || s.caps.Timeout > 0 && s.caps.Timeout <= s.o.BackendTimeout {
		return ctx, func() {}
	}
	// The cause tells a breaker that it was not the caller who had no time.
	return context.WithTimeoutCause(ctx, s.o.BackendTimeout, driver.ErrTimeout)
}

// get reads items.
func (s *state) get(ctx context.Context, items []driver.Item) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	began := s.calls()
	err := s.backend.Get(ctx, items)
	s.called(ctx, "get", began, items, err)
	return err
}

// remove removes what is under mangled keys.
func (s *state) remove(ctx context.Context, mangled []string) error {
	began := s.calls()
	err := s.backend.Delete(ctx, mangled)
	s.called(ctx, "delete", began, nil, err)
	return err
}

// calls returns when a call of the backend begins, if somebody is to be told.
func (s *state) calls() (began int64) {
	if s.o.Hooks.Backend == nil {
		return 0
	}
	return now()
}

// called tells Hooks.Backend of a call that began then, and of its items.
func (s *state) called(ctx context.Context, op string, began int64, items []driver.Item, err error) {
	if s.o.Hooks.Backend == nil {
		return
	}
	e := Event{Op: op, Duration: time.Duration(now() - began), Err: err}
	for i := range items {
		e.Size += len(items[i].Data)
		if e.Err == nil {
			e.Err = items[i].Err
		}
	}
	s.event(ctx, s.o.Hooks.Backend, e)
}

// set stores items. Only the errors of single items are left in them.
func (s *state) set(ctx context.Context, items []driver.Item) error {
	if limit := s.caps.MaxValue; limit > 0 {
		items = fitting(items, limit)
	}
	if len(items) == 0 {
		return nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	began := s.calls()
	err := s.backend.Set(ctx, items)
	s.called(ctx, "set", began, items, err)
	return err
}

// sizeError is the error of a value that the backend was not asked to store.
type sizeError struct{ size, limit int }

// Error tells both sizes in bytes.
func (e *sizeError) Error() string {
	return fmt.Sprintf("value has %d bytes, the backend takes %d", e.size, e.limit)
}

// fitting moves the items that are small enough to the front and returns them;
// the others get an error.
func fitting(items []driver.Item, limit int) []driver.Item {
	n := 0
	for i := range items {
		if size := len(items[i].Data); size > limit {
			items[i].Err = &sizeError{size, limit}
			continue
		}
		items[n], items[i] = items[i], items[n]
		n++
	}
	return items[:n]
}

// delete removes the entries of keys.
func (s *state) delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	mangled, err := s.keys("delete", keys)
	if err != nil {
		return err
	}
	_ = s.listen(ctx) // what is not known then is asked for again
	s.flights.Forget(mangled...)
	began := s.pending.now()
	bounded, cancel := s.bound(ctx)
	defer cancel()
	done := false
	if err = s.remove(bounded, mangled); err == nil {
		done = true
		s.pending.settle(began, mangled...)
		err = s.region.wrap("delete", keys[0], s.waitForCopies(ctx))
	} else {
		oe := s.region.backendError(ctx, "delete", keys[0], err)
		if s.pending.keep(ctx, 0, keys, mangled, err) {
			oe = &OpError{oe.Region, oe.Op, oe.Key, &pendingError{oe.Err}}
		}
		err = oe
	}
	for _, key := range keys {
		s.event(ctx, s.o.Hooks.Delete, Event{Op: "delete", Key: key, Err: err})
	}
	if done {
		s.region.stats.add(countDeletes, len(keys))
	}
	return err
}
