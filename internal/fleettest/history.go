//go:build unix

package fleettest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile"
)

// In a history values expire soon, so that many creations meet with reads and
// changes.
var (
	historyTask = task{Role: "history", Procs: 4, Each: 20, Expiration: 20 * time.Millisecond}
	troubleTask = task{Role: "history", Procs: 4, Each: 20, Expiration: 20 * time.Millisecond, Trouble: true}
	// aloneTask is for a backend that is not shared.
	aloneTask = task{Role: "history", Procs: 1, Each: 48, Expiration: 20 * time.Millisecond}
	// In a history of tags only what is told of tags is checked, and in one of products these
	// are all that there is.
	tagsTask     = task{Role: "tags", Procs: 4, Each: 10, Expiration: 20 * time.Millisecond}
	productsTask = task{Role: "products", Procs: 4, Each: 10, Expiration: 20 * time.Millisecond}
)

// lap is how long a history gets before it is checked; a longer one is made of
// several.
const lap = 20 * time.Second

// enough is how many operations a history must have to be worth a check.
const enough = 3000

// What is done to a thing.
const (
	opRead = iota + 1
	opDelete
	opSet
	opInvalidate
	opSoften     // softly invalidate, which leaves old values in place
	opTags       // InvalidateTags
	opSoftenTags // the same, softly: a change for what is called fresh
	opSupply     // Set the data that others are made of, which they go on holding
)

var opNames = map[int64]string{
	opRead: "read", opDelete: "Delete", opSet: "Set", opInvalidate: "Invalidate", opSoften: "soft Invalidate",
	opTags: "InvalidateTags", opSoftenTags: "soft InvalidateTags", opSupply: "Set of data",
}

// nothing stands for the value of a read that found none.
const nothing = -1

// history makes random reads and changes, and notes when each began and when it
// had returned. Before it changes an entry it counts up the version of the origin. Every
// fifth goroutine does so with tags.
func (a *actor) history(g int) {
	if g%5 == 4 {
		a.tagHistory(g)
		return
	}
	rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(g)))
	for !a.w.ended() {
		ctx, cancel := a.patience(g)
		if rnd.IntN(10_000) < a.changing() {
			a.change(ctx, rnd)
		} else {
			a.read(ctx, rnd)
		}
		cancel()
		a.rest()
	}
}

// rest is what a goroutine does between two calls.
func (a *actor) rest() { pause(rand.N(cmp.Or(a.Rest, 2*time.Millisecond))) }

// patience returns the context of a call. Amid trouble every fourth goroutine has
// callers with less time than a call takes, or none at all.
func (a *actor) patience(g int) (context.Context, context.CancelFunc) {
	if !a.hasty(g) {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), rand.N(3*time.Millisecond))
}

func (a *actor) hasty(g int) bool { return a.Trouble && g%4 == 0 }

// expected reports whether a call under ctx may fail with err.
func (a *actor) expected(ctx context.Context, err error) bool {
	return errors.Is(err, errOrigin) || slow(err) ||
		a.Trouble && (errors.Is(err, dogpile.ErrBackend) || ctx.Err() != nil)
}

