package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// TestNearCreatorsGoByNoOldTagToken:
//
//  1. R knows the token of a tag, by its copies.  2. W invalidates the tag, and its call returns.
//  3. R hears of it later. Before, a creator at R, of another region, reads the product: from
//     the backend, but it is judged by the tag's token as R knows it.
//  4. The page of the old product is kept for as long as pages are.
func TestNearCreatorsGoByNoOldTagToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ps := nearProcesses(t, 2, nearly(time.Second), false)
		pages := dogpile.NewRegion("pages")
		wantErr(t, "Configure", pages.Configure(newFake(t, like{}), nil), nil)
		defer pages.Close(bg)
		made := "old"
		product := func(ctx context.Context) (string, error) {
			dogpile.Creation(ctx).Tag(ctx, "t")
			return made, nil
		}
		for range 2 {
			if _, err := ps[0].GetOrCreate(bg, "k", product); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, "InvalidateTags", ps[1].InvalidateTags(bg, dogpile.Hard, "t"), nil)
		made = "new"
		page, err := dogpile.NewCache[string](pages, nil).GetOrCreate(bg, "page", func(ctx context.Context) (string, error) {
			v, err := ps[0].GetOrCreate(ctx, "k", product)
			return "page of " + v, err
		})
		if page != "page of new" || err != nil {
			t.Errorf("the page is %q, %v", page, err)
		}
	})
}

// TestNearStoresLeaveOtherCopies: a Set of one key must not end the copies of all the others.
func TestNearStoresLeaveOtherCopies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := nearProcesses(t, 1, nearly(time.Hour), false)[0]
		for i := range 10 {
			key := fmt.Sprint("k", i)
			wantErr(t, "Set", p.Set(bg, key, "v"), nil)
			p.gets(t, key, "v")
		}
		p.asks(t, "before", 0, func() { p.gets(t, "k1", "v") })
		wantErr(t, "Set", p.Set(bg, "other", "v"), nil)
		p.asks(t, "after a Set of another key", 0, func() {
			for i := range 10 {
				p.gets(t, fmt.Sprint("k", i), "v")
			}
		})
		if _, err := p.GetOrCreate(bg, "made", returns("v")); err != nil {
			t.Error(err)
		}
		p.asks(t, "after a creation of another key", 0, func() { p.gets(t, "k1", "v") })
	})
}

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

// plain returns a process without copies over the backend of p.
func plain(t *testing.T, p *process, o *dogpile.Options) *process {
	t.Helper()
	s := p.seat.fleet.sit(p.seat.Backend)
	r := dogpile.NewRegion("near")
	wantErr(t, "Configure", r.Configure(s, o), nil)
	t.Cleanup(func() { wantErr(t, "Close", r.Close(bg), nil) })
	return &process{r, dogpile.NewCache[string](r, nil), s}
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

// TestNearEndsWithTheTTL: what the backend tells is left of a TTL counts from when it was asked.
func TestNearEndsWithTheTTL(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := nearProcesses(t, 1, nearly(time.Hour), false)[0]
		w2 := plain(t, r, &dogpile.Options{Expiration: time.Second, StaleFor: time.Second})
		wantErr(t, "Set", w2.Set(bg, "k", "v"), nil)
		r.seat.slow = func(keys []string) { pass(1900 * time.Millisecond) }
		r.gets(t, "k", "v")
		r.seat.slow = nil
		pass(time.Second)
		if _, ok, _ := w2.Get(bg, "k"); ok {
			t.Fatal("the entry is there")
		}
		if v, ok, err := r.Cache.Get(bg, "k"); ok || err != nil {
			t.Errorf("past the TTL: %q, %v", v, err)
		}
	})
}

// TestNearAheadThatFails: while an entry cannot be renewed ahead, each hit of it asks the backend.
func TestNearAheadThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := nearly(time.Hour)
		o.Expiration, o.RefreshAhead = time.Minute, 0.5
		p := nearProcesses(t, 1, o, false)[0]
		fails := false
		get := func() {
			if _, err := p.GetOrCreate(bg, "k", func(context.Context) (string, error) {
				if fails {
					return "", errors.New("down")
				}
				return "v", nil
			}); err != nil {
				t.Error(err)
			}
		}
		get()
		get()
		pass(31 * time.Second)
		fails = true
		get()
		pass(time.Millisecond)
		before := p.seat.read()
		for range 100 {
			get()
			pass(time.Millisecond)
		}
		if n := p.seat.read() - before; n > 10 {
			t.Errorf("%d readings for 100 hits", n)
		}
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

// TestNearWithInvalidationLag: what a Set knows of the token, which is trusted for
// InvalidationLag, must not keep copies from being used for as long.
func TestNearWithInvalidationLag(t *testing.T) {
	for name, row := range map[string]struct {
		proven bool
		lag    time.Duration
	}{"proved": {true, time.Hour}, "as on memcached": {false, time.Second}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := nearly(row.lag)
				o.InvalidationLag = time.Minute
				p := nearProcesses(t, 1, o, false)[0]
				p.seat.proven = row.proven
				wantErr(t, "Set", p.Set(bg, "k", "v"), nil)
				p.gets(t, "k", "v")
				p.asks(t, "a Set before", 0, func() { p.gets(t, "k", "v") })
				pass(2 * time.Second)
				p.gets(t, "k", "v")
				p.asks(t, "two seconds later", 0, func() { p.gets(t, "k", "v"); p.gets(t, "k", "v") })
			})
		})
	}
}

// TestNearTellsNothingAfterClose: what an earlier configuration does in the background is over
// when Close returns.
func TestNearTellsNothingAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, shared := new(fleet), newFake(t, like{bytes: true})
		s := f.sit(shared)
		r := dogpile.NewRegion("near")
		o := exactly(500 * time.Millisecond)
		inside, gate := make(chan struct{}), make(chan struct{})
		var armed, closed, late atomic.Bool
		s.slow = func([]string) {
			if !armed.CompareAndSwap(true, false) {
				return
			}
			close(inside)
			<-gate // a backend that does not look at its context
			late.Store(closed.Load())
		}
		wantErr(t, "Configure", r.Configure(s, &o), nil)
		armed.Store(true)
		<-inside // after half a minute
		wantErr(t, "Reconfigure", r.Reconfigure(newFake(t, like{}), nil), nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			_ = r.Close(ctx)
			closed.Store(true)
		}()
		pass(500 * time.Millisecond)
		close(gate)
		<-done
		pass(time.Second)
		if late.Load() {
			t.Error("a goroutine of the region was in the backend after Close")
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
