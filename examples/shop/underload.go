package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dogpile-go/dogpile/examples/shop/load"
)

// underLoad runs the shop twice, without the cache and with it, puts the same load on both,
// and prints what came of it.
func underLoad(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("shop load", flag.ExitOnError)
	l := load.Load{}
	flags.IntVar(&l.Clients, "clients", 100, "how many customers there are")
	flags.DurationVar(&l.Duration, "duration", 5*time.Second, "for how long they visit the shop, each time")
	flags.DurationVar(&l.Pause, "pause", 50*time.Millisecond, "how long a customer looks at a page")
	flags.DurationVar(&l.ChangeEvery, "change-every", 500*time.Millisecond, "how often the price of the popular product changes")
	processes := flags.Int("processes", 1, "how many processes the shop has")
	configFile := flags.String("config", "", "settings `file` of the shop; none: each process has its cache in memory")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *processes < 1 || l.Clients < 1 || l.Duration <= 0 || l.Pause < 0 || l.ChangeEvery <= 0 {
		return errors.New("load: all numbers have to be positive; -pause may be 0")
	}

	var columns []load.Result
	for _, more := range [][]string{{"--no-cache"}, nil} {
		if *configFile != "" {
			more = append(more, "--config", *configFile)
		}
		result, err := loadOne(ctx, l, *processes, more)
		if ctx.Err() != nil {
			return errors.New("load: interrupted")
		}
		if err != nil {
			return err
		}
		columns = append(columns, result)
	}
	return writeTable(os.Stdout, columns[0], columns[1])
}

// loadOne puts the load on a shop that is started for it with these arguments.
func loadOne(ctx context.Context, l load.Load, processes int, args []string) (result load.Result, err error) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	args = append(args, "--listen", "127.0.0.1:0", "--inside", "", "--db", filepath.Join(dir, "shop.db"))
	for range processes {
		shop, err := start(ctx, args)
		if err != nil {
			return result, err
		}
		defer shop.stop()
		l.Shops = append(l.Shops, shop.url)
	}
	return l.Run(ctx)
}

// process is a shop that runs in a process of its own.
type process struct {
	url  string
	stop func() // returns when it has ended
}

// start starts this program once more, as a shop, and waits until it is open.
func start(ctx context.Context, args []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second // then it is killed
	cmd.Stderr = os.Stderr
	// So short that products also expire under the load.
	cmd.Env = append(os.Environ(), "SHOP_CACHE__PRODUCTS__EXPIRATION=1s", "SHOP_CACHE__PAGES__EXPIRATION=1s")
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	stop := func() {
		cancel()
		_ = cmd.Wait() // how it ends does not matter any more
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return nil, errors.New("the shop did not open")
	}
	return &process{strings.TrimSpace(line[strings.Index(line, "http"):]), stop}, nil
}

// writeTable writes the results side by side.
func writeTable(w io.Writer, without, with load.Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(what string, value func(load.Result) any) {
		fmt.Fprintf(table, "%s\t%v\t%v\t\n", what, value(without), value(with))
	}
	fmt.Fprintf(table, "\twithout a cache\twith it\t\n")
	row("requests", func(r load.Result) any { return r.Requests })
	row("failed", func(r load.Result) any { return r.Errors })
	row("price changes", func(r load.Result) any { return r.Changes })
	row("old prices shown", func(r load.Result) any { return r.OldPrices })
	row("latency p50", func(r load.Result) any { return rounded(r.P50) })
	row("latency p99", func(r load.Result) any { return rounded(r.P99) })
	row("database queries", func(r load.Result) any { return r.Queries })
	return table.Flush()
}

// rounded leaves three digits, about.
func rounded(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
