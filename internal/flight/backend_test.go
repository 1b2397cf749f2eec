package flight_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

var errBroken = errors.New("broken")

// backend keeps values by key, each with a lock, for all processes of a test. It notes
// in order what is done there, as "try a" or "create a b".
type backend struct {
	taking bool // waiting for a lock takes it

	mu      sync.Mutex
	log     []string
	entries map[string]*entry
	version string // entries of another version are missing
	sources []*source
}

type entry struct {
	value   string
	made    time.Time // the zero time: there is none; more than a minute ago: stale
	version string
	creates int           // values that were made: "k1", then "k2" and so on
	holder  *source       // of the lock; nil: it is free
	freed   chan struct{} // closed when the lock becomes free
}

func newBackend(keys ...string) *backend {
	b := &backend{entries: make(map[string]*entry)}
	for _, key := range keys {
		b.entries[key] = new(entry)
	}
	return b
}

func (b *backend) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, what)
}

func (b *backend) count(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.log {
		if w == what {
			n++
		}
	}
	return n
}

// creators returns how often a creator was called.
func (b *backend) creators() int { return b.calls("create") }

// calls returns how often something was done, for whatever keys.
func (b *backend) calls(what string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.log {
		if strings.HasPrefix(w, what+" ") {
			n++
		}
	}
	return n
}

func (b *backend) traffic() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.log, ", ")
}

// set puts values there that were made some time ago.
func (b *backend) set(value string, age time.Duration, keys ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		e := b.entries[key]
		e.value, e.made, e.version = value, time.Now().Add(-age), b.version
	}
}

// delete takes values away, and revokes their locks.
func (b *backend) delete(keys ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		e := b.entries[key]
		e.value, e.made = "", time.Time{}
		e.free(e.holder)
	}
}

// invalidate makes everything that is there missing.
func (b *backend) invalidate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.version += "+"
}

func (b *backend) value(key string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[key].value
}

// creations returns "a1 b2" for one creation of a and two of b.
func (b *backend) creations(keys ...string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, key := range keys {
		out = append(out, fmt.Sprint(key, b.entries[key].creates))
	}
	return strings.Join(out, " ")
}

// other is another process, which holds locks.
var other = new(source)

// take has another process hold the locks of keys.
func (b *backend) take(keys ...string) {
	for _, key := range keys {
		if !b.try(other, key) {
			panic("the lock of " + key + " is held")
		}
	}
}

// giveBack has the other process give back the locks of keys.
func (b *backend) giveBack(keys ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		b.entries[key].free(other)
	}
}

func (b *backend) try(s *source, key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	if e.holder != nil {
		return false
	}
	e.holder, e.freed = s, make(chan struct{})
	return true
}

func (e *entry) free(s *source) {
	if s != nil && e.holder == s {
		e.holder = nil
		close(e.freed)
	}
}

func (b *backend) free(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[key].holder == nil
}

// idle checks that everything has come to its end: locks, places and flights.
func (b *backend) idle(t *testing.T) {
	t.Helper()
	time.Sleep(time.Second) // longer than any backoff
	synctest.Wait()
	for key, e := range b.entries {
		if e.holder != nil {
			t.Errorf("the lock of %s is still held", key)
		}
	}
	if in, out := b.count("enter")+b.count("enter?"), b.count("leave"); in != out {
		t.Errorf("%d times entered, %d times left", in, out)
	}
	for _, s := range b.sources {
		s.idle(t)
	}
}

func (s *source) idle(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, n := range s.taken {
		if n != 0 {
			t.Errorf("the lock of %s was taken %d times more than it was given back", s.keys[at], n)
		}
	}
	if n := s.table.Running(); n != 0 {
		t.Errorf("%d groups still run", n)
	}
	if n := s.table.Waiting(); n != 0 {
		t.Errorf("the graph of those that wait still knows %d creations and locks", n)
	}
	for _, key := range s.keys {
		if s.table.Busy(key) {
			t.Errorf("the table is still busy with %s", key)
		}
	}
}

// source is the backend as one call sees it. Tests replace some of the functions.
type source struct {
	b     *backend
	table *flight.Table
	keys  []string

	read    func(ctx context.Context, at []int) ([]flight.Reading[string], error)
	tryLock func(ctx context.Context, at int) (bool, error)
	wait    func(ctx context.Context, at int) (bool, error)
	unlock  func(at int)
	create  func(ctx context.Context, at []int) ([]flight.Result[string], error)
	store   func(ctx context.Context, at []int, values []flight.Result[string]) []bool
	enter   func(ctx context.Context, wait bool) (func(), error)

	mu     sync.Mutex
	taken  map[int]int // how often each lock was taken and not given back
	unseen []string    // errors that nobody waited for, as "k: broken"
	late   []string    // what each store was told of late callers
}

