package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

func TestEveryContestantReturnsTheRightValue(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(dogpiles(), rivals()) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorkload(2000)
			opened, err := c.open(w)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			for range 2 { // the second time after whatever the first one set off
				for i, key := range w.keys {
					v, err := opened.get(context.Background(), strings.Clone(key), uint32(i))
					if err != nil {
						t.Fatalf("key %d: %v", i, err)
					}
					if v != valueOf(i) {
						t.Fatalf("key %d: got the value of %d", i, v.ID)
					}
				}
			}
			if n := w.misses.Load(); n != 0 {
				t.Errorf("%d misses, want none", n)
			}
		})
	}
}

func TestEveryStampederReturnsTheRightValue(t *testing.T) {
	t.Parallel()
	for _, s := range stampeders() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			seen, err := rush(s, 50, 0) // fails on a wrong value
			if err != nil {
				t.Fatal(err)
			}
			if seen.creations == 0 || seen.creations > 50 {
				t.Errorf("%d creations for 50 callers", seen.creations)
			}
		})
	}
}

func TestStampedeOnDogpile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen, err := rush(stampeder{"dogpile", openDogpileHerd}, crowd, createTime)
		if err != nil {
			t.Fatal(err)
		}
		if want := (stampede{1, createTime, createTime, createTime}); seen != want {
			t.Errorf("got %+v, want %+v", seen, want)
		}
	})
}

func TestFailures(t *testing.T) {
	quick := &options{time: time.Millisecond, tries: 1}
	type get = func(context.Context, string, uint32) (Value, error)
	for _, row := range []struct {
		name string
		get  func(w *workload) get
		want string
	}{
		{"a miss", func(w *workload) get {
			return func(ctx context.Context, _ string, _ uint32) (Value, error) { return w.missed(ctx) }
		}, errMissed.Error()},
		{"a miss that is kept quiet", func(w *workload) get {
			return func(ctx context.Context, _ string, id uint32) (Value, error) {
				w.missed(ctx)
				return valueOf(int(id)), nil
			}
		}, "not the hit path"},
		{"a wrong value", func(*workload) get {
			return func(_ context.Context, _ string, id uint32) (Value, error) { return valueOf(int(id) + 1), nil }
		}, "got the value of"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := contestant{"liar", func(w *workload) (*cache, error) { return &cache{get: row.get(w)}, nil }}
			_, err := sampleOf(c, newWorkload(100), 1, quick)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "liar") {
				t.Errorf("got %v, want an error that names the contestant and says %q", err, row.want)
			}
		})
	}
	t.Run("cannot be opened", func(t *testing.T) {
		cause := errors.New("no memory")
		c := contestant{"broken", func(*workload) (*cache, error) { return nil, cause }}
		if _, err := sampleOf(c, newWorkload(100), 1, quick); !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
	})
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	w, again := newWorkload(1000), newWorkload(1000)
	if !slices.Equal(w.asks, again.asks) || !slices.Equal(w.keys, again.keys) {
		t.Error("two workloads of one size differ")
	}
	asked := make([]int, len(w.keys))
	for _, a := range w.asks {
		asked[a.id]++
		if key := w.keys[a.id]; a.key != key || unsafe.StringData(a.key) == unsafe.StringData(key) {
			t.Fatalf("asks for %q as key %d, want a copy of %q", a.key, a.id, key)
		}
	}
	slices.Sort(asked)
	if least, most := asked[0], asked[len(asked)-1]; least == 0 || most < 100*least {
		t.Errorf("the least asked key is asked for %d times, the most %d times: not zipf over all keys", least, most)
	}
	if len(w.asks)&(len(w.asks)-1) != 0 {
		t.Errorf("%d calls, want a power of two", len(w.asks))
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		if got := median(row.values); got != row.want {
			t.Errorf("median(%v) = %v, want %v", row.values, got, row.want)
		}
	}
}

func TestRatioIsTakenPairByPair(t *testing.T) {
	t.Parallel()
	f := duel{ns: []float64{100, 240, 330, 420, 390}, base: []float64{100, 200, 300, 300, 300}}
	if got, want := f.ratio().String(), "1.20 (1.10–1.30)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDuelFailures(t *testing.T) {
	quick := &options{time: time.Millisecond, tries: 1}
	honest := contestant{"honest", openFlight}
	liar := contestant{"liar", func(w *workload) (*cache, error) {
		return &cache{get: func(ctx context.Context, _ string, _ uint32) (Value, error) { return w.missed(ctx) }}, nil
	}}
	var f duel
	if err := f.fight(quick, honest, liar, newWorkload(100), 1); !errors.Is(err, errMissed) {
		t.Errorf("got %v, want %v", err, errMissed)
	}
	if err := f.fight(quick, honest, honest, newWorkload(100), 1); err != nil || len(f.ns) != 1 || len(f.base) != 1 {
		t.Errorf("got %+v, %v, want one pair", f, err)
	}
}

func TestQuietest(t *testing.T) {
	t.Parallel()
	calls := 0
	got, err := quietest(3, func() (sample, error) {
		calls++
		return sample{ns: float64(calls)}, nil
	})
	if err != nil || calls < 1 || calls > 3 || got.ns < 1 || got.ns > float64(calls) {
		t.Errorf("got %+v, %v after %d calls", got, err, calls)
	}
	cause := errors.New("broken")
	if _, err := quietest(3, func() (sample, error) { return sample{}, cause }); err != cause {
		t.Errorf("got %v, want %v", err, cause)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	printTable(&out, "Title", [][]string{{"name", "n"}, {"a – b", "1234"}, {"c", "5"}})
	want := `
## Title

| name  |    n |
|-------|-----:|
| a – b | 1234 |
| c     |    5 |
`
	if out.String() != want {
		t.Errorf("got:%s\nwant:%s", out.String(), want)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args string
		want string // in the error
	}{
		{"-tables hit,wheels", `unknown table "wheels"`},
		{"-count 0", "positive"},
		{"-time -1s", "positive"},
		{"-filter (", "-filter"},
		{"more", `unexpected argument "more"`},
		{"-nosuch", "nosuch"},
	} {
		t.Run(row.args, func(t *testing.T) {
			_, err := parseFlags(strings.Fields(row.args), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error that says %q", err, row.want)
			}
		})
	}
	o, err := parseFlags([]string{"-smoke", "-tables", "bytes"}, io.Discard, io.Discard)
	if err != nil || o.rounds != 1 || !slices.Equal(o.tables, []string{"bytes"}) {
		t.Errorf("-smoke -tables bytes: got %+v, %v", o, err)
	}
}
