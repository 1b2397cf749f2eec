//go:build linux

// Tracking measures the two ways in which a Redis server tells clients of changes: default
// tracking, in which it remembers who has read which key, and broadcasting, in which it
// tells of every key with a prefix. It starts a redis-server and 8 processes of itself, and
// prints a table. It runs on Linux, where processes share the clock that it compares.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	processes = 8
	keys      = 10000 // read by all processes
	writes    = 1000  // of each case
	pause     = time.Millisecond
	value     = 100 // bytes
	patience  = time.Minute
)

// A reading is what a case of writes is about: keys that begin with a word, and how many of
// the processes have read them.
type reading struct {
	word    string
	keys    int
	readers int
}

var readings = []reading{
	{"all", keys, processes},
	{"one", writes, 1},
	{"none", writes, 0},
}

func key(word string, n int) string { return fmt.Sprintf("near:%s:%05d", word, n) }

func main() {
	if len(os.Args) == 4 && os.Args[1] == hidden {
		if err := obey(os.Args[2], os.Args[3] == "bcast"); err != nil {
			fmt.Fprintln(os.Stderr, "process:", err)
			os.Exit(1)
		}
		return
	}
	var t table
	for _, bcast := range []bool{false, true} {
		if err := measure(&t, bcast); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	t.print(os.Stdout)
}

// measure adds a column to the table.
func measure(t *table, bcast bool) error {
	s, err := startServer()
	if err != nil {
		return err
	}
	defer s.close()
	ctx := context.Background()
	client, err := open(s.addr)
	if err != nil {
		return err
	}
	defer client.Close()
	w, release := client.Dedicate()
	defer release()
	for _, r := range readings {
		for n := range r.keys {
			if err := set(ctx, w, key(r.word, n)); err != nil {
				return err
			}
		}
	}
	mode := "default"
	if bcast {
		mode = "bcast"
	}
	var all []*process
	defer func() {
		for _, p := range all {
			p.close()
		}
	}()
	for range processes {
		p, err := start(s.addr, mode)
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	if err := memory(ctx, t, w, all); err != nil {
		return err
	}
	for _, r := range readings {
		if r.keys != keys {
			if err := read(all[:r.readers], r.word, r.keys); err != nil {
				return err
			}
		}
		if err := changes(ctx, t, w, all, r); err != nil {
			return err
		}
	}
	return nil
}

// memory has all processes read the same keys, and tells what that costs the server.
func memory(ctx context.Context, t *table, w rueidis.DedicatedClient, all []*process) error {
	used := func(name string) (int, error) {
		info, err := stats(ctx, w, "memory")
		t.add("used_memory, "+name, kib(info["used_memory"]))
		return info["used_memory"], err
	}
	before, err := used("nothing read")
	if err != nil {
		return err
	}
	if err := read(all[:1], readings[0].word, keys); err != nil {
		return err
	}
	if _, err := used(fmt.Sprintf("%d keys read by one", keys)); err != nil {
		return err
	}
	if err := read(all[1:], readings[0].word, keys); err != nil {
		return err
	}
	after, err := used(fmt.Sprintf("%d keys read by all %d", keys, len(all)))
	if err != nil {
		return err
	}
	t.add("  the difference per key and process", fmt.Sprintf("%.1f B", float64(after-before)/float64(keys*len(all))))
	info, err := stats(ctx, w, "stats")
	if err != nil {
		return err
	}
	for _, name := range []string{"tracking_total_keys", "tracking_total_items", "tracking_total_prefixes"} {
		t.add(name, strconv.Itoa(info[name]))
	}
	return nil
}

func read(all []*process, word string, n int) error {
	for _, p := range all {
		if err := p.out.Encode(order{Word: word, Keys: n}); err != nil {
			return err
		}
	}
	for _, p := range all {
		if _, err := p.answer(); err != nil {
			return err
		}
	}
	return nil
}

// changes writes keys, one at a time, and tells of their announcements.
func changes(ctx context.Context, t *table, w rueidis.DedicatedClient, all []*process, r reading) error {
	if err := w.Do(ctx, w.B().ConfigResetstat().Build()).Error(); err != nil {
		return err
	}
	replied := make(map[string]int64, writes)
	took := make([]int64, 0, writes)
	for n := range writes {
		name := key(r.word, n)
		begun := now()
		if err := set(ctx, w, name); err != nil {
			return err
		}
		replied[name] = now()
		took = append(took, replied[name]-begun)
		time.Sleep(pause)
	}
	info, err := stats(ctx, w, "stats")
	if err != nil {
		return err
	}
	last := make(map[string]int64)
	announced := 0
	for _, p := range all {
		if err := p.out.Encode(order{Report: true}); err != nil {
			return err
		}
		heard, err := p.answer()
		if err != nil {
			return err
		}
		for _, h := range heard {
			announced++
			last[h.Key] = max(last[h.Key], h.At)
		}
	}
	late := make([]int64, 0, writes)
	for name, at := range last {
		if replied[name] == 0 {
			return fmt.Errorf("%s was announced, which was not written", name)
		}
		late = append(late, at-replied[name])
	}
	add := func(name, cell string) { t.add(fmt.Sprintf("read by %s: %s", r.word, name), cell) }
	add("announcements per write", fmt.Sprintf("%.2f", float64(announced)/writes))
	// The reply to the resetting of the statistics is counted after it.
	add("bytes out per write", fmt.Sprintf("%.1f", float64(info["total_net_output_bytes"]-len("+OK\r\n"))/writes))
	add("the write, p50 / p99", quantiles(took, 0.5, 0.99))
	add("its reply to the last process, p50 / p99 / max", quantiles(late, 0.5, 0.99, 1))
	return nil
}

func set(ctx context.Context, w rueidis.DedicatedClient, key string) error {
	return w.Do(ctx, w.B().Set().Key(key).Value(strings.Repeat("v", value)).Build()).Error()
}

// stats returns the numbers in a section of INFO.
func stats(ctx context.Context, w rueidis.DedicatedClient, section string) (map[string]int, error) {
	text, err := w.Do(ctx, w.B().Info().Section(section).Build()).ToString()
	numbers := make(map[string]int)
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), ":")
		if n, err := strconv.Atoi(number); err == nil {
			numbers[name] = n
		}
	}
	return numbers, err
}

func kib(bytes int) string { return fmt.Sprintf("%d KiB", bytes>>10) }

func quantiles(times []int64, qs ...float64) string {
	if len(times) == 0 {
		return "-"
	}
	slices.Sort(times)
	cells := make([]string, len(qs))
	for i, q := range qs {
		at := times[int(q*float64(len(times)-1))]
		cells[i] = time.Duration(at).Round(time.Microsecond).String()
	}
	return strings.Join(cells, " / ")
}
