package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/scrape"
)

func newTop() *cobra.Command {
	// One that hangs is not to keep the others from being seen.
	t := target{timeout: 2 * time.Second}
	var urls []string
	l := &live{sorted: 2, about: topColumns}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what caches and servers do, live",
		Long:  topLong,
		Example: `  dogpile top --metrics 10.0.0.5:8080 --metrics 10.0.0.6:8080 --config app.toml
  dogpile top --backend redis://10.0.0.3:6379/1
  dogpile top --metrics https://app.example.com/internal/metrics --json --once`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.check(); err != nil {
				return err
			}
			top, err := newLooker(cmd, &t, urls, l.interval)
			if err != nil {
				return err
			}
			defer top.close()
			l.tick = top.look
			return l.run(cmd.Context(), cmd.OutOrStdout())
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringArrayVar(&urls, "metrics", nil, "URL of the metrics of a process, or host and port; may be repeated")
	cmd.RegisterFlagCompletionFunc("metrics", cobra.NoFileCompletions)
	t.add(cmd)
	l.add(cmd, 2*time.Second)
	return cmd
}

// newLooker opens what the flags name.
func newLooker(cmd *cobra.Command, t *target, urls []string, interval time.Duration) (*top, error) {
	top := &top{timeout: t.timeout, interval: interval}
	for _, at := range urls {
		p, err := scrape.New(at)
		if err != nil {
			return nil, fmt.Errorf("--metrics: %w", err)
		}
		top.processes = append(top.processes, p)
	}
	switch {
	case t.config != "" || t.backend != "":
		o, err := t.open(cmd.Context(), cmd)
		if err != nil {
			return nil, err
		}
		top.servers = &servers{opened: o}
	case len(urls) == 0:
		return nil, errors.New("--metrics URL says which process to look at, and --config FILE or --backend URL which backend")
	}
	return top, nil
}

const topLong = `top shows what the caches of processes do at the moment, from the metrics that these expose
by plugin/dogpileprom, and what the servers of a backend do, from what these say themselves.
--metrics is where a process has its metrics, and may be given once for each process: what
they count is added up. --config or --backend is the backend. One of the two is enough.

` + topColumns + `
Above the table stand the servers, each with the time that a call takes, and in red what is
wrong: processes and servers that do not answer, errors that no caller got, lost leases, calls
of the backend that fail, creators that fail, deletes that are still tried again.

All figures are of the time since the look before, --interval; the first takes twice as
long. On a terminal the keys are q to leave and ? for help. Where there is no terminal, each
look is written below the one before.

With --json it writes one object a line for each look, with the fields

  at          when that was, in RFC 3339
  processes   of each: url, and error where it does not answer, with failing_s
  caches      of each: region, name, requests_per_s, hits_per_s, stale_per_s, misses_per_s,
              creations_per_s, failures_per_s, and creation_mean_s, creation_p95_s,
              wait_mean_s and wait_p95_s where there were any; a p95 is a bound of the
              histogram, and -1 is above all of them
  regions     of each: region, errors_per_s by op, leases_lost_per_s, creators, waiters,
              oldest_s, pending_deletes
  backends    of each: backend, calls_per_s, mean_s, failures_per_s by op
  servers     of each: server, error with failing_s or round_trip_s, and those of
              ops_per_s, hit_ratio, used_bytes, max_bytes, evictions_per_s and clients
              that it tells

It exits with 0 when it is left, and with --once with 1 if nothing has answered.`

const topColumns = `A row is the caches or functions of one name in a region:

  req/s      keys that were asked for in a second
  hit        how many of them got a fresh value from the cache
  stale      how many got a stale one, while it is made anew
  create/s   values that were created in a second
  fail/s     creations that failed
  creation   how long one takes in the mean
  95%        how long 95 of 100 take at most: a bound of the histogram
  wait/s     callers that waited for another's creation
  waiting    for how long, in the mean
`

// top looks at processes and servers.
type top struct {
	processes []*scrape.Process
	servers   *servers // nil: none
	timeout   time.Duration
	interval  time.Duration
	begun     bool // there was a look, to which others can be compared
	failing   int  // how many did not answer the last time
}

func (t *top) close() {
	if t.servers != nil {
		t.servers.close()
	}
}

// look is a tick of the view.
func (t *top) look(ctx context.Context) frame {
	if !t.begun {
		t.read(ctx)
		timer := time.NewTimer(t.interval)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		t.begun = true
	}
	return t.read(ctx)
}

// read asks all of them at once.
func (t *top) read(ctx context.Context) frame {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	var all sync.WaitGroup
	var seen []seenServer
	if t.servers != nil {
		all.Go(func() { seen = t.servers.look(ctx) })
	}
	values, errs := make([]scrape.Values, len(t.processes)), make([]error, len(t.processes))
	for i, p := range t.processes {
		all.Go(func() {
			values[i], errs[i] = p.Read(ctx)
			errs[i] = inTime(ctx, errs[i])
		})
	}
	all.Wait()
	sum := scrape.Add(values...)
	f := frame{at: time.Now()}
	p := &topped{At: f.at.UTC().Format(time.RFC3339Nano)}
	f.program = p
	t.showProcesses(&f, p, errs)
	t.showServers(&f, p, seen)
	f.notes = append(f.notes, notes(sum)...)
	p.add(sum)
	if len(t.processes) > 0 {
		f.columns, f.rows = cacheColumns, cacheRows(sum)
	}
	if len(p.Processes)+len(p.Servers) > t.failing {
		f.err = nil // something has answered
	}
	return f
}

