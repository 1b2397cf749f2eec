//go:build unix

package fleettest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// actor is one process of a fleet, from the inside.
type actor struct {
	task
	w      *world
	p      *proc
	watch  *watch
	region *dogpile.Region
	cache  *dogpile.Cache[value]
	levels *levels // nil: there are no caches with tags
	round  int64   // the first that it takes part in

	invalidates atomic.Int64 // calls of InvalidateTags
}

// value is what is kept in the cache. It knows the key that it belongs to, so that
// the value of another key is noticed.
type value struct {
	Key string
	N   int64 // version of the origin
	Set bool  // a Set stored it; else it was created
}

// maxFaults is how many faults are told of; there may be very many.
const maxFaults = 10

// errOrigin is the error of the creators that fail on purpose.
var errOrigin = errors.New("the origin fails, as it was told to")

// roles are what the goroutines of a process do.
var roles = map[string]func(a *actor, g int){
	"storm":    (*actor).storm,
	"stampede": (*actor).stampede,
	"history":  (*actor).history,
	"tags":     (*actor).tagHistory,
	"products": (*actor).tagHistory,
}

// records reports whether the process takes part in a history.
func (a *actor) records() bool { return a.Role != "storm" && a.Role != "stampede" }

// act plays one process until the world is over.
func act(k task) error {
	w, err := openWorld(k.World)
	if err != nil {
		return err
	}
	a := &actor{task: k, w: w, p: &w.procs[k.Proc]}
	b, err := driver.Open(context.Background(), k.URL)
	if err != nil {
		return err
	}
	if err := a.configure(b); err != nil {
		return err
	}
	if a.records() {
		if a.levels, err = a.openLevels(b); err != nil {
			return err
		}
	}
	a.round = w.round.Load() + 1
	a.p.away.Store(false)
	var all sync.WaitGroup
	for g := range k.Each {
		all.Go(func() { roles[k.Role](a, g) })
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Close tries only once more what has failed, and a breaker may still be open then.
	for a.pending() && ctx.Err() == nil {
		pause(time.Millisecond)
	}
	err = a.region.Close(ctx)
	if a.levels != nil {
		err = errors.Join(err, a.levels.close(ctx, b))
	}
	return errors.Join(err, driver.Close(b))
}

// pending reports whether there are changes that have failed and are tried again.
func (a *actor) pending() bool {
	regions := []*dogpile.Region{a.region}
	if a.levels != nil {
		regions = append(regions, a.levels.regions...)
	}
	return slices.ContainsFunc(regions, func(r *dogpile.Region) bool { return r.Stats().Pending > 0 })
}

func (a *actor) configure(b driver.Backend) error {
	a.region = dogpile.NewRegion(a.Region)
	a.watch = &watch{w: a.w, p: a.p, prefix: a.Region + ":k"}
	o := a.options()
	o.Proxies = slices.Insert(o.Proxies, 0, func(b driver.Backend) driver.Backend {
		a.watch.Backend = b
		return a.watch
	})
	var tags *dogpile.CacheOptions[value]
	if a.Tagged && a.Proc%2 == 0 { // the others tell of their tag as they create
		tags = &dogpile.CacheOptions[value]{Tags: func(string) []string { return []string{stormTag} }}
	}
	a.cache = dogpile.NewCache(a.region, tags)
	return a.region.Configure(b, o)
}

// options returns what all regions of the process are configured with.
func (a *actor) options() *dogpile.Options {
	o := &dogpile.Options{
		Expiration:     a.Expiration,
		StaleFor:       time.Hour,
		RefreshAhead:   a.Ahead,
		LockTTL:        a.LockTTL,
		CreateTimeout:  dogpile.Never,
		BackendTimeout: patience,
		Strict:         !a.Trouble,
		TagScope:       a.Region,
		Logger:         slog.New(slog.DiscardHandler), // Hooks say what is wrong
		Hooks: &dogpile.Hooks{Error: func(_ context.Context, e dogpile.Event) {
			// A renewal that fails is tried again, and a lease that is lost is told of. A creator
			// without a lease has a context under which nothing can be done.
			if !a.Trouble && !errors.Is(e.Err, errOrigin) && e.Op != "extend" && !slow(e.Err) && !errors.Is(e.Err, context.Canceled) {
				a.fault("%s %q: %v", e.Op, e.Key, e.Err)
			}
		}},
	}
	if a.copies() {
		near := *a.Near
		o.Near = &near
		o.Hooks.Hit = func(_ context.Context, e dogpile.Event) {
			if e.Near {
				a.w.nearHits.Add(1)
			}
		}
	}
	if breaks := broken[a.Broken]; breaks != nil {
		o.Proxies = append(o.Proxies, breaks)
	}
	if a.Trouble {
		o.BackendTimeout = a.LockTTL
		o.Proxies = append(o.Proxies, a.cutOff()...)
		if a.Proc < 2 { // the one that is cut off, and one that is not
			o.RetryDeletes = 100
		}
	}
	if a.records() && a.Proc >= 2 {
		o.RefreshAhead = 0.5
	}
	if a.records() && a.Proc%2 == 1 {
		o.Runner = dogpile.Background
	}
	return o
}

// copies reports whether the process keeps copies. Where they are exact the last one does not,
// and has to wait for those of the others all the same.
func (a *actor) copies() bool {
	return a.Near != nil && !(a.Near.Exact && a.Proc == a.Procs-1)
}

// cutOff returns proxies that cut the first process off from the backend while the
// world says so, with a breaker before them that opens then and closes again.
func (a *actor) cutOff() []func(driver.Backend) driver.Backend {
	if a.Proc != 0 {
		return nil
	}
	return []func(driver.Backend) driver.Backend{
		proxy.Breaker(&proxy.BreakerOptions{Failures: 3, Cooldown: 100 * time.Millisecond}),
		func(b driver.Backend) driver.Backend { return &cutOff{driver.Proxy{Backend: b}, a.w} },
	}
}

// fault tells the test of something that must not happen.
func (a *actor) fault(format string, args ...any) {
	if a.w.faults.Add(1) <= maxFaults {
		// The whole line in one call: lines of two goroutines do not mix.
		os.Stdout.WriteString(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ") + "\n")
	}
}

// wait waits for cond, and reports whether it came true in time and before the
// scene was over.
func (a *actor) wait(cond func() bool) bool {
	for start := time.Now(); !cond(); pause(2 * time.Millisecond) {
		if a.w.ended() || time.Since(start) > service {
			return false
		}
	}
	return true
}

// begins waits for a round, and reports whether it began before the scene was over.
func (a *actor) begins(round int64) bool {
	for a.w.round.Load() < round {
		if a.w.ended() {
			return false
		}
		pause(5 * time.Millisecond)
	}
	return true
}

// ask gets the value of key for reader g, and checks it.
func (a *actor) ask(key string, g int) {
	me := &a.p.readers[g]
	// Before the call begins: a version that is read only later may be missed by it.
	newest, start := a.w.newest.Load(), time.Now()
	// since comes before begun, by which unserved knows that since is of this call.
	me.since.Store(newest)
	me.begun.Add(1)
	got, err := a.cache.GetOrCreate(context.Background(), key, func(ctx context.Context) (value, error) {
		return a.create(ctx, key, g), nil
	})
	me.took.Store(int64(time.Since(start)))
	made := a.w.creation(got.N)
	switch {
	case err != nil:
		a.fault("GetOrCreate of %q = %v", key, err)
	case got.Key != key:
		a.fault("GetOrCreate of %q returned the value of %q", key, got.Key)
	case got.N < newest:
		a.fault("an old value: version %d was returned by a call that began when version %d had been read", got.N, newest)
	case made.end.Load() == 0:
		a.fault("version %d was returned before it was made", got.N)
	case made.outcome.Load() == isStored:
		// A value that was not stored goes to the callers of its own flight only, so
		// calls that begin later need not get it.
		raise(&a.w.newest, got.N)
	}
	// last comes before ended: the test reads it once it has seen the call end.
	me.last.Store(got.N)
	me.ended.Add(1)
}

// create makes the next version. It returns when all other readers have made a call
// meanwhile: they have got the old value, or wait for the new one where there is
// no old one. A creation that is struck lasts until the test lets it go.
func (a *actor) create(ctx context.Context, key string, g int) value {
	marks := a.w.marks()
	if a.Tagged && a.Proc%2 == 1 {
		dogpile.Creation(ctx).Tag(ctx, stormTag)
	}
	version, fault := a.w.begin(a.Proc, g)
	defer a.w.end(a.Proc, version)
	if fault != "" {
		a.fault("%s", fault)
	}
	old, stale := dogpile.Previous[value](ctx)
	// What a hard invalidation of its tag has reached is no old value.
	if had := a.watch.had.Load(); old.N < had && (stale || !a.Tagged) {
		a.fault("version %d is made anew from version %d, though version %d was stored before its lease was taken", version, old.N, had)
	}
	a.watch.making.Store(version)
	v := value{Key: key, N: version}
	switch {
	case a.w.fate.CompareAndSwap(armed, version):
		for !a.w.ended() && a.w.free.Load() < version {
			pause(time.Millisecond)
		}
	case stale:
		if !a.wait(func() bool { return a.w.unserved(marks, a.task) == 0 }) && !a.w.ended() {
			a.fault("%d readers wait for version %d, though there is version %d", a.w.unserved(marks, a.task), version, old.N)
		}
	default:
		if !a.wait(func() bool { return a.w.idle(a.task) == 0 }) && !a.w.ended() {
			a.fault("%d readers do not ask", a.w.idle(a.task))
		}
		// A reader counts as asking a moment before it has asked the cache.
		pause(50 * time.Millisecond)
	}
	return v
}
