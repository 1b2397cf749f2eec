package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/report"
	"github.com/dogpile-go/dogpile/driver"
)

// runner runs the demonstration.
type runner struct {
	flags    *demoFlags
	out      io.Writer // for the results
	progress io.Writer // for how it goes
	settings demo.Settings
	report   report.Report
}

func (r *runner) run(ctx context.Context, flags *pflag.FlagSet) error {
	page, err := newPage(r.flags.report)
	if err != nil {
		return err
	}
	defer page.discard()
	if err := r.prepare(ctx, flags); err != nil {
		return err
	}
	fmt.Fprintln(r.progress, r.intent())
	show := newScreen(r.progress, demo.Modes, len(r.settings.Requests))
	for _, mode := range demo.Modes {
		result, err := r.runMode(ctx, mode, show)
		if err != nil {
			return err
		}
		r.report.Results = append(r.report.Results, result)
	}
	if r.flags.json {
		err = r.report.JSON(r.out)
	} else {
		fmt.Fprintln(r.out)
		err = r.report.Table(r.out)
	}
	if err != nil {
		return failure{err}
	}
	if err := page.keep(&r.report); err != nil {
		return failure{err}
	}
	if r.flags.report != "" {
		fmt.Fprintf(r.progress, "\nThe same with charts: %s\n", r.flags.report)
	}
	return nil
}

// prepare makes the load, checks that the backend opens, and chooses the size of
// the tiles.
func (r *runner) prepare(ctx context.Context, flags *pflag.FlagSet) error {
	f, s := r.flags, &r.report.Settings
	requests, err := f.load(flags, s)
	if err != nil {
		return err
	}
	b, err := driver.Open(ctx, f.backend)
	if err != nil {
		return fmt.Errorf("--backend: %s", strings.TrimPrefix(err.Error(), "dogpile: "))
	}
	driver.Close(b)
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
	staleFor := f.staleFor
	if staleFor == 0 {
		staleFor = f.expiration
	}
	began := time.Now()
	r.settings = demo.Settings{
		Requests: requests, Clients: f.clients, Workers: f.workers, TileSize: size,
		Expiration: f.expiration, StaleFor: staleFor,
		Run: fmt.Sprintf("dogpile-demo:%x", began.UnixNano()),
	}
	scheme, _, _ := strings.Cut(f.backend, ":")
	s.Began, s.Backend, s.CPUs = began, scheme, runtime.GOMAXPROCS(0)
	s.Requests, s.Keys, s.Clients = len(requests), len(keys), f.clients
	s.Duration = requests[len(requests)-1].At.Seconds()
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
	return fmt.Sprintf("%d requests%s for %d keys within %v, three times; tiles of %d×%d pixels cost about %v of CPU time each.",
		s.Requests, from, s.Keys, (r.settings.End() - demo.Grace).Round(time.Millisecond), s.TileSize, s.TileSize, r.flags.cost)
}

func (r *runner) runMode(ctx context.Context, mode demo.Mode, show *screen) (*demo.Result, error) {
	b, err := driver.Open(ctx, r.flags.backend)
	if err != nil {
		return nil, failure{err}
	}
	defer driver.Close(b)
	runtime.GC() // no mode shall pay for the one before
	var p demo.Progress
	stop := show.follow(mode, &p)
	result, err := demo.Run(ctx, mode, b, &r.settings, &p)
	stop()
	if err != nil {
		return nil, failure{err}
	}
	return result, nil
}

// pageFile is the page while it is not complete yet: a file beside its final
// place, made first so that a place where none can be made is noticed before the
// run. A nil pageFile is no page.
type pageFile struct {
	file *os.File
	path string
}

func newPage(path string) (*pageFile, error) {
	if path == "" {
		return nil, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("--report: %s is not a regular file", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".dogpile-*.html")
	if err != nil {
		return nil, fmt.Errorf("--report: cannot write %s: %w", path, err)
	}
	return &pageFile{file, path}, nil
}

func (p *pageFile) keep(r *report.Report) error {
	if p == nil {
		return nil
	}
	if err := r.HTML(p.file); err != nil {
		return err
	}
	if err := p.file.Chmod(0o644); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	return os.Rename(p.file.Name(), p.path)
}

func (p *pageFile) discard() {
	if p != nil {
		p.file.Close()
		os.Remove(p.file.Name())
	}
}
