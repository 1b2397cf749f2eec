package dashboard

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
)

// Hooks returns the hooks through which the dashboard learns what regions do not count: how
// long creations and waits take, why entries were not fresh, the errors, and which keys are
// asked for most and which take longest. They go into [dogpile.Options.Hooks], with others by
// [dogpile.JoinHooks]; the same ones may be given to all regions. Those of one name are taken
// for one. What they keep is bounded: at most 128 keys for each of the two lists, keys of more
// than 16 KiB left out, and all of it fades within minutes.
func (d *Dashboard) Hooks() *dogpile.Hooks {
	return &dogpile.Hooks{
		Hit:    func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).hot.add(e.Key) },
		Stale:  func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).notFresh(e) },
		Miss:   func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).notFresh(e) },
		Wait:   func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).waits.add(e.Duration) },
		Create: func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).created(e) },
		Error:  func(_ context.Context, e dogpile.Event) { d.told.of(e.Region).failed(e) },
	}
}

// told is what the hooks have told, by the names of regions.
type told struct {
	mu  sync.Mutex
	all atomic.Pointer[map[string]*teller] // replaced with each new name, so that a hit takes no lock

	crowd teller // of regions beyond maxRegions, which nobody looks at
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
}

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
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.known(region); k != nil {
		return k
	}
	more := make(map[string]*teller)
	if all := t.all.Load(); all != nil {
		if len(*all) == maxRegions {
			return &t.crowd
		}
		maps.Copy(more, *all)
	}
	more[region] = new(teller)
	t.all.Store(&more)
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
	}
}

// notFresh notes a key for which there was no fresh entry.
func (t *teller) notFresh(e dogpile.Event) {
	t.hot.add(e.Key)
	if i := slices.Index(reasons[:], e.Reason); i >= 0 {
		t.why[i].Add(1)
	}
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

// fault is something that has failed, once or often.
type fault struct {
	Op, Key, Text string
	At            time.Time // the last time
	Times         int
}

const (
	maxFaults = 20
	maxText   = 1000             // bytes of an error
	breath    = time.Second / 10 // within which errors of one step are taken for one
)

// trouble is the faults of late, the newest last.
type trouble struct {
	mu  sync.Mutex
	all []fault
}

// add notes a fault. In an outage there are very many, and to count those that come at the
// same moment is not worth a wait.
func (t *trouble) add(op, key string, err error, now time.Time) {
	if err == nil || len(key) > maxKey || !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	same := slices.IndexFunc(t.all, func(f fault) bool { return f.Op == op && now.Sub(f.At) < breath })
	text := ""
	if same < 0 {
		text = cut(err.Error(), maxText)
		same = slices.IndexFunc(t.all, func(f fault) bool { return f.Op == op && f.Text == text })
	}
	var f fault
	switch {
	case same >= 0:
		f = t.all[same]
		t.all = slices.Delete(t.all, same, same+1)
	default:
		f = fault{Op: op, Key: strings.Clone(key), Text: strings.Clone(text)} // they may be part of something large
		if len(t.all) == maxFaults {
			t.all = slices.Delete(t.all, 0, 1)
		}
	}
	f.At = now
	f.Times++
	t.all = append(t.all, f)
}

// list returns the faults of late, the newest first.
func (t *trouble) list(now time.Time) []fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(t.all)
	slices.Reverse(all)
	return slices.DeleteFunc(all, func(f fault) bool { return now.Sub(f.At) >= lately })
}
