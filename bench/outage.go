package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

const (
	outageKeys    = 200
	outageReaders = 32
	outageCreator = 5 * time.Millisecond // what a creator takes
	outageWindow  = 100 * time.Millisecond
)

// An outage is what befalls the servers of a backend, and what a service with
// default options sees of it.
type outage struct {
	name    string
	servers string
	start   func() (*installation, error)
	strike  func(*installation) error // the outage begins
	mend    func(*installation) error // and ends; nil: it is over by itself
}

// phase is what was seen before, during or after an outage.
type phase struct {
	mu        sync.Mutex
	took      []time.Duration // the reads
	deletes   []time.Duration // those that worked
	refusals  []time.Duration // those that did not
	creations int
	failed    int // reads with an error
	firstErr  error
}

// service is a program that reads and deletes all the time.
type service struct {
	region *dogpile.Region
	cache  *dogpile.Cache[string]
	now    atomic.Pointer[phase]
	stop   atomic.Bool
	all    sync.WaitGroup
}

// printOutages prints what each outage does to reads, creations and deletes.
func printOutages(o *options) error {
	lasts := 3 * time.Second
	if o.tries == 1 {
		lasts = 300 * time.Millisecond
	}
	rows := [][]string{{"", "reads without a creation", "creations/s", "read p50", "p99", "longest", "reads failed", "deletes done", "longest", "refused", "longest", "whole again after"}}
	for _, out := range outages {
		if !o.filter.MatchString(out.servers + " " + out.name) {
			continue
		}
		o.progress("outage: " + out.servers + " " + out.name)
		row, err := out.measure(lasts)
		if err != nil {
			return fmt.Errorf("%s %s: %w", out.servers, out.name, err)
		}
		rows = append(rows, row)
	}
	if len(rows) > 1 {
		printTable(o.out, fmt.Sprintf("%v of an outage: %d goroutines read %d keys, creators take %v", lasts, outageReaders, outageKeys, outageCreator), rows)
	}
	return nil
}

// measure starts the servers and a service, lets the outage befall them and tells
// what the service saw.
func (out outage) measure(lasts time.Duration) (row []string, err error) {
	in, err := out.start()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	s, err := serve(in.url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if took := s.whole(patience); took < 0 {
		return nil, errors.New("the cache does not work before the outage")
	}
	during := s.begin()
	if err := out.strike(in); err != nil {
		return nil, err
	}
	time.Sleep(lasts)
	after := "by itself"
	if out.mend != nil {
		if err := out.mend(in); err != nil {
			return nil, err
		}
	}
	s.begin()
	if took := s.whole(patience); took < 0 {
		after = "never"
	} else if out.mend != nil || took > outageWindow {
		after = round(took)
	}
	return during.row(out.servers+" "+out.name, lasts, after), nil
}

// serve starts a service over the backend at url.
func serve(url string) (*service, error) {
	b, err := driver.Open(context.Background(), url)
	if err != nil {
		return nil, err
	}
	s := &service{region: dogpile.NewRegion("outage")}
	s.cache = dogpile.NewCache[string](s.region, nil)
	if err := s.region.Configure(b, &dogpile.Options{Expiration: time.Hour, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, errors.Join(err, driver.Close(b))
	}
	s.begin()
	for g := range outageReaders {
		s.all.Go(func() { s.read(g) })
	}
	s.all.Go(s.delete)
	return s, nil
}

// begin begins another phase and returns it.
func (s *service) begin() *phase {
	p := new(phase)
	s.now.Store(p)
	return p
}

func (s *service) read(g int) {
	for i := g; !s.stop.Load(); i++ {
		p := s.now.Load()
		start := time.Now()
		_, err := s.cache.GetOrCreate(context.Background(), strconv.Itoa(i%outageKeys), func(context.Context) (string, error) {
			time.Sleep(outageCreator)
			p.mu.Lock()
			p.creations++
			p.mu.Unlock()
			return "value", nil
		})
		p.mu.Lock()
		p.took = append(p.took, time.Since(start))
		if err != nil {
			if p.failed++; p.firstErr == nil {
				p.firstErr = err
			}
		}
		p.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

// delete deletes keys that nobody reads, so that no creation follows.
func (s *service) delete() {
	for i := 0; !s.stop.Load(); i++ {
		p := s.now.Load()
		start := time.Now()
		err := s.region.Delete(context.Background(), "unread"+strconv.Itoa(i%outageKeys))
		took := time.Since(start)
		p.mu.Lock()
		if err != nil {
			p.refusals = append(p.refusals, took)
		} else {
			p.deletes = append(p.deletes, took)
		}
		p.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
}

// whole waits until a window has no creation and no failure, and returns after how
// long that window began; -1: never within the limit.
func (s *service) whole(limit time.Duration) time.Duration {
	for start := time.Now(); time.Since(start) < limit; {
		since := time.Since(start)
		p := s.begin()
		time.Sleep(outageWindow)
		p.mu.Lock()
		ok := p.creations == 0 && p.failed == 0 && len(p.refusals) == 0 && len(p.took) > outageReaders
		p.mu.Unlock()
		if ok {
			return since
		}
	}
	return -1
}

func (s *service) close() error {
	s.stop.Store(true)
	s.all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := s.region.Backend()
	return errors.Join(s.region.Close(ctx), driver.Close(b))
}

// row is what the table says of a phase.
func (p *phase) row(name string, lasted time.Duration, after string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	failed := strconv.Itoa(p.failed)
	if p.firstErr != nil {
		failed += " (" + p.firstErr.Error() + ")"
	}
	hits := 1 - float64(p.creations)/float64(max(1, len(p.took)))
	return []string{
		name,
		fmt.Sprintf("%.0f %%", max(0, hits)*100),
		fmt.Sprintf("%.0f", float64(p.creations)/lasted.Seconds()),
		round(quantile(p.took, 0.5)), round(quantile(p.took, 0.99)), round(quantile(p.took, 1)),
		failed,
		strconv.Itoa(len(p.deletes)), round(quantile(p.deletes, 1)),
		strconv.Itoa(len(p.refusals)), round(quantile(p.refusals, 1)),
		after,
	}
}

// quantile returns the q-quantile of times, which it sorts; 0 if there are none.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[int(q*float64(len(times)-1))]
}

func round(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// installation is the servers of one backend.
type installation struct {
	url     string
	servers []*server
	dir     string // with what they write; "": they write nothing
}

var _ io.Closer = (*installation)(nil)

// Close ends the servers and removes what they have written.
func (in *installation) Close() error {
	for _, s := range in.servers {
		s.Close()
	}
	if in.dir == "" {
		return nil
	}
	return os.RemoveAll(in.dir)
}
