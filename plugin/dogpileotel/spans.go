package dogpileotel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/internal/tally"
)

// slowCall is the default of Options.SlowCall.
const slowCall = 100 * time.Millisecond

// spans makes the spans. A pointer to it is the key of the span that it has put into a context,
// so that two of them do not end each other's.
type spans struct {
	tracer  trace.Tracer
	slow    time.Duration
	details bool
}

func spanHooks(o Options) *dogpile.Hooks {
	if o.Tracer == nil {
		return nil
	}
	s := &spans{o.Tracer, cmp.Or(o.SlowCall, slowCall), o.Details}
	return &dogpile.Hooks{Creating: s.creating, Create: s.created, Wait: s.waited, Backend: s.called}
}

// creating begins the span of a creation.
func (s *spans) creating(ctx context.Context, e dogpile.Event) context.Context {
	options := []trace.SpanStartOption{trace.WithAttributes(s.attributes(e)...)}
	if e.Background {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(ctx)))
	}
	ctx, span := s.tracer.Start(ctx, "dogpile.create", options...)
	return context.WithValue(ctx, s, span)
}

// created ends it. The span in front may be another hook's by now.
func (s *spans) created(ctx context.Context, e dogpile.Event) {
	if span, ok := ctx.Value(s).(trace.Span); ok {
		s.end(span, e, tally.Creation(ctx, e))
	}
}

func (s *spans) waited(ctx context.Context, e dogpile.Event) {
	s.past(ctx, "dogpile.wait", e, tally.Wait(ctx, e))
}

func (s *spans) called(ctx context.Context, e dogpile.Event) {
	outcome := tally.Call(ctx, e)
	slow := s.slow >= 0 && e.Duration >= s.slow && e.Op != "wait"
	if slow || outcome == tally.Failed {
		s.past(ctx, "dogpile.backend."+e.Op, e, outcome, trace.WithSpanKind(trace.SpanKindClient))
	}
}

// past makes a span for what is over.
func (s *spans) past(ctx context.Context, name string, e dogpile.Event, outcome string, options ...trace.SpanStartOption) {
	options = append(options, trace.WithTimestamp(time.Now().Add(-e.Duration)), trace.WithAttributes(s.attributes(e)...))
	_, span := s.tracer.Start(ctx, name, options...)
	s.end(span, e, outcome)
}

func (s *spans) end(span trace.Span, e dogpile.Event, outcome string) {
	span.SetAttributes(attribute.String("dogpile.outcome", outcome))
	if e.Err != nil && outcome != tally.Canceled { // a caller who leaves is no error of ours
		description := outcome
		if s.details {
			description = tally.Label(e.Err.Error())
		}
		span.SetStatus(codes.Error, description)
		span.SetAttributes(attribute.String("error.type", errorType(e.Err)))
	}
	span.End()
}

func (s *spans) attributes(e dogpile.Event) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		attribute.String("dogpile.region", tally.Label(e.Region)),
		attribute.String("dogpile.name", tally.Label(e.Name)),
		attribute.String("dogpile.backend", tally.Label(e.Backend)),
	}
	switch {
	case !s.details:
	case len(e.Keys) > 0:
		keys := make([]string, len(e.Keys))
		for i, key := range e.Keys {
			keys[i] = tally.Label(key)
		}
		attributes = append(attributes, attribute.StringSlice("dogpile.keys", keys))
	case e.Key != "":
		attributes = append(attributes, attribute.String("dogpile.key", tally.Label(e.Key)))
	}
	return attributes
}

// errorType returns the type of the error at the bottom of all wrapping.
func errorType(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}
