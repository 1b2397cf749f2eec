// Package demo runs one load through a cache in several ways and measures what
// the origin behind it and the clients in front of it get to feel.
package demo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
	"github.com/dogpile-go/dogpile/driver"
)

// Mode is a way to protect the origin.
type Mode string

const (
	None      Mode = "none"      // get, else create and set
	Coalesced Mode = "coalesced" // the same, and who misses while another creates waits for that one
	Dogpile   Mode = "dogpile"   // a dogpile.Cache that creates in the background
)

// Modes are all of them, in the order in which they are run.
var Modes = []Mode{None, Coalesced, Dogpile}

// Settings is what is the same for all modes.
type Settings struct {
	Requests   []load.Request // in the order of arrival; not empty
	Clients    int            // how many requests may be under way at once
	Expiration time.Duration
	StaleFor   time.Duration // past Expiration, in mode Dogpile
	Workers    int           // tiles that the origin renders at once
	TileSize   int           // in pixels
	Run        string        // put before the keys, so that runs do not meet in a shared backend
}

// Grace is how long after the last arrival a run ends. What has not been
// answered by then counts as unanswered.
const Grace = time.Second

// End returns how long a run lasts.
func (s *Settings) End() time.Duration {
	return s.Requests[len(s.Requests)-1].At + Grace
}

// Progress is counted up while a run goes on. It may be read at any time.
type Progress struct {
	Answered    atomic.Int64
	Creations   atomic.Int64
	StaleServed atomic.Int64
	Errors      atomic.Int64 // requests and backend calls that failed
}

// outcome is what became of one request.
type outcome struct {
	waited time.Duration // since its arrival
	end    end
}

type end int

const (
	unanswered end = iota
	answered
	failed
)

// Run puts the load of s through b in one mode and returns what it measured. It
// closes nothing, and deletes the entries that it made. It returns ctx's error
// when that ends first.
func Run(ctx context.Context, mode Mode, b driver.Backend, s *Settings, p *Progress) (*Result, error) {
	o := origin.New(s.Workers, s.TileSize)
	fetch, stop, err := fetcher(mode, b, s, o, p)
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(s.Requests))
	start := time.Now()
	runCtx, cancel := context.WithDeadline(ctx, start.Add(s.End()))
	defer cancel()
	var next atomic.Int64
	var clients sync.WaitGroup
	for range min(s.Clients, len(s.Requests)) {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(s.Requests)); i = next.Add(1) - 1 {
				outcomes[i] = ask(runCtx, start, s.Requests[i], fetch, p)
			}
		})
	}
	clients.Wait()
	stop()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return summarise(mode, s, outcomes, o.Stats(), p), nil
}

// ask waits for the arrival of r and answers it. Its waiting time runs from the
// arrival, even if no client was free by then.
func ask(ctx context.Context, start time.Time, r load.Request, fetch fetchFunc, p *Progress) outcome {
	due := start.Add(r.At)
	if wait := time.Until(due); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return outcome{time.Since(due), unanswered}
	}
	_, err := fetch(ctx, r.Key)
	waited := time.Since(due)
	switch {
	case err == nil:
		p.Answered.Add(1)
		return outcome{waited, answered}
	case ctx.Err() != nil:
		return outcome{waited, unanswered}
	}
	p.Errors.Add(1)
	return outcome{waited, failed}
}
