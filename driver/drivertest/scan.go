package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// scanRows are about a driver.Scanner. They are skipped for a backend that is none, or says
// so, and for one that changes keys.
var scanRows = []row{
	{"scan/it finds what begins with the prefix, whatever characters are in it, and nothing else", keepsValues, scansPrefixes},
	{"scan/it tells size and what is left of the TTL, or nothing of them", keepsValues, func(e *env) {
		e.scanner()
		e.set(itemTTL(e.key("hour"), "12345", time.Hour), item(e.key("kept"), "1"), itemTTL(e.key("empty"), "", time.Minute))
		all := e.scan("")
		for key, want := range map[string]driver.Found{
			"hour": {Size: 5, TTL: time.Hour}, "kept": {Size: 1}, "empty": {TTL: time.Minute},
		} {
			f := all.entries[e.key(key)]
			if f.Size != 0 && f.Size != want.Size {
				e.Errorf("%s: the size is %d, want %d or none", key, f.Size, want.Size)
			}
			if f.TTL != 0 && (f.TTL > want.TTL+e.caps.TTLUnit*2 || f.TTL < want.TTL-e.patience-e.caps.TTLUnit*2) {
				e.Errorf("%s: %v are left, want %v", key, f.TTL, want.TTL)
			}
		}
	}},
	{"scan/it finds leases, with or without an entry, and who holds them", lockNeeds, scansLeases},
	{"scan/what is over is not found", keepsValues, func(e *env) {
		e.scanner()
		start := time.Now()
		e.set(itemTTL(e.key("k"), "v", e.tick))
		if e.lock != nil {
			e.hold(e.key("leased"), e.tick)
			e.release(e.hold(e.key("released"), longTTL))
			e.hold(e.key("revoked"), longTTL)
			e.delete(e.key("revoked"))
			e.runOut(e.key("leased"), start, e.tick)
		}
		if !e.until(e.tick+e.caps.TTLUnit, func() bool { return !e.found(e.key("k")) }) {
			e.Fatal("the entry does not end")
		}
		if all := e.scan(""); len(all.entries)+len(all.leases) != 0 {
			e.Errorf("it finds %v and leases on %v", all.entries, all.leases)
		}
	}},
	{"scan/what is there all the time is found, while other keys come and go", keepsValues, scansAmidChanges},
	{"scan/it ends when found returns false", keepsValues, func(e *env) {
		s := e.scanner()
		e.many(600)
		for _, stopAt := range []int{1, 2, 300} {
			n := 0
			if err := s.Scan(e.ctx, e.space, func(driver.Found) bool { n++; return n < stopAt }); err != nil || n != stopAt {
				e.Errorf("found was called %d times, and Scan returned %v; found returned false the %dth time", n, err, stopAt)
			}
		}
	}},
	{"scan/it ends with its context", keepsValues, func(e *env) {
		s := e.scanner()
		e.many(600)
		for _, endAt := range []int{0, 1, 300} {
			ctx, cancel := context.WithCancel(e.ctx)
			n := 0
			if endAt == 0 {
				cancel()
			}
			err := s.Scan(ctx, e.space, func(driver.Found) bool {
				if n++; n == endAt {
					cancel()
				}
				return true
			})
			if n != endAt || !errors.Is(err, context.Canceled) {
				e.Errorf("the context ended in call %d of found, which was called %d times, and Scan returned %v", endAt, n, err)
			}
			cancel()
		}
	}},
	{"scan/Close ends it, in the middle of what it has read too", keepsValues, func(e *env) {
		s := e.scanner()
		c, ok := e.b.(io.Closer)
		if !ok {
			e.Skip("the backend cannot be closed")
		}
		e.many(600)
		n := 0
		e.returns("Scan, which Close ends,", func() {
			err := s.Scan(e.ctx, e.space, func(driver.Found) bool {
				if n++; n == 1 {
					if err := c.Close(); err != nil {
						e.Errorf("Close = %v", err)
					}
				}
				return true
			})
			if n != 1 || err == nil {
				e.Errorf("Close came in the first call of %d of found, and Scan returned %v", n, err)
			}
		})
	}},
	{"scan/found may use the backend", keepsValues, func(e *env) {
		s := e.scanner()
		e.many(3)
		e.returns("Scan, whose found uses the backend,", func() {
			err := s.Scan(e.ctx, e.space, func(f driver.Found) bool {
				items := []driver.Item{{Key: f.Key}}
				err := errors.Join(e.b.Get(e.ctx, items), e.trySet(item(f.Key, "new")), e.b.Delete(e.ctx, []string{f.Key}),
					s.Scan(e.ctx, f.Key, func(driver.Found) bool { return false }))
				if e.lock != nil {
					_, err1 := e.lock.TryLock(e.ctx, f.Key, longTTL)
					err = errors.Join(err, err1)
				}
				if err != nil {
					e.Errorf("in found: %v", err)
				}
				return err == nil
			})
			if err != nil {
				e.Errorf("Scan = %v", err)
			}
		})
	}},
	{"scan/another client finds the same", keepsValues | shared, func(e *env) {
		e.scanner()
		o := e.sharing()
		e.many(20)
		if mine, its := e.scan(""), o.scan(""); len(its.entries) != len(mine.entries) || len(mine.entries) < 20 {
			e.Errorf("one client finds %d entries, the other %d", len(mine.entries), len(its.entries))
		}
	}},
}

