package dogpile

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"
)

// regions is the regions that were configured, in that order. One that nobody refers to any
// more is not kept in memory for it.
var regions struct {
	mu  sync.Mutex
	all []weak.Pointer[Region]
}

// Regions returns the regions that are configured and not closed, in the order of their names.
// The caller owns the slice. It is for tools that show all of them.
func Regions() []*Region {
	regions.mu.Lock()
	all := slices.Clone(regions.all)
	regions.mu.Unlock()
	var live []*Region
	for _, p := range all {
		if r := p.Value(); r != nil && r.Configured() {
			live = append(live, r)
		}
	}
	slices.SortStableFunc(live, func(a, b *Region) int { return cmp.Compare(a.name, b.name) })
	return live
}

// enlist adds r to those that Regions returns.
func (r *Region) enlist() {
	p := weak.Make(r)
	regions.mu.Lock()
	defer regions.mu.Unlock()
	if !slices.Contains(regions.all, p) {
		regions.all = append(regions.all, p)
		runtime.AddCleanup(r, delist, p)
	}
}

func delist(p weak.Pointer[Region]) {
	regions.mu.Lock()
	defer regions.mu.Unlock()
	regions.all = slices.DeleteFunc(regions.all, func(q weak.Pointer[Region]) bool { return q == p })
}

// Options returns the options in force, with their defaults filled in, or the zero Options if
// the region is not configured. What they point to must not be changed.
func (r *Region) Options() Options {
	if s := r.current.Load(); s != nil {
		return s.o
	}
	return Options{}
}

// Creating is a creation that is under way in this process.
type Creating struct {
	Name       string    // of the cache or function; empty where there is none
	Key        string    // the user's key; of a creation of several keys there is one for each
	Since      time.Time // when the creator was called
	Waiters    int       // callers that wait for what this creator makes, with the one that has brought it
	Background bool      // no caller waited for it when it began
}

// Creating returns the creations whose creators run in this process, the oldest first. The
// caller owns the slice. It is for tools.
func (r *Region) Creating() []Creating {
	r.mu.Lock()
	states := slices.Clone(r.states)
	r.mu.Unlock()
	var all []Creating
	for _, s := range states {
		all = append(all, s.running.list()...)
	}
	slices.SortStableFunc(all, func(a, b Creating) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Key, b.Key))
	})
	return all
}

// running is the creators that run. The zero value is ready to use.
type running struct {
	mu  sync.Mutex
	now map[*runs]struct{}
}

// runs is one creator that runs.
type runs struct {
	Creating
	keys    []string
	at      []int            // their positions in the call
	waiters func(at int) int // of each
}

// add notes a creator that runs until it is over.
func (rs *running) add(r *runs) (over func()) {
	r.Since = time.Now()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.now == nil {
		rs.now = make(map[*runs]struct{})
	}
	rs.now[r] = struct{}{}
	return func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		delete(rs.now, r)
	}
}

func (rs *running) list() (all []Creating) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for r := range rs.now {
		for i, key := range r.keys {
			c := r.Creating
			c.Key, c.Waiters = key, r.waiters(r.at[i])
			all = append(all, c)
		}
	}
	return all
}
