package drivertest

import (
	"math"
	"time"
)

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
		// A backend may say nothing, and on a slow machine little may be left.
		if most := roundUp(time.Hour, e.caps.TTLUnit) + e.caps.TTLUnit - wait; timed.TTL < 0 || timed.TTL > most {
			e.Errorf("%v after a Set with a TTL of an hour, Get says that %v are left", wait, timed.TTL)
		}
		if untimed.TTL != 0 {
			e.Errorf("an entry without a TTL has %v left", untimed.TTL)
		}
	}},
	{"ttl/without one, no time ends an entry", keepsValues, func(e *env) {
		e.set(item(e.key("alone"), "v"))
		e.set(itemTTL(e.key("timed"), "v", e.tick), item(e.key("in a batch"), "v"))
		if e.lock != nil {
			k := e.key("under a lease")
			e.set(itemUnder(e.hold(k, longTTL), k, "v"))
		}
		// In real time a default of a day is not found here, only where Get tells it.
		if e.bubble {
			e.pass(10 * 365 * 24 * time.Hour)
		} else {
			e.pass(3*e.tick + e.caps.TTLUnit)
		}
		e.want(e.key("alone"), "v")
		e.want(e.key("in a batch"), "v")
		if e.lock != nil {
			e.want(e.key("under a lease"), "v")
		}
	}},
	{"ttl/it counts for what is stored under a lease too", lockNeeds, func(e *env) {
		k := e.key("k")
		it := itemUnder(e.hold(k, longTTL), k, "v")
		it.TTL = e.tick
		e.set(it)
		if !e.until(e.tick+e.caps.TTLUnit, func() bool { return !e.found(k) }) {
			e.Error("an entry outlived its TTL")
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

// expires checks that an entry with TTL d goes, and not early. It went early only
// if it was seen to be absent less than d after the Set began: on a slow machine
// the TTL may begin and end between two looks.
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
