package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	fleetProcesses  = 8
	fleetGoroutines = 50 // in each of them
	fleetKeys       = 10_000
	fleetWrites     = 100 // one call in so many is a Set
)

// printNearFleet prints what a fleet of processes does in all, and what that asks of
// the server, with copies and without.
func printNearFleet(o *options) error {
	dir, err := os.MkdirTemp("", "dogpile-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	clients := slices.DeleteFunc([]client{redisFar, redisNear, fileFar, fileNear}, func(c client) bool { return !o.filter.MatchString(c.name) })
	seen := make([][]fleetLap, len(clients))
	for round := range o.rounds {
		for _, i := range rand.Perm(len(clients)) {
			o.progress(fmt.Sprintf("near-fleet: %s, round %d of %d", clients[i].name, round+1, o.rounds))
			l, err := lapOfFleet(o.fleet, clients[i], filepath.Join(dir, fmt.Sprint(i, round)))
			if err != nil {
				return err
			}
			seen[i] = append(seen[i], l)
		}
	}
	if len(clients) == 0 {
		return nil
	}
	rows := [][]string{{"fleet", "thousand ops/s", "near %", "clients' CPU µs/op", "server's CPU s", "server's CPU µs/op", "MB/s out", "server MB", "tracked keys"}}
	for i, c := range clients {
		rows = append(rows, slices.Concat([]string{c.name}, fleetCells(seen[i])))
	}
	printTable(o.out, fmt.Sprintf("%d processes of %d goroutines for %v: %d keys, zipf s=%v, strings of 100 bytes, 1 %% of calls are Set",
		fleetProcesses, fleetGoroutines, o.fleet, fleetKeys, zipfS), rows)
	return nil
}

// A fleetLap is what a fleet did, and what its server. Without a server those are NaN.
type fleetLap struct{ rate, near, cpu, server, perOp, out, memory, tracked float64 }

func fleetCells(laps []fleetLap) []string {
	var cells []string
	for _, column := range []struct {
		format string
		of     func(l fleetLap) float64
	}{
		{"%.1f", func(l fleetLap) float64 { return l.rate / 1e3 }},
		{"%.1f", func(l fleetLap) float64 { return 100 * l.near }},
		{"%.1f", func(l fleetLap) float64 { return l.cpu }},
		{"%.2f", func(l fleetLap) float64 { return l.server }},
		{"%.2f", func(l fleetLap) float64 { return l.perOp }},
		{"%.2f", func(l fleetLap) float64 { return l.out / 1e6 }},
		{"%.1f", func(l fleetLap) float64 { return l.memory / 1e6 }},
		{"%.0f", func(l fleetLap) float64 { return l.tracked }},
	} {
		values := make([]float64, len(laps))
		for i, l := range laps {
			values[i] = column.of(l)
		}
		cell := ""
		if m := median(values); !math.IsNaN(m) {
			cell = fmt.Sprintf(column.format, m)
		}
		cells = append(cells, cell)
	}
	return cells
}

// lapOfFleet has a fleet run for d, over a server of its own or over the file at path.
func lapOfFleet(d time.Duration, c client, path string) (l fleetLap, err error) {
	s := setting{Addr: path, Lease: lease}
	measure := func() (serverState, error) { return serverState{}, errNoServer }
	if !onFile(c) {
		server, err := startRedis()
		if err != nil {
			return l, err
		}
		defer server.Close()
		s.Addr = server.addr
		measure = server.state
	}
	if err := fillFleet(c, s); err != nil {
		return l, err
	}
	all, err := launch(fleetProcesses, c, s)
	if err != nil {
		return l, err
	}
	defer closeAll(all)
	o := order{Key: fleetKey, Goroutines: fleetGoroutines, Keys: fleetKeys, Writes: fleetWrites, For: d / 5}
	if _, err := orderAll(all, o); err != nil { // to warm up
		return l, err
	}
	o.For = d
	before, beforeErr := measure()
	cpu := cpuOf(all)
	begin := time.Now()
	did, err := orderAll(all, o)
	took := time.Since(begin)
	if err != nil {
		return l, err
	}
	after, afterErr := measure()
	ops := float64(did.Gets + did.Sets)
	l = fleetLap{rate: ops / took.Seconds(), near: float64(did.Near) / float64(did.Gets),
		cpu: float64(cpuOf(all)-cpu) / ops / float64(time.Microsecond)}
	switch err := errors.Join(beforeErr, afterErr); {
	case errors.Is(err, errNoServer):
		none := math.NaN()
		l.server, l.perOp, l.out, l.memory, l.tracked = none, none, none, none, none
	case err != nil:
		return l, err
	default:
		served := after.cpu - before.cpu
		l.server, l.perOp = served.Seconds(), float64(served)/ops/float64(time.Microsecond)
		l.out, l.memory, l.tracked = float64(after.out-before.out)/took.Seconds(), float64(after.memory), float64(after.tracked)
	}
	return l, nil
}

const fleetKey = "user:" // and a number

func fillFleet(c client, s setting) error {
	s.create = func(context.Context, string) (string, error) { return "", errMissed }
	opened, err := c.open(s)
	if err != nil {
		return err
	}
	defer opened.close()
	// In parts, each of which is done in time on a machine that is busy.
	for part := range slices.Chunk(numbered(fleetKey, fleetKeys), 500) {
		if err := opened.fill(context.Background(), valuesOf(part)); err != nil {
			return err
		}
	}
	return nil
}

// numbered returns n entries, whose keys are prefix and a number.
func numbered(prefix string, n int) []stored {
	all := make([]stored, n)
	for i := range all {
		key := prefix + strconv.Itoa(i)
		all[i] = stored{key, sharedValue(key)}
	}
	return all
}

func cpuOf(all []*process) (sum time.Duration) {
	for _, p := range all {
		had, _ := cpuTime(strconv.Itoa(p.cmd.Process.Pid))
		sum += had
	}
	return sum
}

var errNoServer = errors.New("there is no server")

// A serverState is what a Redis server has done so far, and what it holds.
type serverState struct {
	cpu                  time.Duration
	out, memory, tracked int64 // bytes sent, bytes of memory, keys of which clients have copies
}

func (s *server) state() (is serverState, err error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		return is, err
	}
	defer c.Close()
	text, err := c.Do(context.Background(), c.B().Info().Build()).ToString()
	if err != nil {
		return is, err
	}
	is.cpu, _ = cpuTime(strconv.Itoa(s.cmd.Process.Pid))
	for name, to := range map[string]*int64{
		"total_net_output_bytes": &is.out, "used_memory": &is.memory, "tracking_total_keys": &is.tracked,
	} {
		if *to, err = infoField(text, name); err != nil {
			return is, err
		}
	}
	return is, nil
}

