package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	remoteKeys    = 10_000 // so many that two goroutines seldom ask for the same one at once
	pythonThreads = 16     // at most

	// turn is how long a client is measured before it is another's turn. In that,
	// hundreds of goroutines have long been started.
	turn = 100 * time.Millisecond
)

var goroutines = []int{1, 16, 256}

// A runner is a client that has all its keys stored.
type runner struct {
	client
	process string                                       // where it is, in /proc; "": its threads come and go
	run     func(n int, d time.Duration) ([]span, error) // n goroutines get keys for d
	close   func()
}

// openRunner stores the keys and opens c anew: it has no more in mind than the
// server has.
func openRunner(c client, s setting) (*runner, error) {
	prefix := c.name + ":"
	if c.open == nil {
		return pythonRunner(c, s, prefix)
	}
	const fillers = 16
	all := make([]stored, remoteKeys)
	for i := range all {
		key := fmt.Sprint(prefix, i)
		all[i] = stored{key, sharedValue(key)}
	}
	s.create = func(_ context.Context, key string) (string, error) { return sharedValue(key), nil }
	filling, err := c.open(s)
	if err != nil {
		return nil, err
	}
	_, err = filling.share(all, fillers, len(all)/fillers, math.MaxInt64)
	filling.close()
	if err != nil {
		return nil, err
	}
	s.create = func(context.Context, string) (string, error) { return "", errMissed }
	opened, err := c.open(s)
	if err != nil {
		return nil, err
	}
	return &runner{c, "self", func(n int, d time.Duration) ([]span, error) {
		return opened.share(all, n, math.MaxInt, time.Now().Add(d).UnixNano())
	}, opened.close}, nil
}

func pythonRunner(c client, s setting, prefix string) (*runner, error) {
	all, err := launch(1, c, s)
	if err != nil {
		return nil, err
	}
	return &runner{c, "", func(n int, d time.Duration) ([]span, error) {
		done, err := orderAll(all, order{Key: prefix, Goroutines: n, Keys: remoteKeys, For: d})
		return done.Calls, err
	}, all[0].Close}, nil
}

type stored struct{ key, value string }

// share has n goroutines get one key after the other, each from a place of its
// own on, at least once, until then, or each of them most times.
func (c *conn) share(all []stored, n, most int, until int64) ([]span, error) {
	var wg sync.WaitGroup
	calls, errs := make([][]span, n), make([]error, n)
	for g := range n {
		wg.Go(func() {
			ctx, at, now := context.Background(), g*len(all)/n, time.Now().UnixNano()
			for i := 0; i == 0 || i < most && now < until; i++ {
				s := &all[(at+i)%len(all)]
				v, err := c.get(ctx, s.key)
				if err == nil && v != s.value {
					err = fmt.Errorf("got %q for %q", v, s.key)
				}
				if err != nil {
					errs[g] = err
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

// A lap is what a client showed in one turn, in µs: the time of all goroutines
// together per call, what single calls took, and how long client and server had
// a CPU per call. The last two hardly depend on what else the machine does.
type lap struct{ perCall, p50, p99, client, server float64 }

func lapOf(calls []span) lap {
	first, last := int64(math.MaxInt64), int64(0)
	waits := make([]int64, len(calls))
	for i, c := range calls {
		first, last = min(first, c.Start), max(last, c.End)
		waits[i] = c.End - c.Start
	}
	slices.Sort(waits)
	n := len(waits)
	return lap{perCall: float64(last-first) / 1e3 / float64(n), p50: float64(waits[n/2]) / 1e3, p99: float64(waits[n*99/100]) / 1e3}
}

// printRemoteHits prints, for each number of goroutines, what a hit costs with
// each of clients. The first is what the others are compared with, turn by turn,
// and so is the MGET, which asks the server for as much as a region does.
func printRemoteHits(o *options, title string, s setting, clients []client) error {
	runners := make([]*runner, len(clients))
	for i, c := range clients {
		var err error
		if runners[i], err = openRunner(c, s); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer runners[i].close()
	}
	for _, n := range goroutines {
		racing := runners
		if n > pythonThreads {
			racing = slices.DeleteFunc(slices.Clone(racing), func(r *runner) bool { return r.open == nil })
		}
		o.progress(fmt.Sprintf("%s: goroutines: %d", title, n))
		laps := make([][]lap, len(racing))
		for t := range 1 + o.rounds*max(1, int(o.time/turn)) {
			if err := race(racing, n, min(turn, o.time), s.server, laps); err != nil {
				return err
			}
			if t == 0 { // it was to warm up
				clear(laps)
			}
		}
		head := []string{fmt.Sprintf("hit path, goroutines: %d", n), "µs per hit", "p50 µs", "p99 µs", "client's CPU", "server's CPU"}
		var bases [][]lap
		for i, r := range racing {
			if i == 0 || r.name == nameMGET {
				head, bases = append(head, "throughput / "+r.name), append(bases, laps[i])
			}
		}
		rows := [][]string{head}
		for i, r := range racing {
			rows = append(rows, hitRow(r.name, laps[i], bases...))
		}
		printTable(o.out, fmt.Sprintf("%s: %d keys, values of 100 bytes, goroutines: %d; µs", title, remoteKeys, n), rows)
	}
	return nil
}

// race appends to laps one for each of racing, which run for d each in an order
// that is drawn anew.
func race(racing []*runner, n int, d time.Duration, server string, laps [][]lap) error {
	for _, i := range rand.Perm(len(racing)) {
		r := racing[i]
		runtime.GC() // nobody pays for the garbage of another
		client, _ := cpuTime(r.process)
		serving, _ := cpuTime(server)
		calls, err := r.run(n, d)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		l := lapOf(calls)
		ran, _ := cpuTime(r.process)
		served, _ := cpuTime(server)
		l.client = float64(ran-client) / 1e3 / float64(len(calls))
		l.server = float64(served-serving) / 1e3 / float64(len(calls))
		laps[i] = append(laps[i], l)
	}
	return nil
}

// hitRow ends with a cell for each of bases, which laps are compared with.
func hitRow(name string, laps []lap, bases ...[]lap) []string {
	cell := func(format string, get func(i int) float64) string {
		values := make([]float64, len(laps))
		for i := range laps {
			values[i] = get(i)
		}
		if m := median(values); m > 0 {
			return fmt.Sprintf(format, m)
		}
		return "" // not known
	}
	row := []string{
		name,
		cell("%.1f", func(i int) float64 { return laps[i].perCall }),
		cell("%.0f", func(i int) float64 { return laps[i].p50 }),
		cell("%.0f", func(i int) float64 { return laps[i].p99 }),
		cell("%.1f", func(i int) float64 { return laps[i].client }),
		cell("%.1f", func(i int) float64 { return laps[i].server }),
	}
	for _, base := range bases {
		row = append(row, cell("%.2f", func(i int) float64 { return base[i].perCall / laps[i].perCall }))
	}
	return row
}
