package dogpileotel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/plugin/dogpileotel"
	"github.com/dogpile-go/dogpile/plugin/internal/tallytest"
)

// tracer is a Tracer whose spans are kept, and counted while they last.
type tracer struct {
	exporter *tracetest.InMemoryExporter
	lasting  atomic.Int64
	trace.Tracer
}

func (tr *tracer) OnStart(context.Context, sdk.ReadWriteSpan) { tr.lasting.Add(1) }
func (tr *tracer) OnEnd(sdk.ReadOnlySpan)                     { tr.lasting.Add(-1) }
func (tr *tracer) Shutdown(context.Context) error             { return nil }
func (tr *tracer) ForceFlush(context.Context) error           { return nil }

func newTracer() *tracer {
	tr := &tracer{exporter: tracetest.NewInMemoryExporter()}
	tr.Tracer = sdk.NewTracerProvider(sdk.WithSyncer(tr.exporter), sdk.WithSpanProcessor(tr)).Tracer("test")
	return tr
}

// take returns the spans that have ended, by their names.
func (tr *tracer) take(t testing.TB) map[string][]tracetest.SpanStub {
	t.Helper()
	if n := tr.lasting.Load(); n != 0 {
		t.Errorf("%d spans have not ended", n)
	}
	all := make(map[string][]tracetest.SpanStub)
	for _, s := range tr.exporter.GetSpans() {
		all[s.Name] = append(all[s.Name], s)
	}
	tr.exporter.Reset()
	return all
}

func text(s tracetest.SpanStub) string {
	return fmt.Sprint(s.Name, s.Attributes, s.Status, s.Events, s.Links)
}

// attr returns the value of an attribute as text; "": there is none.
func attr(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func TestSpansTellWhatHappened(t *testing.T) {
	for name, details := range map[string]bool{"without details": false, "with details": true} {
		t.Run(name, func(t *testing.T) {
			tr := newTracer()
			synctest.Test(t, func(t *testing.T) {
				shop, bytes := tallytest.Regions()
				if err := tallytest.Run(t.Context(), hooks(t, dogpileotel.Options{Tracer: tr, Details: details}), shop, bytes); err != nil {
					t.Fatal(err)
				}
			})
			spans := tr.take(t)
			outcomes := make(map[string]time.Duration)
			for _, s := range spans["dogpile.create"] {
				outcome := attr(s, "dogpile.outcome")
				outcomes[outcome] += s.EndTime.Sub(s.StartTime)
				if failed := outcome != "ok"; failed != (s.Status.Code == codes.Error) || failed != (attr(s, "error.type") != "") {
					t.Errorf("%s", text(s))
				}
			}
			if got := fmt.Sprint(outcomes); got != "map[error:1s ok:9s panic:500ms timeout:10s]" {
				t.Errorf("creations: %s", got)
			}
			if waits := spans["dogpile.wait"]; len(waits) != 2 || waits[0].EndTime.Sub(waits[0].StartTime) != 2*time.Second {
				t.Errorf("waits: %v", waits)
			}
			if calls := spans["dogpile.backend.get"]; len(calls) != 2 || calls[0].SpanKind != trace.SpanKindClient ||
				calls[0].EndTime.Sub(calls[0].StartTime) != 200*time.Millisecond {
				t.Errorf("calls of the backend: %v", calls)
			}
			if len(spans) != 3 {
				t.Errorf("spans of %d kinds", len(spans))
			}
			for _, all := range spans {
				for _, s := range all {
					if got := strings.Contains(text(s), tallytest.Secret); got && !details {
						t.Errorf("a key, or an error that has one: %s", text(s))
					}
				}
			}
			if details && !strings.Contains(attr(spans["dogpile.create"][0], "dogpile.key"), tallytest.Secret) {
				t.Errorf("no key: %s", text(spans["dogpile.create"][0]))
			}
		})
	}
}

// TestCreatorsSpansNest: the spans of what a creator does, and of the creators that it needs, are
// in that of its creation, which is in that of the caller.
func TestCreatorsSpansNest(t *testing.T) {
	tr := newTracer()
	c := newCache(t, "nests", &dogpile.Options{Hooks: hooks(t, dogpileotel.Options{Tracer: tr, Details: true})})
	ctx, caller := tr.Start(bg, "caller")
	query := func(name string) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			_, span := tr.Start(ctx, name)
			span.End()
			return 1, nil
		}
	}
	for range 2 { // the second time it is a hit
		if _, err := c.GetOrCreate(ctx, "outer", func(ctx context.Context) (int, error) {
			if _, err := c.GetOrCreate(ctx, "inner", query("in inner")); err != nil {
				return 0, err
			}
			return query("in outer")(ctx)
		}); err != nil {
			t.Fatal(err)
		}
	}
	caller.End()
	names, parents := make(map[trace.SpanID]string), make(map[string]trace.SpanID)
	for name, spans := range tr.take(t) {
		for _, s := range spans {
			name := strings.TrimSpace(name + " " + attr(s, "dogpile.key"))
			names[s.SpanContext.SpanID()], parents[name] = name, s.Parent.SpanID()
		}
	}
	for name, want := range map[string]string{
		"dogpile.create outer": "caller", "dogpile.create inner": "dogpile.create outer",
		"in inner": "dogpile.create inner", "in outer": "dogpile.create outer", "caller": "",
	} {
		if got := names[parents[name]]; got != want {
			t.Errorf("%q is in %q, want %q", name, got, want)
		}
	}
	if len(names) != 5 {
		t.Errorf("spans: %v", names)
	}
}

