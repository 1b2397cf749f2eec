//go:build unix

package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// errNone is an origin's answer that there is no such thing.
var errNone = errors.New("there is none")

// notFoundHolds checks that the answer "there is none" reaches other processes, and that
// neither the backend nor the region's ideas of stale values keep it for longer.
func notFoundHolds(t *testing.T, open func(testing.TB) driver.Backend) {
	const holds = 1500 * time.Millisecond
	a, b, _ := Two(t, open, &dogpile.Options{Expiration: time.Hour, StaleFor: 2 * time.Hour, StaleIfError: dogpile.Never})
	knows := dogpile.CacheOptions[string]{NotFound: errNone, NotFoundFor: holds}
	a, b = a.With(knows), b.With(knows)
	var asked atomic.Int64
	none := func(context.Context) (string, error) { asked.Add(1); return "", fmt.Errorf("select: %w", errNone) }
	one := func(_ context.Context, keys []string) (map[string]string, error) {
		asked.Add(int64(len(keys)))
		return map[string]string{"here": "v"}, nil
	}
	if v, err := a.GetOrCreate(t.Context(), "k", none); err != errNone {
		t.Errorf("the creator's caller got %q, %v", v, err)
	}
	vals, err := a.GetOrCreateMulti(t.Context(), []string{"gone", "here"}, one)
	OK(t, err)
	stored := time.Now()
	if len(vals) != 1 || vals["here"] != "v" {
		t.Errorf("the batch has %v", vals)
	}
	for { // until the answer is forgotten: in time, or the test fails
		began := time.Now()
		v, ok, err := b.Get(t.Context(), "k")
		w, gone := b.GetOrCreate(t.Context(), "gone", func(context.Context) (string, error) { return "anew", nil })
		if late := began.Sub(stored) > holds+time.Millisecond; ok || late && (err != nil || gone != nil) {
			t.Fatalf("after %v: %q, %v, %v and %q, %v", began.Sub(stored), v, ok, err, w, gone)
		}
		if err == nil && gone == nil {
			break
		}
		wantNone(t, err)
		Pause(10 * time.Millisecond)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the origin was asked %d times", n)
	}
	if v, err := b.GetOrCreate(t.Context(), "k", Made("v")); v != "v" || err != nil {
		t.Errorf("when it is over: %q, %v", v, err)
	}
}

func wantNone(t *testing.T, err error) {
	t.Helper()
	if err != nil && err != errNone {
		t.Errorf("another error: %v", err)
	}
}

// schemasAreApart checks that two versions of a program can share a cache.
func schemasAreApart(t *testing.T, open func(testing.TB) driver.Backend) {
	a, b, _ := Two(t, open, nil)
	b = b.With(dogpile.CacheOptions[string]{Schema: "user/2"})
	OK(t, a.Set(t.Context(), "k", "old"))
	if v, ok, err := b.Get(t.Context(), "k"); ok || err != nil {
		t.Errorf("the new version reads %q, %v, %v", v, ok, err)
	}
	if v, err := b.GetOrCreate(t.Context(), "k", Made("new")); v != "new" || err != nil {
		t.Errorf("the new version creates %q, %v", v, err)
	}
	WantEntry(t, b, "k", "new", dogpile.Fresh)
	if v, ok, err := a.Get(t.Context(), "k"); ok || err != nil {
		t.Errorf("the old version reads %q, %v, %v", v, ok, err)
	}
}

// oneRenewalAhead checks that eight processes that ask all the time cost the origin one
// creation in the life of an entry. From the end of a creation to the begin of the next
// no less may pass than the part of that life in which nobody is to renew.
func oneRenewalAhead(t *testing.T, open func(testing.TB) driver.Backend) {
	const life, rounds = 400 * time.Millisecond, 5
	const part = .5
	var mu sync.Mutex
	var ended time.Time
	var creations atomic.Int64
	create := func(ctx context.Context) (string, error) {
		if !mu.TryLock() {
			t.Error("two creators at once")
			mu.Lock()
		}
		defer mu.Unlock()
		began := time.Now()
		if apart := began.Sub(ended); creations.Load() > 0 && apart < time.Duration(part*float64(life))-time.Millisecond {
			t.Errorf("creation %d began %v after the one before", creations.Load()+1, apart)
		}
		Pause(20 * time.Millisecond)
		ended = time.Now()
		return fmt.Sprint(creations.Add(1)), nil
	}
	name := Unique(t)
	var fleet []*dogpile.Region
	var callers sync.WaitGroup
	over := make(chan struct{})
	defer callers.Wait()
	defer close(over)
	for range 8 {
		r := Region(t, name, open(t), &dogpile.Options{Expiration: life, StaleFor: dogpile.Never, RefreshAhead: part})
		fleet = append(fleet, r)
	}
	first := dogpile.NewCache[string](fleet[0], nil)
	if v, err := first.GetOrCreate(t.Context(), "k", create); v != "1" || err != nil {
		t.Fatalf("the first caller got %q, %v", v, err)
	}
	for _, r := range fleet {
		c := dogpile.NewCache[string](r, nil)
		callers.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if v, err := c.GetOrCreate(t.Context(), "k", create); v == "" || err != nil {
					t.Errorf("a caller got %q, %v", v, err)
				}
			}
		})
	}
	// A machine that stands still for longer than the rest of a life has the entry expire.
	// That is no fault, and proves nothing.
	Eventually(t, "entries to be renewed, and one of them ahead of its expiration", func() bool {
		early := int64(0)
		for _, r := range fleet {
			early += r.Stats().Early
		}
		return creations.Load() >= rounds && early > 0
	})
}
