package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

func exactly(lag time.Duration) dogpile.Options {
	return dogpile.Options{Near: &dogpile.Near{Lag: lag, Exact: true}}
}

// wantWaits deletes in W, after R has a proved copy, and wants it to be gone then.
func wantWaits(t *testing.T, r *process, remove func() error, lag time.Duration) {
	t.Helper()
	r.seat.deliver()
	wantErr(t, "Set", r.Set(bg, "k", "old"), nil)
	r.gets(t, "k", "old")
	r.asks(t, "a copy", 0, func() { r.gets(t, "k", "old") })
	began := time.Now()
	wantErr(t, "Delete", remove(), nil)
	took := time.Since(began)
	if v, ok, err := r.Cache.Get(bg, "k"); ok || err != nil {
		t.Errorf("Delete returned after %v (Lag %v), and a copy gives %q, %v", took, lag, v, err)
	}
}

// TestNearExactIsKnownToWhoReadsSeldom: a process without copies has read, two minutes ago.
func TestNearExactIsKnownToWhoReadsSeldom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(500*time.Millisecond), false)[0]
		w := plain(t, r, nil)
		_, _, err := w.Get(bg, "k")
		wantErr(t, "Get", err, nil)
		wantWaits(t, r, func() error { return w.Delete(bg, "k") }, 500*time.Millisecond)
		_, _, err = w.Get(bg, "k")
		wantErr(t, "Get", err, nil)
		pass(3 * time.Minute)
		wantWaits(t, r, func() error { return w.Delete(bg, "k") }, 500*time.Millisecond)
	})
}

// TestNearExactSurvivesInvalidations: a process that has not read yet invalidates: what it
// writes tells no Lag any more, until R tells it again half a minute later.
func TestNearExactSurvivesInvalidations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(500*time.Millisecond), false)[0]
		w := plain(t, r, nil)
		wantErr(t, "Invalidate", w.Invalidate(bg, dogpile.Hard), nil)
		r.seat.deliver()
		wantErr(t, "Set", r.Set(bg, "k", "v"), nil)
		r.gets(t, "k", "v") // it has read the new token
		o := exactly(100 * time.Millisecond)
		other := dogpile.NewRegion("near")
		if err := other.Configure(r.seat.fleet.sit(r.seat.Backend), &o); err == nil {
			t.Error("another Lag is not refused")
			wantWaits(t, r, func() error { return other.Delete(bg, "k") }, 100*time.Millisecond)
		}
		wantErr(t, "Close", other.Close(bg), nil)
	})
}

// TestNearExactDisagreementIsQuiet: two processes with Exact have different Lags, since the
// second could not ask the backend when it was configured. They must not rewrite the token
// with every reading of it.
func TestNearExactDisagreementIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := nearProcesses(t, 1, exactly(time.Second), false)[0]
		down := &refusing{Proxy: driver.Proxy{Backend: e.seat.fleet.sit(e.seat.Backend)}}
		down.down.Store(true)
		r, o := dogpile.NewRegion("near"), exactly(500*time.Millisecond)
		wantErr(t, "Configure", r.Configure(down, &o), nil)
		defer r.Close(bg)
		down.down.Store(false)
		c := dogpile.NewCache[string](r, nil)
		before := down.sets.Load()
		for range 100 {
			_, _, _ = c.Get(bg, "k")
			pass(10 * time.Millisecond)
		}
		if n := down.sets.Load() - before; n > 2 {
			t.Errorf("the token was written %d times in a second", n)
		}
	})
}

// TestNearExactWithoutFences: over a backend without leases of its own nobody keeps the Lag told.
func TestNearExactWithoutFences(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, shared := new(fleet), newFake(t, like{bytes: true, lockless: true})
		r := dogpile.NewRegion("near")
		o := exactly(500 * time.Millisecond)
		if err := r.Configure(f.sit(shared), &o); err != nil {
			return // a refusal is as good
		}
		defer r.Close(bg)
		c := dogpile.NewCache[string](r, nil)
		wantErr(t, "Set", c.Set(bg, "k", "v"), nil)
		_, _, _ = c.Get(bg, "k")
		pass(3 * time.Minute)
		other, o2 := dogpile.NewRegion("near"), exactly(100*time.Millisecond)
		if err := other.Configure(f.sit(shared), &o2); err == nil {
			t.Error("another Lag is not refused after 3 minutes")
		}
		wantErr(t, "Close", other.Close(bg), nil)
	})
}

// TestNearExactBesideOthersWithAnotherLag: R is not Exact, and has told its Lag. E, which would
// wait for its own, is refused; another that is not Exact is not.
func TestNearExactBesideOthersWithAnotherLag(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, nearly(10*time.Second), false)[0]
		o := exactly(100 * time.Millisecond)
		e := dogpile.NewRegion("near")
		if err := e.Configure(r.seat.fleet.sit(r.seat.Backend), &o); err == nil {
			t.Error("another Lag is not refused")
		}
		wantErr(t, "Close", e.Close(bg), nil)
		o = nearly(time.Second)
		plain(t, r, &o)
	})
}

