package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/bench"
)

// benchFlags is the command line of dogpile bench, but for its target.
type benchFlags struct {
	bench.Load
	size string
	json bool
}

func newBench() *cobra.Command {
	var t target
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a bounded load on a backend, and tell how long it takes to answer",
		Long: `bench reads and writes entries of its own through a region, from several goroutines at
once, and tells how many calls were answered in a second and how long they took. Entries
are read by Get and written by Set, each a call of its own.

It ends after --duration or --requests, whichever comes first. Its keys begin with
"dogpile-bench:" and what no other run has. They are removed at the end, also when it is
interrupted, and have a TTL of ten minutes in case that it is killed.

The load falls on the backend that others use as well: think before you run it in
production.

With --json it writes one object, with the fields

  backend       the kind of backend
  seconds       how long the load lasted
  requests      how many calls were answered, and per_second of them
  errors        how many have failed, and error why the first one did
  interrupted   true if it was
  ops           for "get" and "set": requests, min_us, p50_us, p99_us, p999_us, max_us, all
                in microseconds, and histogram: a list of up_to_us and requests
  keys, value_bytes, concurrency, writes   what was asked for

It exits with 0 if all calls were answered, and with 1 if one has failed or keys could not
be removed.`,
		Example: `  dogpile bench --backend redis://10.0.0.3:6379/1
  dogpile bench --config app.toml --region users --duration 10s --concurrency 64 --size 10KiB`,
		Args:              noArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runBench(cmd, &t, &f) },
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	flags := cmd.Flags()
	flags.DurationVar(&f.Duration, "duration", 5*time.Second, "how long, at most")
	flags.IntVar(&f.Requests, "requests", 1_000_000, "how many calls, at most")
	flags.IntVar(&f.Concurrency, "concurrency", 8, "how many at once")
	flags.IntVar(&f.Keys, "keys", 1000, "how many keys")
	flags.StringVar(&f.size, "size", "1KiB", "of a value, in bytes; KiB and MiB may follow")
	flags.Float64Var(&f.Writes, "writes", 0.1, "which part of the calls write, from 0 to 1")
	for _, name := range []string{"duration", "requests", "concurrency", "keys", "size", "writes"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	addJSON(cmd, &f.json)
	return cmd
}

func (f *benchFlags) check() error {
	for _, n := range []struct {
		name       string
		value, max int
	}{{"requests", f.Requests, 1_000_000_000}, {"concurrency", f.Concurrency, 10_000}, {"keys", f.Keys, 1_000_000}} {
		if n.value < 1 || n.value > n.max {
			return fmt.Errorf("--%s is %d, not from 1 to %d", n.name, n.value, n.max)
		}
	}
	var ok bool
	if f.Size, ok = bench.ParseSize(f.size); !ok || f.Size > 64<<20 {
		return fmt.Errorf("--size is %s, not a number of bytes from 0 to 64MiB", printable(f.size))
	}
	if total := int64(f.Keys) * int64(f.Size); total > 1<<30 {
		return fmt.Errorf("--keys and --size make %s, more than 1 GiB", bytesOf(total))
	}
	if f.Duration <= 0 || f.Duration > longest {
		return fmt.Errorf("--duration is %v, not greater than 0 and up to %v", f.Duration, longest)
	}
	if !(f.Writes >= 0 && f.Writes <= 1) {
		return fmt.Errorf("--writes is %v, not from 0 to 1", f.Writes)
	}
	return nil
}

func runBench(cmd *cobra.Command, t *target, f *benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	o, err := t.open(ctx, cmd)
	if err != nil {
		return err
	}
	defer o.close()
	if o.caps.Discards {
		return errors.New("the backend keeps nothing")
	}
	if o.caps.MaxValue > 0 && f.Size > o.caps.MaxValue {
		return fmt.Errorf("--size is %s, more than the %d bytes that the backend takes", printable(f.size), o.caps.MaxValue)
	}
	reached, cancel := context.WithTimeout(ctx, t.timeout)
	err = inTime(reached, o.Ping(reached))
	cancel()
	if err != nil {
		return t.failed(ctx, err)
	}
	result, err := bench.Run(ctx, o.Backend(), f.Load, t.timeout)
	if result != nil {
		if werr := writeBench(cmd, o, f, result); werr != nil {
			return failure{werr}
		}
	}
	if err != nil {
		return t.failed(ctx, err)
	}
	return nil
}

func writeBench(cmd *cobra.Command, o *opened, f *benchFlags, r *bench.Result) error {
	w := cmd.OutOrStdout()
	if f.json {
		return writeJSON(w, r.JSON(o.caps.Name, f.Load))
	}
	fmt.Fprintf(w, "%d calls in %s, %s a second, over %s: %d at once, %d keys, values of %s\n", r.Requests, brief(r.Took),
		digits(r.PerSecond()), o.caps.Name, f.Concurrency, f.Keys, bytesOf(int64(f.Size)))
	if r.Errors > 0 {
		fmt.Fprintf(w, "%d calls have failed\n", r.Errors)
	}
	rows := table{{"", "calls", "min", "p50", "p99", "p99.9", "max"}}
	for _, op := range r.Ops() {
		h := op.Histogram
		rows = append(rows, []string{op.Name, fmt.Sprint(h.Count()), brief(h.Quantile(0)), brief(h.Quantile(.5)), brief(h.Quantile(.99)), brief(h.Quantile(.999)), brief(h.Quantile(1))})
	}
	fmt.Fprintln(w)
	if err := rows.write(w); err != nil {
		return err
	}
	for _, op := range r.Ops() {
		fmt.Fprintf(w, "\n%s: how many calls took up to …\n", op.Name)
		if err := histogramTable(op).write(w); err != nil {
			return err
		}
	}
	return nil
}

func histogramTable(op bench.Op) (rows table) {
	const width = 40
	most := uint64(1)
	bars := op.Histogram.Bars()
	for _, bar := range bars {
		most = max(most, bar.Count)
	}
	for _, bar := range bars {
		rows = append(rows, []string{"  " + brief(bar.UpTo), fmt.Sprint(bar.Count), barOf(float64(bar.Count) / float64(most) * width)})
	}
	return rows
}
