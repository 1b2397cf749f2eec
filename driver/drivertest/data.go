package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	{"caps/Shard names a server for all keys or for none, and the same every time", 0, func(e *env) {
		sh, ok := e.b.(driver.Sharder)
		if !ok {
			return
		}
		several := sh.Shard(e.key("k")) != ""
		for _, key := range e.legalKeys() {
			a, b := sh.Shard(key), sh.Shard(key)
			if a != b {
				e.Errorf("Shard(%s) = %q and %q", clip(key), a, b)
			}
			if (a != "") != several {
				e.Errorf("Shard(%s) = %q, and of another key it is not", clip(key), a)
			}
		}
	}},
	{"data/Drop removes what is chosen, and neither others nor leases", keepsValues, dropsChosen},
	{"close/a closed backend returns from every call", 0, func(e *env) {
		c, ok := e.b.(io.Closer)
		if !ok {
			return
		}
		var lease driver.Lease
		if e.lock != nil {
			lease = e.hold(e.key("held"), longTTL)
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
			if e.lock != nil {
				_, _ = e.lock.TryLock(ctx, e.key("k"), longTTL)
				_, _ = e.lock.Locked(ctx, e.key("k"))
				_ = lease.Extend(ctx, longTTL)
				_ = lease.Release(ctx)
			}
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
		// A caller may use an item again. What is in it then tells that Get wrote to it.
		before := itemTTL(e.key("k"), "of the caller", time.Hour)
		e.set(item(e.key("there"), "v"))
		items := []driver.Item{before, {Key: e.key("there")}, before}
		if err := e.b.Get(e.ctx, items); err != nil {
			e.Fatalf("Get = %v", err)
		}
		for _, it := range []driver.Item{items[0], items[2]} {
			if it.Key != before.Key || string(it.Data) != string(before.Data) || it.TTL != before.TTL || it.Object != nil || it.Err != nil {
				e.Errorf("item became %+v", it)
			}
		}
		e.wantMissing(before.Key)
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
		e.set(item(e.key("a"), "v"), item(e.key("b"), "v"), item(e.key("other"), "kept"))
		// The first key is absent, so that a backend that stops there removes nothing.
		// The second time all are.
		for range 2 {
			e.delete(e.key("never was"), e.key("a"), e.key("nor was"), e.key("b"))
			e.wantMissing(e.key("a"))
			e.wantMissing(e.key("b"))
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

// dropsChosen is about a driver.Dropper.
func dropsChosen(e *env) {
	d, ok := e.b.(driver.Dropper)
	if !ok {
		return
	}
	want := map[string]string{e.key("a"): "A", e.key("b"): "B", e.key("c"): "C"}
	for key, data := range want {
		e.set(item(key, data))
	}
	if e.lock != nil {
		e.hold(e.key("b"), longTTL)
	}
	offered := map[string]string{}
	d.Drop(func(it *driver.Item) bool {
		offered[it.Key] = string(it.Data)
		return it.Key == e.key("b")
	})
	for key, data := range want {
		if offered[key] != data {
			e.Errorf("%s was offered with %s, want %s", clip(key), clip(offered[key]), clip(data))
		}
	}
	e.wantMissing(e.key("b"))
	e.want(e.key("a"), "A")
	e.want(e.key("c"), "C")
	if e.lock != nil {
		e.wantHeld(e.key("b"))
	}
}

// oddKeys returns keys that some backend has refused or taken for each other. The
// longest have max bytes, or 4096 if max is 0.
func oddKeys(max int) []string {
	keys := []string{
		"a", "A", "a ", " a", "a\t", "a\n", "a\r\nget b", "a/b", "a\\b", "a%2Fb", "a%b", "../a", ".", "..", "a.", "a:b", "a|b", "a*", "a?",
		"{a}b", "\"a\"", "'a'", "a\x00", "a\x00b", "a\x7f", "\xff\xfe", "CON", "nul",
		"ключ", "鍵", "é", "e\u0301", "🔑", "_lock", "_locka", "a_lock", "_inv:", "_tag:", "_tag::a", "_tag:~a", "-1", "0", "true",
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
