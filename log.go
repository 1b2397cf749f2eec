package dogpile

import (
	"context"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"time"
)

// event tells a hook of something. A hook that panics takes nothing with it: whatever
// it is told of has happened.
func (s *state) event(ctx context.Context, hook func(context.Context, Event), e Event) {
	if hook == nil {
		return
	}
	defer s.contain(ctx, "hook")
	e.Region, e.Backend = s.region.name, s.caps.Name
	hook(ctx, e)
}

// failed reports an error that is not returned to a caller: of the backend, a codec, a
// creator that nobody waits for.
func (s *state) failed(ctx context.Context, e Event) {
	s.region.stats.add(countErrors, 1)
	s.event(ctx, s.o.Hooks.Error, e)
	s.log(ctx, e)
}

// contain ends a panic in a function of the user's that must not matter to the value
// at hand, and tells of it.
func (s *state) contain(ctx context.Context, what string) {
	if p := recover(); p != nil {
		s.region.stats.add(countErrors, 1)
		s.log(ctx, Event{Op: what, Err: &PanicError{Value: p, Stack: debug.Stack()}})
	}
}

// silent counts a panic of the log's handler: there is nobody else to tell.
func (s *state) silent() {
	if recover() != nil {
		s.region.stats.add(countErrors, 1)
	}
}

func (s *state) logger() *slog.Logger {
	if s.o.Logger != nil {
		return s.o.Logger
	}
	return slog.Default()
}

// log hands an event to the region's journal, if its level is written at all.
func (s *state) log(ctx context.Context, e Event) {
	defer s.silent()
	if s.logger().Enabled(ctx, slog.LevelWarn) && s.region.journal.admits(s, e) {
		s.write(ctx, e, 0)
	}
}

// write writes one record, which stands for leftOut more of its kind.
func (s *state) write(ctx context.Context, e Event, leftOut int) {
	defer s.silent()
	attrs := make([]slog.Attr, 0, 5)
	attrs = append(attrs, slog.String("region", s.region.name))
	if e.Name != "" {
		attrs = append(attrs, slog.String("name", e.Name))
	}
	if e.Key != "" {
		attrs = append(attrs, slog.String("key", e.Key))
	}
	what := "failed"
	if long, is := e.Err.(*longWait); is {
		what = "takes long"
		attrs = append(attrs, slog.String("holder", long.holder.String()))
	} else {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	s.logger().LogAttrs(ctx, slog.LevelWarn, "dogpile: "+e.Op+" "+what, attrs...)
}

// window is how often a region writes of one kind of trouble.
const window = time.Second

// journal sees to it that a region writes at most one record of each kind of trouble
// in each window. The first is written at once; of those that follow within the
// window the last is written at its end, with the number of the others. So every
// error is in exactly one record or left_out, also the last ones of an outage. What
// waits is written when the region is closed. The zero value is ready to use.
type journal struct {
	mu      sync.Mutex
	closed  bool
	kinds   map[kind]*burst // of which something was written within the window
	writing sync.WaitGroup
}

// kind is a kind of trouble: what was done, and the type of the error at the bottom of
// all wrapping. The error of an open breaker is of the kind of its cause. There are no
// more kinds than types in the program.
type kind struct {
	op    string
	cause reflect.Type
}

// burst is what came of one kind since the last record.
type burst struct {
	timer *time.Timer
	n     int
	state *state // of the last event
	last  Event
}

func kindOf(e Event) kind { return kind{e.Op, reflect.TypeOf(bottom(e.Err))} }

func bottom(err error) error {
	for {
		var inner error
		switch e := err.(type) {
		case *PanicError:
			return e // what the panic was about may be of any type
		case *givenUpError:
			return e // the tries before it have failed with the same, and are another kind
		case interface{ Unwrap() error }:
			inner = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				inner = all[0]
			}
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

// admits reports whether an event is to be written now. If not it is kept.
func (j *journal) admits(s *state, e Event) bool {
	k := kindOf(e)
	j.mu.Lock()
	defer j.mu.Unlock()
	if b := j.kinds[k]; b != nil {
		b.n++
		b.state, b.last = s, e
		return false
	}
	if !j.closed { // afterwards nobody waits for a timer
		if j.kinds == nil {
			j.kinds = make(map[kind]*burst)
		}
		b := new(burst)
		j.kinds[k] = b
		b.timer = time.AfterFunc(window, func() { j.end(k) })
	}
	return true
}

// end writes what came within a window. If nothing did, the kind is forgotten.
func (j *journal) end(k kind) {
	j.mu.Lock()
	b := j.kinds[k]
	switch {
	case b == nil: // close was faster
		j.mu.Unlock()
		return
	case b.n == 0:
		delete(j.kinds, k)
		j.mu.Unlock()
		return
	}
	s, e, leftOut := b.state, b.last, b.n-1
	b.n, b.state, b.last = 0, nil, Event{}
	b.timer.Reset(window)
	j.writing.Add(1)
	j.mu.Unlock()
	defer j.writing.Done()
	s.write(context.Background(), e, leftOut)
}

// close writes what is kept, and returns when nothing is written in the background or
// ctx ends. Later events are written one by one.
func (j *journal) close(ctx context.Context) {
	j.mu.Lock()
	j.closed = true
	kinds := j.kinds
	j.kinds = nil
	for _, b := range kinds {
		b.timer.Stop()
	}
	j.mu.Unlock()
	written := make(chan struct{})
	go func() { // ctx is kept to also if a handler hangs
		defer close(written)
		for _, b := range kinds {
			if b.n > 0 {
				b.state.write(context.Background(), b.last, b.n-1)
			}
		}
		j.writing.Wait()
	}()
	select {
	case <-written:
	case <-ctx.Done():
	}
}
