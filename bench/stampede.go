package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/maypok86/otter/v2"
)

const (
	crowd       = 1000                  // goroutines on one missing key
	createTime  = 50 * time.Millisecond // what its creator takes
	waiterLimit = 55 * time.Millisecond // what 99 % of them may wait
)

// stampeders lists the caches that make a missing value once for all.
func stampeders() []stampeder {
	return []stampeder{
		{"dogpile GetOrCreate", openDogpileHerd},
		{nameOtter, openOtterHerd},
		{"sturdyc GetOrFetch", openSturdycHerd},
		{"theine loading Get", openTheineHerd},
		{"map + RWMutex + singleflight", openFlightHerd},
	}
}

func openOtterHerd(create func() (Value, error)) (*herd, error) {
	c, err := newOtter(crowd, ttl)
	if err != nil {
		return nil, err
	}
	var loader otter.Loader[string, Value] = otter.LoaderFunc[string, Value](
		func(context.Context, string) (Value, error) { return create() })
	return &herd{
		get:   func(ctx context.Context, key string) (Value, error) { return c.Get(ctx, key, loader) },
		close: func() { c.StopAllGoroutines() },
	}, nil
}

func openSturdycHerd(create func() (Value, error)) (*herd, error) {
	c := newSturdyc(crowd)
	fetch := func(context.Context) (Value, error) { return create() }
	return &herd{
		get: func(ctx context.Context, key string) (Value, error) { return c.GetOrFetch(ctx, key, fetch) },
	}, nil
}

func openTheineHerd(create func() (Value, error)) (*herd, error) {
	c, err := theine.NewBuilder[string, Value](crowd).Loading(
		func(context.Context, string) (theine.Loaded[Value], error) {
			v, err := create()
			return theine.Loaded[Value]{Value: v, Cost: 1, TTL: ttl}, err
		}).Build()
	if err != nil {
		return nil, err
	}
	return &herd{get: c.Get, close: c.Close}, nil
}

func openFlightHerd(create func() (Value, error)) (*herd, error) {
	f := &flight{values: make(map[string]Value)}
	return &herd{
		get: func(_ context.Context, key string) (Value, error) { return f.get(key, create) },
	}, nil
}

// stampede is what one crowd saw.
type stampede struct {
	creations     int64
	p50, p99, max time.Duration
}

// rush sends n goroutines at once to one missing key, whose creator takes
// take, and returns how often it ran and what each of them waited.
func rush(s stampeder, n int, take time.Duration) (stampede, error) {
	var creations atomic.Int64
	want := valueOf(7)
	h, err := s.open(func() (Value, error) {
		creations.Add(1)
		time.Sleep(take)
		return want, nil
	})
	if err != nil {
		return stampede{}, fmt.Errorf("%s: %w", s.name, err)
	}
	defer h.Close()
	var (
		wg     sync.WaitGroup
		begin  = make(chan struct{})
		waited = make([]time.Duration, n)
		errs   = make([]error, n)
	)
	for i := range n {
		wg.Go(func() {
			<-begin
			start := time.Now()
			v, err := h.get(context.Background(), "one key")
			waited[i] = time.Since(start)
			if err == nil && v != want {
				err = fmt.Errorf("got the value of %d", v.ID)
			}
			errs[i] = err
		})
	}
	close(begin)
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return stampede{}, fmt.Errorf("%s: %w", s.name, errs[i])
	}
	return stampedeOf(creations.Load(), waited), nil
}

func stampedeOf(creations int64, waited []time.Duration) stampede {
	slices.Sort(waited)
	n := len(waited)
	return stampede{creations, waited[n/2], waited[n*99/100], waited[n-1]}
}

func printStampede(o *options) error {
	seen := make(map[string][]stampede)
	for round := range o.rounds {
		o.progress(fmt.Sprintf("stampede: round %d of %d", round+1, o.rounds))
		for _, s := range stampeders() {
			if !o.filter.MatchString(s.name) {
				continue
			}
			one, err := rush(s, crowd, createTime)
			if err != nil {
				return err
			}
			seen[s.name] = append(seen[s.name], one)
		}
	}
	rows := [][]string{stampedeHead(waiterLimit)}
	for _, s := range stampeders() {
		if all := seen[s.name]; len(all) > 0 {
			rows = append(rows, stampedeRow(s.name, all, waiterLimit))
		}
	}
	if len(rows) > 1 {
		printTable(o.out, fmt.Sprintf("Stampede: %d goroutines, creator takes %v; creations and max are the worst of all rounds",
			crowd, createTime), rows)
	}
	return nil
}

func stampedeHead(limit time.Duration) []string {
	return []string{"waiters of one missing key", "creations", "p50 ms", "p99 ms", "max ms", fmt.Sprintf("1 creation, p99 ≤ %v", limit)}
}

func stampedeRow(name string, all []stampede, limit time.Duration) []string {
	var creations int64
	var p50, p99, most []float64
	for _, one := range all {
		creations = max(creations, one.creations)
		p50 = append(p50, milliseconds(one.p50))
		p99 = append(p99, milliseconds(one.p99))
		most = append(most, milliseconds(one.max))
	}
	held := creations == 1 && median(p99) <= milliseconds(limit)
	return []string{name, fmt.Sprint(creations), fmt.Sprintf("%.1f", median(p50)),
		fmt.Sprintf("%.1f", median(p99)), fmt.Sprintf("%.1f", slices.Max(most)), verdict(held)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