// scanner skips the row for a backend that cannot list what it has.
func (e *env) scanner() driver.Scanner {
	e.Helper()
	s, ok := e.b.(driver.Scanner)
	if !ok || errors.Is(s.Scan(e.ctx, e.space, func(driver.Found) bool { return true }), errors.ErrUnsupported) {
		e.Skip("the backend lists nothing")
	}
	if e.caps.Mangle != nil {
		e.Skip("the backend changes keys")
	}
	return s
}

// scanned is what a Scan has found, by key.
type scanned struct{ entries, leases map[string]driver.Found }

// scan returns what is under the row's own prefix and prefix.
func (e *env) scan(prefix string) scanned {
	e.Helper()
	all := scanned{map[string]driver.Found{}, map[string]driver.Found{}}
	err := e.b.(driver.Scanner).Scan(e.ctx, e.space+prefix, func(f driver.Found) bool {
		if f.Holder == nil {
			all.entries[f.Key] = f
		} else {
			all.leases[f.Key] = f
		}
		return true
	})
	if err != nil {
		e.Fatalf("Scan(%s) = %v", clip(prefix), err)
	}
	return all
}

// many stores n entries.
func (e *env) many(n int) (keys []string) {
	items := make([]driver.Item, n)
	for i := range items {
		items[i] = item(e.key(fmt.Sprint("k", i)), "v")
		keys = append(keys, items[i].Key)
	}
	e.set(items...)
	return keys
}

