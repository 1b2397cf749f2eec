//go:build unix

package fleettest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/dogpile-go/dogpile"
)

// answer is what a read has found.
type answer struct {
	made
	fresh bool // it was called fresh
}

// The methods of read that are told apart, by the first op of each.
const (
	peeks     = 30
	refreshes = 40
	creates   = 42 // create one entry, if there is none
)

// read reads entries by the method that op picks, from 0 to 99. What is not there is not
// in the answer.
func (l *level) read(ctx context.Context, op int, is []int) ([]answer, error) {
	i, key := is[0], l.key(is[0])
	switch {
	case op < 10:
		return several[int](false)(l.multi.Call(ctx, is...))
	case op < 15:
		return several[int](true)(l.multi.Get(ctx, is...))
	case op < 20:
		names := make([]string, len(is))
		for n, i := range is {
			names[n] = l.key(i)
		}
		return several[string](false)(l.cache.GetOrCreateMulti(ctx, names, func(ctx context.Context, names []string) (map[string]made, error) {
			vals := make(map[string]made)
			for _, name := range names {
				v, err := l.createUnder(ctx, dogpile.Creation(ctx).Key(name), numberOf(name))
				if err != nil {
					return nil, err
				}
				vals[name] = v
			}
			return vals, nil
		}))
	case op < peeks:
		return single(true)(l.cache.Get(ctx, key))
	case op < refreshes:
		return l.entries(l.cache.Peek(ctx, key))
	case op < creates:
		v, err := l.fn.Refresh(ctx, i)
		return single(false)(v, true, err)
	case op < 65:
		e, err := l.cache.GetOrCreateEntry(ctx, key, func(ctx context.Context) (made, error) { return l.create(ctx, i) })
		return l.entries(e, true, err)
	}
	v, err := l.fn.Call(ctx, i)
	return single(false)(v, true, err)
}

// single returns a function that makes an answer of what a cache has returned.
func single(fresh bool) func(v made, ok bool, err error) ([]answer, error) {
	return func(v made, ok bool, err error) ([]answer, error) {
		if !ok || err != nil {
			return nil, err
		}
		return []answer{{v, fresh}}, nil
	}
}

// several returns the same for what is in a map, also if the others are an error.
func several[K comparable](fresh bool) func(vals map[K]made, err error) ([]answer, error) {
	return func(vals map[K]made, err error) ([]answer, error) {
		var out []answer
		for _, v := range vals {
			out = append(out, answer{v, fresh})
		}
		return out, err
	}
}

// entries makes an answer of an entry. What is known to be invalid is none. An entry has
// to carry the tags of all that it was made of.
func (l *level) entries(e dogpile.Entry[made], ok bool, err error) ([]answer, error) {
	if !ok || err != nil || e.State == dogpile.Invalidated {
		return nil, err
	}
	// Where the lease is lost, or the backend, a value goes to those who wait for it without tags.
	if stored := e.From == 0 || e.From == dogpile.Hit || e.From == dogpile.StaleHit; stored && l.a.Broken == "" {
		for _, p := range e.Value.Of {
			if !slices.Contains(e.Tags, tag(p.P)) {
				l.a.fault("%q (%v, %v), made of %v, has the tags %q alone", e.Value.Key, e.From, e.State, e.Value.Of, e.Tags)
			}
		}
	}
	return single(e.State == dogpile.Fresh)(e.Value, true, nil)
}

// tagHistory is history for entries with tags, and what is made of them.
func (a *actor) tagHistory(g int) {
	rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(g)))
	changes := 10
	if a.hasty(g) {
		// These make more calls than those that wait for an answer, who would get none if all
		// was invalidated all the time.
		changes = 2
	}
	for !a.w.ended() {
		ctx, cancel := a.patience(g)
		if rnd.IntN(100) < changes {
			a.changeMade(ctx, rnd)
		} else {
			a.readMade(ctx, rnd)
		}
		cancel()
		a.rest()
	}
}