// TestTracersDoNotEndEachOthersSpans: each of two that are joined has its own.
func TestTracersDoNotEndEachOthersSpans(t *testing.T) {
	one, other := newTracer(), newTracer()
	c := newCache(t, "joined", &dogpile.Options{Hooks: dogpile.JoinHooks(
		hooks(t, dogpileotel.Options{Tracer: one}), hooks(t, dogpileotel.Options{Tracer: other}))})
	if _, err := c.GetOrCreate(bg, "outer", func(ctx context.Context) (int, error) {
		return c.GetOrCreate(ctx, "inner", create)
	}); err != nil {
		t.Fatal(err)
	}
	for _, tr := range []*tracer{one, other} {
		if spans := tr.take(t)["dogpile.create"]; len(spans) != 2 {
			t.Errorf("%d spans", len(spans))
		}
	}
}

// TestBackgroundIsLinked: what goes on without its caller is a trace of its own.
func TestBackgroundIsLinked(t *testing.T) {
	tr := newTracer()
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, "behind", &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background, Hooks: hooks(t, dogpileotel.Options{Tracer: tr})})
		if err := c.Set(bg, "k", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(90 * time.Second)
		ctx, caller := tr.Start(bg, "caller")
		_, err := c.GetOrCreate(ctx, "k", func(ctx context.Context) (int, error) {
			time.Sleep(time.Second)
			_, span := tr.Start(ctx, "query")
			span.End()
			return 2, nil
		})
		caller.End()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		spans := tr.take(t)
		s, query := spans["dogpile.create"][0], spans["query"][0]
		if s.Parent.IsValid() || s.SpanContext.TraceID() == caller.SpanContext().TraceID() {
			t.Errorf("its parent is %v", s.Parent)
		}
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != caller.SpanContext().SpanID() {
			t.Errorf("its links are %v", s.Links)
		}
		if query.Parent.SpanID() != s.SpanContext.SpanID() {
			t.Error("what the creator does is not in it")
		}
	})
}

// slow is a backend that takes its time, and may fail.
type slow struct {
	driver.Proxy
	takes time.Duration
	err   error
}

func (s *slow) Get(ctx context.Context, items []driver.Item) error {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.err != nil {
		return s.err
	}
	return s.Proxy.Get(ctx, items)
}