// mix gets and sets keys in a zipf distribution, from so many goroutines for so long.
func (w *worker) mix(o order) news {
	if o.Writes > 0 && w.conn.set == nil {
		return news{Err: "the client cannot set"}
	}
	keys := numbered(o.Key, o.Keys)
	var near int64
	if w.conn.near != nil {
		near = -w.conn.near()
	}
	var wg sync.WaitGroup
	gets, sets, errs := make([]int, o.Goroutines), make([]int, o.Goroutines), make([]error, o.Goroutines)
	asked := make([][]int, o.Goroutines)
	for g := range asked {
		asked[g] = zipfOf(o.Keys)
	}
	end := time.Now().Add(o.For)
	for g := range o.Goroutines {
		wg.Go(func() { gets[g], sets[g], errs[g] = w.conn.mix(keys, asked[g], o.Writes, end) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return news{Err: err.Error()}
	}
	if w.conn.near != nil {
		near += w.conn.near()
	}
	n := news{Near: int(near)}
	for g := range o.Goroutines {
		n.Gets, n.Sets = n.Gets+gets[g], n.Sets+sets[g]
	}
	return n
}

// zipfOf returns some places of n in a zipf distribution. They are drawn beforehand:
// that takes as long as a hit in memory.
func zipfOf(n int) []int {
	z := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), zipfS, 1, uint64(n-1))
	drawn := make([]int, 1<<12)
	for i := range drawn {
		drawn[i] = int(z.Uint64())
	}
	return drawn
}

// mix gets those of keys that are asked for, and sets some of them, until end.
func (c *conn) mix(keys []stored, asked []int, writes int, end time.Time) (gets, sets int, err error) {
	ctx := context.Background()
	for n := 0; n == 0 || time.Now().Before(end); n++ {
		e := &keys[asked[n%len(asked)]]
		if writes > 0 && rand.IntN(writes) == 0 {
			if err := c.set(ctx, e.key, e.value); err != nil {
				return gets, sets, err
			}
			sets++
			continue
		}
		v, err := c.get(ctx, e.key)
		if err == nil && v != e.value {
			err = fmt.Errorf("got %q for %q", v, e.key)
		}
		if err != nil {
			return gets, sets, err
		}
		gets++
	}
	return gets, sets, nil
}
