package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/driver"
)

// beat is how often a client tells how far it has come.
const beat = 100 * time.Millisecond

// client is the inside of a process.
type client struct {
	*teller
	in    *json.Decoder
	start chan time.Time

	mu    sync.Mutex
	last  int
	wants map[int]chan *made // that have not been answered
}

// Serve is what each process does: it takes its task from in and tells on out
// what comes of it, errors included. The error that it returns is of in, if no
// task comes from there. When in ends before the task does, the process exits.
func Serve(in io.Reader, out io.Writer) error {
	c := &client{
		teller: newTeller(out),
		in:     json.NewDecoder(in),
		start:  make(chan time.Time, 1),
		wants:  make(map[int]chan *made),
	}
	var j job
	if err := c.in.Decode(&j); err != nil || j.Task == nil {
		return errors.New("there is no task to be had; dogpile demo starts its processes itself")
	}
	if err := c.serve(&j); err != nil {
		c.tell(word{Err: strings.TrimPrefix(err.Error(), "dogpile: ")})
	}
	return nil
}

func (c *client) serve(j *job) error {
	ctx := context.Background()
	b, err := driver.Open(ctx, j.Backend)
	if err != nil {
		return err
	}
	defer driver.Close(b)
	go c.listen()
	c.tell(word{Ready: true})
	start := <-c.start
	// A time that was sent has no monotonic part. With one, the run is not disturbed
	// when somebody sets the clock.
	start = time.Now().Add(time.Until(start))
	var p demo.Progress
	stop := c.keepTelling(&p, start.Add(j.Task.End))
	outcomes, err := demo.Run(ctx, start, j.Task, b, c.create, &p)
	stop()
	if err != nil {
		return err
	}
	c.tell(word{Done: &done{outcomes, p.Counts()}})
	return nil
}

// listen takes orders. When they end, the process that gives them is gone: there is
// nothing left to do, and nobody to tell of it.
func (c *client) listen() {
	for {
		var o order
		if err := c.in.Decode(&o); err != nil {
			os.Exit(1)
		}
		if !o.Start.IsZero() {
			c.start <- o.Start
		}
		if o.Made != nil {
			if answer := c.forget(o.Made.ID); answer != nil {
				answer <- o.Made
			}
		}
	}
}

// create asks the origin, which goes on even if ctx ends first.
func (c *client) create(ctx context.Context, key string) ([]byte, error) {
	answer := make(chan *made, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.wants[id] = answer
	c.mu.Unlock()
	c.tell(word{Want: &want{id, key}})
	select {
	case m := <-answer:
		if m.Err != "" {
			return nil, fmt.Errorf("origin: %s", m.Err)
		}
		return m.Data, nil
	case <-ctx.Done():
		c.forget(id)
		return nil, ctx.Err()
	}
}

func (c *client) forget(id int) chan *made {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.wants[id]
	delete(c.wants, id)
	return answer
}

// keepTelling tells how far the run has come, until the function that it returns
// has been called, and at the latest until end. A client that hangs is noticed by
// its silence, and must not be kept talking by this.
func (c *client) keepTelling(p *demo.Progress, end time.Time) (stop func()) {
	ctx, cancel := context.WithDeadline(context.Background(), end)
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				counts := p.Counts()
				c.tell(word{Counts: &counts})
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); ended.Wait() }
}
