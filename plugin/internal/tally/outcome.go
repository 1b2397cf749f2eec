package tally

import (
	"context"
	"errors"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// What outcomes are called.
const (
	OK        = "ok"
	Failed    = "error"
	Panicked  = "panic"      // of a creator: it did not return
	TimedOut  = "timeout"    // of a creation: it took longer than Options.CreateTimeout
	LeaseLost = "lease_lost" // another may have created, or deleted, meanwhile
	Canceled  = "canceled"   // of a call of the backend or a wait: the caller had no time
)

// Creation returns the outcome of a creation, of which Hooks.Create was told.
func Creation(ctx context.Context, e dogpile.Event) string {
	switch {
	case e.Err == nil:
		return OK
	// These two are not looked for in what is wrapped: there they are a nested creation's.
	case e.Err == dogpile.ErrAborted:
		return Panicked
	case e.Err == dogpile.ErrCreateTimeout:
		return TimedOut
	case errors.Is(context.Cause(ctx), dogpile.ErrLeaseLost):
		return LeaseLost
	}
	return Failed
}

// Call returns the outcome of a call of the backend, of which Hooks.Backend was told.
func Call(ctx context.Context, e dogpile.Event) string {
	switch {
	case e.Err == nil:
		return OK
	case errors.Is(e.Err, dogpile.ErrLeaseLost):
		return LeaseLost
	case ctx.Err() == nil, errors.Is(context.Cause(ctx), driver.ErrTimeout):
		return Failed
	case ctx.Err() == context.DeadlineExceeded && (e.Op == "extend" || e.Op == "unlock"):
		return Failed // these have a time of their own, not the caller's
	}
	return Canceled
}

// Wait returns the outcome of a wait for a creation, of which Hooks.Wait was told.
func Wait(ctx context.Context, e dogpile.Event) string {
	switch {
	case e.Err == nil:
		return OK
	case ctx.Err() != nil && (errors.Is(e.Err, ctx.Err()) || errors.Is(e.Err, context.Cause(ctx))):
		return Canceled
	}
	return Failed
}

// Bounds of histograms, in seconds: those of creations and of waits for them, and those of calls
// of the backend.
var (
	Creations = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	Calls     = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
)