// TestNearExactIsKnownToWhoReadsNothing: a process without copies only deletes.
func TestNearExactIsKnownToWhoReadsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(500*time.Millisecond), false)[0]
		first := plain(t, r, nil)
		wantWaits(t, r, func() error { return first.Delete(bg, "k") }, 500*time.Millisecond)
		first.asks(t, "a Delete soon after", 0, func() { wantErr(t, "Delete", first.Delete(bg, "other"), nil) })
		pass(time.Hour)
		wantWaits(t, r, func() error { return first.Delete(bg, "k") }, 500*time.Millisecond)
	})
}

// TestNearExactIsKnownToWhoCameBefore: it has found nobody that keeps copies, a minute ago.
func TestNearExactIsKnownToWhoCameBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		shared, f := newFake(t, like{bytes: true}), new(fleet)
		w := plain(t, &process{seat: f.sit(shared)}, nil)
		wantErr(t, "Delete", w.Delete(bg, "k"), nil)
		o := exactly(500 * time.Millisecond)
		r := plain(t, w, &o)
		pass(time.Minute) // for as long it goes by what it has heard
		wantWaits(t, r, func() error { return w.Delete(bg, "k") }, 500*time.Millisecond)
	})
}

// TestNearExactIsForgotten: two minutes after the last process with copies a Delete does not
// wait any more, though another process goes on invalidating.
func TestNearExactIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, exactly(500*time.Millisecond), false)[0]
		w := plain(t, r, nil)
		_, _, err := w.Get(bg, "k")
		wantErr(t, "Get", err, nil)
		wantErr(t, "Close", r.Close(bg), nil)
		for range 6 {
			wantErr(t, "Invalidate", w.Invalidate(bg, dogpile.Soft), nil)
			_, _, err := w.Get(bg, "k")
			wantErr(t, "Get", err, nil)
			pass(30 * time.Second)
		}
		began := time.Now()
		wantErr(t, "Delete", w.Delete(bg, "k"), nil)
		if took := time.Since(began); took >= 500*time.Millisecond {
			t.Errorf("Delete took %v", took)
		}
	})
}

var lagUntil = regexp.MustCompile(`"u":(\d+)`)

// skewed is a backend as a process sees it whose wall clock is ahead of the others.
type skewed struct {
	driver.Proxy
	ahead time.Duration
}

func (s *skewed) Caps() driver.Caps {
	c := s.Proxy.Caps()
	c.Name = "skewed"
	return c
}

func (s *skewed) Get(ctx context.Context, items []driver.Item) error {
	err := s.Proxy.Get(ctx, items)
	for i := range items {
		items[i].Data = lagUntil.ReplaceAllFunc(items[i].Data, func(m []byte) []byte {
			n, _ := strconv.ParseInt(string(m[4:]), 10, 64)
			return fmt.Appendf(nil, `"u":%d`, n-int64(s.ahead/time.Second))
		})
	}
	return err
}

// TestNearExactWithClocksApart: the wall clock of W is an hour ahead of those of others, or
// behind. It knows what they tell, at the latest when they have told it anew.
func TestNearExactWithClocksApart(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const lag = 500 * time.Millisecond
				r := nearProcesses(t, 1, exactly(lag), false)[0]
				b := &skewed{driver.Proxy{Backend: r.seat.fleet.sit(r.seat.Backend)}, ahead}
				w := dogpile.NewRegion("near")
				wantErr(t, "Configure", w.Configure(b, nil), nil)
				defer w.Close(bg)
				for range 5 {
					_, _, _ = dogpile.NewCache[string](w, nil).Get(bg, "k")
					pass(30 * time.Second)
					r.seat.deliver()
					_, _, _ = r.Get(bg, "k")
				}
				wantWaits(t, r, func() error { return w.Delete(bg, "k") }, lag)
				if ahead > 0 {
					return
				}
				other := dogpile.NewRegion("near")
				o := exactly(100 * time.Millisecond)
				if err := other.Configure(b, &o); err == nil {
					t.Error("another Lag is not refused")
				}
				wantErr(t, "Close", r.Close(bg), nil)
				_, _, _ = dogpile.NewCache[string](w, nil).Get(bg, "k")
				pass(2*time.Minute + time.Second)
				began := time.Now()
				wantErr(t, "Delete", w.Delete(bg, "k"), nil)
				if took := time.Since(began); took >= lag {
					t.Errorf("Delete took %v, though nobody keeps copies any more", took)
				}
			})
		})
	}
}

// refusing is a backend that may be down.
type refusing struct {
	driver.Proxy
	down atomic.Bool
	sets atomic.Int64
}

func (r *refusing) Get(ctx context.Context, items []driver.Item) error {
	if r.down.Load() {
		return errors.New("down")
	}
	return r.Proxy.Get(ctx, items)
}

func (r *refusing) Set(ctx context.Context, items []driver.Item) error {
	r.sets.Add(1)
	return r.Proxy.Set(ctx, items)
}
