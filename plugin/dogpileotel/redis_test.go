//go:build unix

package dogpileotel_test

import (
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/plugin/dogpileotel"
	"github.com/dogpile-go/dogpile/plugin/internal/tallytest"
)

// TestRedisThatFails: calls that succeed are measured and have no span, those that fail have one.
func TestRedisThatFails(t *testing.T) {
	for how, fail := range map[string]func(*backendtest.Process, *testing.T){
		"dies":  func(p *backendtest.Process, _ *testing.T) { p.Kill() },
		"hangs": func(p *backendtest.Process, t *testing.T) { p.Stop(t) },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			server, url := backendtest.StartRedis(t)
			redisFails(t, url, func() { fail(server, t) })
		})
	}
}

func redisFails(t *testing.T, url string, fail func()) {
	b, err := redis.Open(t.Context(), url, nil)
	backendtest.OK(t, err)
	t.Cleanup(func() { b.Close() })
	m, tr := newMeter(), newTracer()
	r := backendtest.Region(t, "users", b, &dogpile.Options{Hooks: hooks(t, dogpileotel.Options{Meter: m, Tracer: tr, SlowCall: -1})})
	c := dogpile.NewCache[int](r, nil)
	get := func() {
		_, err := c.GetOrCreate(bg, tallytest.Secret, create)
		backendtest.OK(t, err)
	}
	get()
	get()
	if spans := tr.take(t); len(spans) != 1 || len(spans["dogpile.create"]) != 1 {
		t.Errorf("spans while all is well: %v", spans)
	}
	fail()
	backendtest.Eventually(t, "the server to be missed", func() bool { get(); return r.Stats().Errors > 0 })
	failed := 0
	for name, spans := range tr.take(t) {
		for _, s := range spans {
			if strings.HasPrefix(name, "dogpile.backend.") {
				failed++
				if s.Status.Code != codes.Error || attr(s, "dogpile.backend") != "redis" || attr(s, "error.type") == "" {
					t.Errorf("%s", text(s))
				}
			}
			if strings.Contains(text(s), tallytest.Secret) {
				t.Errorf("a key: %s", text(s))
			}
		}
	}
	if failed == 0 {
		t.Error("no call that has failed has a span")
	}
	metrics := m.read(t)
	got := flat(t, metrics)
	if got["requests{name=,region=users,result=hit}"] != fmt.Sprint(r.Stats().Hits) || got["backend.duration{backend=redis,op=get,outcome=ok}"] == "" ||
		got["backend.duration{backend=redis,op=get,outcome=error}"] == "" || strings.Contains(fmt.Sprint(metrics), tallytest.Secret) {
		t.Errorf("%v", got)
	}
}
