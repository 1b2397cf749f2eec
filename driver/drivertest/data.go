package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

var capsRows = []row{
	{"caps/they do not contradict themselves", 0, func(e *env) {
		c := e.caps
		if c.MaxKeyLen < 0 || c.MaxValue < 0 || c.TTLUnit < 0 {
			e.Errorf("a limit is negative: MaxKeyLen %d, MaxValue %d, TTLUnit %v", c.MaxKeyLen, c.MaxValue, c.TTLUnit)
		}
		if d, ok := e.b.(driver.Describer); ok {
			raw := d.Caps()
			if _, ok := e.b.(driver.Locker); raw.Locks && !ok {
				e.Error("Locks is set, but the backend is no driver.Locker")
			}
			if raw.Fenced && !raw.Locks {
				e.Error("Fenced is set without Locks")
			}
		}
	}},
	{"caps/Mangle gives the same legal key every time", 0, func(e *env) {
		if e.caps.Mangle == nil {
			return
		}
		for _, key := range oddKeys(e.caps.MaxKeyLen) {
			a, b := e.caps.Mangle(key), e.caps.Mangle(key)
			if a != b {
				e.Errorf("Mangle(%s) = %s and %s", clip(key), clip(a), clip(b))
			}
			if n := e.caps.MaxKeyLen; n > 0 && len(a) > n {
				e.Errorf("Mangle(%s) has %d bytes, over MaxKeyLen %d", clip(key), len(a), n)
			}
		}
	}},
	{"close/a closed backend returns from every call", 0, func(e *env) {
		c, ok := e.b.(io.Closer)
		if !ok {
			return
		}
		if err := c.Close(); err != nil {
			e.Errorf("Close = %v", err)
		}
		ctx, cancel := e.soon(0)
		defer cancel()
		e.returns("a call after Close", func() {
			// Errors are welcome; panics and hangs are not.
			_ = e.b.Get(ctx, []driver.Item{{Key: e.key("k")}})
			_ = e.b.Set(ctx, []driver.Item{item(e.key("k"), "v")})
			_ = e.b.Delete(ctx, []string{e.key("k")})
			_ = c.Close()
		})
	}},
}

var dataRows = []row{
	{"data/a value is found as it was stored", keepsValues, func(e *env) {
		e.set(item(e.key("k"), "value"))
		e.want(e.key("k"), "value")
	}},
	{"data/a missing key leaves its item as it is", 0, func(e *env) {
		items := []driver.Item{{Key: e.key("k"), TTL: time.Hour}}
		if err := e.b.Get(e.ctx, items); err != nil {
			e.Fatalf("Get = %v", err)
		}
		if it := items[0]; it.Found() || it.Err != nil || it.Key != e.key("k") || it.TTL != time.Hour {
			e.Errorf("item became %+v", it)
		}
	}},
	{"data/what a backend discards is not found", discards, func(e *env) {
		e.set(item(e.key("k"), "value"))
		e.wantMissing(e.key("k"))
	}},
	{"data/Set replaces", keepsValues, func(e *env) {
		for _, v := range []string{"a long first value", "short", "another long value"} {
			e.set(item(e.key("k"), v))
			e.want(e.key("k"), v)
		}
	}},
	{"data/Delete removes, and an absent key is no error", 0, func(e *env) {
		e.set(item(e.key("k"), "v"), item(e.key("other"), "kept"))
		for range 2 {
			e.delete(e.key("k"), e.key("never was"))
			e.wantMissing(e.key("k"))
		}
		if !e.caps.Discards {
			e.want(e.key("other"), "kept")
		}
	}},
	{"data/an empty batch does nothing", 0, func(e *env) {
		if err := errors.Join(e.b.Get(e.ctx, nil), e.b.Set(e.ctx, nil), e.b.Delete(e.ctx, nil),
			e.b.Get(e.ctx, []driver.Item{}), e.b.Set(e.ctx, []driver.Item{}), e.b.Delete(e.ctx, []string{})); err != nil {
			e.Error(err)
		}
	}},
	{"data/a batch of 1000 keeps every key's own value", keepsValues, manyKeys},
	{"data/found and missing keys mix in a batch", keepsValues, func(e *env) {
		e.set(item(e.key("b"), "B"), item(e.key("d"), "D"))
		for i, it := range e.get(e.key("a"), e.key("b"), e.key("c"), e.key("d")) {
			if i%2 == 1 {
				e.wantItem(&it, string(rune('A'+i)))
			} else if it.Found() {
				e.Errorf("item %d: found %q, want nothing", i, it.Data)
			}
		}
	}},
	{"data/the same key may be in a batch twice", keepsValues, func(e *env) {
		k := e.key("k")
		e.set(item(k, "1"), item(e.key("other"), "o"), item(k, "2"))
		items := e.get(k, e.key("other"), k)
		if a, b := string(items[0].Data), string(items[2].Data); a != b || a != "1" && a != "2" {
			e.Errorf("found %q and %q, want one of the two values twice", a, b)
		}
		e.wantItem(&items[1], "o")
		e.delete(k, k)
		e.wantMissing(k)
	}},
	{"data/an empty value is found", keepsValues, func(e *env) {
		e.set(item(e.key("k"), ""))
		e.want(e.key("k"), "")
	}},
	{"data/keys are told apart to the byte", keepsValues, func(e *env) {
		keys := e.legalKeys()
		for i, key := range keys {
			e.set(item(key, fmt.Sprint(i)))
		}
		for i, it := range e.get(keys...) {
			e.wantItem(&it, fmt.Sprint(i))
		}
		e.delete(keys[0])
		for i, it := range e.get(keys[1:]...) {
			e.wantItem(&it, fmt.Sprint(i+1))
		}
	}},
	{"data/a value may hold any bytes", keepsValues, func(e *env) {
		var all [256]byte
		for i := range all {
			all[i] = byte(i)
		}
		for _, v := range []string{string(all[:]), "\r\nEND\r\n", "a\r\nVALUE k 0 1\r\nb", "$-1\r\n", "null", "\x00", strings.Repeat("\xff", 300)} {
			e.set(item(e.key("k"), v))
			e.want(e.key("k"), v)
		}
	}},
	{"data/a large value is stored whole", keepsValues, func(e *env) {
		n := 4 << 20
		if e.caps.MaxValue > 0 {
			n = min(n, e.caps.MaxValue)
		}
		v := noise(n)
		e.set(item(e.key("k"), v))
		e.want(e.key("k"), v)
	}},
	{"data/a value over MaxValue is refused by itself", keepsValues | maxValue, func(e *env) {
		items := []driver.Item{item(e.key("a"), "a"), item(e.key("big"), noise(e.caps.MaxValue+1)), item(e.key("b"), "b")}
		if err := e.b.Set(e.ctx, items); err != nil {
			e.Fatalf("Set = %v, want an Err in the item", err)
		}
		if items[0].Err != nil || items[1].Err == nil || items[2].Err != nil {
			e.Errorf("Errs = %v, %v, %v, want one in the second", items[0].Err, items[1].Err, items[2].Err)
		}
		e.want(e.key("a"), "a")
		e.want(e.key("b"), "b")
		e.wantMissing(e.key("big"))
	}},
	{"data/a context that is done gives its error or the whole result", keepsValues, deadContext},
}

