// Package demo runs one load through a cache in several ways, and measures what
// that means for the origin behind the cache and for the clients in front of it.
package demo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/driver"
)

// Mode is a way to protect the origin.
type Mode string

const (
	None      Mode = "none"      // get, else create and set
	Coalesced Mode = "coalesced" // the same, but callers in one process that miss the same key share one creation
	Dogpile   Mode = "dogpile"   // a dogpile.Cache that creates in the background
	Near      Mode = "near"      // the same, with copies of entries in each process
)

// Modes are those that any backend can be used in, in the order in which they are run.
var Modes = []Mode{None, Coalesced, Dogpile}

// Task is one run: a load and how it is answered. Several processes share one
// by taking a part each.
type Task struct {
	Mode       Mode
	Requests   []load.Request // in the order of arrival
	End        time.Duration  // when the run ends; what has not been answered by then counts as unanswered
	Clients    int            // how many requests may be under way at once
	Expiration time.Duration
	StaleFor   time.Duration // past Expiration, in modes Dogpile and Near
	Prefix     string        // put before the keys, so that runs do not meet in a shared backend
}

// Grace is how long after the last arrival a run should end.
const Grace = time.Second

// Split cuts t into n parts, at least 1. Part k has the requests k, k+n, k+2n
// and so on, and its share of the clients.
func (t *Task) Split(n int) []*Task {
	parts := make([]*Task, n)
	for k := range parts {
		part := *t
		part.Requests = nil
		for i := k; i < len(t.Requests); i += n {
			part.Requests = append(part.Requests, t.Requests[i])
		}
		part.Clients = (t.Clients + n - 1 - k) / n
		parts[k] = &part
	}
	return parts
}

// Merge puts the outcomes of the parts that Split made into the order of the
// whole.
func Merge(parts [][]Outcome) []Outcome {
	var whole []Outcome
	for i := 0; ; i++ {
		part := parts[i%len(parts)]
		if i/len(parts) == len(part) {
			return whole
		}
		whole = append(whole, part[i/len(parts)])
	}
}

// Progress is counted up while a run goes on. It may be read at any time.
type Progress struct{ answered, creations, staleServed, errors, nearHits atomic.Int64 }

// Counts is how far a run has come.
type Counts struct {
	Answered    int
	Creations   int // begun
	StaleServed int
	Errors      int // requests and backend calls that failed
	NearHits    int `json:",omitempty"` // requests that a copy in a process has answered; known at the end
}

// Counts returns the counts so far.
func (p *Progress) Counts() Counts {
	return Counts{int(p.answered.Load()), int(p.creations.Load()), int(p.staleServed.Load()), int(p.errors.Load()), int(p.nearHits.Load())}
}

// Plus returns the sum of c and d.
func (c Counts) Plus(d Counts) Counts {
	return Counts{c.Answered + d.Answered, c.Creations + d.Creations, c.StaleServed + d.StaleServed, c.Errors + d.Errors, c.NearHits + d.NearHits}
}

// Outcome is what became of one request.
type Outcome struct {
	Waited time.Duration // since its arrival
	End    End
	Hit    bool          `json:",omitempty"` // it found a fresh entry
	Took   time.Duration `json:",omitempty"` // by the call that found it
}

// End is how a request ended.
type End int

const (
	Unanswered End = iota // neither answered nor failed when the run ended
	Answered
	Failed
)

// Create makes the value of a key.
type Create func(ctx context.Context, key string) ([]byte, error)

// Run puts the load of t through b, from start on, and returns what became of
// each request, when the last one has its answer and no creation goes on. The
// entries that it made are still there. It returns ctx's error if that ends first.
func Run(ctx context.Context, start time.Time, t *Task, b driver.Backend, create Create, p *Progress) ([]Outcome, error) {
	runCtx, cancel := context.WithDeadline(ctx, start.Add(t.End))
	defer cancel()
	fetch, stop, err := fetcher(runCtx, t, b, create, p)
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(t.Requests))
	var next atomic.Int64
	var clients sync.WaitGroup
	for range min(t.Clients, len(t.Requests)) {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(t.Requests)); i = next.Add(1) - 1 {
				outcomes[i] = ask(runCtx, start, t.Requests[i], fetch, p)
			}
		})
	}
	clients.Wait()
	// Creations have to end before this process does. If one were cut off:
	//  1. this process gives up its lease, and the origin still works for it;
	//  2. another process takes the lease and asks the origin for the same key;
	//  3. the origin counts two creators at once, which were never meant to be.
	stop()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return outcomes, nil
}

// ask waits for the arrival of r and answers it. Its waiting time runs from the
// arrival, even if no client was free by then.
func ask(ctx context.Context, start time.Time, r load.Request, fetch fetch, p *Progress) Outcome {
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
		return Outcome{Waited: time.Since(due), End: Unanswered}
	}
	began := time.Now()
	hit, err := fetch(ctx, r.Key)
	o := Outcome{Waited: time.Since(due), Hit: hit}
	if hit {
		o.Took = time.Since(began)
	}
	switch {
	case err == nil:
		p.answered.Add(1)
		o.End = Answered
	case !over(ctx):
		p.errors.Add(1)
		o.End = Failed
	}
	return o
}

// over reports whether ctx has ended or its deadline has passed. A call that
// watches the deadline by itself may fail a moment before ctx says that it ended.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
