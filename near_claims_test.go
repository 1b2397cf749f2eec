package dogpile_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

const exactLag = 500 * time.Millisecond

// wantTook deletes a key, and wants to wait for the copies of others, or not to.
func wantTook(t *testing.T, when string, p *process, waits bool) {
	t.Helper()
	began := time.Now()
	wantErr(t, "Delete", p.Delete(bg, "other"), nil)
	if took := time.Since(began); (took >= exactLag) != waits {
		t.Errorf("%s: Delete took %v", when, took)
	}
}

// TestClaimsOutlastAHardInvalidate: the token that it writes takes the place of the one that
// told of copies, and its process had read none.
func TestClaimsOutlastAHardInvalidate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(exactLag), false)[0]
		pass(10 * time.Minute)
		w := plain(t, r, nil)
		wantWaits(t, r, func() error { return w.Invalidate(bg, dogpile.Hard) }, exactLag)
		wantTook(t, "in a process that comes afterwards", plain(t, r, nil), true)
	})
}

// TestConfiguringTellsOnce: what it reads itself, before there is a token, is no reason to tell
// it again in the background.
func TestConfiguringTellsOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, exactly(exactLag), false)[0]
		if n := p.seat.read(); n > 3 { // whether others disagree, what there is, and under the lease
			t.Errorf("Configure has read %d times", n)
		}
		p.asks(t, "the time after it", 0, func() { later(10 * time.Second) })
		wantTook(t, "in another process", plain(t, p, nil), true)
	})
}

// TestClaimsAreKnownWithoutAGap, to processes that come at any moment, whether the one with
// copies reads or not.
func TestClaimsAreKnownWithoutAGap(t *testing.T) {
	for name, reads := range map[string]bool{"reads": true, "is idle": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				pass(900 * time.Millisecond)
				r := nearProcesses(t, 1, exactly(exactLag), false)[0]
				slow := 5 * time.Millisecond
				r.seat.slow = func([]string) { slow -= time.Millisecond / 2; pass(max(slow, time.Millisecond)) }
				for range 300 {
					pass(990 * time.Millisecond)
					if reads {
						r.seat.deliver()
						_, _, _ = r.Get(bg, "k")
					}
					wantTook(t, time.Now().Format("at 04:05.000"), plain(t, r, nil), true)
				}
			})
		})
	}
}

// TestClaimsAreToldAnewAfterAnOldOne: W invalidates, and knows an end of R's claim that R has
// put off since.
func TestClaimsAreToldAnewAfterAnOldOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(exactLag), false)[0]
		w := plain(t, r, nil)
		_, _, _ = w.Get(bg, "k")
		for range 110 {
			pass(time.Second)
			r.seat.deliver()
			_, _, _ = r.Get(bg, "k")
		}
		wantErr(t, "Invalidate", w.Invalidate(bg, dogpile.Hard), nil)
		for range 100 {
			pass(2 * time.Second)
			r.seat.deliver()
			_, _, _ = r.Get(bg, "k")
			wantTook(t, time.Now().Format("at 04:05"), plain(t, r, nil), true)
		}
	})
}

// TestExactBesideCopiesThatAreNot: processes that keep copies by the same Lag, one of them
// with Exact. The others do not take its claim away, and do not keep it when it has gone.
func TestExactBesideCopiesThatAreNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		other := nearProcesses(t, 1, nearly(exactLag), false)[0]
		o := exactly(exactLag)
		e, w := plain(t, other, &o), plain(t, other, nil)
		act := func() {
			pass(time.Second)
			_, _, _ = w.Get(bg, "k")
			other.seat.deliver()
			_, _, _ = other.Get(bg, "k")
		}
		for range 300 {
			act()
			wantTook(t, time.Now().Format("at 04:05"), w, true)
		}
		wantErr(t, "Close", e.Region.Close(bg), nil)
		for i := range 150 {
			act()
			if i%20 == 0 {
				wantErr(t, "Invalidate", other.Invalidate(bg, dogpile.Hard), nil)
			}
		}
		wantTook(t, "when the exact one has gone", w, false)
	})
}