// showProcesses puts into f and p which processes have answered.
func (t *top) showProcesses(f *frame, p *topped, errs []error) {
	t.failing = 0
	for i, process := range t.processes {
		told := toppedProcess{URL: process.URL.Host + process.URL.Path}
		if errs[i] != nil {
			t.failing++
			since := time.Since(process.Failing())
			told.Error, told.Failing = unanswered(errs[i], t.timeout), seconds(since)
			f.notes = append(f.notes, fmt.Sprintf("%s has not answered for %s: %s", printable(told.URL), brief(since), told.Error))
			f.err = fmt.Errorf("%s: %w", told.URL, errs[i])
		}
		p.Processes = append(p.Processes, told)
	}
	if n := len(t.processes); n > 0 {
		f.head = append(f.head, fmt.Sprintf("%d of %d processes answer", n-t.failing, n))
	}
}

// showServers puts into f and p what servers say: as the table, if there is no other.
func (t *top) showServers(f *frame, p *topped, seen []seenServer) {
	if t.servers != nil && len(t.processes) == 0 {
		f.head, f.columns, f.rows = append(f.head, "servers of kind "+t.servers.caps.Name), serverColumns, serverRows(seen)
	}
	for i := range seen {
		s := &seen[i]
		p.Servers = append(p.Servers, s.program(t.timeout))
		switch {
		case s.err != nil:
			t.failing++
			f.notes = append(f.notes, fmt.Sprintf("%s has not answered for %s: %s", printable(s.name), brief(time.Since(s.failing)), unanswered(s.err, t.timeout)))
			f.err = fmt.Errorf("%s: %w", s.name, s.err)
		case len(t.processes) > 0:
			f.head = append(f.head, s.line())
		}
	}
}

var cacheColumns = []column{{"region", true}, {"name", true}, {name: "req/s"}, {name: "hit"}, {name: "stale"}, {name: "create/s"}, {name: "fail/s"},
	{name: "creation"}, {name: "95%"}, {name: "wait/s"}, {name: "waiting"}}

func cacheRows(sum *scrape.Sum) (rows []row) {
	for _, c := range sum.Caches {
		n := c.Requests()
		rows = append(rows, row{cells: []cell{
			{text: nameOf(c.Region)}, {text: nameOf(c.Name)}, perSecond(n), share(c.Hits, n), share(c.Stale, n),
			perSecond(c.Created.PerSecond), perSecond(c.Failures), mean(c.Created), ninetyFive(c.Created), perSecond(c.Waited.PerSecond), mean(c.Waited)}})
	}
	return rows
}

// nameOf is a name as it is shown: "-" is none.
func nameOf(name string) string {
	if name == "" {
		return "-"
	}
	return printable(name)
}

func perSecond(n float64) cell {
	switch {
	case n <= 0:
		return cell{"0", 0}
	case n < 0.01:
		return cell{"<0.01", n}
	}
	return cell{digits(n), n}
}

func share(n, of float64) cell {
	if of <= 0 {
		return cell{"-", -1}
	}
	return cell{percent(n / of), n / of}
}

// percent is a share of 1. What is not all is never shown as 100 %, and what is not nothing never
// as 0.
func percent(part float64) string {
	switch p := 100 * part; {
	case p > 0 && p < 1:
		return "<1%"
	case p > 99 && p < 100:
		return ">99%"
	default:
		return fmt.Sprintf("%.0f%%", p)
	}
}

func mean(d scrape.Durations) cell {
	if d.PerSecond <= 0 {
		return cell{"-", -1}
	}
	return cell{brief(d.Mean), d.Mean.Seconds()}
}

func ninetyFive(d scrape.Durations) cell {
	switch {
	case d.PerSecond <= 0:
		return cell{"-", -1}
	case d.Most < 0:
		return cell{"more", 1e9}
	}
	return cell{"≤ " + brief(d.Most), d.Most.Seconds()}
}

// notes tells what is wrong.
func notes(sum *scrape.Sum) (notes []string) {
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for _, b := range sum.Backends {
		for _, op := range slices.Sorted(maps.Keys(b.Failures)) {
			if n := b.Failures[op]; n > 0 {
				say("backend %s: %s calls of %s fail in a second", nameOf(b.Name), perSecond(n).text, printable(op))
			}
		}
	}
	for _, r := range sum.Regions {
		var ops []string
		for _, op := range slices.Sorted(maps.Keys(r.Errors)) {
			if n := r.Errors[op]; n > 0 {
				ops = append(ops, fmt.Sprintf("%s of %s", perSecond(n).text, printable(op)))
			}
		}
		if len(ops) > 0 {
			say("%s: errors in a second that no caller gets: %s", nameOf(r.Name), strings.Join(ops, ", "))
		}
		if r.LeasesLost > 0 {
			say("%s: %s leases are lost in a second, and what was created under them is not stored", nameOf(r.Name), perSecond(r.LeasesLost).text)
		}
		if r.Pending > 0 {
			say("%s: %.0f deletes or invalidations have failed and are tried again", nameOf(r.Name), r.Pending)
		}
		if r.Oldest > longCreation {
			say("%s: a creator has run for %s; %.0f callers wait for %.0f", nameOf(r.Name), brief(r.Oldest), r.Waiters, r.Creators)
		}
	}
	for _, c := range sum.Caches {
		if c.Failures > 0 {
			say("%s %s: %s creations fail in a second", nameOf(c.Region), nameOf(c.Name), perSecond(c.Failures).text)
		}
	}
	return notes
}

// longCreation is how long a creator has to run to be told of by itself.
const longCreation = 10 * time.Second
