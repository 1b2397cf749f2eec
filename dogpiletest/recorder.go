package dogpiletest

import (
	"context"
	"slices"
	"sync"

	"github.com/dogpile-go/dogpile"
)

// Recorded is an event and the field of dogpile.Hooks that was told of it.
type Recorded struct {
	Hook  string // "Hit", "Stale", "Miss", …
	Event dogpile.Event
}

// Recorder keeps the events of the regions whose Options.Hooks it has made. The
// zero value is ready; all methods may be called from many goroutines. It must
// not be copied.
type Recorder struct {
	mu     sync.Mutex
	events []Recorded
}

// Hooks returns hooks that tell r, of all that tell what has come of something: Creating and
// Backend, which tell of the steps on the way, are not set. They may serve any number of
// regions.
func (r *Recorder) Hooks() *dogpile.Hooks {
	h := new(dogpile.Hooks)
	for _, hook := range hooks {
		*hook.field(h) = func(_ context.Context, e dogpile.Event) { r.add(hook.name, e) }
	}
	return h
}

func (r *Recorder) add(hook string, e dogpile.Event) {
	e.Keys = slices.Clone(e.Keys)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, Recorded{hook, e})
}

// Events returns what has been told since the beginning or the last Reset, in
// order. The caller owns the slice.
func (r *Recorder) Events() []Recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Count returns how many events of Events were told to hook, a field of
// dogpile.Hooks that is recorded, such as "Create". It panics on any other name, so that a slip
// does not count as never.
func (r *Recorder) Count(hook string) int {
	if !slices.ContainsFunc(hooks, func(h hookField) bool { return h.name == hook }) {
		panic("dogpiletest: dogpile.Hooks has no field " + hook)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Hook == hook {
			n++
		}
	}
	return n
}

// Reset forgets all events.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

type hookField struct {
	name  string
	field func(*dogpile.Hooks) *func(context.Context, dogpile.Event)
}

var hooks = []hookField{
	{"Hit", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Hit }},
	{"Stale", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Stale }},
	{"Miss", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Miss }},
	{"Wait", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Wait }},
	{"Create", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Create }},
	{"Store", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Store }},
	{"Delete", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Delete }},
	{"Invalidate", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Invalidate }},
	{"Error", func(h *dogpile.Hooks) *func(context.Context, dogpile.Event) { return &h.Error }},
}
