package dogpile_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

var bg = context.Background()

func TestMultiThatHangsLeavesKeysOfOthersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{CreateTimeout: time.Second})
		other := start(get(cs[1], "b", (&creator[int]{err: errOrigin, takes: 500 * time.Millisecond}).create))
		stuck := make(chan struct{})
		multi := start(func() (map[string]int, error) {
			return cs[0].GetOrCreateMulti(bg, []string{"a", "b"}, func(context.Context, []string) (map[string]int, error) {
				<-stuck
				return nil, nil
			})
		})
		wantErr(t, "other", (<-other).err, errOrigin)
		wantErr(t, "multi", (<-multi).err, dogpile.ErrCreateTimeout)
		ctx, cancel := context.WithTimeout(bg, time.Hour)
		defer cancel()
		began := time.Now()
		v, err := cs[0].GetOrCreate(ctx, "b", constant(1).create)
		wantValue(t, "b", v, err, 1)
		t.Log("took", time.Since(began))
		close(stuck)
	})
}

func TestMultiStartsOverOnceForAllLostLeases(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		keys := []string{"a", "b", "c", "d", "e"}
		calls := 0
		multi := start(func() (map[string]int, error) {
			return cs[0].GetOrCreateMulti(bg, keys, func(ctx context.Context, missing []string) (map[string]int, error) {
				if calls++; calls == 1 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				vals := make(map[string]int)
				for _, k := range missing {
					vals[k] = calls
				}
				return vals, nil
			})
		})
		if err := cs[1].Delete(bg, keys...); err != nil {
			t.Fatal(err)
		}
		r := <-multi
		if r.err != nil || len(r.v) != 5 {
			t.Errorf("%v, %v after %v", r.v, r.err, r.took)
		}
	})
}

func TestSetMultiAsksForTheTokenOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 1, b, nil)
		if err := cs[0].Set(bg, "a", 1); err != nil {
			t.Fatal(err)
		}
		before := b.called("get")
		if err := cs[0].SetMulti(bg, map[string]int{"a": 1, "b": 2, "c": 3, "d": 4}); err != nil {
			t.Fatal(err)
		}
		if n := b.called("get") - before; n != 1 {
			t.Errorf("%d gets", n)
		}
	})
}

func TestMultiErrorStaysWithKeysOfItsCreator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		other := start(get(cs[1], "b", (&creator[int]{takes: 2 * time.Second, value: func(int64) int { return 7 }}).create))
		multi := start(func() (map[string]int, error) {
			return cs[0].GetOrCreateMulti(bg, []string{"a", "b"}, func(context.Context, []string) (map[string]int, error) {
				pass(time.Second)
				return nil, errOrigin
			})
		})
		follower := start(get(cs[0], "b", constant(1).create))
		wantErr(t, "multi", (<-multi).err, errOrigin)
		r := <-follower
		wantValue(t, "follower of b", r.v, r.err, 7)
		<-other
	})
}

func TestCreatorOfABatchMayAskForKeyThatAnotherCreates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		other := start(get(cs[1], "b", (&creator[int]{takes: 2 * time.Second, value: func(int64) int { return 7 }}).create))
		vals, err := cs[0].GetOrCreateMulti(bg, []string{"a", "b"}, func(ctx context.Context, missing []string) (map[string]int, error) {
			if len(missing) != 1 {
				t.Error(missing)
			}
			v, err := cs[0].GetOrCreate(ctx, "b", constant(1).create)
			return map[string]int{"a": v}, err
		})
		if err != nil || vals["a"] != 7 || vals["b"] != 7 {
			t.Error(vals, err)
		}
		<-other
	})
}

func TestBackgroundFailureGoesToTheErrorHook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background, Hooks: rec.hooks()})
		_ = c.Set(bg, "k", 1)
		pass(90 * time.Second)
		v, err := c.GetOrCreate(bg, "k", (&creator[int]{err: errOrigin}).create)
		wantValue(t, "stale", v, err, 1)
		pass(time.Second)
		if n := len(rec.take("error")); n != 1 {
			t.Error(n, "errors")
		}
	})
}

func TestSetMultiErrorNamesEveryKeyNotStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true})
		c := dogpile.NewCache[any](newRegion(t, b, nil), nil)
		err := c.SetMulti(bg, map[string]any{"a": 1, "b": func() {}, "c": 2})
		if err == nil {
			t.Error("no error")
		}
		_, okA, _ := c.Get(bg, "a")
		_, okC, _ := c.Get(bg, "c")
		if !okA || !okC {
			t.Errorf("a and c are not stored (%v, %v); the error: %v", okA, okC, err)
		}
	})
}

func TestMultiWithRunnerAndFailingBackend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{unshared: true})
		var down atomic.Bool
		b.in(func(_ context.Context, op string, _ []string) error {
			if down.Load() && op == "get" {
				return errBackend
			}
			if op == "lock" {
				down.Store(true)
			}
			return nil
		})
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background}), nil)
		_ = c.SetMulti(bg, map[string]int{"a": 1, "b": 2})
		pass(90 * time.Second)
		vals, err := c.GetOrCreateMulti(bg, []string{"a", "b", "c", "d"}, func(_ context.Context, ks []string) (map[string]int, error) {
			pass(time.Second)
			return map[string]int{"a": 3, "b": 3, "c": 3, "d": 3}, nil
		})
		t.Log(vals, err)
	})
}
