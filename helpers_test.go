package dogpile_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

var (
	bg = context.Background()

	errOrigin  = errors.New("origin is down")
	errBackend = errors.New("connection refused")
)

// bubble runs f with a clock of its own. Every goroutine that f leaves behind
// makes it fail.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// alone is bubble for a test that counts goroutines: no other runs beside it.
func alone(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// fake is a backend in memory of which a test can see and change everything.
// Several regions over one fake are several processes that share a backend.
type fake struct {
	driver.Proxy
	caps driver.Caps
	slow func(ctx context.Context, op string) error // called before and after each operation; nil: not
	down string                                     // a key whose shard of the cluster is down

	reads bool // see like

	mu      sync.Mutex
	calls   map[string]int
	trouble trouble
}

// trouble is called before each operation, whose error it may return instead.
type trouble func(ctx context.Context, op string, keys []string) error

// in makes f get into trouble from now on; nil ends it.
func (f *fake) in(t trouble) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = t
}

// like says what a fake does differently from memory.
type like struct {
	bytes    bool // keeps bytes
	unshared bool // one process
	lockless bool
	reads    bool // reads the entry as it gives the lease, and answers a Get under it with that
	maxValue int
}

func newFake(t *testing.T, l like) *fake {
	t.Helper()
	b, err := memory.New(&memory.Options{Copy: l.bytes})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Proxy: driver.Proxy{Backend: b}, calls: make(map[string]int), reads: l.reads}
	f.caps = f.Proxy.Caps()
	f.caps.Shared, f.caps.Locks = !l.unshared, !l.lockless
	f.caps.MaxValue = l.maxValue
	return f
}

func (f *fake) Caps() driver.Caps { return f.caps }

func (f *fake) enter(ctx context.Context, op string, keys ...string) error {
	f.mu.Lock()
	f.calls[op]++
	t := f.trouble
	f.mu.Unlock()
	if t != nil {
		if err := t(ctx, op, keys); err != nil {
			return err
		}
	}
	return f.slowly(ctx, op)
}

func (f *fake) slowly(ctx context.Context, op string) error {
	if f.slow != nil {
		return f.slow(ctx, op)
	}
	return nil
}

// called returns how often op was called: get, set, delete, lock, wait, locked,
// extend or release.
func (f *fake) called(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// stored returns the bytes under a key, "" if there are none.
func (f *fake) stored(t *testing.T, key string) string {
	t.Helper()
	items := []driver.Item{{Key: key}}
	if err := f.Proxy.Get(bg, items); err != nil || items[0].Err != nil {
		t.Fatalf("Get of %q: %v, %v", key, err, items[0].Err)
	}
	return string(items[0].Data)
}

func keysOf(items []driver.Item) []string {
	keys := make([]string, len(items))
	for i := range items {
		keys[i] = items[i].Key
	}
	return keys
}

// inner returns items as the memory backend knows them: with its own leases.
func inner(items []driver.Item) []driver.Item {
	own := slices.Clone(items)
	for i := range own {
		if l, ok := own[i].Lease.(*fakeLease); ok {
			own[i].Lease = l.Lease
		}
	}
	return own
}

func (f *fake) through(items []driver.Item, do func([]driver.Item) error) error {
	own := inner(items)
	at := slices.IndexFunc(own, func(it driver.Item) bool { return f.down != "" && it.Key == f.down })
	if at >= 0 {
		own = slices.Delete(own, at, at+1)
	}
	err := do(own)
	if at >= 0 {
		own = slices.Insert(own, at, driver.Item{Key: f.down, Err: errBackend})
	}
	for i := range own {
		own[i].Lease = items[i].Lease
	}
	copy(items, own)
	return err
}

func (f *fake) Get(ctx context.Context, items []driver.Item) error {
	if err := f.enter(ctx, "get", keysOf(items)...); err != nil {
		return err
	}
	if err := f.through(items, func(own []driver.Item) error { return f.Proxy.Get(ctx, own) }); err != nil {
		return err
	}
	for i := range items {
		if l, ok := items[i].Lease.(*fakeLease); ok && l.entry != nil {
			items[i].Data, items[i].Object, l.entry = l.entry.Data, l.entry.Object, nil
		}
	}
	return f.slowly(ctx, "get")
}

func (f *fake) Set(ctx context.Context, items []driver.Item) error {
	if err := f.enter(ctx, "set", keysOf(items)...); err != nil {
		return err
	}
	if err := f.through(items, func(own []driver.Item) error { return f.Proxy.Set(ctx, own) }); err != nil {
		return err
	}
	return f.slowly(ctx, "set")
}

func (f *fake) Delete(ctx context.Context, keys []string) error {
	if err := f.enter(ctx, "delete", keys...); err != nil {
		return err
	}
	if err := f.Proxy.Delete(ctx, keys); err != nil {
		return err
	}
	return f.slowly(ctx, "delete")
}

func (f *fake) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if err := f.enter(ctx, "lock", key); err != nil {
		return nil, err
	}
	l, err := f.Proxy.TryLock(ctx, key, ttl)
	if l == nil || err != nil {
		return nil, err
	}
	fl := &fakeLease{Lease: l, f: f, key: key}
	if f.reads {
		entry := []driver.Item{{Key: key}}
		if err := f.Proxy.Get(ctx, entry); err != nil {
			return nil, err
		}
		fl.entry = &entry[0]
	}
	if err := f.slowly(ctx, "lock"); err != nil {
		return nil, err // and the lease stays until it runs out
	}
	return fl, nil
}

