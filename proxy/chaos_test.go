package proxy_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/proxy"
)

// operations are the calls that Chaos can disturb.
var operations = []struct {
	op   proxy.Op
	name string
	call func(context.Context, driver.Backend) error
}{
	{proxy.OpGet, "Get", func(ctx context.Context, b driver.Backend) error { return b.Get(ctx, []driver.Item{{Key: "k"}}) }},
	{proxy.OpSet, "Set", func(ctx context.Context, b driver.Backend) error {
		return b.Set(ctx, []driver.Item{{Key: "k", Data: []byte("v")}})
	}},
	{proxy.OpDelete, "Delete", func(ctx context.Context, b driver.Backend) error { return b.Delete(ctx, []string{"k"}) }},
	{proxy.OpTryLock, "TryLock", func(ctx context.Context, b driver.Backend) error {
		l, err := b.(driver.Locker).TryLock(ctx, "k", time.Second)
		if l != nil {
			err = errors.Join(err, l.Release(ctx))
		}
		return err
	}},
	{proxy.OpWait, "Wait", func(ctx context.Context, b driver.Backend) error { return b.(driver.Locker).Wait(ctx, "k") }},
	{proxy.OpLocked, "Locked", func(ctx context.Context, b driver.Backend) error {
		_, err := b.(driver.Locker).Locked(ctx, "k")
		return err
	}},
	{proxy.OpLocked, "Holder", func(ctx context.Context, b driver.Backend) error {
		_, _, err := b.(driver.Holders).Holder(ctx, "k")
		return err
	}},
}

func TestChaosDisturbsTheChosenOperations(t *testing.T) {
	t.Parallel()
	for _, chosen := range operations {
		b := proxy.Chaos(&proxy.ChaosOptions{Ops: chosen.op, Error: 1})(backend(t))
		for _, o := range operations {
			if err := o.call(t.Context(), b); errors.Is(err, proxy.ErrChaos) != (o.op == chosen.op) {
				t.Errorf("%s disturbed: %s = %v", chosen.name, o.name, err)
			}
		}
	}
	all := proxy.Chaos(&proxy.ChaosOptions{Error: 1})(backend(t))
	two := proxy.Chaos(&proxy.ChaosOptions{Error: 1, Ops: proxy.OpGet | proxy.OpWait})(backend(t))
	for _, o := range operations {
		if err := o.call(t.Context(), all); err != proxy.ErrChaos {
			t.Errorf("all disturbed: %s = %v", o.name, err)
		}
		if err := o.call(t.Context(), two); (err != nil) != (o.name == "Get" || o.name == "Wait") {
			t.Errorf("Get and Wait disturbed: %s = %v", o.name, err)
		}
	}
}

func TestChaosErrorDoesNotReachTheBackend(t *testing.T) {
	t.Parallel()
	inner := backend(t)
	down := errors.New("down")
	b := proxy.Chaos(&proxy.ChaosOptions{Error: 1, Err: down})(inner)
	if err := b.Set(t.Context(), []driver.Item{{Key: "k", Data: []byte("v")}}); err != down {
		t.Errorf("Set = %v", err)
	}
	if l, err := b.(driver.Locker).TryLock(t.Context(), "k", time.Hour); l != nil || err != down {
		t.Errorf("TryLock = %v, %v", l, err)
	}
	if locked, _ := inner.Locked(t.Context(), "k"); locked || inner.Len() != 0 {
		t.Error("the call was made all the same")
	}
}

func TestChaosHangsUntilTheContextIsDone(t *testing.T) {
	for _, o := range operations {
		synctest.Test(t, func(t *testing.T) {
			b := proxy.Chaos(&proxy.ChaosOptions{Hang: 1})(backend(t))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			if err := o.call(ctx, b); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
				t.Errorf("%s = %v after %v", o.name, err, time.Since(start))
			}
		})
	}
}

func TestChaosDelays(t *testing.T) {
	for _, o := range operations {
		synctest.Test(t, func(t *testing.T) {
			b := proxy.Chaos(&proxy.ChaosOptions{Delay: 1, DelayFor: 3 * time.Second})(backend(t))
			start := time.Now()
			if err := o.call(t.Context(), b); err != nil || time.Since(start) != 3*time.Second {
				t.Errorf("%s = %v after %v", o.name, err, time.Since(start))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start = time.Now()
			if err := o.call(ctx, b); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("%s with a deadline = %v after %v", o.name, err, time.Since(start))
			}
			start = time.Now()
			b = proxy.Chaos(&proxy.ChaosOptions{Delay: 1})(backend(t))
			if err := o.call(t.Context(), b); err != nil || time.Since(start) != 100*time.Millisecond {
				t.Errorf("%s with the default delay = %v after %v", o.name, err, time.Since(start))
			}
		})
	}
}

func TestChaosLeavesEmptyBatchesAlone(t *testing.T) {
	t.Parallel()
	b := proxy.Chaos(&proxy.ChaosOptions{Error: 1})(backend(t))
	if err := errors.Join(b.Get(t.Context(), nil), b.Set(t.Context(), nil), b.Delete(t.Context(), nil)); err != nil {
		t.Error(err)
	}
}

// faults returns which of 1000 Gets fail.
func faults(t *testing.T, b driver.Backend) []int {
	var failed []int
	for i := range 1000 {
		if err := b.Get(t.Context(), []driver.Item{{Key: "k"}}); err != nil {
			failed = append(failed, i)
		}
	}
	return failed
}

func TestChaosKeepsToItsProbabilityAndSeed(t *testing.T) {
	t.Parallel()
	wrap := proxy.Chaos(&proxy.ChaosOptions{Error: 0.3, Seed: 1})
	first, again := faults(t, wrap(backend(t))), faults(t, wrap(backend(t)))
	if n := len(first); n < 200 || n > 400 {
		t.Errorf("%d of 1000 calls failed, want about 300", n)
	}
	if !slices.Equal(first, again) {
		t.Error("the same seed gave other faults")
	}
	if slices.Equal(first, faults(t, proxy.Chaos(&proxy.ChaosOptions{Error: 0.3, Seed: 2})(backend(t)))) {
		t.Error("another seed gave the same faults")
	}
	if n := len(faults(t, proxy.Chaos(&proxy.ChaosOptions{Seed: 1})(backend(t)))); n != 0 {
		t.Errorf("%d calls failed with probability 0", n)
	}
}

func TestChaosSeedHoldsWithDelaysTurnedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := faults(t, proxy.Chaos(&proxy.ChaosOptions{Error: 0.3, Seed: 1})(backend(t)))
		delayed := faults(t, proxy.Chaos(&proxy.ChaosOptions{Error: 0.3, Seed: 1, Delay: 0.5})(backend(t)))
		if !slices.Equal(plain, delayed) {
			t.Error("delays moved the errors")
		}
	})
}