func (s *source) Read(ctx context.Context, at []int) ([]flight.Reading[string], error) {
	return s.read(ctx, at)
}

func (s *source) TryLock(ctx context.Context, at int) (bool, error) {
	held, err := s.tryLock(ctx, at)
	return s.takes(at, held), err
}

func (s *source) Wait(ctx context.Context, at int) (bool, error) {
	held, err := s.wait(ctx, at)
	return s.takes(at, held), err
}

func (s *source) takes(at int, held bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held {
		s.taken[at]++
	}
	return held
}

func (s *source) Unlock(at int) {
	s.mu.Lock()
	s.taken[at]--
	n := s.taken[at]
	s.mu.Unlock()
	if n < 0 {
		panic("unlock of a lock that is not held")
	}
	s.unlock(at)
}

func (s *source) Create(ctx context.Context, at []int) ([]flight.Result[string], error) {
	return s.create(ctx, at)
}

func (s *source) Store(ctx context.Context, at []int, values []flight.Result[string], late []bool) []bool {
	s.mu.Lock()
	s.late = append(s.late, fmt.Sprint(late))
	s.mu.Unlock()
	return s.store(ctx, at, values)
}

func (s *source) Enter(ctx context.Context, wait bool) (func(), error) { return s.enter(ctx, wait) }

func (s *source) Backoff(int) time.Duration { return 100 * time.Millisecond }

func (s *source) Name(at int) string { return s.keys[at] }

func (s *source) Unseen(_ context.Context, at []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range at {
		s.unseen = append(s.unseen, fmt.Sprint(s.keys[i], ": ", err))
	}
}

func (s *source) names(at []int) string {
	var out []string
	for _, i := range at {
		out = append(out, s.keys[i])
	}
	return strings.Join(out, " ")
}

