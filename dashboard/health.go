package dashboard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/breaker"
)

// longest is how long a backend has to answer. Region.Close waits for the question that is under
// way, also where Options.BackendTimeout has no limit.
const longest = 3 * time.Second

// health is whether a backend answers.
type health struct {
	mu       sync.Mutex
	answered chan struct{} // closed once the question that is open is answered; nil: none is
	asked    time.Time     // when that was asked, or the first one that had no answer
	last     condition
}

// condition is what a backend has answered last.
type condition struct {
	Word string // "answers", "silent", "open" or "failing"; "": it was never asked
	Took time.Duration
	Text string // what it has failed with
}

// ask asks r's backend whether it is there, unless the last question is open still. The
// question is given up when ctx ends, and after longest.
func (h *health) ask(ctx context.Context, r *dogpile.Region, now time.Time) (answered <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answered == nil {
		h.answered = make(chan struct{})
		if h.last.Word != "silent" {
			h.asked = now
		}
		go h.wait(ctx, r, now, h.answered)
	}
	return h.answered
}

// wait waits for the answer. What it calls may be anybody's, a proxy or a mangler: one that
// panics, or calls runtime.Goexit, fails.
func (h *health) wait(ctx context.Context, r *dogpile.Region, now time.Time, answered chan struct{}) {
	defer close(answered)
	c, known := condition{Word: "failing", Text: "it has ended the goroutine that asked"}, true
	defer func() {
		if p := recover(); p != nil {
			c.Text = visible(cut(fmt.Sprintf("it panics: %v", p), maxText))
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.answered = nil; known {
			h.last = c
		}
	}()
	bounded, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	err := r.Ping(bounded)
	if known = err == nil || ctx.Err() == nil; known {
		silent := err != nil && bounded.Err() != nil
		c = conditionOf(time.Since(now), err, silent)
	}
}

func conditionOf(took time.Duration, err error, silent bool) condition {
	switch {
	case err == nil:
		return condition{Word: "answers", Took: took}
	case silent:
		return condition{Word: "silent"}
	}
	c := condition{Word: "failing"}
	if errors.Is(err, breaker.ErrOpen) {
		c.Word = "open"
	}
	if op := (*dogpile.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	c.Text = visible(cut(err.Error(), maxText))
	return c
}

// now returns how the backend is. One that takes its time is silent.
func (h *health) now() condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	past := time.Since(h.asked)
	if h.last.Word == "silent" || h.answered != nil && past > time.Second {
		return condition{Word: "silent", Took: past}
	}
	return h.last
}
