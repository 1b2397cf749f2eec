package drivertest

import (
	"reflect"
	"slices"
	"time"
	"unsafe"

	"github.com/dogpile-go/dogpile/driver"
)

var ownershipRows = []row{
	{"ownership/Set writes to nothing it is handed but Err", 0, setWritesNothing},
	{"ownership/Set does not keep the slice of items", keepsValues, func(e *env) {
		items := []driver.Item{item(e.key("a"), "A"), itemTTL(e.key("b"), "B", time.Hour)}
		e.set(items...)
		// The slice is the caller's: it may be used again for the next batch.
		for i := range items {
			items[i] = item(e.key("other"), "of the caller's next batch")
		}
		e.want(e.key("a"), "A")
		e.want(e.key("b"), "B")
		e.wantMissing(e.key("other"))
	}},
	{"ownership/Delete writes to nothing it is handed", 0, func(e *env) {
		keys := []string{e.key("b"), e.key("a"), e.key("b"), e.key("c")}
		before := slices.Clone(keys)
		e.delete(keys...)
		if !slices.Equal(keys, before) {
			e.Errorf("keys became %q", keys)
		}
	}},
	{"ownership/what was stored does not change with later writes", keepsValues, func(e *env) {
		k := e.key("k")
		// Most of these values have one length, so that a buffer that is used again shows.
		handed := []byte("first value")
		e.set(driver.Item{Key: k, Data: handed})
		first := e.get(k)[0].Data
		e.set(item(k, "other value"))
		second := e.get(k)[0].Data
		e.set(item(k, "third"))
		e.delete(k)
		e.set(item(k, "fourth val."))
		for _, v := range []struct{ got, want string }{
			{string(handed), "first value"}, {string(first), "first value"}, {string(second), "other value"},
		} {
			if v.got != v.want {
				e.Errorf("bytes that read %q read %q after later writes", v.want, v.got)
			}
		}
	}},
	{"ownership/an Object is kept as it is", keepsValues | objects, func(e *env) {
		type thing struct{ name string }
		p := &thing{"pointer"}
		for name, obj := range map[string]any{"pointer": p, "struct": thing{"value"}, "string": "s", "number": 7, "false": false, "zero": 0} {
			e.set(driver.Item{Key: e.key(name), Object: obj})
			it := e.get(e.key(name))[0]
			if it.Object != obj || it.Data != nil {
				e.Errorf("%s: stored %v, found Object %v and Data %q", name, obj, it.Object, it.Data)
			}
		}
		b := []byte("a slice is no Data")
		e.set(driver.Item{Key: e.key("bytes"), Object: b})
		if it := e.get(e.key("bytes"))[0]; it.Data != nil || it.Object == nil {
			e.Errorf("an Object that is a []byte came back as Data %q, Object %v", it.Data, it.Object)
		}
	}},
	{"ownership/an Object and bytes replace each other", keepsValues | objects, func(e *env) {
		k := e.key("k")
		e.set(driver.Item{Key: k, Object: 1})
		e.set(item(k, "bytes"))
		e.want(k, "bytes")
		if it := e.get(k)[0]; it.Object != nil {
			e.Errorf("the Object %v is still there beside the bytes", it.Object)
		}
		e.set(driver.Item{Key: k, Object: 2})
		if it := e.get(k)[0]; it.Object != 2 || it.Data != nil {
			e.Errorf("found Object %v, Data %q, want 2", it.Object, it.Data)
		}
	}},
	{"ownership/Get does not keep the key", keepsValues | inMemory, func(e *env) {
		a, b := e.key("a"), e.key("b")
		e.set(item(a, "A"), item(b, "B"))
		buf := []byte(a)
		borrowed := unsafe.String(&buf[0], len(buf))
		for range 100 {
			copy(buf, a)
			e.want(borrowed, "A")
			copy(buf, e.key("x"))
			e.wantMissing(borrowed)
			copy(buf, b)
			e.want(borrowed, "B")
		}
		e.want(a, "A")
		e.want(b, "B")
		e.wantMissing(e.key("x"))
	}},
}

// setWritesNothing sets items in no order, with a TTL and without, with a lease
// and without. A backend with a default TTL must not write it into the items.
func setWritesNothing(e *env) {
	items := []driver.Item{
		itemTTL(e.key("d"), "timed", e.tick), item(e.key("b"), "untimed"), item(e.key("c"), ""), item(e.key("a"), "untimed too"),
	}
	if e.lock != nil {
		k := e.key("0")
		items = append(items, itemUnder(e.hold(k, longTTL), k, "under a lease"))
	}
	if e.caps.Objects {
		items = append(items, driver.Item{Key: e.key("object"), Object: "untimed"})
	}
	before := slices.Clone(items)
	for i := range before {
		before[i].Data = slices.Clone(before[i].Data)
	}
	e.set(items...)
	for i := range items {
		if got, want := items[i], before[i]; got.Key != want.Key || string(got.Data) != string(want.Data) || got.TTL != want.TTL ||
			got.Object != want.Object || !sameLease(got.Lease, want.Lease) {
			e.Errorf("item %d was %+v and became %+v", i, want, got)
		}
	}
}

// sameLease reports whether a and b are one lease. Of leases whose types cannot be
// compared it assumes so.
func sameLease(a, b driver.Lease) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() || a == b
}
