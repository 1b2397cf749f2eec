package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	batchSize = 100 // keys in a multi-get
	batches   = 100 // that are got in turn
)

var batchGoroutines = []int{1, 16}

// onMemcached calls print with the setting of a memcached that is empty.
func onMemcached(print func(s setting) error) error {
	s, err := startMemcached()
	if err != nil {
		return err
	}
	defer s.Close()
	return print(setting{Addr: s.addr, Lease: lease, server: strconv.Itoa(s.cmd.Process.Pid)})
}

func printMemcachedHits(o *options) error {
	chosen := slices.DeleteFunc(slices.Clone(memcachedClients), func(c client) bool { return !o.filter.MatchString(c.name) })
	if len(chosen) == 0 {
		return nil
	}
	return onMemcached(func(s setting) error { return printRemoteHits(o, "Hits on memcached", s, chosen) })
}

// printMemcachedMulti prints what it costs to get many keys in one call.
func printMemcachedMulti(o *options) error {
	chosen := slices.DeleteFunc(slices.Clone(batchers), func(b batcher) bool { return !o.filter.MatchString(b.name) })
	if len(chosen) == 0 {
		return nil
	}
	return onMemcached(func(s setting) error {
		runners := make([]*runner, len(chosen))
		for i, b := range chosen {
			var err error
			if runners[i], err = b.runner(s); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			defer runners[i].close()
		}
		for _, n := range batchGoroutines {
			if err := printBatches(o, s, runners, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func printBatches(o *options, s setting, runners []*runner, n int) error {
	o.progress(fmt.Sprintf("Multi-gets on memcached: goroutines: %d", n))
	laps := make([][]lap, len(runners))
	for t := range 1 + o.rounds*max(1, int(o.time/turn)) {
		if err := race(runners, n, min(turn, o.time), s.server, laps); err != nil {
			return err
		}
		if t == 0 { // it was to warm up
			clear(laps)
		}
	}
	rows := [][]string{{fmt.Sprintf("%d keys in a call, goroutines: %d", batchSize, n), "µs per call", "p50 µs", "p99 µs",
		"client's CPU", "server's CPU", "throughput / " + runners[0].name}}
	for i, r := range runners {
		rows = append(rows, hitRow(r.name, laps[i], laps[0]))
	}
	printTable(o.out, fmt.Sprintf("Multi-gets on memcached: values of 100 bytes, goroutines: %d; µs", n), rows)
	return nil
}

// runner stores the keys of all batches.
func (b batcher) runner(s setting) (*runner, error) {
	opened, err := b.open(s)
	if err != nil {
		return nil, err
	}
	all := make([][]string, batches)
	for i := range all {
		for k := range batchSize {
			all[i] = append(all[i], fmt.Sprintf("%s:%d:%d", b.name, i, k))
		}
		if err := opened.set(context.Background(), all[i]); err != nil {
			opened.close()
			return nil, err
		}
	}
	return &runner{client{name: b.name}, "self", func(n int, d time.Duration) ([]span, error) {
		return opened.share(all, n, time.Now().Add(d).UnixNano())
	}, opened.close}, nil
}

// share has n goroutines get one batch after the other, at least one, until
// then.
func (b *batch) share(all [][]string, n int, until int64) ([]span, error) {
	var wg sync.WaitGroup
	calls, errs := make([][]span, n), make([]error, n)
	for g := range n {
		wg.Go(func() {
			now := time.Now().UnixNano()
			for i := g * len(all) / n; calls[g] == nil || now < until; i++ {
				if errs[g] = b.check(all[i%len(all)]); errs[g] != nil {
					return
				}
				end := time.Now().UnixNano()
				calls[g] = append(calls[g], span{now, end})
				now = end
			}
		})
	}
	wg.Wait()
	return slices.Concat(calls...), errors.Join(errs...)
}

// check gets keys, and makes sure that all are there and their values right.
func (b *batch) check(keys []string) error {
	n, wrong := 0, ""
	err := b.get(context.Background(), keys, func(key, value string) {
		n++
		if len(value) != 100 || !strings.HasPrefix(value, key) {
			wrong = key
		}
	})
	switch {
	case err != nil:
		return err
	case wrong != "":
		return fmt.Errorf("got a wrong value for %q", wrong)
	case n != len(keys):
		return fmt.Errorf("%w: got %d of %d", errMissed, n, len(keys))
	}
	return nil
}
