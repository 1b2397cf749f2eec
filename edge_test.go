package dogpile_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
)

// A backend that hangs where the token is absent costs callers of different keys
// one time-out, not one after the other.
func TestAbsentTokenOfABackendThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		b.caps.InMemory = false
		c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
		b.in(hanging("lock"))
		var calls []<-chan result[int]
		for i := range 20 {
			calls = append(calls, start(get(c, fmt.Sprint(i), func(context.Context) (int, error) { return 1, nil })))
		}
		var most time.Duration
		for _, ch := range calls {
			r := <-ch
			wantErr(t, "x", r.err, nil)
			most = max(most, r.took)
		}
		if most > 3*time.Second {
			t.Errorf("the last of 20 callers got its value after %v", most)
		}
	})
}

// A hook may use the cache while its goroutine looks after the token.
func TestHookThatNeedsTheToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		b.caps.InMemory = false
		var c *dogpile.Cache[int]
		var once atomic.Bool
		stuck := make(chan bool, 1)
		h := &dogpile.Hooks{Error: func(_ context.Context, e dogpile.Event) {
			if e.Op == "unlock" && !once.Swap(true) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				_, _ = c.GetOrCreate(ctx, "other", func(context.Context) (int, error) { return 2, nil })
				stuck <- ctx.Err() != nil
			}
		}}
		c = dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Hooks: h}), nil)
		b.in(failing("set", "release"))
		r := <-start(get(c, "k", func(context.Context) (int, error) { return 1, nil }))
		wantValue(t, "caller", r.v, r.err, 1)
		if <-stuck {
			t.Error("the hook's call waited for the turn that its own goroutine has")
		}
	})
}

// A place among MaxCreators that a flight has kept is not the next flight's.
func TestMaxCreatorsPlaceOfAnEarlierFlight(t *testing.T) {
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			b := newMemory(t)
			opt := &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour, MaxCreators: 1}
			_, cs := processes[int](t, 1, b, opt)
			_, other := processes[int](t, 1, b, &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour})
			cs[0].Set(bg, "warm", 1)
			cr := counting(3 * time.Second)
			x := start(get(cs[0], "x", cr.create)) // has the place until 3 s
			l := start(get(cs[0], "k", cr.create)) // waits for the place
			other[0].GetOrCreate(bg, "k", func(context.Context) (int, error) { return 7, nil })
			pass(1500 * time.Millisecond) // stale now
			<-x
			y := start(get(cs[0], "y", cr.create))
			<-l
			<-y
			if n := cr.most.Load(); n > 1 {
				t.Fatalf("round %d: %d creators at once", i, n)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// What is renewed for nobody who waits fails for the hooks to see.
func TestRenewalThatNobodySeesFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newMemory(t)
		rec := new(recorder)
		_, as := processes[int](t, 1, b, &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour})
		_, bs := processes[int](t, 1, b, &dogpile.Options{Expiration: time.Second, StaleFor: time.Hour, Runner: dogpile.Background, Hooks: rec.hooks()})
		// What is made is stale at once.
		past := dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration { return -2 }}
		as[0], bs[0] = as[0].With(past), bs[0].With(past)
		cr := counting(2 * time.Second)
		a := start(get(as[0], "k", cr.create))
		pass(100 * time.Millisecond)
		r := <-start(get(bs[0], "k", func(context.Context) (int, error) { return 0, errOrigin }))
		<-a
		synctest.Wait()
		if n := rec.counts(); n["error"] != 1 {
			t.Errorf("%v, %v after %v; no caller got the creator's error, events %v", r.v, r.err, r.took, n)
		}
	})
}

// Renewals may take as long as there is between them.
func TestSlowRenewals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		b.caps.InMemory = false
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{LockTTL: 300 * time.Millisecond}), nil)
		b.in(func(ctx context.Context, op string, _ []string) error {
			if op == "extend" {
				return wait(ctx, 60*time.Millisecond)
			}
			return nil
		})
		r := <-start(get(c, "k", func(ctx context.Context) (int, error) { return 1, wait(ctx, 2*time.Second) }))
		if r.err != nil {
			t.Error(r.err, r.took)
		}
	})
}

type counted struct {
	driver.Proxy
	n *atomic.Int64
}

func (p counted) Get(ctx context.Context, items []driver.Item) error {
	p.n.Add(int64(len(items)))
	return errBackend
}

// A backend that keeps nothing is not asked for a token.
func TestDiscardsIsNotRead(t *testing.T) {
	var n atomic.Int64
	c := dogpile.NewCache[int](newRegion(t, counted{driver.Proxy{Backend: null.New()}, &n}, &dogpile.Options{Invalidator: new(dogpile.SharedInvalidator), Strict: true}), nil)
	_, err := c.GetOrCreate(bg, "k", func(context.Context) (int, error) { return 1, nil })
	if n.Load() > 0 || err != nil {
		t.Errorf("%d items read of a backend that keeps nothing, %v", n.Load(), err)
	}
}
