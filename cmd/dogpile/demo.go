package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/accesslog"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
)

// demoFlags is the command line of dogpile demo.
type demoFlags struct {
	clients, processes   int
	requests, keys       int
	skew, speed          float64
	duration             time.Duration
	seed                 uint64
	log, backend, report string
	expiration, staleFor time.Duration
	cost                 time.Duration
	workers              int
	near, json           bool
}

func newDemo() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Put one load before a slow origin, unprotected and protected",
		Long: `demo puts a load before an origin that renders images, three times:

  none        get, else create and set
  coalesced   the same, but callers in one process that miss the same key share
              one creation
  dogpile     one creator in the background, everybody else reads the old value

With --near it does so a fourth time, and shows what a fresh hit took:

  near        as dogpile, and each process keeps copies of the entries that it reads

The clients run in several processes, if the backend is one that they can share.
There is one origin for all of them.

It shows how often the origin was asked, how many asked at once for the same
key, what that cost in CPU time, and how long the clients waited, from the moment
at which each request was due. Requests arrive at times that are fixed
beforehand, whether or not the ones before have been answered; their rate grows
during the first fifth of the time and is constant then.

With --log the load is that of an access log in Common or Combined Log Format:
its paths without their queries, at --speed times its pace, from beginning to end
unless --duration or --requests cut it off.`,
		Example: `  dogpile demo
  dogpile demo --requests 5000 --keys 30 --skew 0.8 --expiration 500ms
  dogpile demo --backend redis://localhost/0 --processes 8
  dogpile demo --near
  dogpile demo --log access.log --speed 60
  dogpile demo --json --report ""`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags()); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	f.define(cmd.Flags())
	return cmd
}

// define adds the flags.
func (f *demoFlags) define(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.IntVar(&f.clients, "clients", 100, "how many requests may be under way at once")
	flags.IntVar(&f.processes, "processes", 0, "how many processes the clients are spread over (default 4, or 1 if the backend cannot be shared)")
	flags.IntVar(&f.requests, "requests", 5000, "how many requests to make")
	flags.DurationVar(&f.duration, "duration", 5*time.Second, "time within which they arrive, in each mode")
	flags.IntVar(&f.keys, "keys", 12, "how many keys there are")
	flags.Float64Var(&f.skew, "skew", 1, "exponent of the zipf distribution of the keys; 0: all alike")
	flags.Uint64Var(&f.seed, "seed", 1, "what the requests are drawn from; the same seed gives the same ones")
	flags.StringVar(&f.log, "log", "", "access log whose requests to make instead")
	flags.Float64Var(&f.speed, "speed", 1, "how many times faster than the log")
	flags.DurationVar(&f.expiration, "expiration", time.Second, "age at which entries expire")
	flags.DurationVar(&f.staleFor, "stale-for", 10*time.Second, "how long past that dogpile may serve them; 0: as long again")
	flags.DurationVar(&f.cost, "cost", 25*time.Millisecond, "CPU time of one creation, about")
	flags.IntVar(&f.workers, "workers", 2, "how many creations the origin works on at once")
	flags.StringVar(&f.backend, "backend", temporary, `URL of the backend, which all processes use; "file" alone is a file that is removed afterwards`)
	flags.BoolVar(&f.near, "near", false, "do it once more with copies of entries in each process")
	flags.StringVar(&f.report, "report", "report.html", "file to write the page to; empty for none")
	flags.BoolVar(&f.json, "json", false, "write the results as one JSON object; progress goes to standard error")
}

const (
	most          = 10_000_000 // of requests, keys, clients or workers
	mostProcesses = 1000
	longest       = 24 * time.Hour
)

func (f *demoFlags) check(flags *pflag.FlagSet) error {
	for _, n := range []struct {
		name  string
		value int
	}{{"clients", f.clients}, {"requests", f.requests}, {"keys", f.keys}, {"workers", f.workers}} {
		if n.value < 1 || n.value > most {
			return fmt.Errorf("--%s is %d, not from 1 to %d", n.name, n.value, most)
		}
	}
	for _, d := range []struct {
		name       string
		value, max time.Duration
	}{{"duration", f.duration, longest}, {"expiration", f.expiration, longest}, {"cost", f.cost, 10 * time.Second}} {
		if d.value <= 0 || d.value > d.max {
			return fmt.Errorf("--%s is %v, not greater than 0 and up to %v", d.name, d.value, d.max)
		}
	}
	switch {
	case flags.Changed("processes") && (f.processes < 1 || f.processes > mostProcesses):
		return fmt.Errorf("--processes is %d, not from 1 to %d", f.processes, mostProcesses)
	case f.processes > f.clients:
		return fmt.Errorf("--processes is %d, more than the %d of --clients", f.processes, f.clients)
	case f.staleFor < 0 || f.staleFor > longest:
		return fmt.Errorf("--stale-for is %v, not from 0 to %v", f.staleFor, longest)
	case !(f.skew >= 0 && f.skew <= 100):
		return fmt.Errorf("--skew is %v, not from 0 to 100", f.skew)
	case !(f.speed > 0 && f.speed <= math.MaxFloat64):
		return fmt.Errorf("--speed is %v, not a number greater than 0", f.speed)
	case f.log == "" && flags.Changed("log"):
		return errors.New("--log is empty")
	case f.log == "" && flags.Changed("speed"):
		return errors.New("--speed is of use with --log only")
	}
	for _, name := range []string{"keys", "skew", "seed"} {
		if f.log != "" && flags.Changed(name) {
			return fmt.Errorf("--%s is of no use with --log", name)
		}
	}
	return nil
}

// load returns the requests to make, and adds to s where they come from.
func (f *demoFlags) load(flags *pflag.FlagSet, s *report.Settings) ([]load.Request, error) {
	if f.log == "" {
		s.Zipf = &report.Zipf{Keys: f.keys, Skew: f.skew, Seed: f.seed}
		return load.Zipf(f.requests, f.keys, f.skew, f.duration, f.seed), nil
	}
	file, err := os.Open(f.log)
	if err != nil {
		return nil, fmt.Errorf("--log: %w", err)
	}
	defer file.Close()
	entries, malformed, err := accesslog.Read(file)
	if err != nil {
		return nil, fmt.Errorf("--log: %w", err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("--log: %s has no line in Common or Combined Log Format (%d malformed)", f.log, malformed)
	}
	s.Log = &report.Log{File: f.log, Speed: f.speed, Lines: len(entries), Malformed: malformed}
	requests := load.Replay(entries, f.speed)
	if flags.Changed("duration") {
		requests = load.Until(requests, f.duration)
	}
	if flags.Changed("requests") {
		requests = requests[:min(f.requests, len(requests))]
	}
	if last := requests[len(requests)-1].At; last > longest {
		return nil, fmt.Errorf("--log: %s would take %v; choose a greater --speed, or a --duration", f.log, last)
	}
	return requests, nil
}

func (f *demoFlags) run(cmd *cobra.Command) error {
	r := runner{flags: f, out: cmd.OutOrStdout(), progress: cmd.OutOrStdout()}
	if f.json {
		r.progress = cmd.ErrOrStderr()
	}
	return r.run(cmd.Context(), cmd.Flags())
}