func (f *fake) Wait(ctx context.Context, key string) error {
	if err := f.enter(ctx, "wait", key); err != nil {
		return err
	}
	return f.Proxy.Wait(ctx, key)
}

func (f *fake) Locked(ctx context.Context, key string) (bool, error) {
	if err := f.enter(ctx, "locked", key); err != nil {
		return false, err
	}
	return f.Proxy.Locked(ctx, key)
}

type fakeLease struct {
	driver.Lease
	f     *fake
	key   string
	entry *driver.Item // what was read with it, until that is asked for; nil: nothing was
}

func (l *fakeLease) Extend(ctx context.Context, ttl time.Duration) error {
	if err := l.f.enter(ctx, "extend", l.key); err != nil {
		return err
	}
	return l.Lease.Extend(ctx, ttl)
}

func (l *fakeLease) Release(ctx context.Context) error {
	if err := l.f.enter(ctx, "release", l.key); err != nil {
		return err
	}
	return l.Lease.Release(ctx)
}

// failing makes ops fail, hanging makes them hang until their context ends.
func failing(ops ...string) trouble {
	return func(_ context.Context, op string, _ []string) error {
		if slices.Contains(ops, op) {
			return errBackend
		}
		return nil
	}
}

func hanging(ops ...string) trouble {
	return func(ctx context.Context, op string, _ []string) error {
		if slices.Contains(ops, op) {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
}

// newRegion configures a region that is closed when the test ends. All regions
// have one prefix: over one backend they are one cache in several processes. A nil
// Logger stands for none.
func newRegion(t *testing.T, b driver.Backend, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	var own dogpile.Options
	if o != nil {
		own = *o
	}
	if own.Prefix == "" {
		own.Prefix = "test:"
	}
	if own.Logger == nil {
		own.Logger = slog.New(slog.DiscardHandler)
	}
	r := dogpile.NewRegion("test")
	if err := r.Configure(b, &own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error("creations are still running:", err)
		}
	})
	return r
}