// source returns the backend as it is: nothing fails there.
func (b *backend) source(table *flight.Table, keys []string) *source {
	s := &source{b: b, table: table, keys: keys, taken: make(map[int]int)}
	s.read = func(_ context.Context, at []int) ([]flight.Reading[string], error) { return s.readings(at), nil }
	s.tryLock = func(_ context.Context, at int) (bool, error) {
		b.note("try " + keys[at])
		return b.try(s, keys[at]), nil
	}
	s.wait = func(ctx context.Context, at int) (held bool, err error) {
		b.note("wait " + keys[at])
		return b.wait(ctx, s, keys[at])
	}
	s.unlock = func(at int) {
		b.note("unlock " + keys[at])
		b.mu.Lock()
		defer b.mu.Unlock()
		b.entries[keys[at]].free(s)
	}
	s.create = func(_ context.Context, at []int) (results []flight.Result[string], _ error) {
		b.note("create " + s.names(at))
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, i := range at {
			e := b.entries[keys[i]]
			e.creates++
			results = append(results, flight.Result[string]{Value: fmt.Sprint(keys[i], e.creates), OK: true})
		}
		return results, nil
	}
	s.store = func(_ context.Context, at []int, values []flight.Result[string]) (held []bool) {
		b.note("store " + s.names(at))
		for n, i := range at {
			held = append(held, b.store(s, keys[i], values[n].Value))
		}
		return held
	}
	s.enter = func(_ context.Context, wait bool) (func(), error) {
		b.note(map[bool]string{true: "enter", false: "enter?"}[wait])
		return func() { b.note("leave") }, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sources = append(b.sources, s)
	return s
}

func (s *source) readings(at []int) (readings []flight.Reading[string]) {
	s.b.note("read " + s.names(at))
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	for _, i := range at {
		e := s.b.entries[s.keys[i]]
		r := flight.Reading[string]{Version: s.b.version}
		if !e.made.IsZero() && e.version == s.b.version {
			r.Value, r.State = e.value, flight.Fresh
			if time.Since(e.made) > time.Minute {
				r.State = flight.Stale
			}
		}
		readings = append(readings, r)
	}
	return readings
}

func (b *backend) wait(ctx context.Context, s *source, key string) (held bool, err error) {
	for {
		if b.taking && b.try(s, key) {
			return true, nil
		}
		b.mu.Lock()
		holder, freed := b.entries[key].holder, b.entries[key].freed
		b.mu.Unlock()
		if holder != nil {
			select {
			case <-freed:
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		if !b.taking {
			return false, nil
		}
	}
}

func (b *backend) store(s *source, key, value string) (held bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	if e.holder != s {
		return false
	}
	e.value, e.made, e.version = value, time.Now(), b.version
	return true
}

// offline makes the call one of a process that cannot reach the backend: it reads
// nothing, locks nothing and stores nothing.
func (c *call) offline() *call {
	c.src.read = func(_ context.Context, at []int) ([]flight.Reading[string], error) {
		return slicesOf(flight.Reading[string]{Failed: true}, len(at)), nil
	}
	c.src.tryLock = func(context.Context, int) (bool, error) { return true, nil }
	c.src.unlock = func(int) {}
	c.src.store = func(_ context.Context, at []int, _ []flight.Result[string]) []bool { return make([]bool, len(at)) }
	return c
}

func slicesOf[E any](e E, n int) []E {
	s := make([]E, n)
	for i := range s {
		s[i] = e
	}
	return s
}

// call is one caller's request.
type call struct {
	flight.Call[string]
	src *source
}

// call returns a request for keys that finds the backend as it is.
func (b *backend) call(table *flight.Table, keys ...string) *call {
	c := &call{src: b.source(table, keys)}
	c.Call = flight.Call[string]{Table: table, Keys: keys, Source: c.src}
	return c
}

func (c *call) renewing() *call { c.Renew = true; return c }
func (c *call) optional() *call { c.Optional = true; return c }

// creates changes the creator; do is run before it.
func (c *call) creates(do func(ctx context.Context, at []int) error) *call {
	create := c.src.create
	c.src.create = func(ctx context.Context, at []int) ([]flight.Result[string], error) {
		if err := do(ctx, at); err != nil {
			return nil, err
		}
		return create(ctx, at)
	}
	return c
}

// gated makes the creator wait for gate.
func (c *call) gated(gate <-chan struct{}) *call {
	return c.creates(func(context.Context, []int) error { <-gate; return nil })
}

// leavesOut makes the creator leave out keys.
func (c *call) leavesOut(keys ...string) *call {
	create := c.src.create
	c.src.create = func(ctx context.Context, at []int) ([]flight.Result[string], error) {
		results, err := create(ctx, at)
		for n, i := range at {
			for _, key := range keys {
				if err == nil && c.Keys[i] == key {
					results[n] = flight.Result[string]{}
				}
			}
		}
		return results, err
	}
	return c
}

// results is what a call returned: the values that are there.
type results struct {
	values map[string]string
	err    error
}

// do reads, unless the call renews, and has the algorithm do the rest.
func (c *call) do(ctx context.Context) results {
	var readings []flight.Reading[string]
	request := c.Call // another caller may make the same call
	request.Called = c.Table.Now()
	if !c.Renew {
		at := make([]int, len(c.Keys))
		for i := range at {
			at[i] = i
		}
		var err error
		if readings, err = c.src.read(ctx, at); err != nil {
			return results{nil, err}
		}
	}
	got, err := request.Do(ctx, readings)
	values := make(map[string]string)
	for i, r := range got {
		if r.OK {
			values[c.Keys[i]] = r.Value
		}
	}
	return results{values, err}
}

// start makes the call in a goroutine of its own and returns once that waits.
func (c *call) start(ctx context.Context) chan results {
	done := make(chan results, 1)
	go func() { done <- c.do(ctx) }()
	synctest.Wait()
	return done
}

// want checks what a call has returned by this moment of the bubble's time: err, or
// the values "a=a1 b=b1".
func want(t *testing.T, caller string, done chan results, values string, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		if !errors.Is(got.err, err) || err == nil && !maps.Equal(got.values, parse(values)) {
			t.Errorf("%s got %v, %v; want %q, %v", caller, got.values, got.err, values, err)
		}
	default:
		t.Errorf("%s still waits; want %q, %v", caller, values, err)
		go func() { <-done }()
	}
}

// wantPart is want for a call that has some of its values, and err for the others.
func wantPart(t *testing.T, caller string, done chan results, values string, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		if !errors.Is(got.err, err) || !maps.Equal(got.values, parse(values)) {
			t.Errorf("%s got %v, %v; want %q, %v", caller, got.values, got.err, values, err)
		}
	default:
		t.Errorf("%s still waits; want %q, %v", caller, values, err)
		go func() { <-done }()
	}
}

func parse(values string) map[string]string {
	m := make(map[string]string)
	for pair := range strings.FieldsSeq(values) {
		key, value, _ := strings.Cut(pair, "=")
		m[key] = value
	}
	return m
}

// waits checks that a call has not returned yet.
func waits(t *testing.T, caller string, done chan results) {
	t.Helper()
	synctest.Wait()
	if len(done) > 0 {
		t.Errorf("%s does not wait: %v", caller, <-done)
	}
}

// bubble runs a test in a bubble of its own time, once with a backend in which
// waiting for a lock takes it, and once with one in which it does not.
func bubble(t *testing.T, test func(t *testing.T, taking bool)) {
	t.Helper()
	for name, taking := range map[string]bool{"waiting takes the lock": true, "waiting takes nothing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, taking) })
		})
	}
}
