package dogpile_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// history is what was done to a few keys by many goroutines in several
// processes, in the order of one clock, which is no time but a counter.
type history struct {
	clock atomic.Int64

	mu    sync.Mutex
	ends  map[string][]span // of calls after which older values are not read
	reads map[string][]read
	sets  map[int64]int64 // begin and end of each Set
}

type span struct{ begin, end int64 }

// read is a value that was returned: when the read began, and when the creation
// of the value did.
type read struct {
	begin int64
	made
}

// made is a value that knows when its creation began. One that was Set takes the
// place of all that ended before Set did: two writers at once may come in any
// order.
type made struct {
	Created int64
	Set     bool
}

func newHistory() *history {
	return &history{ends: make(map[string][]span), reads: make(map[string][]read), sets: make(map[int64]int64)}
}

func (h *history) read(key string, begin int64, v made) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads[key] = append(h.reads[key], read{begin, v})
}

func (h *history) ended(begin int64, err error, keys ...string) (end int64) {
	end = h.clock.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		if err != nil {
			continue // it promises nothing
		}
		h.ends[key] = append(h.ends[key], span{begin, end})
	}
	return end
}

// check fails for every value whose creation had begun before a call which
// returned before the read began.
func (h *history) check(t *testing.T) {
	t.Helper()
	reads, ends, old := 0, 0, 0
	for key, rs := range h.reads {
		es := h.ends[key]
		sort.Slice(es, func(i, j int) bool { return es[i].end < es[j].end })
		latest := make([]int64, len(es)+1) // begin of those that had ended, the latest of them
		for i, e := range es {
			latest[i+1] = max(latest[i], e.begin)
		}
		for _, r := range rs {
			n := sort.Search(len(es), func(i int) bool { return es[i].end >= r.begin })
			created := r.Created
			if r.Set {
				created = h.sets[created]
			}
			if created < latest[n] {
				if old++; old < 10 {
					t.Errorf("%s: a read that began at %d returned a value created from %d on (Set: %v), before a call of %d that had returned",
						key, r.begin, created, r.Set, latest[n])
				}
			}
		}
		reads, ends = reads+len(rs), ends+len(es)
	}
	if reads < 100 || ends < 20 {
		t.Errorf("%d reads and %d calls show nothing", reads, ends)
	}
}

// world is a history that is being made.
type world struct {
	*history
	t     *testing.T
	keys  []string
	rs    []*dogpile.Region
	cs    []*dogpile.Cache[made]
	pause func() // lets others go on
}

func newWorld(t *testing.T, rs []*dogpile.Region, cs []*dogpile.Cache[made], pause func()) *world {
	w := &world{history: newHistory(), t: t, rs: rs, cs: cs, pause: pause}
	for i := range 4 {
		w.keys = append(w.keys, fmt.Sprint("key", i))
	}
	return w
}

func (w *world) create(ctx context.Context) (made, error) {
	m := made{Created: w.clock.Add(1)}
	w.pause()
	switch rand.IntN(12) {
	case 0:
		return made{}, errOrigin
	case 1:
		dogpile.Creation(ctx).NoStore()
	case 2:
		return m, ctx.Err()
	}
	return m, nil
}

func (w *world) createMany(ctx context.Context, keys []string) (map[string]made, error) {
	vals := make(map[string]made)
	for _, key := range keys {
		v, err := w.create(ctx)
		if err != nil {
			return nil, err
		}
		vals[key] = v
	}
	return vals, nil
}

// blind marks, in a context, a caller who could not read. He is given what is
// being created in his process, since when ever it is.
type blind struct{}

// step does one thing at random.
func (w *world) step() {
	isBlind := new(atomic.Bool)
	ctx := context.WithValue(bg, blind{}, isBlind)
	note := func(key string, begin int64, v made, err error) {
		if err == nil && !isBlind.Load() {
			w.read(key, begin, v)
		}
	}
	key, at := w.keys[rand.IntN(len(w.keys))], rand.IntN(len(w.cs))
	c, r := w.cs[at], w.rs[at]
	begin := w.clock.Add(1)
	switch n := rand.IntN(100); {
	case n < 45:
		v, err := c.GetOrCreate(ctx, key, w.create)
		note(key, begin, v, err)
	case n < 60:
		vals, err := c.GetOrCreateMulti(ctx, w.keys[:1+rand.IntN(len(w.keys))], w.createMany)
		for key, v := range vals {
			note(key, begin, v, err)
		}
	case n < 75:
		if v, ok, err := c.Get(ctx, key); ok {
			note(key, begin, v, err)
		}
	case n < 80:
		v, err := c.Refresh(ctx, key, w.create)
		note(key, begin, v, err)
	default:
		w.change(n, key, c, r)
	}
}

// change does what ends the life of values.
func (w *world) change(n int, key string, c *dogpile.Cache[made], r *dogpile.Region) {
	begin := w.clock.Add(1)
	switch {
	case n < 88:
		w.ended(begin, c.Delete(bg, key, w.keys[0]), key, w.keys[0])
	case n < 94:
		err := c.Set(bg, key, made{Created: begin, Set: true})
		end := w.ended(begin, err, key)
		w.mu.Lock()
		w.sets[begin] = end
		w.mu.Unlock()
	case n < 97:
		w.ended(begin, r.Invalidate(bg, dogpile.Hard), w.keys...)
	default:
		_ = r.Invalidate(bg, dogpile.Soft) // what was stored may be served as stale
	}
}

func (w *world) run(goroutines, steps int) {
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range steps {
				w.step()
			}
		})
	}
	wg.Wait()
	w.check(w.t)
}

// TestNoOldValueIsRead, as fast as it goes.
func TestNoOldValueIsRead(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		for mode, o := range historyOptions {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				rs, cs := processes[made](t, 3, newFake(t, l), &o)
				newWorld(t, rs, cs, runtime.Gosched).run(16, 60)
			})
		}
	}
	t.Run("one process", func(t *testing.T) {
		t.Parallel()
		rs, cs := processes[made](t, 1, newMemory(t), nil)
		newWorld(t, rs, cs, runtime.Gosched).run(16, 200)
	})
}

var historyOptions = map[string]dogpile.Options{
	"plain":       {},
	"short-lived": {Expiration: time.Millisecond, StaleIfError: time.Second, Jitter: 0.5},
	"background":  {Expiration: time.Millisecond, Runner: dogpile.Background, MaxCreators: 4},
}

// TestNoOldValueIsReadOverASlowBackend: every call of the backend takes a
// while, before and after it is carried out, some fail before, and some after
// they have been carried out.
func TestNoOldValueIsReadOverASlowBackend(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}, "lockless": {lockless: true}} {
		for mode, o := range historyOptions {
			t.Run(name+"/"+mode, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, l)
					var over atomic.Bool // flights that nobody waits for may go on
					b.slow = func(ctx context.Context, op string) error {
						if over.Load() {
							return nil
						}
						if rand.IntN(60) > 0 {
							return wait(ctx, time.Duration(rand.IntN(4))*time.Millisecond)
						}
						if who, ok := ctx.Value(blind{}).(*atomic.Bool); ok && op == "get" {
							who.Store(true)
						}
						return errBackend
					}
					n := 3
					if l.lockless {
						n = 1 // one process is all that its locks are good for
					}
					o.LockTTL = 10 * time.Millisecond
					rs, cs := processes[made](t, n, b, &o)
					pause := func() { pass(time.Duration(rand.IntN(20)) * time.Millisecond) }
					newWorld(t, rs, cs, pause).run(12, 40)
					over.Store(true)
				})
			})
		}
	}
}