// slow reports whether err may come of a machine that has too much to do: what takes
// several round trips, as to make a token under a lease does, has a bound that is shorter
// than patience.
func slow(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

// note begins a record of a call that is about to begin.
func (a *actor) note(op, thing, n int) *record {
	return a.noted(event{op: int64(op), thing: int64(thing), entry: int64(thing), n: int64(n)})
}

// noted makes a record of e, which begins now unless it has a start. When there is no room
// for another the lap ends.
func (a *actor) noted(e event) *record {
	i := a.w.logged.Add(1) - 1
	if i >= maxLog {
		a.w.over.Store(true)
		return new(record)
	}
	r := &a.w.log[i]
	r.op.Store(e.op)
	r.proc.Store(int64(a.Proc))
	r.thing.Store(e.thing)
	r.entry.Store(e.entry)
	r.n.Store(e.n)
	if e.start == 0 {
		e = e.from(a.w.now())
	}
	r.began.Store(e.began)
	r.start.Store(e.start) // last: a record that has a start has all the rest
	return r
}

// returned notes that the calls of these records have returned.
func (a *actor) returned(rs map[string]*record) {
	for _, r := range rs {
		now := a.w.now()
		r.returned.Store(now.at)
		r.end.Store(now.tick)
	}
}

// did counts a call that has returned err.
func (a *actor) did(err error) {
	if err == nil {
		a.w.calls.Add(1)
	}
}

func name(key int) string { return fmt.Sprint("k", key) }

// some returns some keys, as numbers by name.
func some(rnd *rand.Rand) map[string]int {
	out := make(map[string]int)
	for range 1 + rnd.IntN(keys) {
		key := rnd.IntN(keys)
		out[name(key)] = key
	}
	return out
}

// one returns one key, as its number by its name.
func one(rnd *rand.Rand) map[string]int {
	key := rnd.IntN(keys)
	return map[string]int{name(key): key}
}

func first[V any](m map[string]V) (string, V) {
	for k, v := range m {
		return k, v
	}
	panic("no key")
}

// read reads one key or several by one of the methods of a cache.
func (a *actor) read(ctx context.Context, rnd *rand.Rand) {
	op := rnd.IntN(100)
	of := one(rnd)
	switch {
	case a.quiet():
		of = map[string]int{name(a.Proc): a.Proc}
	case op < 15:
		of = some(rnd)
	}
	rs := make(map[string]*record)
	for name, key := range of {
		rs[name] = a.note(opRead, key, nothing)
	}
	key, _ := first(of)
	var got map[string]value
	var v value
	found, err := true, error(nil)
	switch {
	case op < 10:
		got, err = a.cache.GetOrCreateMulti(ctx, slices.Collect(maps.Keys(of)), a.originMulti)
	case op < 15:
		got, err = a.cache.GetMulti(ctx, slices.Collect(maps.Keys(of)))
	case op < 20:
		v, found, err = a.cache.Get(ctx, key)
	case op < 23 && !a.quiet():
		v, err = a.cache.Refresh(ctx, key, a.originOf(key))
	default:
		v, err = a.cache.GetOrCreate(ctx, key, a.originOf(key))
	}
	if got == nil && found && err == nil {
		got = map[string]value{key: v}
	}
	for name, v := range got {
		if v.Key != name {
			a.fault("a read of %q found the value of %q", name, v.Key)
		}
		rs[name].n.Store(code(v.N, v.Set))
	}
	a.returned(rs)
	if a.did(err); err != nil && !a.expected(ctx, err) {
		a.fault("read of %q = %v", key, err)
	}
}

// code returns a number for a value: an even one for a value that was created, an
// odd one for a value that a Set stored.
func code(n int64, set bool) int64 {
	if set {
		return 2*n + 1
	}
	return 2 * n
}

// originOf returns a creator. Asking the origin takes a while, now and then so long
// that the lease is renewed, and sometimes fails.
func (a *actor) originOf(key string) func(context.Context) (value, error) {
	return func(ctx context.Context) (value, error) {
		var n int
		if _, err := fmt.Sscanf(key, "k%d", &n); err != nil {
			return value{}, err
		}
		v := value{Key: key, N: a.w.versions[n].Load()}
		switch rand.IntN(200) {
		case 0:
			pause(a.LockTTL)
		case 1, 2, 3, 4:
			return value{}, errOrigin
		case 5, 6:
			dogpile.Creation(ctx).NoStore()
		case 7, 8, 9, 10, 11, 12, 13, 14, 15, 16:
			dogpile.Creation(ctx).ExpireIn(20 * time.Millisecond)
		default:
			pause(rand.N(5 * time.Millisecond))
		}
		return v, nil
	}
}

func (a *actor) originMulti(ctx context.Context, names []string) (map[string]value, error) {
	vals := make(map[string]value)
	for _, name := range names {
		v, err := a.originOf(name)(ctx)
		if err != nil {
			return nil, err
		}
		vals[name] = v
	}
	return vals, nil
}

// change changes one key, several, or all. A change that fails has not returned, for
// the check: it promises nothing.
func (a *actor) change(ctx context.Context, rnd *rand.Rand) {
	what := rnd.IntN(100)
	if a.quiet() && what < 50 {
		what += 50
	}
	of, op := one(rnd), opDelete
	switch {
	case what < 20:
		of = some(rnd)
	case what < 40:
	case what < 65:
		op = opSet
	case what < 80:
		of, op = some(rnd), opSet
	default:
		if op = opInvalidate; what < 85 {
			op = opSoften
		}
		for key := range keys {
			of[name(key)] = key
		}
	}
	rs, vals := make(map[string]*record), make(map[string]value)
	for name, key := range of {
		n := a.w.versions[key].Add(1)
		vals[name] = value{name, n, true}
		rs[name] = a.note(op, key, int(n))
	}
	var err error
	switch {
	case op == opInvalidate:
		err = a.region.Invalidate(ctx, dogpile.Hard)
	case op == opSoften:
		err = a.region.Invalidate(ctx, dogpile.Soft)
	case op == opDelete:
		err = a.cache.Delete(ctx, slices.Collect(maps.Keys(of))...)
	case len(of) == 1:
		key, v := first(vals)
		err = a.cache.Set(ctx, key, v)
	default:
		err = a.cache.SetMulti(ctx, vals)
	}
	switch a.did(err); {
	case err == nil:
		a.returned(rs)
	case !a.expected(ctx, err):
		a.fault("%s of %v = %v", opNames[int64(op)], slices.Collect(maps.Keys(of)), err)
	}
}

// history records what happens for d, and longer until there is enough of it and what is
// broken is found, and checks it. Unless it is to be calm there is trouble meanwhile.
func history(f *fleet, d time.Duration, calm bool) {
	going := func(since time.Duration) bool {
		switch {
		case f.w.over.Load():
			return false // there is no room for more
		case since < d:
			return true
		}
		return since < d+patience && (len(f.rare()) > 0 || f.task.wrong() && len(f.faulty()) == 0)
	}
	trouble := f.disturb
	switch {
	case calm:
		trouble = func(int) {}
	case f.task.Near != nil:
		trouble = f.amid
	}
	for start, n := time.Now(), 0; going(time.Since(start)); n++ {
		trouble(n)
		if !f.goOn(min(f.respite(), d)) {
			break
		}
	}
	f.await("all processes to be ready", f.ready)
	f.disband(patience)
	all := f.faulty()
	for _, fault := range f.described(all) {
		f.fault("%s", fault)
	}
	if f.task.Near != nil {
		f.sum(all)
	}
	count := counted(f.w.events())
	f.t.Log("recorded ", count)
	if rare := f.rare(); len(rare) > 0 && f.w.faults.Load() == 0 {
		f.fault("there is too little of %q in %v", rare, count)
	}
}

// faulty returns what the check finds in what has been recorded so far.
func (f *fleet) faulty() (all []old) {
	// What a read has found that has returned by now was noted before it was stored.
	now := f.w.clock.Load()
	all, f.oldest = stale(slices.DeleteFunc(f.w.events(), func(e event) bool {
		return e.op == opRead && e.end > now || f.task.Role != "history" && e.thing < thingData
	}), f.task.lag())
	return all
}

// rare returns what a history has too little of to be worth a check.
func (f *fleet) rare() (whats []string) {
	if f.w.logged.Load() < enough {
		return []string{"everything"}
	}
	if f.task.Near != nil && !f.task.wrong() && f.w.nearHits.Load() < enough {
		whats = append(whats, "hits on copies")
	}
	count := counted(f.w.events())
	for what, least := range f.task.everything() {
		if count[what] < least {
			whats = append(whats, what)
		}
	}
	return whats
}

// counted returns how many events of each kind have returned.
func counted(events []event) map[string]int {
	count := map[string]int{}
	for _, e := range events {
		if e.end != 0 {
			count[e.what()]++
		}
	}
	return count
}

// everything returns what has to be in a history, and how often. Three levels of creators
// take a while. Amid trouble that is long, so that there need not be much of them.
func (k task) everything() map[string]int {
	least := map[string]int{}
	if k.Broken != "" {
		return least // it is there for one fault that is to be found
	}
	many := 20
	if k.Near != nil {
		many = 5 // there are few changes
	}
	if k.Role == "history" {
		least[event{op: opRead, entry: thingKey, thing: thingKey}.what()] = many
		for op := opDelete; op <= opSoften; op++ {
			least[opNames[int64(op)]] = many
		}
	}
	few := 5
	if k.Trouble {
		few = 1
	} else {
		least[opNames[opSupply]] = few
		least[event{op: opRead, entry: thingNote, thing: thingData}.what()] = few
		least[event{op: opRead, entry: thingPage, thing: thingFresh}.what()] = few
	}
	least[opNames[opTags]], least[opNames[opSoftenTags]] = few, few
	for _, entry := range []int64{thingProduct, thingFragment, thingPage} {
		least[event{op: opRead, entry: entry, thing: entry}.what()] = few
	}
	return least
}

// what returns the kind of an event.
func (e event) what() string {
	read, _ := kind(e.entry)
	of, _ := kind(e.thing)
	switch {
	case e.op != opRead:
		return opNames[e.op]
	case read == of:
		return "read of " + read
	}
	return of + " in a " + read
}

// event is a record without atomics, for the check.
type event struct {
	op, proc        int64
	thing, entry, n int64 // as in record
	start, end      int64 // on the clock; no end: it has not returned
	began, returned int64 // Unix time in ns
}

// from returns e as it begins at a moment.
func (e event) from(m moment) event {
	e.start, e.began = m.tick, m.at
	return e
}

// events returns what was recorded, in order of the clock.
func (w *world) events() []event {
	events := make([]event, 0, min(w.logged.Load(), maxLog))
	for i := range cap(events) {
		r := &w.log[i]
		if start := r.start.Load(); start > 0 { // else it was killed while it wrote
			end := r.end.Load() // first: a record that has an end has the time of it
			events = append(events, event{r.op.Load(), r.proc.Load(), r.thing.Load(), r.entry.Load(), r.n.Load(), start, end, r.began.Load(), r.returned.Load()})
		}
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.start, b.start) })
	return events
}
