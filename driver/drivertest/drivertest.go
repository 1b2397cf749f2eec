// Package drivertest is the contract of package driver as a test suite. A
// backend that passes [Run], and a proxy that passes [RunProxy], can be used
// wherever any other can.
//
//	func TestContract(t *testing.T) {
//		drivertest.Run(t, func(t *testing.T) driver.Backend { return mybackend.New() }, nil)
//	}
//
// Run it under the race detector.
package drivertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Options is what the suite cannot learn from a backend's [driver.Caps].
type Options struct {
	// Bubble runs every row in a [synctest] bubble, where waiting takes no time
	// and TTLs are checked to the nanosecond. It is for backends whose waiting and
	// timekeeping is all done by package time in this process. Those with
	// Caps.InMemory are run so in any case.
	Bubble bool

	// Patience is how long the suite waits for what has to happen soon, before it
	// reports a failure; 0: 10 s.
	Patience time.Duration
}

// Run checks that backends made by open keep the contract. Each row of the
// suite is a subtest named after the rule that it checks and gets a backend of
// its own, which is closed afterwards. Rows use keys that no other row and no
// other run uses, so that backends may share a server.
//
// With Caps.Shared some rows open a second backend, as another process would.
// They are skipped if open has given the two a store each.
//
// What a backend's Caps say it cannot do is not asked of it; the log tells, in a
// line for each reason, which rows were left out. A nil o stands for the zero
// Options.
func Run(t *testing.T, open func(t *testing.T) driver.Backend, o *Options) {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	caps := probe(t, open)
	bubble := o.Bubble || caps.InMemory
	chosen, leftOut := choose(caps, bubble)
	for _, line := range leftOut {
		t.Log(line)
	}
	for _, r := range chosen {
		t.Run(r.rule, func(t *testing.T) {
			body := func(t *testing.T) {
				r.run(newEnv(t, func() driver.Backend { return open(t) }, o, bubble))
			}
			if bubble {
				synctest.Test(t, body)
			} else {
				body(t)
			}
		})
	}
}

// choose returns the rows that suit a backend with these Caps, and what to log
// of the others: a line for each reason, with the rules that it concerns.
func choose(c driver.Caps, bubble bool) (chosen []row, leftOut []string) {
	var reasons []string // in order of appearance
	rules := map[string][]string{}
	for _, r := range rows() {
		why := r.leftOut(c, bubble)
		if why == "" {
			chosen = append(chosen, r)
			continue
		}
		if rules[why] == nil {
			reasons = append(reasons, why)
		}
		rules[why] = append(rules[why], r.rule)
	}
	for _, why := range reasons {
		leftOut = append(leftOut, fmt.Sprintf("left out, because %s: %s", why, strings.Join(rules[why], "; ")))
	}
	return chosen, leftOut
}

// probe opens a backend to ask for its Caps. It does so outside of any bubble,
// since only the Caps tell whether the backend wants one.
func probe(t *testing.T, open func(*testing.T) driver.Backend) (caps driver.Caps) {
	t.Run("opens and closes", func(t *testing.T) {
		b := open(t)
		if driver.IsNil(b) {
			t.Fatal("open returned a nil backend")
		}
		caps = driver.CapsOf(b)
		if err := driver.Close(b); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return caps
}

// row checks one rule of the contract.
type row struct {
	rule  string // names the subtest
	needs needs
	run   func(*env)
}

// needs is what a row asks of a backend.
type needs uint

const (
	keepsValues needs = 1 << iota
	discards
	objects
	shared
	locks
	fenced
	inMemory
	inBubble
	maxValue
)

func (r row) leftOut(c driver.Caps, bubble bool) (why string) {
	for _, n := range []struct {
		needs needs
		has   bool
		why   string
	}{
		{keepsValues, !c.Discards, "Caps.Discards is set"},
		{discards, c.Discards, "Caps.Discards is not set"},
		{objects, c.Objects, "Caps.Objects is not set"},
		{shared, c.Shared, "Caps.Shared is not set"},
		{locks, c.Locks, "Caps.Locks is not set"},
		{fenced, c.Locks && c.Fenced, "Caps.Fenced is not set"},
		{inMemory, c.InMemory, "Caps.InMemory is not set"},
		{inBubble, bubble, "it is not run in a bubble"},
		{maxValue, c.MaxValue > 0, "Caps.MaxValue is not set"},
	} {
		if r.needs&n.needs != 0 && !n.has {
			return n.why
		}
	}
	return ""
}

func rows() []row {
	var all []row
	for _, group := range [][]row{capsRows, dataRows, ownershipRows, ttlRows, lockRows, waitRows, fenceRows, raceRows, sharedRows, watchRows, holderRows, scanRows} {
		all = append(all, group...)
	}
	return all
}

// env is what a row works with.
type env struct {
	testing.TB
	b        driver.Backend
	caps     driver.Caps
	lock     driver.Locker // nil without Caps.Locks
	ctx      context.Context
	open     func() driver.Backend // opens another one
	bubble   bool
	patience time.Duration
	space    string        // before every key
	tick     time.Duration // a short TTL that the backend can tell from none
}

func newEnv(t testing.TB, open func() driver.Backend, o *Options, bubble bool) *env {
	e := &env{
		TB: t, open: open, ctx: t.Context(), bubble: bubble,
		patience: o.Patience,
		space:    fmt.Sprintf("dt%x.", rand.Uint64()),
		tick:     100 * time.Millisecond,
	}
	e.use(open())
	if e.patience <= 0 {
		e.patience = 10 * time.Second
	}
	if bubble {
		e.tick = time.Second
	}
	e.tick = roundUp(e.tick, e.caps.TTLUnit)
	return e
}

// use makes b the backend that e works with, and closes it after the row.
func (e *env) use(b driver.Backend) {
	e.b, e.caps = b, driver.CapsOf(b)
	if e.caps.Locks {
		e.lock = b.(driver.Locker)
	}
	e.Cleanup(func() {
		if err := driver.Close(b); err != nil {
			e.Errorf("Close = %v", err)
		}
	})
}

func roundUp(d, unit time.Duration) time.Duration {
	if unit <= 0 {
		return d
	}
	return (d + unit - 1) / unit * unit
}

// key returns the key for name as a region would hand it to the backend.
func (e *env) key(name string) string {
	if e.caps.Mangle != nil {
		return e.caps.Mangle(e.space + name)
	}
	return e.space + name
}

// pass lets time pass.
func (e *env) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.ctx.Done():
	}
}

