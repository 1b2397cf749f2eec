package drivertest

import (
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// sharedRows are about two clients of one store, as two processes are. Regions
// rely on them with keys of every kind: to invalidate a region is to replace one
// token, which the next read of every other process has to see.
var sharedRows = []row{
	{"shared/what one client writes, the other's next Get sees", keepsValues | shared, func(e *env) { seesTheOther(e, e.sharing()) }},
	{"shared/leases are held, released and revoked for both clients", lockNeeds | shared, func(e *env) { leasesForBoth(e, e.sharing()) }},
}

// second returns an env for a second backend that open makes.
func (e *env) second() *env {
	o := *e
	o.use(e.open())
	return &o
}

// sharing returns second, and skips the row unless the two have one store.
func (e *env) sharing() *env {
	e.Helper()
	o := e.second()
	witness := e.key("witness")
	e.set(item(witness, "v"))
	// A backend that shares its store late breaks the rule and is not to be skipped.
	for range 3 {
		if o.found(witness) {
			return o
		}
		e.pass(e.tick)
	}
	e.Skip("open gives each backend a store of its own")
	return nil
}

// kinds are names of the keys that a region uses: entries, version tokens, with
// a prefix and without, and either of them hashed by a mangler.
func kinds() []string {
	return []string{"k", "users:k", "_inv:users", "users:_inv:users", "app.v2:_inv:users", "_tag::t", "_tag:~t", "b10a8db164e0754105b7a99be72e3fe5"}
}

// seesTheOther writes through one client and reads through the other, each kind of
// key by itself and all in a batch.
func seesTheOther(e, o *env) {
	// Version tokens have no TTL where entries have none, and a cache of copies may
	// keep only what has one, or only what has none.
	for _, ttl := range []time.Duration{0, time.Hour} {
		var all []string
		for _, name := range kinds() {
			writtenAndRead(e, o, ttl, e.key(name+ttl.String()))
			all = append(all, e.key(name+" in a batch"+ttl.String()))
		}
		writtenAndRead(e, o, ttl, all...)
	}
}

// writtenAndRead has b read what a has just written, in every state of what b
// could remember of the keys: nothing, that they are missing, what it has read,
// what it has written, and that it has deleted them.
func writtenAndRead(a, b *env, ttl time.Duration, keys ...string) {
	a.Helper()
	items := make([]driver.Item, len(keys))
	write := func(e *env, data string) {
		e.Helper()
		for i := range keys {
			items[i] = itemTTL(keys[i], data, ttl)
		}
		e.set(items...)
	}
	read := func(e *env, data string) {
		e.Helper()
		for _, it := range e.get(keys...) {
			switch {
			case data != "":
				e.wantItem(&it, data)
			case it.Found():
				e.Errorf("%s: found %s, which the other client has deleted", clip(it.Key), clip(string(it.Data)))
			}
		}
	}
	read(b, "")
	write(a, "1") // b remembers at most that the keys were missing
	read(b, "1")
	write(a, "2") // b has read 1
	read(b, "2")
	write(b, "3")
	write(a, "4") // b has written 3
	read(b, "4")
	a.delete(keys...) // b has read 4
	read(b, "")
	write(a, "5")
	read(b, "5")
	b.delete(keys...)
	write(a, "6") // b has deleted the keys
	read(b, "6")
	// Creations store under a lease, and never by a Set without one.
	if a.lock != nil {
		for _, key := range keys {
			it := itemUnder(a.hold(key, longTTL), key, "7")
			it.TTL = ttl
			a.set(it)
		}
		read(b, "7")
	}
}

// leasesForBoth has one client learn of a lease what the other did to it.
func leasesForBoth(e, o *env) {
	for _, name := range kinds() {
		k := e.key(name)
		l := e.hold(k, longTTL)
		// o now knows that the lease is held, by each way in which it can ask.
		o.wantHeld(k)
		o.wantLocked(k, true)
		waited := o.waits(k)
		e.settle()
		e.release(l)
		waited()
		// The answers of before hold no longer, not even for a moment.
		o.wantLocked(k, false)
		l = o.hold(k, longTTL)
		e.wantHeld(k)
		e.wantLocked(k, true)
		o.release(l)
		e.wantLocked(k, false)

		l = e.hold(k, longTTL)
		o.delete(k)
		e.wantLost("Set after the other client's Delete", e.trySet(itemUnder(l, k, "old")))
		l = e.hold(k, longTTL)
		o.set(item(k, "new"))
		e.wantLost("Set after the other client's Set", e.trySet(itemUnder(l, k, "old")))
		o.want(k, "new")
	}
}

func (e *env) wantLocked(key string, want bool) {
	e.Helper()
	if got, err := e.lock.Locked(e.ctx, key); got != want || err != nil {
		e.Errorf("Locked(%s) = %v, %v, want %v", clip(key), got, err, want)
	}
}

// waits waits for key in a goroutine. The function that it returns fails the row
// unless that has seen the key free, or soon does.
func (e *env) waits(key string) (wait func()) {
	ctx, cancel := e.soon(0)
	var waiter sync.WaitGroup
	waiter.Go(func() { e.waitUntilFree(ctx, key) })
	return func() {
		defer cancel()
		waiter.Wait()
	}
}