// TestClaimsAreWrittenSeldom: two processes disagree, since the second could not ask the
// backend when it was configured. They must not write the token with every reading of it.
func TestClaimsAreWrittenSeldom(t *testing.T) {
	for name, o := range map[string]dogpile.Options{"both exact": exactly(500 * time.Millisecond), "one exact": nearly(10 * time.Second)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := nearProcesses(t, 1, exactly(time.Second), false)[0]
				down := &refusing{Proxy: driver.Proxy{Backend: e.seat.fleet.sit(e.seat.Backend)}}
				down.down.Store(true)
				r := dogpile.NewRegion("near")
				wantErr(t, "Configure", r.Configure(down, &o), nil)
				defer r.Close(bg)
				down.down.Store(false)
				c := dogpile.NewCache[string](r, nil)
				w := plain(t, e, nil)
				before, began := down.sets.Load(), time.Now()
				for range 100 {
					_, _, _ = c.Get(bg, "k")
					e.seat.deliver()
					_, _, _ = e.Get(bg, "k")
					_, _, _ = w.Get(bg, "k")
					wantTook(t, "amid them", w, true)
				}
				if n, took := down.sets.Load()-before, time.Since(began); n > 2+int64(took/(30*time.Second)) {
					t.Errorf("the token was written %d times in %v", n, took)
				}
			})
		})
	}
}

// TestListeningThatFails: whether others have copies is not known, and the caller is told so.
func TestListeningThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		w := newRegion(t, b, nil)
		b.in(failing("get"))
		err := w.Delete(bg, "k")
		wantErr(t, "Delete", err, errBackend)
		wantErr(t, "Delete", err, dogpile.ErrBackend)
		if err != nil && !strings.Contains(err.Error(), "done, but whether other processes serve copies from before is not known") {
			t.Errorf("Delete = %v", err)
		}
		b.in(nil)
		wantErr(t, "Delete", w.Delete(bg, "k"), nil)
		b.in(failing("get"))
		wantErr(t, "Delete soon after", w.Delete(bg, "k"), nil)
	})
}

// TestListeningIsOneReading, for many callers at once.
func TestListeningIsOneReading(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(exactLag), false)[0]
		w := plain(t, r, nil)
		w.seat.slow = func([]string) { pass(time.Millisecond) }
		w.asks(t, "200 deletes", 1, func() {
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() { wantTook(t, "one of many", w, true) })
			}
			all.Wait()
		})
	})
}

// TestExactInvalidateLeavesLaterCreations: one that begins while Invalidate waits for copies is
// valid, and must not be broken off.
func TestExactInvalidateLeavesLaterCreations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(exactLag), false)[0]
		invalidated := start(func() (int, error) { return 0, r.Invalidate(bg, dogpile.Hard) })
		pass(100 * time.Millisecond)
		o := &creator[string]{takes: time.Second}
		first := start(get(r.Cache, "k", o.create))
		wantErr(t, "Invalidate", (<-invalidated).err, nil)
		second := start(get(r.Cache, "k", o.create))
		<-first
		<-second
		if n := o.calls.Load(); n != 1 {
			t.Errorf("%d creations", n)
		}
	})
}

// TestExactInvalidateTagsLetsThemBeReadAgain: what names a tag afterwards that was invalidated
// before it began is stored, though InvalidateTags has not returned yet.
func TestExactInvalidateTagsLetsThemBeReadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(10*time.Second), false)[0]
		invalidated := start(func() (int, error) { return 0, r.InvalidateTags(bg, dogpile.Hard, "t") })
		pass(100 * time.Millisecond)
		n := 0
		for range 20 {
			_, err := r.GetOrCreate(bg, "k", func(ctx context.Context) (string, error) {
				n++
				dogpile.Creation(ctx).TagRead(ctx, "t")
				return "v", nil
			})
			wantErr(t, "GetOrCreate", err, nil)
		}
		if n != 1 {
			t.Errorf("%d creations", n)
		}
		wantErr(t, "InvalidateTags", (<-invalidated).err, nil)
	})
}