// oddPrefixes have characters in them that mean something to somebody.
var oddPrefixes = []string{
	"a", "a*", "a?", "a[b-d]", "a[^b]", `a\`, `a\*`, "a{b}", "a{", "{}", "a}~", "a%", "a_", "a.", "a\n", "a\r\n", "a b", "é", "\x00", "\xff", "_",
}

func scansPrefixes(e *env) {
	e.scanner()
	var keys []string
	for _, prefix := range oddPrefixes {
		keys = append(keys, e.key(prefix), e.key(prefix+"1"), e.key(prefix+"\n*"), "z"+e.key(prefix+"1"))
	}
	for _, key := range keys {
		e.set(item(key, "v"))
	}
	defer e.delete(keys...)
	for _, prefix := range append(oddPrefixes, "", "nothing", "a1", "b") {
		got := slices.Sorted(maps.Keys(e.scan(prefix).entries))
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, e.key(prefix)) {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			e.Errorf("under %q it finds %q, want %q", prefix, got, want)
		}
	}
}

func scansLeases(e *env) {
	e.scanner()
	var want []string
	for _, name := range []string{"a", "a*", "{a}", "{a}b", "a{b}c", "a}b", "{}", "{}a", "\n", "é\xff"} {
		e.hold(e.key(name), longTTL)
		want = append(want, e.key(name))
	}
	slices.Sort(want)
	e.set(item(e.key("entry"), "v"), item(e.key("both"), "v"))
	e.hold(e.key("both"), longTTL)
	want = append(want, e.key("both"))
	slices.Sort(want)
	all := e.scan("")
	if got := slices.Sorted(maps.Keys(all.leases)); !slices.Equal(got, want) {
		e.Errorf("it finds leases on %q, want %q", got, want)
	}
	if got := slices.Sorted(maps.Keys(all.entries)); !slices.Equal(got, []string{e.key("both"), e.key("entry")}) {
		e.Errorf("next to leases it finds the entries %q", got)
	}
	for key, f := range all.leases {
		if hs, ok := e.b.(driver.Holders); ok {
			if h, _, _ := hs.Holder(e.ctx, key); *f.Holder != h {
				e.Errorf("%s: the holder is %+v, but Holder tells %+v", clip(key), *f.Holder, h)
			}
		}
		if f.Size != 0 || f.TTL > longTTL+3*time.Second+e.caps.TTLUnit {
			e.Errorf("%s: a lease has %d bytes, and %v left", clip(key), f.Size, f.TTL)
		}
	}
	if all := e.scan("both"); len(all.leases) != 1 || len(all.entries) != 1 {
		e.Errorf("under the key itself it finds %v and leases on %v", all.entries, all.leases)
	}
}

// scansAmidChanges removes and adds keys while a Scan is under way: some in the middle of it,
// and others by another goroutine.
func scansAmidChanges(e *env) {
	s := e.scanner()
	stay := e.many(400)
	var going []string
	for i := range 400 {
		going = append(going, e.key(fmt.Sprint("go", i)))
		e.set(item(going[i], "v"))
	}
	ctx, end := context.WithCancel(e.ctx)
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := 0; ctx.Err() == nil; i = (i + 1) % 50 {
			_ = e.b.Set(ctx, []driver.Item{item(e.key(fmt.Sprint("come", i)), "v")})
			_ = e.b.Delete(ctx, []string{e.key(fmt.Sprint("come", (i+25)%50))})
			e.pass(e.tick / 1000)
		}
	})
	defer changing.Wait()
	defer end()
	found, n := map[string]bool{}, 0
	if err := s.Scan(e.ctx, e.space, func(f driver.Found) bool {
		found[f.Key] = true
		if n%2 == 0 && n/2 < len(going) {
			if err := e.b.Delete(e.ctx, going[n/2:n/2+1]); err != nil {
				e.Errorf("Delete = %v", err)
			}
		}
		n++
		return true
	}); err != nil {
		e.Fatalf("Scan = %v", err)
	}
	missed := slices.DeleteFunc(slices.Clone(stay), func(key string) bool { return found[key] })
	if len(missed) > 0 {
		e.Errorf("%d of %d keys were there all the time and were not found, as %s", len(missed), len(stay), clip(missed[0]))
	}
	for key := range found {
		if !strings.HasPrefix(key, e.space) {
			e.Errorf("it finds %s, which does not begin with the prefix", clip(key))
		}
	}
}

// scanHandedOn checks that a proxy lists what the backend lists.
func scanHandedOn(t testing.TB, wrap wrapper) {
	ref := newReference()
	s, ok := wrap(ref).(driver.Scanner)
	if !ok {
		t.Error("over a driver.Scanner it is none")
		return
	}
	want := driver.Found{Key: "a1", Size: 3, TTL: time.Hour}
	if err := ref.Set(t.Context(), []driver.Item{itemTTL("a1", "123", time.Hour), item("b", "v")}); err != nil {
		t.Fatalf("Set = %v", err)
	}
	n := 0
	if err := s.Scan(t.Context(), "a", func(f driver.Found) bool {
		if n++; f != want {
			t.Errorf("it finds %+v, and the backend has %+v", f, want)
		}
		return true
	}); err != nil || n != 1 {
		t.Errorf("it finds %d of the one key that the backend has; %v", n, err)
	}
	if s, ok := wrap(bare{newReference()}).(driver.Scanner); ok {
		if err := s.Scan(t.Context(), "", func(driver.Found) bool { return true }); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("over a backend that lists nothing Scan = %v, want one that wraps errors.ErrUnsupported", err)
		}
	}
}