// newMemory returns a plain memory backend.
func newMemory(t *testing.T) *memory.Backend {
	t.Helper()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// kinds are backends of one process, one for each way of keeping and reading
// values: hits in memory take a shorter way than those through a proxy.
var kinds = map[string]func(t *testing.T) driver.Backend{
	"memory":  func(t *testing.T) driver.Backend { return newMemory(t) },
	"objects": func(t *testing.T) driver.Backend { return newFake(t, like{unshared: true}) },
	"bytes":   func(t *testing.T) driver.Backend { return newFake(t, like{unshared: true, bytes: true}) },
}

func newCache[V any](t *testing.T, o *dogpile.Options) *dogpile.Cache[V] {
	t.Helper()
	return dogpile.NewCache[V](newRegion(t, newMemory(t), o), nil)
}

// processes returns the views of n processes on one cache.
func processes[V any](t *testing.T, n int, b driver.Backend, o *dogpile.Options) (regions []*dogpile.Region, caches []*dogpile.Cache[V]) {
	t.Helper()
	for range n {
		r := newRegion(t, b, o)
		regions = append(regions, r)
		caches = append(caches, dogpile.NewCache[V](r, nil))
	}
	return regions, caches
}

// creator counts how often it is called and how many calls run at once.
type creator[V any] struct {
	value   func(n int64) V // of the nth call, from 1; nil: the zero value
	takes   time.Duration
	err     error
	deaf    bool // does not listen to its context
	calls   atomic.Int64
	running atomic.Int64
	most    atomic.Int64 // running at once
}

// constant returns a creator of v.
func constant[V any](v V) *creator[V] { return &creator[V]{value: func(int64) V { return v }} }

// counting returns a creator of 1, 2, 3, … that takes d for each.
func counting(d time.Duration) *creator[int] {
	return &creator[int]{value: func(n int64) int { return int(n) }, takes: d}
}

func (c *creator[V]) create(ctx context.Context) (v V, err error) {
	n := c.calls.Add(1)
	now := c.running.Add(1)
	defer c.running.Add(-1)
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
	if c.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if err := wait(ctx, c.takes); err != nil {
		return v, err
	}
	if c.err != nil || c.value == nil {
		return v, c.err
	}
	return c.value(n), nil
}

// wait lets d pass in the bubble, or less if ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass lets d pass in the bubble.
func pass(d time.Duration) { _ = wait(context.Background(), d) }

// later lets d pass, and all that happens at its end happen.
func later(d time.Duration) {
	pass(d)
	synctest.Wait()
}

// result is what a call has returned, and when.
type result[V any] struct {
	v    V
	err  error
	took time.Duration
}

// start makes a call in a goroutine of its own and returns once that waits.
func start[V any](call func() (V, error)) <-chan result[V] {
	c := make(chan result[V], 1)
	go func() {
		began := time.Now()
		v, err := call()
		c <- result[V]{v, err, time.Since(began)}
	}()
	synctest.Wait()
	return c
}

// get is GetOrCreate as a call.
func get[V any](c *dogpile.Cache[V], key string, create func(context.Context) (V, error)) func() (V, error) {
	return func() (V, error) { return c.GetOrCreate(context.Background(), key, create) }
}

// crowd makes n calls at once and returns once all of them wait.
func crowd[V any](n int, call func() (V, error)) []<-chan result[V] {
	calls := make([]<-chan result[V], n)
	for i := range calls {
		calls[i] = start(call)
	}
	return calls
}

// wantValue checks a call that is to succeed.
func wantValue[V comparable](t *testing.T, what string, got V, err error, want V) {
	t.Helper()
	if err != nil || got != want {
		t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// wantFree checks that nobody is left with the creation lock of keys. Callers
// are freed before the lock is.
func wantFree(t *testing.T, r *dogpile.Region, keys ...string) {
	t.Helper()
	synctest.Wait()
	for _, key := range keys {
		if locked, err := r.Locked(context.Background(), key); locked || err != nil {
			t.Errorf("the lock of %q: %v, %v; want it free", key, locked, err)
		}
	}
}

func wantCalls[V any](t *testing.T, c *creator[V], want int64) {
	t.Helper()
	if got := c.calls.Load(); got != want {
		t.Errorf("%d creations, want %d", got, want)
	}
}

// recorder counts events by the name of their hook.
type recorder struct {
	mu     sync.Mutex
	events map[string][]dogpile.Event
}

func (r *recorder) hooks() *dogpile.Hooks {
	r.events = make(map[string][]dogpile.Event)
	on := func(name string) func(context.Context, dogpile.Event) {
		return func(_ context.Context, e dogpile.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events[name] = append(r.events[name], e)
		}
	}
	return &dogpile.Hooks{
		Hit: on("hit"), Stale: on("stale"), Miss: on("miss"), Wait: on("wait"), Create: on("create"),
		Store: on("store"), Delete: on("delete"), Invalidate: on("invalidate"), Error: on("error"),
	}
}

// take returns the events of one hook since the last call.
func (r *recorder) take(name string) []dogpile.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events[name]
	r.events[name] = nil
	return events
}

// counts returns how many events there were of each hook that had any since
// the last call.
func (r *recorder) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := make(map[string]int)
	for name, events := range r.events {
		if len(events) > 0 {
			n[name] = len(events)
		}
		r.events[name] = nil
	}
	return n
}