func manyKeys(e *env) {
	const n = 1000
	items, keys := make([]driver.Item, n), make([]string, n)
	for i := range items {
		keys[i] = e.key(fmt.Sprint("k", i))
		items[i] = item(keys[i], fmt.Sprint("v", i))
	}
	e.set(items...)
	for i, it := range e.get(keys...) {
		e.wantItem(&it, fmt.Sprint("v", i))
	}
	e.delete(keys[1:]...)
	for i, it := range e.get(keys...) {
		if it.Found() != (i == 0) {
			e.Fatalf("after the Delete of all but the first, Found of %d is %v", i, it.Found())
		}
	}
}

func deadContext(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	e.set(item(e.key("k"), "v"), item(e.key("gone"), "v"))
	failed := func(op string, err error) bool {
		if err != nil && !errors.Is(err, context.Canceled) {
			e.Errorf("%s = %v, want context.Canceled or success", op, err)
		}
		return err != nil
	}
	items := []driver.Item{{Key: e.key("k")}}
	if err := e.b.Get(ctx, items); !failed("Get", err) && !failed("Get's item", items[0].Err) {
		e.wantItem(&items[0], "v")
	}
	items = []driver.Item{item(e.key("new"), "v")}
	if err := e.b.Set(ctx, items); !failed("Set", err) && !failed("Set's item", items[0].Err) {
		e.want(e.key("new"), "v")
	}
	if err := e.b.Delete(ctx, []string{e.key("gone")}); !failed("Delete", err) {
		e.wantMissing(e.key("gone"))
	}
	e.want(e.key("k"), "v")
}

// oddKeys returns keys that have been mistaken for each other or refused
// somewhere, up to max bytes where that is not 0.
func oddKeys(max int) []string {
	keys := []string{
		"a", "A", "a ", " a", "a\t", "a\n", "a\r\nget b", "a/b", "a\\b", "a%2Fb", "a%b", "../a", ".", "..", "a.", "a:b", "a|b", "a*", "a?",
		"{a}b", "\"a\"", "'a'", "a\x00", "a\x00b", "a\x7f", "\xff\xfe", "CON", "nul",
		"ключ", "鍵", "é", "e\u0301", "🔑", "_lock", "_locka", "a_lock", "_inv:", "-1", "0", "true",
	}
	long := 4096
	if max > 0 {
		long = max
	}
	return append(keys, strings.Repeat("l", long), strings.Repeat("l", long-1)+"m")
}

