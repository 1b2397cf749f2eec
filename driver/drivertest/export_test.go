package drivertest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/lease"
)

type Reference = reference

func NewReference() *Reference { return newReference() }

// Leases, Store and Remove let a mutant do half of what Set and Delete do.
func (r *reference) Leases() *lease.Guard { return &r.leases }

func (r *reference) Store(items []driver.Item) error { return r.store(items) }

func (r *reference) Remove(keys []string) error { return r.remove(keys) }

func (r *reference) SetCaps(c driver.Caps) { r.caps = c }

// Bare hides every optional method of b.
func Bare(b driver.Backend) driver.Backend { return bare{b} }

// NewFront returns what RunProxy runs the contract on.
func NewFront(t testing.TB, wrap func(driver.Backend) driver.Backend) driver.Backend {
	return newFront(t, wrap)
}

// LeftOut returns what Run logs of the rows that do not suit c.
func LeftOut(c driver.Caps) []string {
	_, leftOut := choose(c, false)
	return leftOut
}

// Rules returns the rules of all rows of Run.
func Rules() []string {
	var rules []string
	for _, r := range rows() {
		rules = append(rules, r.rule)
	}
	return rules
}

// Failures runs the rows whose rule begins with prefix and that suit the
// backend, each on a backend of its own, and returns the rules that were found
// broken, with what was said of each.
func Failures(t *testing.T, prefix string, open func(testing.TB) driver.Backend) map[string][]string {
	broken := map[string][]string{}
	caps := driver.CapsOf(open(t))
	chosen, _ := choose(caps, true)
	for _, r := range chosen {
		if strings.HasPrefix(r.rule, prefix) {
			recordRow(t, broken, r.rule, func(t testing.TB) {
				r.run(newEnv(t, func() driver.Backend { return open(t) }, &Options{}, true))
			})
		}
	}
	return broken
}

// ProxyFailures is Failures for RunProxy.
func ProxyFailures(t *testing.T, prefix string, wrap func(driver.Backend) driver.Backend) map[string][]string {
	broken := Failures(t, prefix, func(t testing.TB) driver.Backend { return newFront(t, wrap) })
	for _, r := range proxyRows {
		if strings.HasPrefix(r.rule, prefix) {
			recordRow(t, broken, r.rule, func(t testing.TB) { r.run(t, wrap) })
		}
	}
	return broken
}

func recordRow(t *testing.T, broken map[string][]string, rule string, run func(testing.TB)) {
	synctest.Test(t, func(t *testing.T) {
		if said := record(t, run); said != nil {
			broken[rule] = said
		}
		time.Sleep(time.Hour) // for what a mutant left running
	})
}

// recorder is a testing.TB that remembers failures instead of failing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	said     []string
	cleanups []func()
}

// record runs f and returns what it reported, nil if it passed.
func record(t testing.TB, f func(testing.TB)) []string {
	r := &recorder{TB: t}
	for _, step := range []func(){
		func() { f(r) },
		func() {
			for _, cleanup := range slices.Backward(r.cleanups) {
				cleanup()
			}
		},
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if p := recover(); p != nil {
					r.Errorf("panic: %v", p)
				}
			}()
			step()
		}()
		<-done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
