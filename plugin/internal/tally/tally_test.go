package tally_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/plugin/internal/tally"
)

// ended returns a context that has ended for that cause.
func ended(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx
}

// late returns a context whose deadline has passed.
func late(t *testing.T, cause error) context.Context {
	ctx, cancel := context.WithDeadlineCause(context.Background(), time.Time{}, cause)
	t.Cleanup(cancel)
	return ctx
}

var errOrigin = errors.New("origin")

func TestOutcomesOfCreations(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"a value":                        {context.Background(), nil, tally.OK},
		"a value, and the lease is lost": {ended(dogpile.ErrLeaseLost), nil, tally.OK},
		"an error":                       {context.Background(), errOrigin, tally.Failed},
		"the lease is lost":              {ended(dogpile.ErrLeaseLost), context.Canceled, tally.LeaseLost},
		"the region is closed":           {ended(dogpile.ErrClosed), context.Canceled, tally.Failed},
		"a panic":                        {context.Background(), dogpile.ErrAborted, tally.Panicked},
		"a nested creation's panic":      {context.Background(), &dogpile.OpError{Err: new(dogpile.PanicError)}, tally.Failed},
		"a time-out":                     {ended(dogpile.ErrCreateTimeout), dogpile.ErrCreateTimeout, tally.TimedOut},
		"a nested creation's time-out":   {context.Background(), &dogpile.OpError{Err: dogpile.ErrCreateTimeout}, tally.Failed},
	} {
		if got := tally.Creation(row.ctx, dogpile.Event{Err: row.err}); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}

func TestOutcomesOfCalls(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		ctx     context.Context
		op      string
		err     error
		outcome string
	}{
		"an answer":                      {context.Background(), "get", nil, tally.OK},
		"an answer to one who has left":  {ended(nil), "get", nil, tally.OK},
		"an error":                       {context.Background(), "get", errOrigin, tally.Failed},
		"a lost lease":                   {context.Background(), "set", fmt.Errorf("set: %w", dogpile.ErrLeaseLost), tally.LeaseLost},
		"the caller leaves":              {ended(nil), "get", context.Canceled, tally.Canceled},
		"the caller has no time":         {late(t, nil), "get", context.DeadlineExceeded, tally.Canceled},
		"the backend takes too long":     {late(t, driver.ErrTimeout), "get", context.DeadlineExceeded, tally.Failed},
		"a renewal takes too long":       {late(t, nil), "extend", context.DeadlineExceeded, tally.Failed},
		"a renewal that is given up":     {ended(nil), "extend", context.Canceled, tally.Canceled},
		"a lease is given back too late": {late(t, nil), "unlock", context.DeadlineExceeded, tally.Failed},
	} {
		if got := tally.Call(row.ctx, dogpile.Event{Op: row.op, Err: row.err}); got != row.outcome {
			t.Errorf("%s: %q, want %q", name, got, row.outcome)
		}
	}
}
