//go:build unix

package fleettest

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Copies that are exact, and that may be as old as Lag, over a backend that breaks the
// promises of its marks. There is no other trouble unless the fault is none without.
var (
	exactTask   = calmly(nearTask.near(true))
	laggingTask = calmly(nearTask.near(false))
)

func calmly(k task) task {
	k.Trouble = false
	return k
}

// nearScenes are to brokenScenes as RunBrokenNear is to RunBroken.
var nearScenes = []brokenScene{
	{"counts its own changes late", laggingTask, briefly, "when a change of its own process"},
	{"marks what it has read", exactTask, briefly, "a read of"},
	{"proves that copies were right when the answer came", exactTask, briefly, "a read of"},
	{"vouches for copies for ever", nearTask.near(true), amidst(HeldBack), "a read of"},
	{"tells of changes late, and says that it does so at once", exactTask, briefly, "a read of"},
	{"does not count changes of regions' tokens", exactTask, briefly, "a read of"},
	{"does not count changes of tags' tokens", exactTask, briefly, "as to the"},
	{slowFeed, laggingTask, briefly, ""},
}

// moreNearScenes are for long histories.
var moreNearScenes = []brokenScene{
	{"does not count changes", exactTask, briefly, "a read of"},
	{"proves that copies were right when the answer came", laggingTask, briefly, "a read of"},
	{"vouches for copies for ever", nearTask.near(true), amidst(standingStill), "a read of"},
	{"vouches for copies for ever", nearTask.near(false), amidst(HalfOpen), "a read of"},
	{"says that it tells of changes at once", nearTask.near(true), amidst(HeldBack), "a read of"},
	{slowFeed, exactTask, briefly, ""},
}

// slowFeed is no fault.
const slowFeed = "tells of changes late"

// wrong reports whether there is a fault that is to be found.
func (k task) wrong() bool { return k.Broken != "" && k.Broken != slowFeed }

func briefly(f *fleet) { history(f, 300*time.Millisecond, true) }

// amidst returns what plays a history amid trouble of one kind.
func amidst(kind string) func(f *fleet) {
	return func(f *fleet) {
		f.only = kind
		history(f, 300*time.Millisecond, false)
	}
}

// RunBrokenNear is [RunBroken] for [RunNear]. Config.Harms have to be all that there are for a
// backend that tells of changes. Where there is to be no trouble all processes open Config.URL.
func RunBrokenNear(t *testing.T, c Config) {
	t.Helper()
	scenes := nearScenes
	if *nearFor > 0 {
		scenes = slices.Concat(nearScenes, moreNearScenes)
	}
	runBroken(t, c, scenes)
}

func init() {
	for name, breaks := range map[string]func(driver.Backend) driver.Backend{
		"does not count changes":                             unmarked(""),
		"counts its own changes late":                        fed(feed{delay: nearLag / 2, late: true}),
		"marks what it has read":                             unfenced,
		"proves that copies were right when the answer came": fed(feed{delay: 3 * nearLag, renewal: driver.Now}),
		"vouches for copies for ever":                        vouching,
		"says that it tells of changes at once":              func(b driver.Backend) driver.Backend { return boaster{driver.Proxy{Backend: b}} },
		"tells of changes late, and says that it does so at once": func(b driver.Backend) driver.Backend {
			return boaster{driver.Proxy{Backend: fed(feed{delay: nearLag / 2})(b)}}
		},
		"does not count changes of regions' tokens": unmarked("_inv:"),
		"does not count changes of tags' tokens":    unmarked(tokenWord),
		slowFeed:                                    fed(feed{delay: nearLag / 2}),
	} {
		broken[name] = breaks
	}
}

// unmarked returns a backend that does not count changes of keys with a word in them.
func unmarked(word string) func(driver.Backend) driver.Backend {
	return func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.get = func(ctx context.Context, items []driver.Item) error {
			err := b.Get(ctx, items)
			for i := range items {
				if it := &items[i]; it.Mark.Count != nil && strings.Contains(it.Key, word) {
					it.Mark.Count, it.Mark.Seen = new(atomic.Uint64), 0
				}
			}
			return err
		}
		return m
	}
}

// vouching vouches for copies for ever.
func vouching(b driver.Backend) driver.Backend {
	m := proxyOf(b)
	proof := new(driver.Proof)
	proof.Renew(math.MaxInt64 / 2)
	m.get = func(ctx context.Context, items []driver.Item) error {
		err := b.Get(ctx, items)
		for i := range items {
			if items[i].Mark.Count != nil {
				items[i].Mark.Proof = proof
			}
		}
		return err
	}
	return m
}

// unfenced makes its marks a while after it has read, so that what is changed in between seems
// to be what was read.
func unfenced(b driver.Backend) driver.Backend {
	m := proxyOf(b)
	m.get = func(ctx context.Context, items []driver.Item) error {
		err := b.Get(ctx, items)
		pause(rand.N(5 * time.Millisecond))
		for i := range items {
			if m := &items[i].Mark; m.Count != nil {
				m.Seen = m.Count.Load()
			}
		}
		return err
	}
	return m
}

// boaster says that it tells of changes at once.
type boaster struct{ driver.Proxy }

func (b boaster) Watch(lag time.Duration) (stop func(), atOnce bool) {
	stop, _ = b.Proxy.Watch(lag)
	return stop, true
}
