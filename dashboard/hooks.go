package dashboard

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
)

// Hooks returns the hooks through which the dashboard learns what regions do not count: how
// long creations and waits take, why entries were not fresh, the errors, and which keys are
// asked for most and which take longest. They go into [dogpile.Options.Hooks], with others by
// [dogpile.JoinHooks]; the same ones may be given to all regions. Those of one name are taken
// for one. What they keep is bounded: at most 128 keys for each of the two lists and 20 errors,
// keys of more than 16 KiB left out, and all of it fades within minutes. Errors are those that no
// caller got, those of creators, and those of calls that were to store, delete or invalidate.
func (d *Dashboard) Hooks() *dogpile.Hooks {
	return &dogpile.Hooks{
		Hit:    func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).hot.add(e.Key) },
		Stale:  func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).notFresh(e) },
		Miss:   func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).notFresh(e) },
		Wait:   func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).waits.add(e.Duration) },
		Create: func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).created(e) },
		Error:  func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).failed(e) },

		Store:      d.changed,
		Delete:     d.changed,
		Invalidate: d.changed,
	}
}

// changed notes a change that has failed, and of which a caller was told so. What comes of the
// "store" of a creation no caller is told: where it has failed it is an Error as well.
func (d *Dashboard) changed(_ context.Context, e dogpile.Event) {
	if e.Err != nil && e.Op != "store" {
		d.told.of(e.Region).failed(e)
	}
}

// told is what the hooks have told, by the names of regions.
type told struct {
	mu  sync.Mutex
	all atomic.Pointer[map[string]*teller] // replaced with each new name, so that a hit takes no lock

	full  atomic.Bool // there are maxRegions, so that hits of others take no lock either
	crowd teller      // of regions beyond maxRegions, which nobody looks at
}

// maxRegions bounds the names of regions that something is kept of while nobody looks.
const maxRegions = 1000

// teller is what the hooks have told of one region.
type teller struct {
	hot     sketch
	slow    slowest
	creates histogram
	waits   histogram
	why     [len(reasons)]atomic.Int64
	trouble trouble
}

// reasons are those that are counted, in the order in which they are shown.
var reasons = [...]dogpile.Reason{
	dogpile.ReasonAbsent, dogpile.ReasonExpired, dogpile.ReasonInvalidated, dogpile.ReasonTagged, dogpile.ReasonDamaged,
	unknown,
}

// unknown stands for no reason: none was looked for, or the backend could not tell.
const unknown = "unknown"

// known returns what was told of a region; nil: nothing was.
func (t *told) known(region string) *teller {
	if all := t.all.Load(); all != nil {
		return (*all)[region]
	}
	return nil
}

// of returns what was told of a region.
func (t *told) of(region string) *teller {
	if k := t.known(region); k != nil {
		return k
	}
	if t.full.Load() {
		return &t.crowd
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.known(region); k != nil {
		return k
	}
	more := make(map[string]*teller)
	if all := t.all.Load(); all != nil {
		if len(*all) >= maxRegions {
			return &t.crowd // 1. There was room.  2. Another took it, and the lock before us.
		}
		maps.Copy(more, *all)
	}
	more[region] = new(teller)
	t.all.Store(&more)
	t.full.Store(len(more) >= maxRegions)
	return more[region]
}

// keep forgets what was told of regions that are no more.
func (t *told) keep(live map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.all.Load()
	if all == nil {
		return
	}
	kept := maps.Clone(*all)
	maps.DeleteFunc(kept, func(name string, _ *teller) bool { return !live[name] })
	if len(kept) < len(*all) {
		t.all.Store(&kept)
		t.full.Store(len(kept) >= maxRegions)
	}
}

// notFresh notes a key for which there was no fresh entry.
func (t *teller) notFresh(e dogpile.Event) {
	t.hot.add(e.Key)
	i := slices.Index(reasons[:], e.Reason)
	if i < 0 {
		i = len(reasons) - 1
	}
	t.why[i].Add(1)
}

// created notes that a creator has run.
func (t *teller) created(e dogpile.Event) {
	t.creates.add(e.Duration)
	now := time.Now()
	for _, key := range keysOf(e) {
		t.slow.add(key, e.Duration, now)
	}
	if e.Err != nil && !e.Background { // in the background it is an Error as well
		e.Op = "create"
		t.failed(e)
	}
}

// keysOf returns the keys that a creation is of, or some of them if they are very many.
func keysOf(e dogpile.Event) []string {
	if e.Keys == nil {
		return []string{e.Key}
	}
	return e.Keys[:min(len(e.Keys), counted)]
}

func (t *teller) failed(e dogpile.Event) {
	key := e.Key
	if key == "" && len(e.Keys) > 0 {
		key = e.Keys[0]
	}
	t.trouble.add(e.Op, key, e.Err, time.Now())
}
