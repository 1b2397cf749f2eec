package drivertest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

func TestReference(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Backend { return drivertest.NewReference() }, nil)
}

func TestBackendWithThreeMethods(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Backend {
		return drivertest.Bare(drivertest.NewReference())
	}, &drivertest.Options{Bubble: true})
}

func TestBackendInRealTime(t *testing.T) {
	for name, caps := range map[string]driver.Caps{
		"exact":    {Name: "exact", Locks: true, Fenced: true, TTLUnit: time.Nanosecond},
		"limited":  {Name: "limited", Locks: true, MaxKeyLen: 100, Mangle: shorten},
		"discards": {Name: "discards", Discards: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(*testing.T) driver.Backend {
				ref := drivertest.NewReference()
				ref.SetCaps(caps)
				if caps.Discards {
					return discarding{driver.Proxy{Backend: ref}}
				}
				return ref
			}, nil)
		})
	}
}

// shorten keeps keys that differ apart only as far as the suite needs it.
func shorten(key string) string { return key[max(0, len(key)-100):] }

type discarding struct{ driver.Proxy }

func (discarding) Get(context.Context, []driver.Item) error { return nil }

func TestTransparentProxy(t *testing.T) {
	drivertest.RunProxy(t, transparent, nil)
}

func transparent(b driver.Backend) driver.Backend { return driver.Proxy{Backend: b} }

// The log has one line for each reason, and every rule in one line.
func TestLeftOutRulesAreGroupedByReason(t *testing.T) {
	t.Parallel()
	lines := drivertest.LeftOut(driver.Caps{})
	for _, reason := range []string{"Discards", "Objects", "Shared", "Locks", "InMemory", "bubble", "MaxValue"} {
		n := 0
		for _, line := range lines {
			because, rules, _ := strings.Cut(line, ": ")
			if strings.Contains(because, reason) {
				n++
			}
			if strings.TrimSpace(rules) == "" {
				t.Errorf("%q lists no rule", line)
			}
		}
		if n != 1 {
			t.Errorf("%d lines about %s in %q", n, reason, lines)
		}
	}
	for _, rule := range drivertest.Rules() {
		n := strings.Count(strings.Join(lines, ";")+";", ": "+rule+";") + strings.Count(strings.Join(lines, ";")+";", "; "+rule+";")
		if wants := strings.HasPrefix(rule, "lock/") || strings.HasPrefix(rule, "fence/"); n > 1 || wants && n == 0 {
			t.Errorf("%q is in %d lines", rule, n)
		}
	}
	if lines := drivertest.LeftOut(driver.Caps{Name: "all", Objects: true, Shared: true, Locks: true, Fenced: true, InMemory: true, MaxValue: 1}); len(lines) != 2 {
		t.Errorf("with every capability but Discards the log is %q", lines)
	}
}

func BenchmarkReference(b *testing.B) {
	drivertest.Bench(b, func(*testing.B) driver.Backend { return drivertest.NewReference() })
}