// settle gives goroutines time to get to where they wait.
func (e *env) settle() {
	if e.bubble {
		synctest.Wait()
	} else {
		e.pass(e.tick / 4)
	}
}

// soon returns a context for what must not take longer than extra and the
// suite's patience.
func (e *env) soon(extra time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(e.ctx, extra+e.patience)
}

// until waits for cond and reports whether it came true within d and the
// suite's patience.
func (e *env) until(d time.Duration, cond func() bool) bool {
	for start := time.Now(); !cond(); e.pass(e.tick / 20) {
		if time.Since(start) > d+e.patience {
			return false
		}
	}
	return true
}

// returns runs f in a goroutine and fails the row if f panics or does not return
// soon. f must not call Fatal.
func (e *env) returns(what string, f func()) {
	e.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				e.Errorf("%s panicked: %v", what, p)
			}
		}()
		f()
	}()
	timer := time.NewTimer(e.patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		e.Fatalf("%s did not return within %v", what, e.patience)
	}
}

// trySet sets items and returns the first error, of the call or of an item.
func (e *env) trySet(items ...driver.Item) error {
	if err := e.b.Set(e.ctx, items); err != nil {
		return err
	}
	for i := range items {
		if items[i].Err != nil {
			return fmt.Errorf("item %q: %w", items[i].Key, items[i].Err)
		}
	}
	return nil
}

func (e *env) set(items ...driver.Item) {
	e.Helper()
	if err := e.trySet(items...); err != nil {
		e.Fatalf("Set: %v", err)
	}
}

func (e *env) get(keys ...string) []driver.Item {
	e.Helper()
	items := make([]driver.Item, len(keys))
	for i, key := range keys {
		items[i].Key = key
	}
	if err := e.b.Get(e.ctx, items); err != nil {
		e.Fatalf("Get: %v", err)
	}
	for i := range items {
		if items[i].Err != nil {
			e.Fatalf("Get: item %q: %v", items[i].Key, items[i].Err)
		}
	}
	return items
}

func (e *env) found(key string) bool {
	e.Helper()
	items := e.get(key)
	return items[0].Found()
}

// want fails unless key holds exactly data.
func (e *env) want(key, data string) {
	e.Helper()
	e.wantItem(&e.get(key)[0], data)
}

func (e *env) wantItem(it *driver.Item, data string) {
	e.Helper()
	switch {
	case !it.Found():
		e.Errorf("%s: not found, want %s", clip(it.Key), clip(data))
	case it.Data == nil:
		e.Errorf("%s: found the Object %v, want bytes", clip(it.Key), it.Object)
	case string(it.Data) != data:
		e.Errorf("%s: found %s, want %s", clip(it.Key), clip(string(it.Data)), clip(data))
	}
}

func (e *env) wantMissing(key string) {
	e.Helper()
	if it := e.get(key)[0]; it.Found() {
		e.Errorf("%s: found %s, want nothing", clip(key), clip(string(it.Data)))
	}
}

func (e *env) delete(keys ...string) {
	e.Helper()
	if err := e.b.Delete(e.ctx, keys); err != nil {
		e.Fatalf("Delete: %v", err)
	}
}

// clip quotes s, shortened if it is long.
func clip(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%.50q… (%d bytes)", s, len(s))
	}
	return fmt.Sprintf("%q", s)
}

func item(key, data string) driver.Item { return driver.Item{Key: key, Data: []byte(data)} }

func itemTTL(key, data string, ttl time.Duration) driver.Item {
	return driver.Item{Key: key, Data: []byte(data), TTL: ttl}
}

func itemUnder(l driver.Lease, key, data string) driver.Item {
	return driver.Item{Key: key, Data: []byte(data), Lease: l}
}