// legalKeys returns the odd keys as a region would hand them to this backend.
func (e *env) legalKeys() []string {
	var keys []string
	seen := map[string]bool{}
	for _, key := range oddKeys(e.caps.MaxKeyLen) {
		if e.caps.MaxKeyLen == 0 || len(e.space)+len(key) <= e.caps.MaxKeyLen {
			key = e.space + key
		} else {
			key = e.space + key[len(e.space):]
		}
		if e.caps.Mangle != nil {
			key = e.caps.Mangle(key)
		}
		if !seen[key] {
			keys = append(keys, key)
		}
		seen[key] = true
	}
	return keys
}

// noise returns n bytes that do not compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

var ttlRows = []row{
	{"ttl/an entry is dropped after its TTL and not before", keepsValues, func(e *env) { e.expires(e.tick) }},
	{"ttl/a TTL below the unit is rounded up, not to nothing and not to for ever", keepsValues, func(e *env) {
		e.expires(max(e.caps.TTLUnit/1000, 1))
		e.expires(e.tick + max(e.caps.TTLUnit/2, 1))
	}},
	{"ttl/it is kept to the unit", keepsValues | inBubble, func(e *env) {
		unit := max(e.caps.TTLUnit, 1)
		for _, d := range []time.Duration{unit, 7 * unit, time.Hour, 31 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
			e.set(itemTTL(e.key("k"), "v", d))
			e.pass(d - 1)
			e.want(e.key("k"), "v")
			e.pass(roundUp(d, unit) - d + 1 + unit)
			e.wantMissing(e.key("k"))
		}
	}},
	{"ttl/a long one is not taken for a date or an overflow", keepsValues, func(e *env) {
		const day = 24 * time.Hour
		for _, d := range []time.Duration{30 * day, 30*day + time.Second, 365 * day, 100 * 365 * day, math.MaxInt64} {
			e.set(itemTTL(e.key(d.String()), "v", d))
			e.want(e.key(d.String()), "v")
		}
	}},
	{"ttl/a later Set replaces it", keepsValues, func(e *env) {
		e.set(itemTTL(e.key("to none"), "v", e.tick), itemTTL(e.key("to long"), "v", e.tick), itemTTL(e.key("witness"), "v", e.tick))
		e.set(item(e.key("to none"), "v"), itemTTL(e.key("to long"), "v", time.Hour))
		if !e.until(e.tick+e.caps.TTLUnit, func() bool { return !e.found(e.key("witness")) }) {
			e.Fatal("an entry outlived its TTL")
		}
		e.want(e.key("to none"), "v")
		e.want(e.key("to long"), "v")
	}},
	{"ttl/what Get says is left of it is true", keepsValues, func(e *env) {
		e.set(itemTTL(e.key("timed"), "v", time.Hour), item(e.key("untimed"), "v"))
		wait := e.tick / 2
		e.pass(wait)
		timed, untimed := e.get(e.key("timed"))[0], e.get(e.key("untimed"))[0]
		// Saying nothing is allowed, and so is an hour of a slow machine's time.
		if most := roundUp(time.Hour, e.caps.TTLUnit) + e.caps.TTLUnit - wait; timed.TTL < 0 || timed.TTL > most {
			e.Errorf("%v after a Set with a TTL of an hour, Get says that %v are left", wait, timed.TTL)
		}
		if untimed.TTL != 0 {
			e.Errorf("an entry without a TTL has %v left", untimed.TTL)
		}
	}},
	{"ttl/it is each item's own", keepsValues, func(e *env) {
		e.set(itemTTL(e.key("a"), "a", time.Hour), itemTTL(e.key("b"), "b", e.tick), item(e.key("c"), "c"))
		if !e.until(e.tick+e.caps.TTLUnit, func() bool { return !e.found(e.key("b")) }) {
			e.Error("an entry outlived its TTL")
		}
		e.want(e.key("a"), "a")
		e.want(e.key("c"), "c")
	}},
}

// expires checks that an entry with TTL d goes, and not early. An absence
// counts as early only if it was seen less than d after the Set began, so that
// a slow machine cannot make it so.
func (e *env) expires(d time.Duration) {
	e.Helper()
	start := time.Now()
	e.set(itemTTL(e.key("k"), "v", d))
	gone := e.until(roundUp(d, e.caps.TTLUnit)+e.caps.TTLUnit, func() bool {
		if e.found(e.key("k")) {
			return false
		}
		if after := time.Since(start); after < d {
			e.Errorf("dropped %v after the Set, before its TTL of %v", after, d)
		}
		return true
	})
	if !gone {
		e.Errorf("still there %v after a Set with a TTL of %v", time.Since(start), d)
	}
}
