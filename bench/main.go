// Command bench measures dogpile and other caches, in-process ones and
// clients of servers, all in one run on one machine, and prints tables in
// Markdown. It starts the servers itself, and other processes of its own.
//
//	go run .            everything
//	go run . -smoke     a quick look that nothing is broken
//	go run . -tables hit -filter 'dogpile|otter' -count 9
//
// It fails if a contestant misses a key that it was given, returns a wrong
// value, or cannot be opened, or if a program that it needs is not installed. A
// figure beyond its limit is printed as such and is no failure: the machine may
// have been busy.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// options says what to measure.
type options struct {
	rounds int
	time   time.Duration // to measure a contestant for, in one round
	tries  int           // to find the machine quiet for it
	filter *regexp.Regexp
	keys   int   // in the tables hit and ratio
	sizes  []int // keys, in the tables over the number of keys
	tables []string
	// for how long to look whether a waiter is served whose holder has died
	patience time.Duration
	// in the table redis-tries
	regions, expiries int
	deletes           int           // in the table near-delete
	fleet             time.Duration // in the table near-fleet: for how long it runs in one round

	profile string
	out     io.Writer
	log     io.Writer

	samples, disturbed int // taken so far, and how many while the machine was busy
}

var tables = []struct {
	name  string
	print func(*options) error
}{
	{"hit", printHits},
	{"ratio", printRatios},
	{"size", printSizes},
	{"bytes", printBytes},
	{"reads", printReads},
	{"stampede", printStampede},
	{"redis", printRedisHits},
	{"redis-stampede", printRedisStampede},
	{"redis-wake", printRedisWake},
	{"redis-holder", printRedisHolder},
	{"redis-tries", printLeaseTries},
	{"near", printNear},
	{"near-delete", printNearDelete},
	{"near-fleet", printNearFleet},
	{"outages", printOutages},
	{"tags", printTags},
	{"memcached", printMemcachedHits},
	{"memcached-multi", printMemcachedMulti},
	{"file", printFile},
	{"file-processes", printFileProcesses},
}

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		if err := work(role, os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	if role := os.Getenv(fileEnv); role != "" {
		if err := workFile(role, os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	o, err := parseFlags(os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, out, log io.Writer) (*options, error) {
	o := &options{tries: tries, keys: manyKeys, sizes: []int{1_000, manyKeys, 1_000_000}, patience: 20 * time.Second,
		regions: 50, expiries: 4, deletes: 200, fleet: 5 * time.Second, out: out, log: log}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(log)
	fs.IntVar(&o.rounds, "count", 5, "rounds; the tables show medians over them")
	fs.DurationVar(&o.time, "time", 300*time.Millisecond, "how long to measure a contestant for, in one round")
	filter := fs.String("filter", "", "regular expression: contestants of the tables hit, reads, stampede, redis, memcached and file")
	all, _ := tableNames("")
	names := fs.String("tables", "", "comma-separated subset of "+strings.Join(all, ",")+" (default all)")
	smoke := fs.Bool("smoke", false, "one short round on fewer keys")
	fs.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile to this file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	var err error
	if o.filter, err = regexp.Compile(*filter); err != nil {
		return nil, fmt.Errorf("-filter: %w", err)
	}
	if o.rounds < 1 || o.time <= 0 {
		return nil, errors.New("-count and -time have to be positive")
	}
	if *smoke {
		o.rounds, o.tries, o.time = 1, 1, 10*time.Millisecond
		o.keys, o.sizes, o.patience = 10_000, []int{1_000, 10_000}, 3*time.Second
		o.regions, o.expiries = 5, 1
		o.deletes, o.fleet = 10, 200*time.Millisecond
	}
	if o.tables, err = tableNames(*names); err != nil {
		return nil, err
	}
	return o, nil
}

func tableNames(list string) ([]string, error) {
	var known []string
	for _, t := range tables {
		known = append(known, t.name)
	}
	if list == "" {
		return known, nil
	}
	names := strings.Split(list, ",")
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("-tables: unknown table %q; known: %s", name, strings.Join(known, ", "))
		}
	}
	return names, nil
}

func run(o *options) error {
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Fprintf(o.out, "%s, %s/%s, %d CPUs; medians over %d rounds of %v.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds, o.time)
	for _, t := range tables {
		if !slices.Contains(o.tables, t.name) {
			continue
		}
		if err := t.print(o); err != nil {
			return err
		}
	}
	if o.disturbed > 0 {
		fmt.Fprintf(o.out, "\n%d of %d samples were taken while other processes had a CPU for more than %.0f %% of the time.\n",
			o.disturbed, o.samples, quietEnough*100)
	}
	return nil
}

// progress tells how far the measuring has come.
func (o *options) progress(what string) { fmt.Fprintln(o.log, what) }