// readMade reads entries of one level.
func (a *actor) readMade(ctx context.Context, rnd *rand.Rand) {
	l := a.anyLevel(rnd)
	is := []int{rnd.IntN(l.n)}
	op := rnd.IntN(100)
	if op < 20 {
		is = rnd.Perm(l.n)[:1+rnd.IntN(l.n)]
	}
	if a.Role != "products" && rnd.IntN(8) == 0 {
		a.readNote(ctx, rnd.IntN(pages))
		return
	}
	noStale := op >= creates && rnd.IntN(10) == 0
	if noStale {
		ctx = dogpile.NoStale(ctx)
	}
	start := a.w.now()
	got, err := l.read(ctx, op, is)
	if a.did(err); err != nil && !a.expected(ctx, err) {
		a.fault("read of %s %v = %v", l.name, is, err)
	}
	for _, v := range got {
		if i := slices.IndexFunc(is, func(i int) bool { return l.key(i) == v.Key }); i < 0 {
			a.fault("a read of %s %v found the value of %q", l.name, is, v.Key)
			continue
		}
		v.fresh = v.fresh || noStale
		a.found(start, l.entry+numberOf(v.Key), v)
	}
}

// readNote reads what the creator of a page has stored.
func (a *actor) readNote(ctx context.Context, i int) {
	start := a.w.now()
	got, err := a.levels.pages.entries(a.levels.notes.Peek(ctx, noteKey(i)))
	if a.did(err); err != nil && !a.expected(ctx, err) {
		a.fault("read of a note = %v", err)
	}
	for _, v := range got {
		a.found(start, thingNote+i, v)
	}
}

func noteKey(page int) string { return fmt.Sprint("note|", page) }

// found notes what a read has found that began at a moment of the clock.
func (a *actor) found(start moment, entry int, v answer) {
	rs := make(map[string]*record)
	read := func(thing, n int64) {
		rs[called(thing)+fmt.Sprint(n)] = a.noted(event{op: opRead, thing: thing, entry: int64(entry), n: n}.from(start))
	}
	if entry < thingNote || entry >= thingNote+pages {
		read(int64(entry), code(v.N, v.Set))
	}
	for _, p := range v.Of {
		read(int64(thingData+p.P), code(p.N, p.Set))
		if v.fresh {
			read(int64(thingFresh+p.P), code(p.N, p.Set))
		}
	}
	a.returned(rs)
}

// anyLevel returns a level: in the role that plays with products alone, theirs.
func (a *actor) anyLevel(rnd *rand.Rand) *level {
	switch n := rnd.IntN(100); {
	case a.Role == "products" || n < 25:
		return a.levels.products
	case n < 50:
		return a.levels.fragments
	}
	return a.levels.pages
}

// changeMade invalidates tags, deletes an entry, sets a product, or invalidates a region. A
// change that fails promises nothing.
func (a *actor) changeMade(ctx context.Context, rnd *rand.Rand) {
	ls, what := a.levels, rnd.IntN(100)
	rs := make(map[string]*record)
	change := func(op, thing, n int) { rs[called(int64(thing))] = a.note(op, thing, n) }
	next := func(thing int) int { return int(a.w.versions[thing].Add(1)) }
	var err error
	switch {
	case what < 50:
		mode := dogpile.Hard
		if a.invalidates.Add(1)%2 == 0 { // in turn, as on a slow machine there are few
			mode = dogpile.Soft
		}
		var tags []string
		for _, p := range rnd.Perm(products)[:1+rnd.IntN(2)] {
			n := next(thingData + p)
			if tags = append(tags, tag(p)); mode == dogpile.Hard {
				change(opTags, thingData+p, n)
				change(opTags, thingFresh+p, n)
			} else {
				change(opSoftenTags, thingFresh+p, n)
			}
		}
		err = ls.regions[rnd.IntN(2)].InvalidateTags(ctx, mode, tags...)
	case what < 62:
		l := a.anyLevel(rnd)
		i := rnd.IntN(l.n)
		change(opDelete, l.entry+i, next(l.entry+i))
		err = l.fn.Delete(ctx, i)
	case what < 94:
		p := rnd.IntN(products)
		entry, data := next(thingProduct+p), next(thingData+p)
		change(opSet, thingProduct+p, entry)
		change(opSupply, thingData+p, data)
		change(opSupply, thingFresh+p, data)
		key := ls.products.key(p)
		err = ls.tagged.Set(ctx, key, made{Key: key, N: int64(entry), Set: true, Of: []part{{p, int64(data), true}}})
	default:
		for i := range fragments + pages {
			change(opInvalidate, thingFragment+i, next(thingFragment+i))
		}
		err = ls.regions[1].Invalidate(ctx, dogpile.Hard)
	}
	switch a.did(err); {
	case err == nil:
		a.returned(rs)
	case !a.expected(ctx, err):
		a.fault("a change of %v = %v", slices.Collect(maps.Keys(rs)), err)
	}
}