// TestCallsWithSpans: those that have failed or were slow, and not those whose caller had no
// time.
func TestCallsWithSpans(t *testing.T) {
	boom := errors.New("boom")
	for name, row := range map[string]struct {
		slowCall, takes, patience time.Duration
		err                       error
		want                      string
	}{
		"quick":                                {0, 99 * time.Millisecond, time.Minute, nil, ""},
		"slow":                                 {0, 100 * time.Millisecond, time.Minute, nil, "ok"},
		"quick, and fails":                     {0, 0, time.Minute, boom, "error"},
		"slow for those who want it":           {10 * time.Millisecond, 10 * time.Millisecond, time.Minute, nil, "ok"},
		"slow, and nobody cares":               {-1, time.Second / 2, time.Minute, nil, ""},
		"fails, and nobody cares of slow ones": {-1, time.Second / 2, time.Minute, boom, "error"},
		"the caller leaves":                    {0, time.Second / 2, 50 * time.Millisecond, nil, ""},
		"it takes longer than it may":          {0, time.Minute, time.Hour, nil, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracer()
			synctest.Test(t, func(t *testing.T) {
				b, err := memory.New(nil)
				if err != nil {
					t.Fatal(err)
				}
				r := dogpile.NewRegion("slow")
				if err := r.Configure(&slow{driver.Proxy{Backend: b}, row.takes, row.err}, &dogpile.Options{Hooks: hooks(t, dogpileotel.Options{Tracer: tr, SlowCall: row.slowCall})}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(bg, row.patience)
				defer cancel()
				_, _, _ = dogpile.NewCache[int](r, nil).Get(ctx, "k")
			})
			spans := tr.take(t)
			got := ""
			for _, s := range spans["dogpile.backend.get"] {
				got = attr(s, "dogpile.outcome")
			}
			if got != row.want || len(spans) > 1 {
				t.Errorf("%q, want %q; %v", got, row.want, spans)
			}
		})
	}
}

// TestACallerWhoLeavesIsNoError, when it waits for another's creation; one that is given an error is.
func TestACallerWhoLeavesIsNoError(t *testing.T) {
	boom := errors.New("boom")
	for name, row := range map[string]struct {
		leave   func(context.Context) (context.Context, context.CancelFunc)
		err     error
		outcome string
		status  codes.Code
	}{
		"it is given a value":   {context.WithCancel, nil, "ok", codes.Unset},
		"it is given an error":  {context.WithCancel, boom, "error", codes.Error},
		"it leaves":             {func(ctx context.Context) (context.Context, context.CancelFunc) { return cancelAfter(ctx, nil) }, nil, "canceled", codes.Unset},
		"it leaves for a cause": {func(ctx context.Context) (context.Context, context.CancelFunc) { return cancelAfter(ctx, boom) }, nil, "canceled", codes.Unset},
		"it has no more time": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Second)
		}, nil, "canceled", codes.Unset},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracer()
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, "waits", &dogpile.Options{Hooks: hooks(t, dogpileotel.Options{Tracer: tr})})
				go func() {
					_, _ = c.GetOrCreate(bg, "k", func(context.Context) (int, error) { time.Sleep(20 * time.Second); return 1, row.err })
				}()
				synctest.Wait()
				ctx, cancel := row.leave(bg)
				defer cancel()
				_, _ = c.GetOrCreate(ctx, "k", create)
				time.Sleep(time.Minute)
			})
			waits := tr.take(t)["dogpile.wait"]
			if len(waits) != 1 || attr(waits[0], "dogpile.outcome") != row.outcome || waits[0].Status.Code != row.status ||
				(attr(waits[0], "error.type") != "") != (row.status == codes.Error) {
				t.Errorf("%v", waits)
			}
		})
	}
}

// cancelAfter returns a context that ends for a cause after ten seconds.
func cancelAfter(ctx context.Context, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	time.AfterFunc(10*time.Second, func() { cancel(cause) })
	return ctx, func() { cancel(nil) }
}

// TestHitHasNoSpan: and it asks for none.
func TestHitHasNoSpan(t *testing.T) {
	h := hooks(t, dogpileotel.Options{Tracer: newTracer()})
	if h.Hit != nil || h.Stale != nil || h.Miss != nil {
		t.Error("a tracer alone is told of hits")
	}
}
