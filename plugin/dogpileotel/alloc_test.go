//go:build !race

package dogpileotel_test

import "testing"

// TestHitAllocatesNothing: also with metrics and spans of OpenTelemetry and metrics of
// Prometheus. The race detector allocates, so this runs without it.
func TestHitAllocatesNothing(t *testing.T) {
	for name, hooks := range observed(t) {
		t.Run(name, func(t *testing.T) {
			c := hot(t, hooks)
			for what, hit := range map[string]func() error{
				"GetOrCreate": func() error { _, err := c.GetOrCreate(bg, "a key", create); return err },
				"Get":         func() error { _, _, err := c.Get(bg, "a key"); return err },
			} {
				var err error
				if n := testing.AllocsPerRun(1000, func() { err = hit() }); n != 0 || err != nil {
					t.Errorf("%s: %v allocations, %v", what, n, err)
				}
			}
		})
	}
}