// TestExactCreatorsGoByNoCopy: while a Delete waits for copies, a creator that finds its page
// deleted must not make it of the old product.
func TestExactCreatorsGoByNoCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ps := nearProcesses(t, 2, exactly(exactLag), false)
		r, w := ps[0], ps[1]
		wantErr(t, "Set", w.Set(bg, "product", "old"), nil)
		r.seat.deliver()
		r.gets(t, "product", "old")
		deleted := start(func() (int, error) { return 0, w.Delete(bg, "product") })
		pass(100 * time.Millisecond)
		v, err := r.GetOrCreate(bg, "page", func(ctx context.Context) (string, error) {
			return r.GetOrCreate(ctx, "product", constant("new").create)
		})
		wantValue(t, "the page", v, err, "new")
		wantErr(t, "Delete", (<-deleted).err, nil)
	})
}

// TestTagsOutlastASetThatWaitsInVain: the caller has no time left to wait for copies of others.
// What it has stored is there, and is to be found for as long as it lives.
func TestTagsOutlastASetThatWaitsInVain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(exactLag), false)[0]
		cache := func(expiration time.Duration) *dogpile.Cache[string] {
			return dogpile.NewCache(r.Region, &dogpile.CacheOptions[string]{Expiration: expiration, Tags: func(string) []string { return []string{"t"} }})
		}
		brief, long := cache(time.Second), cache(1000*time.Hour)
		wantErr(t, "Set", brief.Set(bg, "a", "v"), nil) // makes a token that is to end soon
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		wantErr(t, "Set", long.Set(ctx, "b", "v"), context.DeadlineExceeded)
		pass(500 * time.Hour)
		if v, ok, err := long.Get(bg, "b"); v != "v" || !ok || err != nil {
			t.Errorf("what was stored is %q, %v, %v", v, ok, err)
		}
	})
}

// lingering holds back the answer to one Get.
type lingering struct {
	driver.Proxy
	held    atomic.Bool // the next answer is
	release chan struct{}
}

func (l *lingering) Get(ctx context.Context, items []driver.Item) error {
	err := l.Proxy.Get(ctx, items)
	if l.held.CompareAndSwap(true, false) {
		<-l.release
	}
	return err
}

// TestALateAnswerTakesNoClaimBack:
//
//  1. W reads the token, and the answer is held back.
//  2. A process with copies that are exact comes, and W hears its claim.
//  3. The answer to 1 arrives, which has no such claim.  4. W deletes, and has to wait.
func TestALateAnswerTakesNoClaimBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const lag = exactLag
		r := nearProcesses(t, 1, dogpile.Options{Near: &dogpile.Near{Lag: lag}}, false)[0]
		b := &lingering{Proxy: driver.Proxy{Backend: r.seat.fleet.sit(r.seat.Backend)}, release: make(chan struct{})}
		w := dogpile.NewRegion("near")
		wantErr(t, "Configure", w.Configure(b, nil), nil)
		defer w.Close(bg)
		get := func() error {
			_, _, err := dogpile.NewCache[string](w, nil).Get(bg, "k")
			return err
		}
		b.held.Store(true)
		late := make(chan error)
		go func() { late <- get() }()
		synctest.Wait()
		exact, o := dogpile.NewRegion("near"), exactly(lag)
		wantErr(t, "Configure", exact.Configure(r.seat.fleet.sit(r.seat.Backend), &o), nil)
		defer exact.Close(bg)
		wantErr(t, "Get", get(), nil)
		close(b.release)
		wantErr(t, "the late Get", <-late, nil)
		began := time.Now()
		wantErr(t, "Delete", w.Delete(bg, "k"), nil)
		if took := time.Since(began); took < lag {
			t.Errorf("Delete took %v, and copies may be %v old", took, lag)
		}
	})
}
