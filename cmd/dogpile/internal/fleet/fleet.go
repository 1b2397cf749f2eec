package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// Silence is how long a process may say nothing unless Fleet.Silence says
// otherwise.
const Silence = 20 * time.Second

// lead is how long before the start of a run its clients are told of it.
const lead = 100 * time.Millisecond

// Fleet says how processes are started.
type Fleet struct {
	Command []string // starts a process that calls Serve on its standard input and output
	Backend string   // the URL of its backend
	Size    int      // how many there are; at least 1

	// Silence is how long a process may say nothing before it counts as hung.
	// 0: the constant Silence.
	Silence time.Duration
}

// Run is a run that goes on.
type Run struct {
	fleet  *Fleet
	task   *demo.Task
	create demo.Create
	ctx    context.Context // done as soon as a process has failed
	fail   context.CancelCauseFunc
	ready  chan *process
	all    sync.WaitGroup

	mu     sync.Mutex
	start  time.Time
	counts []demo.Counts
	parts  [][]demo.Outcome
}

// Start starts the processes and runs t in them, each with its part of it. They
// begin at the same moment, as soon as all are ready. create is the origin; it is
// called in this process, from many goroutines, with a context that ends when the
// run does.
//
// When ctx ends or a process fails, all are killed. They also end when this
// process does, whatever ends it. The caller has to call Wait.
func (f *Fleet) Start(ctx context.Context, t *demo.Task, create demo.Create) *Run {
	r := &Run{
		fleet:  f,
		task:   t,
		create: create,
		ready:  make(chan *process, f.Size),
		counts: make([]demo.Counts, f.Size),
		parts:  make([][]demo.Outcome, f.Size),
	}
	r.ctx, r.fail = context.WithCancelCause(ctx)
	for n, part := range t.Split(f.Size) {
		r.all.Go(func() {
			if err := r.process(n, part); err != nil {
				r.fail(fmt.Errorf("process %d of %d %w", n+1, f.Size, err))
			}
		})
	}
	r.all.Go(r.begin)
	return r
}

// begin tells all processes when to start, once all are ready.
func (r *Run) begin() {
	var all []*process
	for range r.fleet.Size {
		select {
		case p := <-r.ready:
			all = append(all, p)
		case <-r.ctx.Done():
			return
		}
	}
	start := time.Now().Add(lead)
	r.mu.Lock()
	r.start = start
	r.mu.Unlock()
	for _, p := range all {
		p.tell(order{Start: start})
	}
}

// Wait waits until all processes have ended, and returns when the run began and
// what became of each request. If one has failed it returns that failure, and
// ctx's error if that ended first.
func (r *Run) Wait() (start time.Time, outcomes []demo.Outcome, err error) {
	r.all.Wait()
	defer r.fail(nil)
	if r.ctx.Err() != nil {
		return time.Time{}, nil, context.Cause(r.ctx)
	}
	return r.start, demo.Merge(r.parts), nil
}

// Counts returns how far all processes together have come.
func (r *Run) Counts() (sum demo.Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.counts {
		sum = sum.Plus(c)
	}
	return sum
}

func (r *Run) count(n int, c demo.Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[n] = c
}

// end returns when the run ends.
func (r *Run) end() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.start.Add(r.task.End)
}
