package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
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

// plain returns a process without copies over the backend of p.
func plain(t *testing.T, p *process, o *dogpile.Options) *process {
	t.Helper()
	s := p.seat.fleet.sit(p.seat.Backend)
	r := dogpile.NewRegion("near")
	wantErr(t, "Configure", r.Configure(s, o), nil)
	t.Cleanup(func() { wantErr(t, "Close", r.Close(bg), nil) })
	return &process{r, dogpile.NewCache[string](r, nil), s}
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
