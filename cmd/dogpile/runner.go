package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/bars"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/fleet"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
)

// runner runs the demonstration.
type runner struct {
	flags    *demoFlags
	out      io.Writer // for the results
	progress io.Writer // for how it goes
	backend  *backend
	fleet    fleet.Fleet
	task     demo.Task // the same for all modes, but without a mode
	modes    []demo.Mode
	report   report.Report
}

func (r *runner) run(ctx context.Context, flags *pflag.FlagSet) error {
	page, err := newPage(r.flags.report)
	if err != nil {
		return err
	}
	defer page.discard()
	requests, err := r.flags.load(flags, &r.report.Settings)
	if err != nil {
		return err
	}
	if r.backend, err = r.flags.open(ctx); err != nil {
		return err
	}
	defer r.backend.close()
	if err := r.prepare(ctx, requests); err != nil {
		return err
	}
	r.modes = demo.Modes
	if r.flags.near {
		r.modes = append(slices.Clone(demo.Modes), demo.Near)
	}
	say(r.progress, r.intent())
	if err := r.runModes(ctx, len(requests)); err != nil {
		return failure{err}
	}
	if err := r.show(page); err != nil {
		return failure{err}
	}
	return nil
}

// say writes a sentence or more, on a terminal broken between words.
func say(w io.Writer, text string) {
	for _, line := range wrap(text, columnsOf(w)) {
		fmt.Fprintln(w, line)
	}
}

// runModes runs the load in all modes.
func (r *runner) runModes(ctx context.Context, requests int) error {
	show := bars.New(r.progress, r.modes, requests)
	for _, mode := range r.modes {
		result, err := r.runMode(ctx, mode, show)
		if err != nil {
			return errors.Join(err, show.Close())
		}
		r.report.Results = append(r.report.Results, result)
	}
	return show.Close()
}

// prepare chooses the size of the tiles and sets the task.
func (r *runner) prepare(ctx context.Context, requests []load.Request) error {
	f, s := r.flags, &r.report.Settings
	keys := load.Keys(requests)
	size, err := origin.Size(ctx, keys, f.cost)
	if err != nil {
		return err
	}
	for _, key := range keys[:min(8, len(keys))] {
		tile, _, err := origin.Render(ctx, key, 96)
		if err != nil {
			return err
		}
		r.report.Tiles = append(r.report.Tiles, tile)
	}
	self, err := os.Executable()
	if err != nil {
		return failure{err}
	}
	staleFor := f.staleFor
	if staleFor == 0 {
		staleFor = f.expiration
	}
	began, last := time.Now(), requests[len(requests)-1].At
	r.fleet = fleet.Fleet{Command: []string{self, processCommand}, Backend: r.backend.url, Size: r.backend.processes}
	r.task = demo.Task{
		Requests: requests, End: last + demo.Grace, Clients: f.clients,
		Expiration: f.expiration, StaleFor: staleFor,
		Prefix: fmt.Sprintf("dogpile-demo:%x:", began.UnixNano()),
	}
	s.Began, s.CPUs = began, runtime.GOMAXPROCS(0)
	s.Backend, s.Processes = r.backend.scheme(), r.backend.processes
	s.Requests, s.Keys, s.Clients, s.Duration = len(requests), len(keys), f.clients, last.Seconds()
	s.Expiration, s.StaleFor = f.expiration.Seconds(), staleFor.Seconds()
	s.Workers, s.TileSize, s.Cost = f.workers, size, f.cost.Seconds()*1000
	return nil
}

func (r *runner) intent() string {
	s := &r.report.Settings
	from := ""
	if s.Log != nil {
		from = fmt.Sprintf(" of %s (%d lines, %d more malformed)", s.Log.File, s.Log.Lines, s.Log.Malformed)
	}
	last := (r.task.End - demo.Grace).Round(time.Millisecond)
	return fmt.Sprintf("%d requests%s for %d keys within %v, %s times, in %s; tiles of %d×%d pixels cost about %v of CPU time each.",
		s.Requests, from, s.Keys, last, report.Times(len(r.modes)), s.Where(), s.TileSize, s.TileSize, r.flags.cost)
}

// runMode runs the load in one mode. Its processes are new ones, which share
// nothing with those of the mode before but the backend.
func (r *runner) runMode(ctx context.Context, mode demo.Mode, show *bars.Bars) (*demo.Result, error) {
	task := r.task
	task.Mode = mode
	defer demo.Clean(&task, r.backend.opened)
	o := origin.New(r.flags.workers, r.report.Settings.TileSize)
	run := r.fleet.Start(ctx, &task, o.Create)
	stop := show.Follow(mode, run.Counts)
	start, outcomes, err := run.Wait()
	stop()
	if err != nil {
		return nil, err
	}
	return demo.Summarise(&task, start, outcomes, o.Stats(), run.Counts()), nil
}

// show writes the results.
func (r *runner) show(page *pageFile) (err error) {
	if r.flags.json {
		err = r.report.JSON(r.out)
	} else {
		fmt.Fprintln(r.out)
		err = r.report.Table(r.out, columnsOf(r.out))
		fmt.Fprintln(r.out)
		for _, sentence := range r.report.Verdict() {
			say(r.out, sentence)
		}
	}
	if err != nil {
		return err
	}
	if err := page.keep(&r.report); err != nil {
		return err
	}
	if r.flags.report != "" {
		fmt.Fprintf(r.progress, "\nThe same with charts: %s\n", r.flags.report)
	}
	return nil
}
